"""What must be true of the tables whatever happened to the processes: each rule yields the rows that break it.

The database's own constraints refuse most nonsense; these rules span rows and tables, where no constraint reaches.
"""

from collections.abc import Callable, Iterator

from django.db import connection
from django.db.models import Count, Exists, F, OuterRef, Q

from annotate.assign import strict_pairs
from annotate.models import (
    Comparison,
    Judgment,
    Lineup,
    LineupAnswer,
    Membership,
    Project,
    PromptImport,
    Ranked,
    Ranking,
    Rating,
    Role,
    Slot,
)


def broken() -> Iterator[str]:
    """A sentence for each row of the annotation tables that breaks a rule; nothing when all is well."""
    for rule in RULES:
        yield from rule()


def _preferred_is_what_was_shown() -> Iterator[str]:
    first, second = Q(preferred=F("comparison__first")), Q(preferred=F("comparison__second"))
    as_shown = (
        (Q(choice="A", swapped=False) & first)
        | (Q(choice="A", swapped=True) & second)
        | (Q(choice="B", swapped=False) & second)
        | (Q(choice="B", swapped=True) & first)
        | Q(choice__in=["tie", "both_bad", "skip"], preferred__isnull=True)
    )
    # The complement by id: NOT of the condition itself would let rows with nulls in it pass.
    for pk in Judgment.objects.exclude(pk__in=Judgment.objects.filter(as_shown).values("pk")).values_list(
        "pk", flat=True
    ):
        yield f"judgment {pk}: the preferred response is not the one that stood on the chosen side"


def _a_done_slot_has_its_decision() -> Iterator[str]:
    decided = Q()
    for model in (Judgment, Rating, Ranking):
        decided |= Q(Exists(model._default_manager.filter(slot=OuterRef("pk"))))
    for pk in Slot.objects.filter(~decided, state=Slot.State.DONE).values_list("pk", flat=True):
        yield f"slot {pk} is done, but has neither judgment nor rating nor ranking"


def _a_decision_has_its_done_slot() -> Iterator[str]:
    # One that was undone gave its slot back, perhaps to somebody else.
    judgments = Judgment.objects.filter(superseded_at__isnull=True).exclude(
        slot__state=Slot.State.DONE, slot__comparison=F("comparison"), slot__annotator=F("annotator")
    )
    for pk in judgments.values_list("pk", flat=True):
        yield f"judgment {pk}: its slot is not done, or is about another comparison or person"
    ratings = Rating.objects.filter(superseded_at__isnull=True, slot__isnull=False).exclude(
        slot__state=Slot.State.DONE, slot__response=F("response"), slot__annotator=F("annotator")
    )
    for pk in ratings.values_list("pk", flat=True):
        yield f"rating {pk}: its slot is not done, or is about another response or person"
    rankings = Ranking.objects.filter(superseded_at__isnull=True).exclude(
        slot__state=Slot.State.DONE, slot__lineup=F("lineup"), slot__annotator=F("annotator")
    )
    for pk in rankings.values_list("pk", flat=True):
        yield f"ranking {pk}: its slot is not done, or is about another lineup or person"


def _a_ranking_orders_what_was_shown() -> Iterator[str]:
    rankings = Ranking.objects.prefetch_related("lineup__answers")
    for ranking in rankings.iterator(chunk_size=500):
        there = sorted(answer.response_id for answer in ranking.lineup.answers.all())
        ranked = len(ranking.ranks) == (0 if ranking.value == Ranked.SKIP else len(there))
        if sorted(ranking.shown) != there or not ranked or len(strict_pairs(ranking.ranks)) != ranking.pairs:
            yield f"ranking {ranking.pk}: it does not order the responses of its lineup"


def _a_lineup_is_about_one_prompt() -> Iterator[str]:
    fits = Q(lineup__prompt=F("response__prompt"), lineup__split=F("lineup__prompt__split"))
    for pk in LineupAnswer.objects.exclude(pk__in=LineupAnswer.objects.filter(fits).values("pk")).values_list(
        "lineup", flat=True
    ):
        yield f"lineup {pk}: its responses or its split are not its prompt's"


def _a_gold_lineup_knows_orders_of_its_own() -> Iterator[str]:
    for lineup in Lineup.objects.filter(purpose=Comparison.Purpose.GOLD).prefetch_related("answers"):
        there = {answer.response_id for answer in lineup.answers.all()}
        known = [(better, worse) for better, worse in lineup.expected if better != worse]
        if not known or len(known) < len(lineup.expected) or not there.issuperset(pk for pair in known for pk in pair):
            yield f"lineup {lineup.pk}: the orders that are known of it are not of its responses"


def _one_decision_of_a_slot_stands() -> Iterator[str]:
    for model in (Judgment, Rating, Ranking):
        stands = model._default_manager.filter(superseded_at__isnull=True, slot__isnull=False)
        for row in stands.values("slot").annotate(count=Count("pk")).filter(count__gt=1).order_by():
            yield f"slot {row['slot']} has {row['count']} {model._meta.verbose_name_plural} that stand"


def _an_edit_is_its_annotators() -> Iterator[str]:
    own = Q(edited__prompt=F("comparison__prompt"), edited__author__user=F("annotator"))
    edits = Judgment.objects.filter(edited__isnull=False)
    for pk in edits.exclude(pk__in=edits.filter(own).values("pk")).values_list("pk", flat=True):
        yield f"judgment {pk}: its edited answer is another prompt's, or somebody else's"


def _a_comparison_is_about_one_prompt() -> Iterator[str]:
    fits = Comparison.objects.filter(
        first__prompt=F("prompt"), second__prompt=F("prompt"), split=F("prompt__split"), project=F("prompt__project")
    )
    for pk in Comparison.objects.exclude(pk__in=fits.values("pk")).values_list("pk", flat=True):
        yield f"comparison {pk}: its responses, its split or its project are not its prompt's"


def _a_slot_replaces_one_about_the_same() -> Iterator[str]:
    same = Q()
    for about in ("comparison", "response", "lineup"):
        same |= Q(**{about: F(f"replaces__{about}")})
    replacing = Slot.objects.filter(replaces__isnull=False)
    for pk in replacing.exclude(pk__in=replacing.filter(same).values("pk")).values_list("pk", flat=True):
        yield f"slot {pk}: it was put in the place of a slot about something else"


def _an_import_adds_up() -> Iterator[str]:
    for done in PromptImport.objects.iterator():
        skipped = sum(done.skipped.values())
        if done.imported + skipped != done.rows:
            yield f"import {done.pk}: {done.imported} imported + {skipped} skipped is not {done.rows} rows"


def _a_project_has_an_owner() -> Iterator[str]:
    owned = Exists(Membership.objects.filter(project=OuterRef("pk"), role=Role.OWNER, user__is_active=True))
    for pk in Project.objects.filter(~owned).values_list("pk", flat=True):
        yield f"project {pk} has no owner with an open account"


def _the_audit_log_is_guarded() -> Iterator[str]:
    table = (
        "sqlite_master WHERE type = 'trigger' AND name" if connection.vendor == "sqlite" else "pg_trigger WHERE tgname"
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table} LIKE 'audit_append_only%'")  # noqa: S608  (two constants)
        if cursor.fetchone()[0] < 2:
            yield "the audit log has lost the triggers that make it append-only (migration annotate.0005)"


RULES: list[Callable[[], Iterator[str]]] = [
    _preferred_is_what_was_shown,
    _a_done_slot_has_its_decision,
    _a_decision_has_its_done_slot,
    _one_decision_of_a_slot_stands,
    _an_edit_is_its_annotators,
    _a_comparison_is_about_one_prompt,
    _a_ranking_orders_what_was_shown,
    _a_lineup_is_about_one_prompt,
    _a_gold_lineup_knows_orders_of_its_own,
    _a_slot_replaces_one_about_the_same,
    _an_import_adds_up,
    _a_project_has_an_owner,
    _the_audit_log_is_guarded,
]
