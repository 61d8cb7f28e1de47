"""A whole simulation: accounts, rounds of judging and training on the running site, and a measurement after each."""

import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from annotate.models import Project, Prompt
from annotate.telling import told
from training.engine import rundir
from training.engine.domain import true_reward
from training.engine.spec import SampleSpec
from training.models import Loop, Policy
from training.services.sampling import model_ref
from training.simulation import report
from training.simulation.accounts import make_accounts
from training.simulation.annotator import Temperament
from training.simulation.client import SiteError, Visitor
from training.simulation.crew import Annotator, Worked, judge_together
from training.simulation.measure import Answers, answers_of, fresh_prompts
from training.simulation.rounds import current_policy, start_run, wait_for_answers, wait_until_scored

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What a simulation was asked to do."""

    url: str  # of the running site
    annotators: int  # who judge at the same time
    judgments_per_round: int
    rounds: int
    method: str  # "dpo" or "kto"
    temperament: Temperament  # of every annotator; each has dice of their own
    prompts: int  # fresh ones, on which each policy is measured
    answers: int  # to each fresh prompt
    seed: int
    patience: float  # seconds to wait for the queue, for a run, for answers
    output: Path  # folder for simulate.json and simulate.png

    def __post_init__(self) -> None:
        for name in ("annotators", "judgments_per_round", "rounds", "answers"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be 1 or more, not {getattr(self, name)}")
        if self.prompts < 2:
            raise ValueError("--prompts must be 2 or more: an interval needs them")


def project_to_simulate(number: int | None) -> Project:
    """The project of that number, or the oldest one on the starter: the demo. Raises SiteError when there is none."""
    if number is not None:
        project = Project.objects.filter(pk=number).first()
        if project is None:
            known = ", ".join(f"{each.pk} ({each.name})" for each in Project.objects.order_by("pk")[:10]) or "none"
            raise SiteError(f"There is no project {number}. Known projects: {known}.")
    else:
        project = Project.objects.filter(loop__base_model=str(settings.STARTER_DIR)).order_by("pk").first()
        if project is None:
            raise SiteError(
                "There is no project on the starter model. Run `make up` once, or choose one with --project."
            )
    if not Loop.objects.filter(project=project).exists():
        raise SiteError(f"Project {project.pk} has no base model yet. Save its loop settings first.")
    if not project.asks_pairs:
        raise SiteError(f"Project {project.pk} asks for thumbs only; simulated annotators judge pairs.")
    return project


def simulate(plan: Plan, project: Project, say: Say) -> tuple[bool, str]:
    """Runs the plan; writes `simulate.json` and `simulate.png` after each round. Returns the verdict.

    Raises SiteError, AccountsError or MeasureError, each with what to do next.
    """
    plan.output.mkdir(parents=True, exist_ok=True)
    texts = {
        message["content"]
        for messages in Prompt.objects.filter(project=project).values_list("messages", flat=True)
        for message in messages
    }
    prompts = fresh_prompts(plan.prompts, seed=plan.seed, known=texts)
    with ExitStack() as stack:
        crew, lead = _sign_in(plan, project, stack)
        say(f"{plan.annotators} simulated annotators (sim-1 ...) and a lead are signed in at {plan.url}")
        say(report.HEADER)
        began = time.monotonic()
        rows: list[report.Measured] = []
        works: list[Worked] = []
        base: Answers | None = None
        for number in range(plan.rounds + 1):
            if number > 0:
                wait_for_answers(project, patience=plan.patience)
                works.append(_judge(plan, project, crew))
                made = wait_until_scored(start_run(lead, project, plan.method), patience=plan.patience)
                if made.guard_failures:
                    say(f"policy {made.number} is not sampled from: {told(made.guard_failures)}")
            policy = current_policy(project)
            answers = _measure(plan, project, policy, prompts, number)
            base = base or answers
            row = report.Measured(
                round=number,
                policy=policy.number,
                judgments=sum(work.judgments for work in works),
                prompts=len(prompts),
                reward=report.interval(answers.rewards),
                gain=report.paired_gain(answers.rewards, base.rewards),
                kl=policy.metrics.get("kl_per_response"),
                tokens=answers.tokens,
                seconds=time.monotonic() - began,
            )
            began = time.monotonic()
            rows.append(row)
            say(report.line(row))
            _write(plan, project, rows, works)
    return report.verdict(rows)


def _sign_in(plan: Plan, project: Project, stack: ExitStack) -> tuple[list[Annotator], Visitor]:
    # Before any account is touched: is the site there at all?
    with Visitor(plan.url) as passer_by:
        passer_by.open("accounts/login/")
    accounts, lead_account = make_accounts(project=project, annotators=plan.annotators)
    crew = []
    for account in accounts:
        visitor = stack.enter_context(Visitor(plan.url))
        visitor.sign_in(account.username, account.password)
        rng = random.Random(f"{plan.seed} {account.username}")
        crew.append(Annotator(account.username, visitor, plan.temperament, rng))
    lead = stack.enter_context(Visitor(plan.url))
    lead.sign_in(lead_account.username, lead_account.password)
    return crew, lead


def _judge(plan: Plan, project: Project, crew: Sequence[Annotator]) -> Worked:
    return judge_together(
        crew,
        path=f"projects/{project.pk}/judge/",
        n=plan.judgments_per_round,
        reward=true_reward,
        patience=plan.patience,
    )


def _measure(plan: Plan, project: Project, policy: Policy, prompts: list[str], number: int) -> Answers:
    """Samples the policy as the project samples. The same seed each round: equal dice, another policy."""
    loop = Loop.objects.get(project=project)
    spec = SampleSpec(
        model=model_ref(policy),
        n=plan.answers,
        temperature=loop.temperature,
        top_p=loop.top_p,
        max_new_tokens=loop.max_new_tokens,
        seed=plan.seed,
    )
    folder = plan.output / f"{int(time.time() * 1000)}-round-{number}"
    return answers_of(spec, prompts, folder)


def _write(plan: Plan, project: Project, rows: Sequence[report.Measured], works: Sequence[Worked]) -> None:
    """The numbers and the plot so far, so that a simulation that is stopped leaves what it found."""
    risen, sentence = report.verdict(rows)
    content: dict[str, Any] = {
        "plan": asdict(plan) | {"output": plan.output.name, "project": project.pk},
        "rounds": [row.to_json() for row in rows],
        "judging": [
            {
                "choices": dict(work.choices),
                "by_annotator": dict(work.by_annotator),
                "seconds": round(work.seconds, 2),
            }
            for work in works
        ],
        "risen": risen,
        "verdict": sentence,
    }
    rundir.write_atomically(plan.output / "simulate.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    report.draw(
        rows,
        plan.output / "simulate.png",
        f"{plan.annotators} simulated annotators, {plan.judgments_per_round} judgments a round, "
        f"{plan.temperament.flips:.0%} flips, {plan.method.upper()}",
    )
