"""``manage.py run PROJECT {list,show,log,stop,cancel,resume,score,again} [RUN]``: what the pages do, from a shell."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.models import User
from annotate.said import Said
from annotate.shell import project_of
from training.advice import advice
from training.engine.checks import SpecError
from training.models import Loop, Run
from training.queries.logs import log_tail
from training.queries.runs import runs_of, stopped_early
from training.services.defaults import KNOBS, settings_of, with_changes
from training.services.resuming import resume_run, score_again
from training.services.runs import CannotStartError, cancel_run, spec_problems, start_run, stop_run
from training.shell import actor_of, knob

ACTIONS = ("list", "show", "log", "stop", "cancel", "resume", "score", "again")


class Command(BaseCommand):
    help = (
        "Runs of a project: list them, show one (its message and what to do next), the end of its engine's log, stop "
        "it and keep what it has learnt, cancel it, resume it, have its policy scored again, start one like it with "
        "changes (docs/runs.md)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project_id", type=int)
        parser.add_argument("action", choices=ACTIONS)
        parser.add_argument("number", type=int, nargs="?", help="The run; the newest without it.")
        parser.add_argument("--as", dest="username", help="Who does it, for the audit log; else the project's creator.")
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            dest="changes",
            help=f"again: a setting, as JSON or plain text; often. Names: {', '.join(KNOBS)}.",
        )
        parser.add_argument(
            "--today",
            action="store_true",
            help="again: train on today's judgments from the policy that is sampled from, not on the run's own rows.",
        )
        parser.add_argument("--json", action="store_true", dest="as_json", help="list, show: for programs.")

    def handle(self, *, project_id: int, action: str, number: int | None, **options: Any) -> None:
        project = project_of(project_id)
        if action == "list":
            for run in runs_of(project)[:50]:
                print(json.dumps(_facts(run)) if options["as_json"] else _line(run))
            return
        found = runs_of(project).filter(**({} if number is None else {"number": number})).first()
        if found is None:
            raise CommandError(f"Project {project_id} has no run {number}." if number else "There is no run yet.")
        if action == "log":
            print(log_tail(found).text)
            return
        if action == "again":
            actor = actor_of(project, options["username"])
            found = _again(found, actor, options["changes"], today=options["today"])
        elif action != "show":
            _steer(action, found, actor_of(project, options["username"]))
            found.refresh_from_db()
        print(json.dumps(_facts(found), indent=2) if options["as_json"] else _told(found))


def _again(model: Run, actor: User, changes: list[str], *, today: bool) -> Run:
    base, kept = model.project.loop.base_model, settings_of(model)
    settings = with_changes(method=model.method, base_model=base, kept=kept, changes=dict(map(knob, changes)))
    try:
        return start_run(
            loop=Loop.objects.select_related("project", "sampler").get(project=model.project),
            method=model.method,
            settings=settings,
            aggregation=model.snapshot.aggregation,
            like=None if today else model,
            started_by=actor,
            reason=Said("%(who)s pressed Start", who=str(actor)),
        )
    except SpecError as error:
        raise CommandError(str(spec_problems(error))) from error
    except CannotStartError as error:
        raise CommandError(str(error)) from error


def _steer(action: str, run: Run, actor: User) -> None:
    try:
        if action == "cancel":
            cancel_run(run=run, actor=actor)
        elif action == "stop" and not stop_run(run=run, actor=actor):
            raise CommandError(f"Run {run.number} is not in training, or its end was asked for before.")
        elif action == "resume":
            resume_run(run=run, actor=actor)
        elif action == "score":
            score_again(run=run, actor=actor)
    except CannotStartError as error:
        raise CommandError(str(error)) from error


def _line(run: Run) -> str:
    early = " (stopped early)" if stopped_early(run) else ""
    return f"run {run.number}  {run.state}{early}  {run.method}  step {run.step} of {run.total_steps}  {run.message}"


def _told(run: Run) -> str:
    lines = [_line(run), *(f"  {name}: {value}" for name, value in run.latest.items())]
    if early := stopped_early(run):
        lines.append(f"  {early}")
    lines += [f"  - {step}" for step in advice(run.code, run.spec).steps]
    return "\n".join(lines)


def _facts(run: Run) -> dict[str, Any]:
    kept = ("number", "state", "method", "step", "total_steps", "latest", "code", "message", "spec")
    return {name: getattr(run, name) for name in kept} | {"stopped_early": stopped_early(run) or None}
