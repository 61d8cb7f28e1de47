"""``manage.py simulate``: simulated annotators drive the running site over HTTP (docs/simulate.md)."""

import logging
import time
from argparse import ArgumentParser
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from training.engine.methods import METHODS
from training.simulation.accounts import AccountsError
from training.simulation.annotator import Temperament
from training.simulation.client import SiteError
from training.simulation.measure import MeasureError
from training.simulation.study import Plan, project_to_simulate, simulate

# What makes a policy of judgments alone.
_BY_THEMSELVES = sorted(name for name, own in METHODS.items() if not (own.makes_reward_model or own.needs_reward_model))


class Command(BaseCommand):
    help = (
        "Simulated annotators with a hidden reward judge on the running site over HTTP and start rounds; shows whether "
        "the model gets better on prompts that nobody judged. For projects on the starter's domain."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        temper = Temperament()
        parser.add_argument("--url", default="http://127.0.0.1:8000", help="Where the site runs.")
        parser.add_argument("--project", type=int, help="Project number; unless given, the oldest on the starter.")
        parser.add_argument("--annotators", type=int, default=8, help="How many judge at the same time.")
        parser.add_argument("--judgments-per-round", type=int, default=100)
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument("--method", choices=_BY_THEMSELVES, default="dpo")
        parser.add_argument("--temperature", type=float, default=temper.temperature, help="Noise of the judgments.")
        parser.add_argument("--tie", type=float, default=temper.tie, help="Felt differences below it are ties.")
        parser.add_argument("--left-bias", type=float, default=temper.left_bias, help="Added to the left reward.")
        parser.add_argument("--flips", type=float, default=temper.flips, help="Share of choices mixed up, 0 to 0.5.")
        parser.add_argument("--prompts", type=int, default=300, help="Fresh prompts that measure each policy.")
        parser.add_argument("--answers", type=int, default=2, help="Answers to each fresh prompt.")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--patience", type=float, default=300, help="Seconds to wait for the queue or a run.")
        parser.add_argument("--output", type=Path, help="Folder for numbers and plot; var/simulate unless given.")

    def handle(
        self,
        *,
        url: str,
        project: int | None,
        temperature: float,
        tie: float,
        left_bias: float,
        flips: float,
        output: Path | None,
        annotators: int,
        judgments_per_round: int,
        rounds: int,
        method: str,
        prompts: int,
        answers: int,
        seed: int,
        patience: float,
        **options: object,
    ) -> None:
        # A line per request would bury the table.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        began = time.monotonic()
        try:
            plan = Plan(
                url=url,
                annotators=annotators,
                judgments_per_round=judgments_per_round,
                rounds=rounds,
                method=method,
                temperament=Temperament(temperature=temperature, tie=tie, left_bias=left_bias, flips=flips),
                prompts=prompts,
                answers=answers,
                seed=seed,
                patience=patience,
                output=(output or Path(settings.HOME) / "simulate").resolve(),
            )
            risen, sentence = simulate(plan, project_to_simulate(project), self._say)
        except (ValueError, SiteError, AccountsError, MeasureError) as error:
            raise CommandError(str(error)) from error
        self._say(f"Numbers and plot: {plan.output / 'simulate.json'}, {plan.output / 'simulate.png'}")
        style = self.style.SUCCESS if risen else self.style.WARNING
        self._say(style(f"{sentence}; {plan.rounds} rounds in {time.monotonic() - began:.0f} s"))

    def _say(self, message: str) -> None:
        self.stdout.write(message)
        self.stdout.flush()
