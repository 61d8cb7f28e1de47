"""How good a policy is by the hidden reward: fresh prompts, answers from the engine, one number a prompt."""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from training.engine import rundir
from training.engine.domain import true_reward, unseen_prompts
from training.engine.sample import RESPONSES
from training.engine.spec import SampleSpec


class MeasureError(Exception):
    """The engine could not sample; the message carries its reason."""


@dataclass(frozen=True)
class Answers:
    """What a policy said to the fresh prompts: the mean reward of each, in order, and the mean length in tokens."""

    rewards: list[float]
    tokens: float


def fresh_prompts(n: int, *, seed: int, known: Collection[str]) -> list[str]:
    """`n` customer messages not among the `known` texts of a project. Raises ValueError if too few exist."""
    for wanted in (n, 2 * n, 4 * n):
        fresh = [message for message in unseen_prompts(wanted, seed) if message not in known]
        if len(fresh) >= n:
            return fresh[:n]
    raise ValueError(
        f"the project already holds nearly all messages of the domain; ask for fewer than {n} fresh prompts"
    )


def answers_of(spec: SampleSpec, prompts: list[str], folder: Path) -> Answers:
    """Samples with the engine in a process of its own, in the run directory `folder`, and rewards what it said."""
    rundir.write_run_dir(
        folder,
        spec,
        ({"id": number, "messages": [{"role": "user", "content": text}]} for number, text in enumerate(prompts)),
    )
    with (folder / "engine.log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, "-m", "training.engine", "sample", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        result = rundir.read_result(folder) or {}
        why = result.get("message") or f"the engine ended with {done.returncode}; see {folder / 'engine.log'}"
        raise MeasureError(f"The policy could not be sampled: {why}")
    rewards: dict[int, list[float]] = defaultdict(list)
    tokens: list[int] = []
    for row in rundir.iter_rows(folder / RESPONSES):
        rewards[row["id"]].append(true_reward(prompts[row["id"]], row["text"]))
        tokens.append(row["tokens"])
    if len(rewards) != len(prompts):
        raise MeasureError(f"Only {len(rewards)} of {len(prompts)} fresh prompts were answered; see {folder}")
    means = [sum(found) / len(found) for _, found in sorted(rewards.items())]
    return Answers(means, sum(tokens) / len(tokens))
