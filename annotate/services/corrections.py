"""Second thoughts: the last decision is undone, or an earlier one is changed. What was said first is kept, superseded.

Both are exactly once, as the decisions themselves: a press that comes twice names the same decision twice.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import IntegrityError, transaction

from annotate.models import COUNTS, Judgment, Project, Ranking, Rating, Slot, User
from annotate.queries.judging import DECISIONS
from annotate.services.guidelines import guideline_read
from annotate.services.judging import Conflict, Gone, Saved, Why, judgment_values, rating_values
from annotate.services.rankings import ranking_values
from annotate.services.requeue import is_skip, put_back, take_back

# After a day it is no slip of the finger any more; the history is there for changing one's mind.
UNDO_WITHIN = timedelta(days=1)

_D = TypeVar("_D", Judgment, Rating, Ranking)


def last_decision(*, project: Project, annotator: User, kind: str, now: datetime) -> Judgment | Rating | Ranking | None:
    """The annotator's newest decision that counts, when it is new enough to be undone."""
    return (
        DECISIONS[kind]
        ._default_manager.filter(COUNTS, project=project, annotator=annotator, created_at__gte=now - UNDO_WITHIN)
        .order_by("-created_at", "-id")
        .first()
    )


def undo_last(*, project: Project, annotator: User, kind: str, client_id: uuid.UUID, now: datetime) -> bool:
    """Takes back the newest decision, whose ``client_id`` the button carries, and leases its slot again.

    The slot has the same sides and a new ``submit_id``; ``claim_slot`` gives it next. False when there is nothing to
    take back: it was undone by the first of two presses, or something newer was decided since.
    """
    last = last_decision(project=project, annotator=annotator, kind=kind, now=now)
    if last is None or last.client_id != client_id or last.slot_id is None:
        return False
    with transaction.atomic():
        counting = type(last)._default_manager.filter(COUNTS, pk=last.pk)
        if counting.update(superseded_at=now) != 1:
            return False
        if is_skip(last):
            take_back(last.slot_id)
        Slot.objects.filter(pk=last.slot_id, state=Slot.State.DONE, annotator=annotator).update(
            state=Slot.State.LEASED,
            lease_until=now + timedelta(minutes=project.lease_minutes),
            shown_at=now,
            submit_id=uuid.uuid4(),
        )
    return True


def undone(slot: Slot, annotator: User) -> Judgment | Rating | Ranking | None:
    """What the annotator had said in the slot before they undid it; None for a slot that is new to them."""
    return (
        DECISIONS[slot.kind]
        ._default_manager.filter(slot=slot, annotator=annotator, superseded_at__isnull=False)
        .order_by("-id")
        .first()
    )


def change_judgment(
    old: Judgment, *, client_id: uuid.UUID, now: datetime, **given: Any
) -> Saved[Judgment] | Conflict[Judgment] | Gone:
    """Says otherwise about a pair that was judged, on the sides shown. ``given`` as in ``record_judgment``."""
    with transaction.atomic():
        values = judgment_values(old.comparison, swapped=old.swapped, annotator=old.annotator, **given)
        outcome = _change(old, client_id=client_id, now=now, values=values)
        if not isinstance(outcome, Saved):
            # What was written beside a refused change must not stay.
            transaction.set_rollback(True)
    return outcome


def change_rating(
    old: Rating, *, client_id: uuid.UUID, now: datetime, **given: Any
) -> Saved[Rating] | Conflict[Rating] | Gone:
    """Says otherwise about an answer that was rated. ``given`` as in ``record_rating``."""
    return _change(old, client_id=client_id, now=now, values=rating_values(**given))


def change_ranking(
    old: Ranking, *, client_id: uuid.UUID, now: datetime, **given: Any
) -> Saved[Ranking] | Conflict[Ranking] | Gone:
    """Orders the answers otherwise, as they were shown. ``given`` as in ``record_ranking``."""
    return _change(old, client_id=client_id, now=now, values=ranking_values(shown=old.shown, **given))


def _subject(old: Judgment | Rating | Ranking) -> dict[str, Any]:
    """What was asked, and how it was shown."""
    if isinstance(old, Judgment):
        return {"comparison_id": old.comparison_id, "swapped": old.swapped}
    if isinstance(old, Ranking):
        return {"lineup_id": old.lineup_id, "shown": old.shown}
    return {"response_id": old.response_id}


def _change(
    old: _D, *, client_id: uuid.UUID, now: datetime, values: Mapping[str, Any]
) -> Saved[_D] | Conflict[_D] | Gone:
    model = type(old)
    subject = _subject(old)
    try:
        with transaction.atomic():
            # A retraction takes the same lock, so that one of the two sees what the other did.
            project = Project.objects.select_for_update(no_key=True).get(pk=old.project_id)
            standing = model._default_manager.filter(COUNTS, pk=old.pk)
            if standing.update(superseded_at=now) == 1:
                guideline = guideline_read(project=project, user_id=old.annotator_id, now=now)
                made = model._default_manager.create(
                    client_id=client_id,
                    slot_id=old.slot_id,
                    project_id=old.project_id,
                    annotator_id=old.annotator_id,
                    guideline_id=guideline.pk if guideline else old.guideline_id,
                    **subject,
                    **values,
                )
                if is_skip(made):
                    put_back(made)
                elif is_skip(old):
                    take_back(old.slot_id)
                return Saved(made)
    except IntegrityError:
        # The same change has just been saved by the other half of a double click.
        pass
    mine = model._default_manager.filter(annotator=old.annotator_id)
    again = mine.filter(client_id=client_id).first()
    if again is not None:
        said = {name: getattr(again, name) for name in values}
        return Saved(again, repeated=True) if said == values else Conflict(again)
    current = mine.filter(slot=old.slot_id, superseded_at__isnull=True).first()
    return Gone(Why.WITHDRAWN) if current is None or current.pk == old.pk else Conflict(current)
