"""The tick's work: for each project gather the facts, decide, act, and keep the decision with its reason."""

import logging

from django.db import DatabaseError
from django.utils import timezone

from annotate.said import Said
from training.engine.checks import SpecError
from training.loop import Decision, decide
from training.models import Loop, RecipeRun, Run
from training.queries.facts import gather
from training.services.recipe_runs import go_on
from training.services.runs import CannotStartError, spec_problems, start_run
from training.services.sampling import start_sampling
from training.services.scoring import start_scoring

logger = logging.getLogger(__name__)

# An act changes the facts, so the next decision differs. A stage, sampling, training, then to wait: four are enough.
MOST_ACTS = 4


def advance_all() -> None:
    """Every project's loop, one after the other; one that fails must not stop the rest."""
    for pk in Loop.objects.values_list("pk", flat=True):
        try:
            advance(project_id=pk)
        except (DatabaseError, OSError, ValueError):
            logger.exception("The loop of project %s could not be advanced.", pk)


def advance(*, project_id: int) -> Decision:
    """Decides and acts until there is nothing to do but wait. Two at once are harmless: constraints let one act."""
    loop = Loop.objects.select_related("project", "sampler").get(pk=project_id)
    for _ in range(MOST_ACTS):
        decision = decide(gather(loop))
        if decision.action == "wait" or not (acted := _act(loop, decision)):
            break
        if isinstance(acted, Decision):
            decision = acted
            break
        loop.refresh_from_db()
    _remember(loop, decision)
    return decision


def _act(loop: Loop, decision: Decision) -> Decision | bool:
    """True: done. False: somebody else did it. A decision: it could not be done, and why."""
    if decision.action == "sample":
        return start_sampling(loop=loop) is not None
    if decision.action == "score":
        run = Run.objects.filter(project=loop.project, state="scoring").first()
        return run is not None and start_scoring(run=run) is not None
    if decision.action == "stage":
        recipe_run = RecipeRun.objects.filter(project=loop.project, state="running").first()
        return recipe_run is not None and go_on(recipe_run=recipe_run)
    try:
        start_run(loop=loop, method=loop.method, settings=loop.settings, started_by=None, reason=decision.reason)
    except CannotStartError as error:
        return Decision("wait", Said("waiting: %(why)s", why=error.args[0]))
    except SpecError as error:
        refused = Said("waiting: the saved training settings cannot be run (%(why)s)", why=spec_problems(error))
        return Decision("wait", refused)
    return True


def _remember(loop: Loop, decision: Decision) -> None:
    """Only what changed is written: a tick every few seconds must not keep the database busy."""
    if (loop.decision, loop.reason) != (decision.action, decision.reason):
        Loop.objects.filter(pk=loop.pk).update(
            decision=decision.action, reason=decision.reason, decided_at=timezone.now()
        )
