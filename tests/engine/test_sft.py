"""SFT: only the answer is learned, the result is a whole model, and it is the base of what follows."""

import math
from pathlib import Path
from typing import Any

import pytest

from tests.engine.kit import FAST, Row, logged, messages, pairs, plain_logp, score_here, train_here
from training.engine import rundir
from training.engine.chat import Chat
from training.engine.job import Job
from training.engine.spec import ModelRef, ScoreSpec, TrainSpec


def load(folder: Path) -> tuple[Any, Chat]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder).eval(), Chat(AutoTokenizer.from_pretrained(folder))


def demonstrations(n: int, seed: int = 0) -> list[Row]:
    return [{"id": f"a{row['id']}", "messages": row["messages"], "completion": row["chosen"]} for row in pairs(n, seed)]


def likelihood(model: Any, chat: Chat, rows: list[Row]) -> float:
    """Mean of -log p over all answer tokens, by plain torch."""
    total, tokens = 0.0, 0
    for row in rows:
        prompt, [answer] = chat.split(row["messages"], [row["completion"]])
        total -= plain_logp(model, prompt, answer)
        tokens += len(answer)
    return total / tokens


def sft(model: Path | str, **values: Any) -> TrainSpec:
    common = FAST | {"batch_size": 8, "epochs": 4, "warmup_ratio": 0.0, "learning_rate": 2e-2}
    return TrainSpec(method="sft", model=str(model), **(common | values))


@pytest.fixture(scope="module")
def tuned(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Job]:
    """A run directory and its job: SFT on eight answers, all in one batch. Read only."""
    path = tmp_path_factory.mktemp("sft") / "run"
    return path, train_here(path, sft(starter), demonstrations(8))


def test_its_loss_is_the_mean_over_the_answers_tokens_and_falls(starter: Path, tuned: tuple[Path, Job]) -> None:
    path, job = tuned
    steps = logged(path)
    base, chat = load(starter)
    assert steps[0]["loss"] == pytest.approx(likelihood(base, chat, demonstrations(8)), abs=1e-4)
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.1
    assert "reference" not in job.about
    assert job.used == [f"a{number}" for number in range(8)]


def test_the_result_is_a_whole_model_that_plain_transformers_opens(tuned: tuple[Path, Job]) -> None:
    path, job = tuned
    assert not (path / "adapter").exists()
    manifest = rundir.verify_manifest(path / "model", job.manifest_sha256 or "")
    assert manifest["about"]["method"] == "sft"
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(manifest["files"])
    model, chat = load(path / "model")
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert likelihood(model, chat, demonstrations(8)) < logged(path)[0]["loss"] - 0.1


def test_dpo_on_top_of_it_is_held_close_to_it(tuned: tuple[Path, Job], tmp_path: Path) -> None:
    path, _ = tuned
    spec = TrainSpec(method="dpo", model=str(path / "model"), **FAST)
    job = train_here(tmp_path / "run", spec, pairs(8, seed=2))
    assert job.about["reference"]["model"] == "base"
    assert logged(tmp_path / "run")[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    # SFT again takes in what DPO learned, and makes one model of both.
    again = sft(path / "model", start_adapter=str(tmp_path / "run" / "adapter"), epochs=1)
    train_here(tmp_path / "again", again, demonstrations(8, seed=1))
    from training.engine.models import add_adapter

    base, chat = load(path / "model")
    both = add_adapter(base, str(tmp_path / "run" / "adapter"), trainable=False)
    expected = likelihood(both, chat, demonstrations(8, seed=1))
    assert logged(tmp_path / "again")[0]["loss"] == pytest.approx(expected, abs=1e-4)


def test_it_is_measured_against_the_model_that_it_began_from(
    starter: Path, tuned: tuple[Path, Job], tmp_path: Path
) -> None:
    path, _ = tuned
    rows: list[Row] = [row | {"kind": "pair", "id": f"j{row['id']}"} for row in pairs(3, seed=3)]
    rows.append({"kind": "prompt", "id": "p1", "messages": messages("Where is my lamp?")})
    spec = ScoreSpec(policy=ModelRef(str(path / "model")), base=str(starter), max_new_tokens=8, device="cpu")
    job = score_here(tmp_path / "score", spec, rows)
    tuned_model, chat = load(path / "model")
    base, _ = load(starter)
    for row, line in zip(rows, rundir.iter_rows(tmp_path / "score" / "pairs.jsonl"), strict=False):
        prompt, [chosen, _] = chat.split(row["messages"], [row["chosen"], row["rejected"]])
        assert line["logps"]["policy_chosen"] == pytest.approx(plain_logp(tuned_model, prompt, chosen), abs=1e-3)
        assert line["logps"]["base_chosen"] == pytest.approx(plain_logp(base, prompt, chosen), abs=1e-3)
    assert job.metrics["heldout_accuracy"] is not None
    assert job.metrics["kl_per_response"] != 0  # an estimate from one answer, which may lie below 0
