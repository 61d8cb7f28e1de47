"""A judgment or rating is saved exactly once, and its slot is closed.

The fence is the lease's ``submit_id``: it is drawn anew when a slot goes to a person, stays while they keep it, and is
the ``client_id`` of what they decide. A form that was rendered under an older lease, perhaps with other sides, carries
another id and changes nothing. No broker is touched here: a saved judgment must never depend on one.
"""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Generic, TypeVar, cast

from django.db import IntegrityError, transaction
from django.db.models import Model
from django.utils.translation import gettext_lazy as _

from annotate import assign
from annotate.models import (
    Choice,
    Comparison,
    Judgment,
    Project,
    Ranking,
    Rating,
    SkipReason,
    Slot,
    Thumb,
    User,
)
from annotate.queries.columns import Columns, this_connection
from annotate.queries.judging import ShownSlot, shown_slot
from annotate.services.claims import Take, slot_taken, take_statement
from annotate.services.content import clean_text
from annotate.services.edits import keep_edit
from annotate.services.requeue import put_back

# More than an hour at one item is not attention to it, whatever a browser says.
LONGEST_MS = 60 * 60 * 1000

_D = TypeVar("_D", Judgment, Rating, Ranking)


@dataclass(frozen=True, slots=True)
class Saved(Generic[_D]):
    """The decision is in the database. ``repeated``: it was already, this submit said the same once more.

    ``taken`` is the next slot where it was taken in the same moment; None says nothing of the queue.
    """

    decision: _D
    repeated: bool = False
    taken: Slot | None = None


@dataclass(frozen=True, slots=True)
class Conflict(Generic[_D]):
    """The annotator had decided this before, otherwise: ``saved`` stands, and the new answer is not kept."""

    saved: _D


class Why(Enum):
    """Why a slot no longer takes the answer."""

    TAKEN = _("Your time for it had run out, and somebody else was asked.")
    RELEASED = _("You had handed it back.")
    WITHDRAWN = _("It was withdrawn in the meantime.")
    UNKNOWN = _("It is not yours to answer.")


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing was saved, because the slot is not this annotator's any more."""

    why: Why


def record_judgment(
    *,
    project: Project,
    annotator: User,
    slot_id: int,
    client_id: uuid.UUID,
    choice: str,
    skip_reason: str = "",
    strength: int | None = None,
    rationale: str = "",
    tags: Sequence[str] = (),
    edited: str = "",
    active_ms: int | None = None,
    now: datetime,
    shown: ShownSlot | None = None,
    then: Take | None = None,
) -> Saved[Judgment] | Conflict[Judgment] | Gone:
    """Saves what the annotator chose for the pair in the slot, exactly once, and closes the slot.

    ``client_id`` is the slot's ``submit_id`` as the form carried it. The same submit again gives the same answer, and
    another choice is a ``Conflict``. A lease that has run out is accepted while nobody else took the slot.
    ``active_ms`` is what the browser measured, trusted only within the time since the pair was shown. ``edited`` is
    their own, better version of the answer they prefer. ``shown`` is the slot, where the caller has read it, and
    ``then`` what they are asked next, to be taken in the same moment where the database can. Raises ``ValueError`` for
    what cannot be: an unknown choice, a skip without its reason, a strength without a preference, an edit that is none.
    """
    check_decision(choice, Choice.values, skip_reason, strength)
    shown = shown or shown_slot(project=project, kind=Slot.Kind.PAIR, slot_id=slot_id, now=now)
    if shown is None:
        return Gone(Why.UNKNOWN)
    slot = shown.slot
    comparison = cast(Comparison, slot.comparison)
    # Only a written answer needs a transaction around both: it must not stay when its judgment is refused.
    with transaction.atomic() if edited else nullcontext():
        outcome = record_decision(
            Judgment,
            slot=slot,
            guideline_id=shown.guideline_id,
            annotator=annotator,
            client_id=client_id,
            subject={"comparison_id": slot.comparison_id},
            content=judgment_values(
                comparison,
                swapped=slot.swapped,
                choice=choice,
                skip_reason=skip_reason,
                strength=strength,
                rationale=rationale,
                tags=tags,
                edited=edited,
                annotator=annotator,
            ),
            facts={"swapped": slot.swapped},
            active_ms=active_ms,
            now=now,
            then=then,
        )
        if edited and not isinstance(outcome, Saved):
            transaction.set_rollback(True)
    return outcome


def record_rating(
    *,
    project: Project,
    annotator: User,
    slot_id: int,
    client_id: uuid.UUID,
    value: str,
    skip_reason: str = "",
    rationale: str = "",
    tags: Sequence[str] = (),
    active_ms: int | None = None,
    now: datetime,
    shown: ShownSlot | None = None,
    then: Take | None = None,
) -> Saved[Rating] | Conflict[Rating] | Gone:
    """Saves a thumb on the response in the slot, exactly once; all else as in ``record_judgment``."""
    check_decision(value, Thumb.values, skip_reason)
    shown = shown or shown_slot(project=project, kind=Slot.Kind.THUMB, slot_id=slot_id, now=now)
    if shown is None:
        return Gone(Why.UNKNOWN)
    slot = shown.slot
    return record_decision(
        Rating,
        slot=slot,
        guideline_id=shown.guideline_id,
        annotator=annotator,
        client_id=client_id,
        subject={"response_id": slot.response_id},
        content=rating_values(value=value, skip_reason=skip_reason, rationale=rationale, tags=tags),
        facts={},
        active_ms=active_ms,
        now=now,
        then=then,
    )


def judgment_values(
    comparison: Comparison,
    *,
    swapped: bool,
    choice: str,
    skip_reason: str = "",
    strength: int | None = None,
    rationale: str = "",
    tags: Sequence[str] = (),
    edited: str = "",
    annotator: User,
) -> dict[str, Any]:
    """The columns of what was said of a pair with these sides. Raises ``ValueError`` as ``record_judgment``.

    With ``edited`` it stores what was written: call it inside the transaction that saves the rest.
    """
    check_decision(choice, Choice.values, skip_reason, strength)
    left, right = assign.sides(comparison.first_id, comparison.second_id, swapped=swapped)
    written = (
        keep_edit(
            project=comparison.project,
            comparison=comparison,
            swapped=swapped,
            choice=choice,
            text=edited,
            annotator=annotator,
        )
        if edited
        else None
    )
    return {
        "choice": choice,
        "skip_reason": skip_reason,
        "strength": strength,
        "rationale": clean_text(rationale),
        "tags": [clean_text(tag) for tag in tags],
        "preferred_id": {Choice.A: left, Choice.B: right}.get(Choice(choice)),
        "edited_id": written.pk if written else None,
    }


def rating_values(
    *, value: str, skip_reason: str = "", rationale: str = "", tags: Sequence[str] = ()
) -> dict[str, Any]:
    """The columns of what was said of a single answer. Raises ``ValueError`` as ``record_rating``."""
    check_decision(value, Thumb.values, skip_reason)
    return {
        "value": value,
        "skip_reason": skip_reason,
        "rationale": clean_text(rationale),
        "tags": [clean_text(tag) for tag in tags],
    }


def check_decision(decision: str, known: Sequence[str], skip_reason: str, strength: int | None = None) -> None:
    if decision not in known:
        raise ValueError(f"{decision!r} is no decision; give one of {', '.join(known)}")
    if (decision == "skip") != bool(skip_reason) or (skip_reason and skip_reason not in SkipReason.values):
        raise ValueError(f"a skip needs one reason of {', '.join(SkipReason.values)}, and nothing else has one")
    if strength is not None and (decision not in (Choice.A, Choice.B) or strength not in (1, 2, 3)):
        raise ValueError("strength is 1, 2 or 3, and only beside A or B")


def record_decision(
    model: type[_D],
    *,
    slot: Slot,
    guideline_id: int | None,
    annotator: User,
    client_id: uuid.UUID,
    subject: Mapping[str, int | None],
    content: Mapping[str, Any],
    facts: Mapping[str, Any],
    active_ms: int | None,
    now: datetime,
    then: Take | None = None,
) -> Saved[_D] | Conflict[_D] | Gone:
    decision = model(
        client_id=client_id,
        slot_id=slot.pk,
        project_id=slot.project_id,
        annotator_id=annotator.pk,
        guideline_id=guideline_id,
        active_ms=_plausible_ms(active_ms, shown_at=slot.shown_at, now=now),
        shown_at=slot.shown_at,
        **subject,
        **content,
        **facts,
    )
    # One statement needs no transaction; a skip puts the item back in the same one.
    connection = this_connection()
    alone = connection.vendor == "postgresql" and not connection.in_atomic_block and not decision.skip_reason
    refused: IntegrityError | None = None
    # What comes next may just now have been taken in another tab of theirs: that must not cost the decision.
    for following in (then, None) if then and alone else (None,):
        try:
            with nullcontext() if alone else transaction.atomic():
                if done := _close_and_save(decision, following):
                    if decision.skip_reason:
                        put_back(decision)
                    return done
        except IntegrityError as error:
            # Another request of the same person saved first: what it saved is found below, outside the transaction.
            refused = error
    saved = (
        model.objects.filter(client_id=client_id, annotator=annotator).first()
        or model.objects.filter(**subject, annotator=annotator, superseded_at__isnull=True).first()
    )
    if saved is None and refused is not None:
        raise refused
    if saved is None:
        return Gone(_why_gone(slot.pk, annotator, client_id))
    said = {name: getattr(saved, name) for name in content}
    return Saved(saved, repeated=True) if saved.client_id == client_id and said == content else Conflict(saved)


_COLUMNS: dict[type[Model], Columns[Any]] = {model: Columns(model, "made") for model in (Judgment, Rating, Ranking)}
_CLOSE = """
UPDATE annotate_slot SET state = 'done' WHERE id = %(made_slot_id)s AND state = 'leased'
AND annotator_id = %(made_annotator_id)s AND submit_id = %(made_client_id)s RETURNING id
"""


def _close_and_save(decision: _D, then: Take | None) -> Saved[_D] | None:
    """Closes the slot if it is still leased to the annotator under this id, and then saves the decision; else None.

    In SQL, because every judgment does it (see ``annotate.services.claims``). PostgreSQL does both in one statement,
    and takes the next slot in it; elsewhere call it in a transaction, and nothing is taken.
    """
    connection = this_connection()
    at_once = connection.vendor == "postgresql"
    sql, values = _COLUMNS[type(decision)].insert(decision, source="FROM won" if at_once else "")
    if at_once and then is not None:
        sql, more = take_statement(then, saving=f"won AS ({_CLOSE}), made AS ({sql})")
        values |= more
    elif at_once:
        sql = f"WITH won AS ({_CLOSE}) {sql}"
    with connection.cursor() as cursor:
        if not at_once:
            cursor.execute(_CLOSE, values)
            if cursor.fetchone() is None:
                return None
        cursor.execute(sql, values)
        row = cursor.fetchone()
    if row is None:
        return None
    decision.pk, *taken = row
    decision._state.adding, decision._state.db = False, connection.alias
    return Saved(decision, taken=slot_taken(then, taken) if then is not None and taken else None)


def _why_gone(pk: int, annotator: User, client_id: uuid.UUID) -> Why:
    slot = Slot.objects.get(pk=pk)
    if slot.state == Slot.State.WITHDRAWN:
        return Why.WITHDRAWN
    if slot.submit_id == client_id and slot.annotator_id is None:
        return Why.RELEASED
    return Why.TAKEN if slot.annotator_id not in (None, annotator.pk) else Why.UNKNOWN


def _plausible_ms(active_ms: int | None, *, shown_at: datetime | None, now: datetime) -> int | None:
    if active_ms is None or active_ms < 0 or shown_at is None:
        return None
    passed = max(0, round((now - shown_at).total_seconds() * 1000))
    return min(active_ms, passed, LONGEST_MS)
