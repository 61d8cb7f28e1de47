"""Slots are claimed, answered and handed back; a judgment or rating is saved exactly once.

The fence is the lease's ``submit_id``: it is drawn anew when a slot goes to a person, stays while they keep it, and is
the ``client_id`` of what they decide. A form that was rendered under an older lease, perhaps with other sides, carries
another id and changes nothing. No broker is touched here: a saved judgment must never depend on one.
"""

import random
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Generic, TypeVar

from django.db import IntegrityError, models, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.utils.translation import gettext_lazy as _

from annotate import assign
from annotate.models import (
    Choice,
    Comparison,
    Guideline,
    Judgment,
    Membership,
    Project,
    Rating,
    Response,
    SkipReason,
    Slot,
    Thumb,
    User,
)
from annotate.services.checks import slip_in_check
from annotate.services.content import clean_text
from annotate.services.edits import keep_edit
from annotate.services.requeue import put_back

# So many of the next slots are looked at together: enough that a roomful of people rarely goes for the same one.
CANDIDATES = 12
# When others were quicker with all of these, look again so often before saying that there is nothing.
LOOKS = 5
# More than an hour at one item is not attention to it, whatever a browser says.
LONGEST_MS = 60 * 60 * 1000

# The condition of the index `slot_queue`, word for word.
_IN_QUEUE = (
    "annotate_slot.state IN ('open', 'leased') AND annotate_slot.only_for_id IS NULL "
    "AND annotate_slot.only_for_group_id IS NULL"
)
# Of `slot_targeted` and `slot_of_group`. That these have somebody they are for follows from the query's own condition;
# saying it twice makes PostgreSQL expect next to nothing, and sort what it finds.
_ACTIVE = "annotate_slot.state IN ('open', 'leased')"

_D = TypeVar("_D", Judgment, Rating)


@dataclass(frozen=True, slots=True)
class Saved(Generic[_D]):
    """The decision is in the database. ``repeated``: it was already, this submit said the same once more."""

    decision: _D
    repeated: bool = False


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


# --- Claim ------------------------------------------------------------------------------------------------------------


def claim_slot(*, project: Project, annotator: User, kind: str, now: datetime, rng: random.Random) -> Slot | None:
    """The slot that the annotator shall decide next, leased to them, with everything at hand that its page shows.

    That is the one they hold already, with the same sides and ``submit_id``, also when its lease has run out and nobody
    else was asked; else what is meant for them alone (perhaps a check, slipped in now); else what is meant for their
    group; else one of the best that are open. None when there is nothing for them. Never a comparison or response that
    they were asked about before, and never an answer that they wrote themselves.
    """
    held = Slot.objects.filter(annotator=annotator, project=project, kind=kind, state=Slot.State.LEASED)
    # What was shown last comes first: that is what an undo has just brought back.
    for slot in held.order_by("-shown_at", "id")[:LOOKS]:
        if _keep(slot, project=project, now=now):
            return _with_content(slot.pk)
    taken = _claim_targeted(project=project, annotator=annotator, kind=kind, now=now, rng=rng)
    if taken is None and project.assigns_to_groups:
        taken = _claim_of_group(project=project, annotator=annotator, kind=kind, now=now, rng=rng)
    for look in range(LOOKS):
        if taken is not None:
            return _with_content(taken)
        candidates = [
            assign.Candidate(pk, priority)
            for pk, priority in claimable(project=project, annotator=annotator, kind=kind, now=now).values_list(
                "pk", "priority"
            )[:CANDIDATES]
        ]
        if not candidates:
            return None
        # Only beside ordinary work: a check that came into an empty queue would be known for one.
        if look == 0 and kind == Slot.Kind.PAIR and (project.gold_percent or project.recheck_percent):
            slip_in_check(project=project, annotator=annotator, now=now, rng=rng)
            taken = _claim_targeted(project=project, annotator=annotator, kind=kind, now=now, rng=rng)
        for pk in [] if taken else assign.order_of_claims(candidates, rng):
            if _take(pk, project=project, annotator=annotator, now=now, swapped=assign.draw_swapped(rng)):
                taken = pk
                break
    return _with_content(taken) if taken else None


def _claim_targeted(*, project: Project, annotator: User, kind: str, now: datetime, rng: random.Random) -> int | None:
    """Takes the best slot that is meant for this annotator alone. A recheck shows the sides the other way round."""
    for pk, before in targeted(project=project, annotator=annotator, kind=kind, now=now).values_list(
        "pk", "comparison__original__swapped"
    )[:CANDIDATES]:
        swapped = assign.draw_swapped(rng) if before is None else not before
        if _take(pk, project=project, annotator=annotator, now=now, swapped=swapped):
            return pk
    return None


def _claim_of_group(*, project: Project, annotator: User, kind: str, now: datetime, rng: random.Random) -> int | None:
    """Takes one of the best slots that are meant for the annotator's group, if they are in one."""
    group_id = Membership.objects.filter(project=project, user=annotator).values_list("group_id", flat=True).first()
    if group_id is None:
        return None
    for _look in range(LOOKS):
        found = of_group(group_id, project=project, annotator=annotator, kind=kind, now=now)
        best = [assign.Candidate(pk, priority) for pk, priority in found.values_list("pk", "priority")[:CANDIDATES]]
        for pk in assign.order_of_claims(best, rng):
            if _take(pk, project=project, annotator=annotator, now=now, swapped=assign.draw_swapped(rng)):
                return pk
        if not best:
            break
    return None


def of_group(group_id: int, *, project: Project, annotator: User, kind: str, now: datetime) -> QuerySet[Slot]:
    """Slots that only this group's members may be given, best first. It walks the partial index ``slot_of_group``."""
    return (
        Slot.objects.filter(only_for_group=group_id, project=project, kind=kind)
        .filter(_literally(_ACTIVE))
        .filter(Q(lease_until__isnull=True) | Q(lease_until__lt=now))
        .filter(~_asked_or_own(annotator, kind))
        .order_by("-priority", "id")
    )


def targeted(*, project: Project, annotator: User, kind: str, now: datetime) -> QuerySet[Slot]:
    """Slots that only this annotator may be given, best first. It walks the partial index ``slot_targeted``."""
    return (
        Slot.objects.filter(only_for=annotator, project=project, kind=kind)
        .filter(_literally(_ACTIVE))
        .filter(Q(lease_until__isnull=True) | Q(lease_until__lt=now))
        .filter(~_asked_or_own(annotator, kind))
        .order_by("-priority", "id")
    )


def claimable(*, project: Project, annotator: User, kind: str, now: datetime) -> QuerySet[Slot]:
    """Slots that the annotator may be given now, best first. It walks the partial index ``slot_queue``."""
    return (
        Slot.objects.filter(project=project, kind=kind)
        .filter(_literally(_IN_QUEUE))
        # Of those, open slots have no lease. Said without `state`, because PostgreSQL takes two conditions on one
        # column for independent, expects next to nothing, and sorts everything instead of walking the index.
        .filter(Q(lease_until__isnull=True) | Q(lease_until__lt=now))
        # One "not (a or b)" rather than two exclusions: PostgreSQL would make joins of those, with the same effect.
        .filter(~_asked_or_own(annotator, kind))
        .order_by("-priority", "id")
    )


def _literally(condition: str) -> RawSQL:
    """SQLite uses a partial index only when the query repeats its condition with constants, not with parameters."""
    return RawSQL(condition, (), output_field=models.BooleanField())  # noqa: S611  (one of the constants above)


def _asked_or_own(annotator: User, kind: str) -> Q:
    """Was the annotator asked about it before, or did they write it?"""
    subject = "comparison_id" if kind == Slot.Kind.PAIR else "response_id"
    asked_before = Slot.objects.filter(**{subject: OuterRef(subject)}, annotator=annotator)
    wrote = Response.objects.filter(author__user=annotator)
    own = wrote.filter(
        Q(pk=OuterRef("comparison__first_id")) | Q(pk=OuterRef("comparison__second_id"))
        if kind == Slot.Kind.PAIR
        else Q(pk=OuterRef("response_id"))
    )
    return Q(Exists(asked_before) | Exists(own))


def _free(now: datetime) -> Q:
    return Q(state=Slot.State.OPEN) | Q(state=Slot.State.LEASED, lease_until__lt=now)


def _take(pk: int, *, project: Project, annotator: User, now: datetime, swapped: bool) -> bool:
    try:
        with transaction.atomic():
            return (
                Slot.objects.filter(_free(now), pk=pk).update(
                    state=Slot.State.LEASED,
                    annotator=annotator,
                    lease_until=now + timedelta(minutes=project.lease_minutes),
                    swapped=swapped,
                    shown_at=now,
                    submit_id=uuid.uuid4(),
                )
                == 1
            )
    except IntegrityError:
        # The same person has just taken another slot of this comparison, in another tab.
        return False


def _keep(slot: Slot, *, project: Project, now: datetime) -> bool:
    """Is the slot still theirs? Renews a lease of which less than half is left, so that a reload rarely writes."""
    whole = timedelta(minutes=project.lease_minutes)
    if slot.lease_until is not None and slot.lease_until - now > whole / 2:
        return True
    mine = Slot.objects.filter(pk=slot.pk, state=Slot.State.LEASED, submit_id=slot.submit_id)
    return mine.update(lease_until=now + whole) == 1


def _with_content(pk: int) -> Slot:
    return Slot.objects.select_related(
        "comparison__prompt", "comparison__first", "comparison__second", "response__prompt"
    ).get(pk=pk)


def release_slots(*, project: Project, annotator: User) -> int:
    """Hands back what the annotator holds in the project, so that others can be asked at once; how many slots."""
    held = Slot.objects.filter(project=project, annotator=annotator, state=Slot.State.LEASED)
    return held.update(state=Slot.State.OPEN, annotator=None, lease_until=None, shown_at=None)


# --- Decide -----------------------------------------------------------------------------------------------------------


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
) -> Saved[Judgment] | Conflict[Judgment] | Gone:
    """Saves what the annotator chose for the pair in the slot, exactly once, and closes the slot.

    ``client_id`` is the slot's ``submit_id`` as the form carried it. The same submit again gives the same answer, and
    another choice is a ``Conflict``. A lease that has run out is accepted while nobody else took the slot.
    ``active_ms`` is what the browser measured, trusted only within the time since the pair was shown. ``edited`` is
    their own, better version of the answer they prefer. Raises ``ValueError`` for what cannot be: an unknown choice, a
    skip without its reason, a strength without a preference, an edit that is none.
    """
    _check(choice, Choice.values, skip_reason, strength)
    slot = _slot(Slot.Kind.PAIR, slot_id, project)
    if slot is None or slot.comparison is None:
        return Gone(Why.UNKNOWN)
    # Only a written answer needs a transaction around both: it must not stay when its judgment is refused.
    with transaction.atomic() if edited else nullcontext():
        outcome = _record(
            Judgment,
            slot=slot,
            annotator=annotator,
            client_id=client_id,
            subject={"comparison_id": slot.comparison_id},
            content=judgment_values(
                slot.comparison,
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
) -> Saved[Rating] | Conflict[Rating] | Gone:
    """Saves a thumb on the response in the slot, exactly once; all else as in ``record_judgment``."""
    _check(value, Thumb.values, skip_reason)
    slot = _slot(Slot.Kind.THUMB, slot_id, project)
    if slot is None:
        return Gone(Why.UNKNOWN)
    return _record(
        Rating,
        slot=slot,
        annotator=annotator,
        client_id=client_id,
        subject={"response_id": slot.response_id},
        content=rating_values(value=value, skip_reason=skip_reason, rationale=rationale, tags=tags),
        facts={},
        active_ms=active_ms,
        now=now,
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
    _check(choice, Choice.values, skip_reason, strength)
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
    _check(value, Thumb.values, skip_reason)
    return {
        "value": value,
        "skip_reason": skip_reason,
        "rationale": clean_text(rationale),
        "tags": [clean_text(tag) for tag in tags],
    }


def _check(decision: str, known: Sequence[str], skip_reason: str, strength: int | None = None) -> None:
    if decision not in known:
        raise ValueError(f"{decision!r} is no decision; give one of {', '.join(known)}")
    if (decision == "skip") != bool(skip_reason) or (skip_reason and skip_reason not in SkipReason.values):
        raise ValueError(f"a skip needs one reason of {', '.join(SkipReason.values)}, and nothing else has one")
    if strength is not None and (decision not in (Choice.A, Choice.B) or strength not in (1, 2, 3)):
        raise ValueError("strength is 1, 2 or 3, and only beside A or B")


def _slot(kind: str, slot_id: int, project: Project) -> Slot | None:
    return Slot.objects.select_related("comparison").filter(pk=slot_id, kind=kind, project=project).first()


def _record(
    model: type[_D],
    *,
    slot: Slot,
    annotator: User,
    client_id: uuid.UUID,
    subject: Mapping[str, int | None],
    content: Mapping[str, Any],
    facts: Mapping[str, Any],
    active_ms: int | None,
    now: datetime,
) -> Saved[_D] | Conflict[_D] | Gone:
    shown_at = slot.shown_at or now
    guideline = Guideline.objects.filter(project=slot.project_id, created_at__lte=shown_at).only("version").first()
    refused: IntegrityError | None = None
    try:
        with transaction.atomic():
            won = Slot.objects.filter(
                pk=slot.pk, state=Slot.State.LEASED, annotator=annotator, submit_id=client_id
            ).update(state=Slot.State.DONE)
            if won:
                decision = model.objects.create(
                    client_id=client_id,
                    slot=slot,
                    project_id=slot.project_id,
                    annotator=annotator,
                    guideline=guideline,
                    active_ms=_plausible_ms(active_ms, shown_at=slot.shown_at, now=now),
                    shown_at=slot.shown_at,
                    **subject,
                    **content,
                    **facts,
                )
                if decision.skip_reason:
                    put_back(decision)
                return Saved(decision)
    except IntegrityError as error:
        # Another request of the same person saved first: what it saved is found below, outside the failed transaction.
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
