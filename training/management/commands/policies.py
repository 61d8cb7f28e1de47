"""``manage.py policies PROJECT_ID``: the registry as a table or as JSON lines, for scripts."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from annotate.said import unpacked
from annotate.shell import project_of
from training.engine.methods import foreign_knobs
from training.models import Loop, Run
from training.queries import registry


class Command(BaseCommand):
    help = (
        "List a project's policies: parent, run, what they learned from, metrics, guards (docs/reference/policies.md)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project_id", type=int)
        parser.add_argument("--json", action="store_true", help="One JSON object a line, with everything.")

    def handle(self, *, project_id: int, json: bool, **options: Any) -> None:
        project = project_of(project_id)
        loop = Loop.objects.filter(project=project).first()
        policies = list(registry.policies_of(project))
        learned = registry.learned_by(policies)
        for policy in policies:
            taught = learned.get(policy.pk)
            row = {
                "policy": policy.number,
                "parent": policy.parent.number if policy.parent else None,
                "run": policy.run.number if policy.run else None,
                "method": policy.run.method if policy.run else None,
                "settings": _settings(policy.run),
                "used": taught.used if taught else 0,
                "frozen": taught.frozen if taught else 0,
                "snapshot_sha256": policy.run.snapshot.sha256 if policy.run else None,
                "metrics": policy.metrics,
                "guard_failures": [str(unpacked(failure)) for failure in policy.guard_failures],
                "sampler": loop is not None and loop.sampler_id == policy.pk,
                "champion": loop is not None and loop.champion_id == policy.pk,
                "manifest_sha256": policy.manifest_sha256,
                "created_at": policy.created_at.isoformat(),
            }
            self.stdout.write(_line(row) if json else _words(row, registry.in_short(policy.run)))


def _settings(run: Run | None) -> dict[str, Any]:
    foreign = foreign_knobs(run.method) if run else ()
    return {name: value for name, value in run.spec.items() if name not in foreign} if run else {}


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


def _words(row: dict[str, Any], settings: str) -> str:
    metrics = row["metrics"]
    accuracy = metrics.get("heldout_accuracy")
    held_out = "held-out –"
    if accuracy is not None:
        interval = f"[{metrics['heldout_low']:.2f}, {metrics['heldout_high']:.2f}]"
        held_out = f"held-out {accuracy:.2f} {interval} n {metrics['heldout_n']}"
    marks = [name for name in ("sampler", "champion") if row[name]]
    marks += ["held back"] if row["guard_failures"] else []
    origin = "base" if row["run"] is None else f"from {row['parent']} by run {row['run']} ({row['method']}; {settings})"
    used = f"{row['used']} of {row['frozen']} decisions"
    return "  ".join([f"{row['policy']:>4}", origin, used, held_out, *marks])
