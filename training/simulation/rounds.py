"""One turn of the loop as a lead sees it: press Start, watch the run, wait for its policy's answers in the queue."""

import time
from collections.abc import Callable
from typing import TypeVar

from annotate.models import Comparison, Project
from training.models import Loop, Policy, Run
from training.simulation.client import SiteError, Visitor, form_with
from training.states import RUN_ACTIVE

LOOK_EVERY = 0.5

Found = TypeVar("Found")


def start_run(lead: Visitor, project: Project, method: str) -> Run:
    """The lead opens the form for the method, leaves every knob as it is, and presses Start."""
    before = project.runs.count()
    seen = lead.open(f"projects/{project.pk}/runs/start/?method={method}")
    form = form_with(seen.page, "method", "beta")
    if form is None:
        raise SiteError(f"{seen.address} shows no form to start a run. What it says: {_brief(seen.page.text)}")
    seen = lead.submit(form, at=seen.address)
    run = project.runs.order_by("-number").first()
    if run is None or project.runs.count() == before:
        raise SiteError(f"The run did not start. What the site says: {_brief(seen.page.text)}")
    return run


def wait_until_scored(run: Run, *, patience: float) -> Policy:
    """The run's policy, once trained and scored. Raises SiteError with the run's own message when it ends otherwise."""

    def ended() -> Run | None:
        return Run.objects.exclude(state__in=RUN_ACTIVE).filter(pk=run.pk).first()

    run = _wait(
        ended, patience, f"Run {run.number} did not end within {patience:.0f} seconds; its page says where it is."
    )
    if run.state != Run.State.FINISHED:
        raise SiteError(f"Run {run.number} {run.get_state_display().lower()}: {run.message}")
    return Policy.objects.get(run=run)


def wait_for_answers(project: Project, *, patience: float) -> None:
    """Until comparisons of the open round are in the queue: made by the newest policy that passed the guards."""

    def sampled() -> bool | None:
        opened = project.rounds.filter(closed_at__isnull=True).first()
        made = opened is not None and Comparison.objects.filter(project=project, round=opened.number).exists()
        return made or None

    _wait(
        sampled,
        patience,
        f"No answers of the newest policy came within {patience:.0f} seconds. Are the workers running?",
    )


def current_policy(project: Project) -> Policy:
    """The policy that the next answers are sampled from."""
    sampler = Loop.objects.select_related("sampler").get(project=project).sampler
    if sampler is None:
        raise SiteError("The project has no base policy yet. Save its loop settings once, then simulate.")
    return sampler


def _wait(look: Callable[[], Found | None], patience: float, failure: str) -> Found:
    deadline = time.monotonic() + patience
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise SiteError(failure)
        time.sleep(LOOK_EVERY)
    return found


def _brief(text: str) -> str:
    return " ".join(text.split())[:400]
