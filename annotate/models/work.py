"""Who is asked what, and what they said: slots, judgments and ratings."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from annotate.models.content import Comparison, Response
from annotate.models.people import AnnotatorGroup, Guideline, Project, User


class Slot(models.Model):
    """One judgment (of a comparison), rating (of a response) or ranking (of a lineup) that is wanted, and who holds it.

    A comparison that two people shall judge has two slots. Moves, each one UPDATE filtered by the state it leaves::

        open ──claim──> leased ──submit──> done
          ^               │  └─ lease over: claimed by the next person, or still submitted by its holder
          └───release─────┘        open/leased ──withdraw──> withdrawn
    """

    class State(models.TextChoices):
        OPEN = "open", _("Open")
        LEASED = "leased", _("Leased")
        DONE = "done", _("Done")
        WITHDRAWN = "withdrawn", _("Withdrawn")

    class Kind(models.TextChoices):
        PAIR = "pair", _("Pair")
        THUMB = "thumb", _("Thumb")
        RANKING = "ranking", _("Ranking")

    ACTIVE: ClassVar = (State.OPEN, State.LEASED)
    TERMINAL: ClassVar = (State.DONE, State.WITHDRAWN)

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="slots")
    kind = models.CharField(max_length=10, choices=Kind)
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, null=True, blank=True, related_name="slots")
    # Its indexes and a lineup's are partial ones, below: a project that asks for neither pays nothing for them.
    response = models.ForeignKey(
        Response, on_delete=models.CASCADE, null=True, blank=True, related_name="slots", db_index=False
    )
    lineup = models.ForeignKey(
        "annotate.Lineup", on_delete=models.CASCADE, null=True, blank=True, related_name="slots", db_index=False
    )
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    # Higher is asked sooner; equal priorities in order of id.
    priority = models.SmallIntegerField(default=0)
    # Looked for with what they hold or with one subject: `slot_held` and the unique constraints are its indexes.
    annotator = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="slots", db_index=False
    )
    # Set when one person alone may be asked: a recheck of their own judgment, or a lead's assignment.
    only_for = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    # Set when one group alone may be asked. These are indexed below, in part: most slots have none of them.
    only_for_group = models.ForeignKey(
        AnnotatorGroup, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    # The lead's assignment that set one of the two; null for checks.
    assignment = models.ForeignKey(
        "annotate.Assignment", on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    # The skipped slot that this one is asked instead of. Its index is the unique constraint below.
    replaces = models.ForeignKey(
        "self", on_delete=models.CASCADE, null=True, blank=True, related_name="+", db_index=False
    )
    lease_until = models.DateTimeField(null=True, blank=True)
    # Decided at each claim: is `comparison.first` shown on the right? Kept so that a reload shows the same sides.
    swapped = models.BooleanField(default=False)
    # Likewise: in which order are the answers of a lineup shown? (``assign.shown_order``)
    order_seed = models.PositiveIntegerField(default=0)
    shown_at = models.DateTimeField(null=True, blank=True)
    # The id that this lease's form submits: a double click, a reload and the back button all carry the same one.
    submit_id = models.UUIDField(default=uuid.uuid4)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-priority", "id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(kind="pair", comparison__isnull=False, response__isnull=True, lineup__isnull=True)
                | Q(kind="thumb", comparison__isnull=True, response__isnull=False, lineup__isnull=True)
                | Q(kind="ranking", comparison__isnull=True, response__isnull=True, lineup__isnull=False),
                name="slot_wants_one_thing",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["leased", "done"]) | Q(annotator__isnull=False), name="slot_taken_by_someone"
            ),
            models.CheckConstraint(
                condition=~Q(state="leased") | Q(lease_until__isnull=False), name="slot_lease_has_an_end"
            ),
            models.CheckConstraint(
                condition=Q(only_for__isnull=True) | Q(only_for_group__isnull=True), name="slot_for_one_or_a_group"
            ),
            # Nobody is asked the same thing twice, however many slots it has.
            models.UniqueConstraint(
                fields=["comparison", "annotator"],
                condition=Q(comparison__isnull=False, annotator__isnull=False),
                name="slot_comparison_once_per_annotator",
            ),
            models.UniqueConstraint(
                fields=["response", "annotator"],
                condition=Q(response__isnull=False, annotator__isnull=False),
                name="slot_response_once_per_annotator",
            ),
            models.UniqueConstraint(
                fields=["lineup", "annotator"],
                condition=Q(lineup__isnull=False, annotator__isnull=False),
                name="slot_lineup_once_per_annotator",
            ),
            # One skip puts an item back once.
            models.UniqueConstraint(
                fields=["replaces"], condition=Q(replaces__isnull=False), name="slot_put_back_once"
            ),
        ]
        indexes: ClassVar = [
            # Serving the next slot walks this: level however many are done (measured for full indexes: it is not).
            models.Index(
                F("project"),
                F("kind"),
                F("priority").desc(),
                F("id"),
                condition=Q(state__in=["open", "leased"], only_for__isnull=True, only_for_group__isnull=True),
                name="slot_queue",
            ),
            models.Index(fields=["annotator", "project"], condition=Q(state="leased"), name="slot_held"),
            models.Index(fields=["response"], condition=Q(response__isnull=False), name="slot_of_response"),
            models.Index(fields=["lineup"], condition=Q(lineup__isnull=False), name="slot_of_lineup"),
            models.Index(
                F("only_for"),
                F("project"),
                F("kind"),
                F("priority").desc(),
                F("id"),
                condition=Q(state__in=["open", "leased"], only_for__isnull=False),
                name="slot_targeted",
            ),
            models.Index(
                F("only_for_group"),
                F("project"),
                F("kind"),
                F("priority").desc(),
                F("id"),
                condition=Q(state__in=["open", "leased"], only_for_group__isnull=False),
                name="slot_of_group",
            ),
            models.Index(fields=["assignment"], condition=Q(assignment__isnull=False), name="slot_assigned"),
        ]

    def __str__(self) -> str:
        return f"slot {self.pk} ({self.kind}, {self.state})"


class Choice(models.TextChoices):
    """A and B are what was shown left and right (first and second on a phone)."""

    A = "A", _("A is better")
    B = "B", _("B is better")
    TIE = "tie", _("Tie")
    BOTH_BAD = "both_bad", _("Both bad")
    SKIP = "skip", _("Skip")


class SkipReason(models.TextChoices):
    UNCLEAR = "unclear", _("I don't understand the prompt")
    EXPERTISE = "expertise", _("I can't tell which is right")
    LANGUAGE = "language", _("Not a language I read")
    BROKEN = "broken", _("Something is broken or cut off")
    HARMFUL = "harmful", _("Upsetting or harmful content")
    OTHER = "other", _("Another reason")


class Thumb(models.TextChoices):
    UP = "up", _("Good")
    DOWN = "down", _("Bad")
    SKIP = "skip", _("Skip")


class Decision(models.Model):
    """What judgments and ratings share: who decided, under which guideline, how long it took, and the client's id.

    Every row pays for every index of its table, so that a foreign key has one of its own only where something looks for
    rows by it and no other index begins with it. Decisions are never deleted, and what they are about never is.
    """

    # Made by the client once per decision: the same submit twice is one decision.
    client_id = models.UUIDField(unique=True)
    guideline = models.ForeignKey(
        Guideline, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    skip_reason = models.CharField(max_length=12, choices=SkipReason, blank=True)
    rationale = models.TextField(blank=True, max_length=5_000)
    tags = models.JSONField(default=list, blank=True)
    # Milliseconds with the page visible and a person at it, as the browser measured; null when it could not.
    active_ms = models.PositiveIntegerField(null=True, blank=True)
    shown_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    # An edited decision is superseded, never overwritten; a retracted one stays with its reason.
    superseded_at = models.DateTimeField(null=True, blank=True)
    retracted_at = models.DateTimeField(null=True, blank=True)
    retraction = models.ForeignKey(
        "annotate.Retraction",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="%(class)s_rows",
        db_index=False,
    )

    class Meta:
        abstract = True


# Which decisions count: neither changed since nor retracted.
COUNTS = Q(superseded_at__isnull=True, retracted_at__isnull=True)


class Judgment(Decision):
    """One annotator's decision on one comparison."""

    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="judgments")
    annotator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="judgments", db_index=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="judgments", db_index=False)
    slot = models.ForeignKey(Slot, on_delete=models.PROTECT, related_name="judgments")
    choice = models.CharField(max_length=10, choices=Choice)
    # 1 slightly, 2 clearly, 3 much better; null when not asked or not said.
    strength = models.PositiveSmallIntegerField(null=True, blank=True)
    # The side order that was shown: true when `comparison.first` stood on the right, as B.
    swapped = models.BooleanField()
    # The response that A or B stood for, so that no reader has to work it out from the sides.
    preferred = models.ForeignKey(
        Response, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    # The annotator's own version of the preferred response: a demonstration, and a pair edited > preferred. The index
    # is a partial one, below: nearly all judgments have none.
    edited = models.ForeignKey(
        Response, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["comparison", "annotator"],
                condition=Q(superseded_at__isnull=True),
                name="judgment_once_per_annotator",
            ),
            models.CheckConstraint(
                condition=Q(choice__in=["A", "B"], preferred__isnull=False)
                | (~Q(choice__in=["A", "B"]) & Q(preferred__isnull=True)),
                name="judgment_prefers_only_on_a_or_b",
            ),
            models.CheckConstraint(condition=Q(choice="skip") ^ Q(skip_reason=""), name="judgment_skip_has_a_reason"),
            models.CheckConstraint(
                condition=Q(strength__isnull=True) | Q(choice__in=["A", "B"], strength__range=(1, 3)),
                name="judgment_strength_of_a_preference",
            ),
            models.CheckConstraint(
                condition=Q(edited__isnull=True) | (Q(choice__in=["A", "B"]) & ~Q(edited=F("preferred"))),
                name="judgment_edits_what_it_prefers",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["edited"], condition=Q(edited__isnull=False), name="judgment_by_edit"),
            models.Index(fields=["retraction"], condition=Q(retraction__isnull=False), name="judgment_retracted"),
            models.Index(fields=["project", "id"], name="judgment_by_project"),
            models.Index(fields=["annotator", "project", "-created_at"], name="judgment_by_day"),
        ]

    def __str__(self) -> str:
        return f"judgment {self.pk}: {self.choice}"


class Rating(Decision):
    """Thumbs up or down on one response, with reason tags."""

    response = models.ForeignKey(Response, on_delete=models.PROTECT, related_name="ratings")
    annotator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="ratings", db_index=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="ratings", db_index=False)
    slot = models.ForeignKey(Slot, on_delete=models.PROTECT, null=True, blank=True, related_name="ratings")
    value = models.CharField(max_length=10, choices=Thumb)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["response", "annotator"],
                condition=Q(superseded_at__isnull=True),
                name="rating_once_per_annotator",
            ),
            models.CheckConstraint(condition=Q(value="skip") ^ Q(skip_reason=""), name="rating_skip_has_a_reason"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["retraction"], condition=Q(retraction__isnull=False), name="rating_retracted"),
            models.Index(fields=["project", "id"], name="rating_by_project"),
            models.Index(fields=["annotator", "project", "-created_at"], name="rating_by_day"),
        ]

    def __str__(self) -> str:
        return f"rating {self.pk}: {self.value}"
