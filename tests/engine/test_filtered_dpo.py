"""Filtered DPO: which pairs are dropped, that the steps stay those of all pairs, and what a resumed run trains on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engine.kit import FAST, Row, pairs, train_here
from training.engine import rundir
from training.engine.chat import Chat
from training.engine.filtering import FILTER, NO_BETTER, is_better
from training.engine.job import Failure, Job
from training.engine.models import Device
from training.engine.reward_model import load_reward_model, rewards
from training.engine.spec import ModelRef, TrainSpec

SETTINGS: dict[str, Any] = FAST | {"batch_size": 2, "epochs": 3, "min_rows": 2, "save_every": 2, "seed": 5}
STEPS, BAD = 15, {1, 3, 5, 7, 9}


# Which of these a small reward model likes least depends on what it happened to learn.
GIBBERISH = ("zq zq zq xx zq vv qq", "zq", "No.", "? ? ?", "xx zq " * 12)


@pytest.fixture(scope="module")
def poisoned(starter: Path, reward_model: ModelRef) -> list[Row]:
    """Ten pairs. Every other chosen answer is the one that the reward model likes least."""
    from transformers import AutoTokenizer

    chat, model = Chat(AutoTokenizer.from_pretrained(starter)), load_reward_model(reward_model, Device("cpu", False))
    rows = pairs(10)
    for row in rows:
        if row["id"] in BAD:
            prompt, answers = chat.split(row["messages"], GIBBERISH)
            turns = [(prompt, answer) for answer in answers]
            values = rewards(model, turns, pad_token_id=int(chat.tokenizer.pad_token_id), batch_size=1)
            row["chosen"] = GIBBERISH[values.index(min(values))]
    return rows


def spec_of(starter: Path, reward_model: ModelRef | None, **more: Any) -> TrainSpec:
    own = {} if more.get("method") == "dpo" else {"reward_model": reward_model, "max_new_tokens": 48}
    return TrainSpec(**({"method": "fdpo", "model": str(starter)} | SETTINGS | own | more))


@pytest.fixture(scope="module")
def filtered(
    starter: Path, reward_model: ModelRef, poisoned: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Job]:
    path = tmp_path_factory.mktemp("fdpo") / "run"
    return path, train_here(path, spec_of(starter, reward_model, save_total_limit=9), poisoned)


@pytest.mark.parametrize(
    ("chosen", "own", "kept"), [(1.0, 0.5, True), (0.5, 0.5, False), (0, 1, False), (-9, None, True)]
)
def test_a_pair_stays_only_where_the_chosen_answer_beats_the_policys_own(
    chosen: float, own: float | None, kept: bool
) -> None:
    assert is_better(chosen, own) is kept


def test_poisoned_pairs_are_dropped_and_accounted_for(
    filtered: tuple[Path, Job], starter: Path, reward_model: ModelRef, poisoned: list[Row]
) -> None:
    from transformers import AutoTokenizer

    path, job = filtered
    decided = json.loads((path / FILTER).read_text())["pairs"]
    dropped = [pair["id"] for pair in decided if pair["reward_own"] >= pair["reward_chosen"]]
    assert BAD & set(dropped)
    assert job.skipped == [{"id": row, "reason": NO_BETTER} for row in dropped]
    assert job.used == [row for row in range(10) if row not in dropped]
    assert (job.metrics["dropped"], job.metrics["compared"]) == (len(dropped), 10)
    assert job.metrics["dropped_low"] <= len(dropped) / 10 <= job.metrics["dropped_high"]
    assert job.metrics["rows"] == 10 - len(dropped)
    # Both numbers are those of finished turns, by plain code.
    chat, model = Chat(AutoTokenizer.from_pretrained(starter)), load_reward_model(reward_model, Device("cpu", False))
    for row, pair in zip(poisoned, decided, strict=True):
        prompt, answers = chat.split(row["messages"], [row["chosen"], pair["own"]])
        turns = [(prompt, answer) for answer in answers]
        values = rewards(model, turns, pad_token_id=int(chat.tokenizer.pad_token_id), batch_size=1)
        assert values == pytest.approx([pair["reward_chosen"], pair["reward_own"]], abs=1e-4)


def test_its_steps_and_its_reference_are_those_of_dpo_on_all_pairs(
    filtered: tuple[Path, Job], starter: Path, poisoned: list[Row], tmp_path: Path
) -> None:
    whole = train_here(tmp_path / "dpo", spec_of(starter, None, method="dpo"), poisoned)
    _, job = filtered
    assert job.metrics["steps"] == whole.metrics["steps"] == STEPS
    assert job.about["reference"]["model"] == whole.about["reference"]["model"] == "base"


@pytest.mark.parametrize("decided", [True, False])
def test_resumed_in_the_middle_it_comes_to_the_bytes_of_a_run_that_was_left_alone(
    filtered: tuple[Path, Job],
    starter: Path,
    reward_model: ModelRef,
    poisoned: list[Row],
    tmp_path: Path,
    decided: bool,
) -> None:
    """Where the earlier attempt's decision is found it is taken; where it is lost it is made again, and is the same."""
    path, job = filtered
    earlier = tmp_path / "earlier" / "checkpoints"
    shutil.copytree(path / "checkpoints" / "checkpoint-6", earlier / "checkpoint-6")
    if decided:
        shutil.copy(path / FILTER, earlier.parent)
    spec = spec_of(starter, reward_model, resume_from=(str(earlier),))
    resumed = train_here(tmp_path / "resumed", spec, poisoned)
    assert resumed.about["resumed_from_step"] == 6
    phases = [event["name"] for event in rundir.read_events(tmp_path / "resumed") if event["kind"] == "phase"]
    assert phases.count("filter") == (1 if decided else 2)  # what came of it; and before that, asking the models
    assert (tmp_path / "resumed" / FILTER).read_bytes() == (path / FILTER).read_bytes()
    assert resumed.manifest_sha256 == job.manifest_sha256
    assert (resumed.used, resumed.skipped) == (job.used, job.skipped)


def test_it_refuses_to_train_on_too_few_and_says_what_to_do(
    starter: Path, reward_model: ModelRef, poisoned: list[Row], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(Failure, match="Train DPO on all of them") as failed:
        train_here(tmp_path / "run", spec_of(starter, reward_model, min_rows=10), poisoned)
    assert failed.value.code == "too_few_kept"
    with pytest.raises(Failure, match="Train one first"):
        train_here(tmp_path / "none", spec_of(starter, None), poisoned)
