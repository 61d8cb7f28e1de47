"""``manage.py train``: the same as the form on the page Runs, by the same service (docs/methods)."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.models import Aggregation
from annotate.said import Said
from training.engine.checks import SpecError
from training.engine.methods import METHODS
from training.engine.profile import said_fit
from training.models import Loop, Run
from training.queries.machines import profile_shown
from training.services.defaults import settings_of, usual_settings, with_changes
from training.services.runs import CannotStartError, reward_model_named, start_run
from training.shell import knob
from training.states import RUN_ACTIVE


class Command(BaseCommand):
    help = "Starts a training run; a running worker takes it up (manage.py up has one)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", type=int, required=True, help="Project number.")
        parser.add_argument("--method", choices=sorted(METHODS), help="Unless given, the loop's.")
        parser.add_argument(
            "--like",
            type=int,
            metavar="RUN",
            help="Train on this run's decisions, from the policy it began from, with its settings where neither "
            "--method nor --set changes them: so that both can be compared.",
        )
        parser.add_argument(
            "--reward-model",
            type=int,
            metavar="NUMBER",
            help="RLOO, GRPO and fDPO: which one. Unless given, the newest.",
        )
        parser.add_argument("--aggregation", choices=Aggregation.values, default="", help="Unless given, the loop's.")
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="A knob of docs/methods, such as beta=0.05 or loss_type=sigmoid,sft. May be given several times.",
        )
        parser.add_argument(
            "--anyway", action="store_true", help="Start although it will probably not fit the machine."
        )
        parser.add_argument("--wait", action="store_true", help="Wait until the run has ended; fail when it failed.")

    def handle(
        self, *, project: int, method: str | None, like: int | None, aggregation: str, wait: bool, **options: Any
    ) -> None:
        loop = Loop.objects.select_related("project", "sampler").filter(project=project).first()
        if loop is None:
            raise CommandError(f"Project {project} does not exist or has no base model yet.")
        chosen = dict(knob(text) for text in options["set"])
        model = None if like is None else loop.project.runs.filter(number=like).first()
        if like is not None and model is None:
            raise CommandError(f"Project {project} has no run {like}.")
        number = options["reward_model"]
        if model is not None and method in (None, model.method):
            method, kept = model.method, settings_of(model)
            chosen = with_changes(method=method, base_model=loop.base_model, kept=kept, changes=chosen)
        method = method or loop.method
        self._require_room(loop, method, chosen, anyway=options["anyway"])
        try:
            run = start_run(
                loop=loop,
                method=method,
                settings=chosen,
                aggregation=aggregation,
                like=model,
                reward_model=reward_model_named(loop=loop, method=method, number=number),
                started_by=None,
                reason=Said("from the command line"),
            )
        except (SpecError, CannotStartError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Run {run.number} of project {project} ({run.method}) waits for a worker.")
        if wait:
            self._follow(run)

    def _require_room(self, loop: Loop, method: str, chosen: dict[str, Any], *, anyway: bool) -> None:
        """Says how the run would use the worker's machine, before it starts."""
        usual = usual_settings(method=method, base_model=loop.base_model)
        shown = profile_shown(base_model=loop.base_model, method=method, usual=usual, chosen=chosen)
        if shown is None:
            self.stdout.write("No worker has told yet what machine it has; these are the method's usual settings.")
            return
        self.stdout.write(f"{shown.machine_said} (seen {shown.where.seen_at:%Y-%m-%d %H:%M} UTC)")
        for line in [*shown.profile.because, *(difference.said for difference in shown.differences)]:
            self.stdout.write(f"- {line}")
        self.stdout.write(shown.memory_said)
        if not shown.fit.fits and not anyway:
            raise CommandError(f"{' '.join(said_fit(shown.fit))} Or give --anyway.")

    def _follow(self, run: Run) -> None:
        shown = ""
        while run.state in RUN_ACTIVE:
            state = f"{run.state} {run.step}/{run.total_steps}" if run.total_steps else run.state
            if state != shown:
                shown = state
                self.stdout.write(state)
            time.sleep(1)
            run.refresh_from_db()
        self.stdout.write(f"{run.state}: {run.message}")
        if run.state != Run.State.FINISHED:
            raise CommandError(f"Run {run.number} {run.state}.")
