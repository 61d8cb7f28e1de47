"""Slots are given out and handed back: who is asked what next.

The hottest path of the site: ``take_next`` is two statements, however long the queue is. One UPDATE finds and takes the
best slot, one SELECT reads what its page shows. They are written in SQL, because building them with the ORM took longer
than the database needs to run them (``make bench``). PostgreSQL does both in one, which saves the last decision too.
"""

import json
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from django.db import IntegrityError
from django.db.models import Field, QuerySet

from annotate import assign
from annotate.models import Comparison, Project, Prompt, Response, Slot, User
from annotate.queries.columns import loaded, this_connection
from annotate.queries.judging import SUBJECTS
from annotate.services.checks import CHECKED, slip_in_check

# When somebody's other tab took the same comparison at the same moment, look again so often.
LOOKS = 5

# The responses that a slot of the kind shows, none of which may be the annotator's own.
_SHOWN = {
    Slot.Kind.PAIR: "JOIN annotate_comparison shown ON shown.id = slot.comparison_id "
    "AND response.id IN (shown.first_id, shown.second_id)",
    Slot.Kind.THUMB: "AND response.id = slot.response_id",
    Slot.Kind.RANKING: "JOIN annotate_lineupanswer shown ON shown.lineup_id = slot.lineup_id "
    "AND response.id = shown.response_id",
}
# Whose a slot is, best first: this person's, their group's, everybody's. With `state` they are the conditions of the
# partial indexes `slot_targeted`, `slot_of_group` and `slot_queue`, word for word where SQLite wants that: it uses a
# partial index only for a query that repeats its condition with constants. "Is not null" is left to follow from the
# equality, and that an open slot has no lease is said without `state`: PostgreSQL takes two conditions on one column
# for independent, expects next to nothing, and sorts everything instead of walking the index.
_MEANT = "slot.only_for_id = %(annotator)s"
_GROUP = (
    "slot.only_for_group_id = (SELECT member.group_id FROM annotate_membership member "
    "WHERE member.project_id = %(project)s AND member.user_id = %(annotator)s)"
)
_QUEUE = "slot.only_for_id IS NULL AND slot.only_for_group_id IS NULL"
# `OFFSET 0` keeps PostgreSQL from joining all that the person was ever asked, which it takes for next to nothing.
_BEST = """
SELECT id FROM (
    SELECT slot.id FROM annotate_slot slot
    WHERE {whose} AND slot.state IN ('open', 'leased') AND slot.project_id = %(project)s AND slot.kind = %(kind)s
      AND (slot.lease_until IS NULL OR slot.lease_until < %(now)s)
      AND NOT EXISTS (SELECT 1 FROM annotate_slot mine
                      WHERE mine.{subject} = slot.{subject} AND mine.annotator_id = %(annotator)s LIMIT 1 OFFSET 0)
      AND NOT EXISTS (SELECT 1 FROM annotate_author author
                      JOIN annotate_response response ON response.author_id = author.id {shown}
                      WHERE author.user_id = %(annotator)s)
    ORDER BY slot.priority DESC, slot.id LIMIT 1 {lock}
) {name}
"""
# A recheck shows the sides the other way round; everything else draws them anew.
_TAKE = """
UPDATE annotate_slot
SET state = 'leased', annotator_id = %(annotator)s, lease_until = %(until)s, shown_at = %(now)s,
    submit_id = %(submit_id)s, order_seed = %(order_seed)s, swapped = COALESCE(
        (SELECT NOT earlier.swapped FROM annotate_comparison again JOIN annotate_judgment earlier
         ON earlier.id = again.original_id WHERE again.id = annotate_slot.comparison_id), %(swapped)s)
WHERE id = ({best} LIMIT 1) {when}
RETURNING id, only_for_id, only_for_group_id, comparison_id, swapped
"""
_PAIR = "prompt.id, prompt.messages, one.id, one.text, two.id, two.text"
_OF_PAIR = """
LEFT JOIN annotate_prompt prompt ON prompt.id = pair.prompt_id
LEFT JOIN annotate_response one ON one.id = pair.first_id LEFT JOIN annotate_response two ON two.id = pair.second_id
"""
_PAIR_ALONE = f"SELECT {_PAIR} FROM annotate_comparison pair {_OF_PAIR} WHERE pair.id = %s"  # noqa: S608  (text above)
_TAKEN_PAIR = f"LEFT JOIN annotate_comparison pair ON pair.id = taken.comparison_id {_OF_PAIR}"


def claim_slot(*, project: Project, annotator: User, kind: str, now: datetime, rng: random.Random) -> Slot | None:
    """The slot that the annotator shall decide next, leased to them, with everything at hand that its page shows.

    That is the one they hold already, with the same sides and ``submit_id``, also when its lease has run out and nobody
    else was asked; else what ``take_next`` finds. None when there is nothing for them.
    """
    held = Slot.objects.filter(annotator=annotator, project=project, kind=kind, state=Slot.State.LEASED)
    # What was shown last comes first: that is what an undo has just brought back.
    for slot in held.order_by("-shown_at", "id")[:LOOKS]:
        if _keep(slot, project=project, now=now):
            return with_content(slot.pk)
    return take_next(project=project, annotator=annotator, kind=kind, now=now, rng=rng)


def take_next(
    *, project: Project, annotator: User, kind: str, now: datetime, rng: random.Random, taken: Slot | None = None
) -> Slot | None:
    """Leases another slot to the annotator, whatever they hold, with everything at hand that its page shows.

    What is meant for them alone comes first (perhaps a check, slipped in now), then what is meant for their group, then
    the best one of the queue. Never a comparison or response that they were asked about before, and never an answer
    that they wrote themselves. ``taken`` is a slot that was taken for them a moment ago, with their last decision: it
    needs a check in its place at most.
    """
    if taken is None:
        taken = _take(draw_take(project=project, annotator=annotator, kind=kind, now=now, rng=rng))
    # Only beside ordinary work: a check that came into an empty queue would be known for one.
    if taken is None or kind not in CHECKED or (taken.only_for_id or taken.only_for_group_id) is not None:
        return taken
    checks = project.gold_percent or project.recheck_percent
    if not checks or not slip_in_check(project=project, annotator=annotator, kind=kind, now=now, rng=rng):
        return taken
    check = _take(draw_take(project=project, annotator=annotator, kind=kind, now=now, rng=rng))
    if check is None:
        return taken
    _release(Slot.objects.filter(pk=taken.pk, submit_id=taken.submit_id))
    return check


@dataclass(frozen=True, slots=True)
class Take:
    """A slot that shall be taken for somebody, with all that is drawn before it is known which."""

    project: Project
    annotator: User
    kind: str
    now: datetime
    rng: random.Random
    submit_id: uuid.UUID
    swapped: bool
    order_seed: int


def draw_take(*, project: Project, annotator: User, kind: str, now: datetime, rng: random.Random) -> Take:
    order_seed = assign.draw_order(rng) if kind == Slot.Kind.RANKING else 0
    return Take(project, annotator, kind, now, rng, uuid.uuid4(), assign.draw_swapped(rng), order_seed)


def take_statement(take: Take, *, saving: str = "") -> tuple[str, dict[str, Any]]:
    """The statement that takes the best slot, and its parameters as the database wants them.

    PostgreSQL answers with what a pair's page shows as well. There ``saving`` may be named subqueries of which the last
    is ``made``: the slot is taken when that has a row, and each row of the answer begins with the id of what was made.
    """
    kind, project = Slot.Kind(take.kind), take.project
    # Who asks at the same moment is given the next one, rather than made to wait for this one and then to look again.
    lock = "FOR UPDATE OF slot SKIP LOCKED" if this_connection().features.has_select_for_update_skip_locked else ""
    whose = {"meant": _MEANT, "of_group": _GROUP, "queue": _QUEUE}
    if not project.assigns_to_groups:
        del whose["of_group"]
    best = " UNION ALL ".join(
        _BEST.format(whose=condition, name=name, subject=f"{SUBJECTS[kind]}_id", shown=_SHOWN[kind], lock=lock)
        for name, condition in whose.items()
    )
    values = {
        "project": project.pk,
        "kind": kind.value,
        "annotator": take.annotator.pk,
        "now": db_value("shown_at", take.now),
        "until": db_value("lease_until", take.now + timedelta(minutes=project.lease_minutes)),
        "submit_id": db_value("submit_id", take.submit_id),
        "swapped": take.swapped,
        "order_seed": take.order_seed,
    }
    sql = _TAKE.format(best=best, when="AND EXISTS (SELECT 1 FROM made)" if saving else "")
    if this_connection().vendor != "postgresql":
        return sql, values
    pair, of_pair = (f", {_PAIR}", _TAKEN_PAIR) if kind == Slot.Kind.PAIR else ("", "")
    made, source = ("made.id, ", "made LEFT JOIN taken ON TRUE") if saving else ("", "taken")
    subqueries = f"{saving}, taken" if saving else "taken"
    return f"WITH {subqueries} AS ({sql}) SELECT {made}taken.*{pair} FROM {source} {of_pair}", values  # noqa: S608  (text above)


def slot_taken(take: Take, row: Sequence[Any]) -> Slot | None:
    """The slot of which the statement has told in this row, with everything at hand that its page shows."""
    pk, only_for_id, only_for_group_id, comparison_id, swapped, *content = row
    if pk is None:
        return None
    if take.kind != Slot.Kind.PAIR:
        return _shown_otherwise(with_content(pk), take.rng)
    slot = loaded(
        Slot,
        id=pk,
        project_id=take.project.pk,
        kind=take.kind,
        state=Slot.State.LEASED,
        annotator_id=take.annotator.pk,
        only_for_id=only_for_id,
        only_for_group_id=only_for_group_id,
        comparison_id=comparison_id,
        response_id=None,
        swapped=bool(swapped),
        shown_at=take.now,
        submit_id=take.submit_id,
    )
    slot.comparison = _pair(comparison_id, content)
    return slot


def _take(take: Take) -> Slot | None:
    sql, values = take_statement(take)
    row = None
    for look in range(LOOKS):
        try:
            with this_connection().cursor() as cursor:
                cursor.execute(sql, values)
                row = cursor.fetchone()
            break
        except IntegrityError:
            # The same person has just taken another slot of this comparison, in another tab.
            if look == LOOKS - 1:
                raise
    return None if row is None else slot_taken(take, row)


def _shown_otherwise(slot: Slot, rng: random.Random) -> Slot:
    """A recheck of a ranking shows the answers in another order than the first time; everything else stays."""
    earlier = slot.lineup.original if slot.lineup is not None else None
    if earlier is not None:
        while assign.shown_order(earlier.shown, slot.order_seed) == earlier.shown:
            slot.order_seed = assign.draw_order(rng)
        Slot.objects.filter(pk=slot.pk, submit_id=slot.submit_id).update(order_seed=slot.order_seed)
    return slot


def _pair(comparison_id: int, content: Sequence[Any]) -> Comparison:
    if not content:
        with this_connection().cursor() as cursor:
            cursor.execute(_PAIR_ALONE, [comparison_id])
            content = cursor.fetchone() or ()
    prompt_id, messages, first_id, first, second_id, second = content
    pair = loaded(Comparison, id=comparison_id, prompt_id=prompt_id, first_id=first_id, second_id=second_id)
    pair.prompt = loaded(Prompt, id=prompt_id, messages=json.loads(messages))
    pair.first = loaded(Response, id=first_id, text=first)
    pair.second = loaded(Response, id=second_id, text=second)
    return pair


def db_value(field: str, value: Any) -> Any:
    """A slot's value as the database keeps it in this column: SQLite has no type for an id or a moment."""
    return cast("Field[Any, Any]", Slot._meta.get_field(field)).get_db_prep_value(value, this_connection())


def _keep(slot: Slot, *, project: Project, now: datetime) -> bool:
    """Is the slot still theirs? Renews a lease of which less than half is left, so that a reload rarely writes."""
    whole = timedelta(minutes=project.lease_minutes)
    if slot.lease_until is not None and slot.lease_until - now > whole / 2:
        return True
    mine = Slot.objects.filter(pk=slot.pk, state=Slot.State.LEASED, submit_id=slot.submit_id)
    return mine.update(lease_until=now + whole) == 1


def with_content(pk: int) -> Slot:
    """The slot with everything at hand that its page shows."""
    return Slot.objects.select_related(
        "comparison__prompt",
        "comparison__first",
        "comparison__second",
        "response__prompt",
        "lineup__prompt",
        "lineup__original",
    ).get(pk=pk)


def release_slots(*, project: Project, annotator: User) -> int:
    """Hands back what the annotator holds in the project, so that others can be asked at once; how many slots."""
    return _release(Slot.objects.filter(project=project, annotator=annotator))


def _release(slots: QuerySet[Slot]) -> int:
    held = slots.filter(state=Slot.State.LEASED)
    return held.update(state=Slot.State.OPEN, annotator=None, lease_until=None, shown_at=None)
