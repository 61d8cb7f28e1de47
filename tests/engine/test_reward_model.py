"""A reward model: its loss is the paper's, its margin comes from strength, and what is published scores the same."""

import math
from pathlib import Path
from typing import Any

import pytest

from tests.engine.kit import FAST, Row, logged, pairs, train_here
from training.engine import rundir
from training.engine.chat import Chat
from training.engine.job import Job
from training.engine.models import Device
from training.engine.reward_model import load_reward_model
from training.engine.spec import ModelRef, TrainSpec

SETTINGS: dict[str, Any] = FAST | {"batch_size": 8, "epochs": 3, "warmup_ratio": 0.0, "learning_rate": 5e-3}


def graded(n: int, seed: int = 0) -> list[Row]:
    """Pairs of which every third was judged without a strength."""
    return [row | {"strength": (None, 1, 3)[number % 3]} for number, row in enumerate(pairs(n, seed))]


def held_out(n: int) -> list[Row]:
    return [row | {"kind": "pair", "id": f"j{row['id']}"} for row in pairs(n, seed=7)]


def plain_reward(model: Any, ids: list[int]) -> float:
    """The head's output at the last token, one sequence at a time: no padding, nothing of the engine."""
    import torch

    with torch.no_grad():
        hidden = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
        return float(model.score(hidden))


def both(model: Any, chat: Chat, row: Row) -> tuple[float, float]:
    prompt, (chosen, rejected) = chat.split(row["messages"], [row["chosen"], row["rejected"]])
    return plain_reward(model, prompt + chosen), plain_reward(model, prompt + rejected)


@pytest.fixture(scope="module")
def trained(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Job]:
    """A run directory and its job. Read only."""
    path = tmp_path_factory.mktemp("reward") / "run"
    path.mkdir()
    rundir.write_rows(path / rundir.HELDOUT, held_out(20))
    spec = TrainSpec(method="reward", model=str(starter), look_every=4, **SETTINGS)
    return path, train_here(path, spec, graded(24))


def test_its_first_loss_is_bradley_terrys_with_llama_2s_margin(starter: Path, tmp_path: Path) -> None:
    """-log sigma(r(chosen) - r(rejected) - m), with m = margin * strength / 3 (2307.09288, equation 2)."""
    from transformers import AutoTokenizer, set_seed

    rows = graded(8)
    spec = TrainSpec(method="reward", model=str(starter), margin=2.0, **(SETTINGS | {"epochs": 1}))
    train_here(tmp_path / "run", spec, rows)
    set_seed(spec.seed)
    model = load_reward_model(ModelRef(str(starter)), Device("cpu", bf16=False))
    chat = Chat(AutoTokenizer.from_pretrained(starter))
    losses = []
    for row in rows:
        chosen, rejected = both(model, chat, row)
        lead = chosen - rejected - 2.0 * (row["strength"] or 0) / 3
        losses.append(math.log1p(math.exp(-lead)))
    assert logged(tmp_path / "run")[0]["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)


def test_what_is_published_gives_the_numbers_that_the_run_reports(starter: Path, trained: tuple[Path, Job]) -> None:
    from transformers import AutoTokenizer

    path, job = trained
    assert {"loss", "rewards/accuracies", "rewards/margins", "grad_norm"} <= set(logged(path)[-1])
    rundir.verify_manifest(path / "adapter", job.manifest_sha256 or "")
    model = load_reward_model(ModelRef(str(starter), adapter=str(path / "adapter")), Device("cpu", bf16=False))
    chat = Chat(AutoTokenizer.from_pretrained(starter))
    lines = list(rundir.iter_rows(path / "pairs.jsonl"))
    wins = 0
    for row, line in zip(held_out(20), lines, strict=True):
        chosen, rejected = both(model, chat, row)
        assert (line["reward_chosen"], line["reward_rejected"]) == pytest.approx((chosen, rejected), abs=1e-4)
        wins += chosen > rejected
    metrics = job.metrics
    assert (metrics["heldout_n"], metrics["heldout_accuracy"]) == (20, wins / 20)
    assert metrics["heldout_low"] <= wins / 20 <= metrics["heldout_high"]
    assert metrics["graded"] == 16
    looks = [event["values"] for event in rundir.read_events(path) if event["kind"] == "look"]
    assert looks[-1]["heldout_accuracy"] == pytest.approx(metrics["heldout_accuracy"])
    assert "chosen_change" not in looks[0]


def test_the_same_rows_and_seed_give_the_same_bytes(starter: Path, trained: tuple[Path, Job], tmp_path: Path) -> None:
    # Without looks: they change nothing.
    job = train_here(tmp_path / "run", TrainSpec(method="reward", model=str(starter), **SETTINGS), graded(24))
    weights = "adapter/adapter_model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (trained[0] / weights).read_bytes()
    assert job.metrics["heldout_n"] == 0


def test_a_pair_that_does_not_fit_is_left_out_because_its_end_is_what_is_scored(starter: Path, tmp_path: Path) -> None:
    rows = graded(12)
    rows[0]["chosen"] += " And so on." * 80
    rows[1]["strength"] = 4
    job = train_here(tmp_path / "run", TrainSpec(method="reward", model=str(starter), **SETTINGS), rows)
    assert {row["id"]: row["reason"] for row in job.skipped} == {
        0: "prompt and answer too long",
        1: "strength is not a number from 0 to 3",
    }
    assert len(job.used) == 10
