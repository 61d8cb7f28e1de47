"""Projects, the people in them, and the guideline they judge by."""

import secrets
from collections.abc import Iterator
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotate.models.said import SaidField


def new_pseudonym() -> str:
    """A short random name that stands for a person in every export, so that no export ever needs the real one."""
    return f"ann-{secrets.token_hex(4)}"


class User(AbstractUser):
    """A person who signs in. What they may do follows from their memberships, not from flags on this row."""

    pseudonym = models.CharField(max_length=20, unique=True, default=new_pseudonym, editable=False)
    # Part of every session's hash: adding one ends all sessions of this person at their next request.
    session_epoch = models.PositiveIntegerField(default=0, editable=False)

    def __str__(self) -> str:
        return self.get_full_name() or self.username

    def get_session_auth_hash(self) -> str:
        return f"{super().get_session_auth_hash()}.{self.session_epoch}"

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        for fallback in super().get_session_auth_fallback_hash():
            yield f"{fallback}.{self.session_epoch}"


class Role(models.TextChoices):
    """What a member may do. Each role may do what the next one may, and more."""

    OWNER = "owner", _("Owner")
    LEAD = "lead", _("Lead")
    ANNOTATOR = "annotator", _("Annotator")


class Project(models.Model):
    """One base model, one guideline, one lineage of policies, its people and its settings."""

    class Judging(models.TextChoices):
        PAIRS = "pairs", _("Pairs: which of two answers is better")
        THUMBS = "thumbs", _("Thumbs: is one answer good or bad")
        BOTH = "both", _("Both: pairs and thumbs")
        RANKING = "ranking", _("Rankings: several answers from best to worst")

    class Asking(models.TextChoices):
        NO = "no", _("Not asked")
        OPTIONAL = "optional", _("Optional")
        REQUIRED = "required", _("Required")

    name = models.CharField(max_length=120)
    judging = models.CharField(max_length=10, choices=Judging, default=Judging.PAIRS)
    overlap = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(10)],
        help_text=_("How many people judge each comparison. More than one buys agreement figures with people's time."),
    )
    lease_minutes = models.PositiveSmallIntegerField(
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(24 * 60)],
        help_text=_("How long an annotator may keep a comparison open before others can be asked."),
    )
    reserved_percent = models.PositiveSmallIntegerField(
        default=15,
        validators=[MinValueValidator(0), MaxValueValidator(50)],
        help_text=_("Share of prompts, fixed at import, that is never trained on and measures the policies."),
    )
    overlap_percent = models.PositiveSmallIntegerField(
        default=100,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_("Share of the comparisons that is judged by that many people; the others are judged once."),
    )
    ranking_size = models.PositiveSmallIntegerField(
        default=4,
        validators=[MinValueValidator(3), MaxValueValidator(6)],
        help_text=_("For rankings: how many answers are shown at once, 3 to 6. Four make up to six pairs."),
    )
    # What a judgment may carry beside the choice.
    ask_strength = models.BooleanField(default=False)
    ask_rationale = models.CharField(max_length=10, choices=Asking, default=Asking.OPTIONAL)
    reason_tags = models.JSONField(default=list, blank=True)
    allow_edits = models.BooleanField(default=False)
    # What measures the annotators. Each is a share of what they are asked, mixed unmarked into the queue.
    gold_percent = models.PositiveSmallIntegerField(default=0, validators=[MaxValueValidator(50)])
    recheck_percent = models.PositiveSmallIntegerField(default=0, validators=[MaxValueValidator(50)])
    recheck_after_hours = models.PositiveSmallIntegerField(default=48, validators=[MaxValueValidator(24 * 90)])
    acknowledge_guideline = models.BooleanField(default=True)
    # Limits under which somebody is paused by themselves; null: never. Judgments before anything is concluded.
    pause_below_gold_percent = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MaxValueValidator(100)]
    )
    pause_above_fast_percent = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MaxValueValidator(100)]
    )
    fast_seconds = models.FloatField(default=2.0, validators=[MinValueValidator(0.1), MaxValueValidator(600)])
    pause_after = models.PositiveSmallIntegerField(default=20, validators=[MinValueValidator(5)])
    # The onboarding quiz: how many gold questions (0: there is none), the share that must be right, and attempts.
    quiz_questions = models.PositiveSmallIntegerField(default=0, validators=[MaxValueValidator(50)])
    quiz_pass_percent = models.PositiveSmallIntegerField(
        default=80, validators=[MinValueValidator(1), MaxValueValidator(100)]
    )
    quiz_attempts = models.PositiveSmallIntegerField(
        default=2, validators=[MinValueValidator(1), MaxValueValidator(20)]
    )
    # Two people's orders of one set of answers with this Kendall's tau-b or less are a disagreement for a reviewer.
    dispute_tau = models.FloatField(default=0.0, validators=[MinValueValidator(-1), MaxValueValidator(0.99)])
    # Set with the first assignment to a group: until then nobody's next comparison is looked for in a group's.
    assigns_to_groups = models.BooleanField(default=False)
    # So many people may skip an item before nobody else is asked and it goes to the review queue.
    skips_before_review = models.PositiveSmallIntegerField(
        default=3, validators=[MinValueValidator(1), MaxValueValidator(10)]
    )
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")

    members: "models.ManyToManyField[User, Membership]" = models.ManyToManyField(
        User, through="Membership", through_fields=("project", "user"), related_name="projects"
    )

    class Meta:
        ordering: ClassVar = ["name", "id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(overlap__gte=1), name="project_overlap_at_least_one"),
            models.CheckConstraint(condition=Q(ranking_size__range=(3, 6)), name="project_ranks_three_to_six"),
            models.CheckConstraint(condition=Q(reserved_percent__lte=50), name="project_reserved_at_most_half"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def asks_pairs(self) -> bool:
        return self.judging in (self.Judging.PAIRS, self.Judging.BOTH)

    @property
    def asks_thumbs(self) -> bool:
        return self.judging in (self.Judging.THUMBS, self.Judging.BOTH)

    @property
    def asks_why(self) -> bool:
        return bool(self.reason_tags) or self.ask_rationale != self.Asking.NO

    @property
    def asks_rankings(self) -> bool:
        return self.judging == self.Judging.RANKING

    @property
    def kinds(self) -> list[str]:
        """The kinds of slots (``Slot.Kind``) that the project asks for, the first one first."""
        asked = {"pair": self.asks_pairs, "thumb": self.asks_thumbs, "ranking": self.asks_rankings}
        return [kind for kind, wanted in asked.items() if wanted]


class AnnotatorGroup(models.Model):
    """Members of a project who share assigned work, such as those who read a language. A member is in one at most."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="groups")
    name = models.CharField(max_length=60)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "name"], name="group_name_once_per_project"),
        ]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person's role in a project. Without one, a project does not exist for them (404, not 403)."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.ANNOTATOR)
    created_at = models.DateTimeField(auto_now_add=True)
    # Set while a lead keeps this person from judging; the reason is shown to both.
    paused_at = models.DateTimeField(null=True, blank=True)
    paused_reason = SaidField(blank=True)
    # The lead who paused them; null when a limit of the project did.
    paused_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    # When somebody last let them judge again: limits look only at what was judged since.
    resumed_at = models.DateTimeField(null=True, blank=True)
    # One group at most, so that what waits for somebody's group is one walk of one index.
    group = models.ForeignKey(
        AnnotatorGroup, on_delete=models.SET_NULL, null=True, blank=True, related_name="memberships"
    )
    # When they passed the onboarding quiz, and the lead who let them pass without it, if one did.
    quiz_passed_at = models.DateTimeField(null=True, blank=True)
    quiz_passed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    # When a lead last let them try again: attempts before do not count.
    quiz_reset_at = models.DateTimeField(null=True, blank=True)
    # Most judgments and ratings a day; null: as many as they like.
    daily_quota = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])

    class Meta:
        ordering: ClassVar = ["role", "user__username"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "user"], name="membership_once_per_project"),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.project} as {self.role}"

    @property
    def leads(self) -> bool:
        return self.role in (Role.OWNER, Role.LEAD)


class Invite(models.Model):
    """A link that lets one person make an account and join. Only its sha256 is kept: the link is shown once."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invites")
    role = models.CharField(max_length=10, choices=Role, default=Role.ANNOTATOR)
    token_sha256 = models.CharField(max_length=64, unique=True)
    note = models.CharField(max_length=120, blank=True, help_text=_("Whom it is for; only leads see it."))
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    used_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.get_role_display()} invite to {self.project}"


class Guideline(models.Model):
    """One version of what annotators are asked to prefer, in Markdown. Never edited: a change is a new version."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="guidelines")
    version = models.PositiveIntegerField()
    text = models.TextField(max_length=50_000)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "version"], name="guideline_version_once"),
        ]

    def __str__(self) -> str:
        return f"{self.project}, guideline {self.version}"


class WorkedExample(models.Model):
    """A pair with the right answer and why, beside one version of the guideline. A new version has rows of its own."""

    class Answer(models.TextChoices):
        A = "A", _("A is better")
        B = "B", _("B is better")
        TIE = "tie", _("Tie")
        BOTH_BAD = "both_bad", _("Both bad")

    guideline = models.ForeignKey(Guideline, on_delete=models.CASCADE, related_name="examples")
    position = models.PositiveSmallIntegerField()
    prompt = models.TextField(max_length=20_000)
    a = models.TextField(max_length=20_000)
    b = models.TextField(max_length=20_000)
    answer = models.CharField(max_length=10, choices=Answer)
    why = models.TextField(max_length=5_000)

    class Meta:
        ordering: ClassVar = ["guideline", "position"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["guideline", "position"], name="example_position_once"),
        ]

    def __str__(self) -> str:
        return f"{self.guideline}, example {self.position}"
