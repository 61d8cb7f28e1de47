"""Rows, runs and plain recomputations that the engine tests share."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.engine import rundir
from training.engine.domain import make_corpus
from training.engine.job import Job
from training.engine.sample import sample
from training.engine.score import score
from training.engine.spec import SampleSpec, ScoreSpec, TrainSpec
from training.engine.train import train

Row = dict[str, Any]
FAST: dict[str, Any] = {
    "learning_rate": 1e-3,
    "batch_size": 4,
    "gradient_accumulation": 1,
    "max_length": 160,
    "gradient_checkpointing": False,
    "lora_r": 4,
    "lora_alpha": 8,
    "device": "cpu",
}


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def pairs(n: int, seed: int = 0) -> list[Row]:
    """`n` preference rows of the starter's domain; the longer reply is preferred."""
    rows: list[Row] = []
    for first, second in zip(make_corpus(4 * n, seed), make_corpus(4 * n, seed + 100), strict=True):
        short, long = sorted((first.reply, second.reply), key=len)
        if len(rows) < n and len(short) + 5 < len(long):
            rows.append({"id": len(rows), "messages": messages(first.message), "chosen": long, "rejected": short})
    assert len(rows) == n
    return rows


def thumbs(n: int, up: int, seed: int = 0) -> list[Row]:
    """`n` rated answers, the first `up` of them with thumbs up."""
    return [
        {"id": f"r{i}", "messages": messages(example.message), "completion": example.reply, "label": i < up}
        for i, example in enumerate(make_corpus(n, seed))
    ]


def train_here(path: Path, spec: TrainSpec, rows: Sequence[Mapping[str, Any]]) -> Job:
    """Trains in this process: starting one costs more than the training."""
    path.mkdir(exist_ok=True)
    job = Job(path)
    train(job, spec, rows)
    return job


def sample_here(path: Path, spec: SampleSpec, rows: Sequence[Mapping[str, Any]]) -> tuple[Job, list[Row]]:
    path.mkdir()
    job = Job(path)
    sample(job, spec, rows)
    return job, list(rundir.iter_rows(path / "responses.jsonl"))


def score_here(path: Path, spec: ScoreSpec, rows: Sequence[Mapping[str, Any]]) -> Job:
    path.mkdir()
    job = Job(path)
    score(job, spec, rows)
    return job


def logged(path: Path) -> list[dict[str, float]]:
    """The values of each step's `metric` event."""
    return [event["values"] for event in rundir.read_events(path) if event["kind"] == "metric"]


def start(command: str, path: Path) -> subprocess.Popen[str]:
    """The engine as the launcher starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "training.engine", command, str(path)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def plain_logp(model: Any, prompt: list[int], answer: list[int]) -> float:
    """log p(answer | prompt), token by token, one sequence at a time: nothing of the engine in it."""
    import torch

    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        logps = torch.log_softmax(model(input_ids=ids).logits[0].double(), dim=-1)
    return float(sum(logps[place - 1, ids[0, place]] for place in range(len(prompt), len(prompt) + len(answer))))
