"""The loop of a project as its page shows it."""

import hashlib
from dataclasses import dataclass

from annotate.said import Said
from training.loop import Decision, LoopFacts, decide
from training.models import Job, Loop, Run
from training.queries.facts import gather
from training.queries.runs import runs_of
from training.states import RUN_ACTIVE


@dataclass(frozen=True, slots=True)
class Overview:
    """Where the loop stands. ``seen`` is a mark that changes with everything that is shown."""

    loop: Loop
    facts: LoopFacts
    decision: Decision
    run: Run | None
    last_run: Run | None
    sampling_error: str
    seen: str


def overview(loop: Loop) -> Overview:
    """The facts of this moment, and what the loop makes of them; the tick decides by the same ones."""
    facts = gather(loop)
    decision = decide(facts)
    newest = runs_of(loop.project).first()
    active = newest if newest is not None and newest.state in RUN_ACTIVE else None
    failed = (
        Job.objects.filter(project=loop.project, kind=Job.Kind.SAMPLE)
        .exclude(state__in=["queued", "running"])
        .order_by("-ended_at")
        .first()
    )
    error = failed.error if failed is not None and failed.state == Job.State.FAILED else ""
    # While the tick waits for something else than the facts say (a run that could not start), its own reason counts.
    if decision.action == "train" and loop.decision == "wait" and loop.reason:
        decision = Decision("wait", loop.reason if isinstance(loop.reason, Said) else Said(loop.reason))
    marks = [decision.reason, facts.new_judgments, facts.open_items, facts.paused, error]
    marks += [newest.pk, newest.state, newest.step, str(newest.cancel_requested_at)] if newest else []
    return Overview(
        loop=loop,
        facts=facts,
        decision=decision,
        run=active,
        last_run=newest,
        sampling_error=error,
        seen=hashlib.sha256(repr(marks).encode()).hexdigest()[:16],
    )
