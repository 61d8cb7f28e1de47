"""An annotator reports the prompt in front of them, and is asked something else."""

import uuid
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction

from annotate.models import Choice, Project, PromptReport, Ranked, SkipReason, Slot, Thumb, User
from annotate.queries.judging import SUBJECTS
from annotate.services.judging import Conflict, Gone, Saved, record_judgment, record_rating
from annotate.services.rankings import record_ranking
from annotate.services.requeue import take_back
from annotate.services.review import report_prompt

# A report says more than a skip can; this is what the skip beside it says.
_SKIP_OF_REPORT: dict[str, str] = {
    PromptReport.Reason.BROKEN: SkipReason.BROKEN,
    PromptReport.Reason.HARMFUL: SkipReason.HARMFUL,
}

_RECORD: dict[str, Callable[..., Saved[Any] | Conflict[Any] | Gone]] = {
    Slot.Kind.PAIR: partial(record_judgment, choice=Choice.SKIP),
    Slot.Kind.THUMB: partial(record_rating, value=Thumb.SKIP),
    Slot.Kind.RANKING: partial(record_ranking, value=Ranked.SKIP),
}


def report_and_skip(
    *,
    project: Project,
    annotator: User,
    kind: str,
    slot_id: int,
    client_id: uuid.UUID,
    reason: str,
    note: str,
    now: datetime,
) -> Saved[Any] | Conflict[Any] | Gone:
    """Reports the prompt of the slot that the annotator holds, and skips it, exactly once."""
    skip = _SKIP_OF_REPORT.get(reason, SkipReason.OTHER)
    asked = {"project": project, "annotator": annotator, "slot_id": slot_id, "client_id": client_id, "now": now}
    with transaction.atomic():
        outcome = _RECORD[kind](skip_reason=skip, **asked)
        if isinstance(outcome, Saved) and not outcome.repeated:
            decision = outcome.decision
            subject = getattr(decision, SUBJECTS[kind])
            # Nobody else is asked while the report stands.
            take_back(decision.slot_id)
            report_prompt(project=project, prompt=subject.prompt, reporter=annotator, reason=reason, note=note)
    return outcome
