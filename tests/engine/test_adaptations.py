"""LoRA, DoRA, QLoRA and full fine-tuning: what is trained, what comes of it, and what it is held close to."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.engine.kit import FAST, logged, messages, pairs, plain_logp, sample_here, score_here, train_here
from training.engine import rundir
from training.engine.chat import Chat
from training.engine.job import Failure
from training.engine.spec import ModelRef, SampleSpec, ScoreSpec, TrainSpec

ALL_IN_ONE = FAST | {"batch_size": 8, "epochs": 2, "warmup_ratio": 0.0}


def load(folder: Path) -> tuple[Any, Chat]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder).eval(), Chat(AutoTokenizer.from_pretrained(folder))


def dpo_loss(policy: Any, reference: Any, chat: Chat) -> float:
    """Mean of DPO's loss on the eight rows, by plain torch."""
    losses = []
    for row in pairs(8):
        prompt, answers = chat.split(row["messages"], [row["chosen"], row["rejected"]])
        chosen, rejected = (plain_logp(policy, prompt, ids) - plain_logp(reference, prompt, ids) for ids in answers)
        losses.append(math.log1p(math.exp(-0.1 * (chosen - rejected))))
    return sum(losses) / len(losses)


@pytest.fixture(scope="module")
def full(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory: two steps of full fine-tuning with DPO. Read only."""
    path = tmp_path_factory.mktemp("full") / "run"
    job = train_here(path, TrainSpec(method="dpo", model=str(starter), adaptation="full", **ALL_IN_ONE), pairs(8))
    assert job.about["reference"]["model"] == "base"
    assert (job.about["device"], job.about["bf16"]) == ("cpu", False)
    return path


def test_full_fine_tuning_makes_a_whole_model_and_trains_every_weight(starter: Path, full: Path) -> None:
    assert logged(full)[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert logged(full)[1]["loss"] < math.log(2) - 0.01
    assert not (full / "adapter").exists()
    assert rundir.verify_manifest(full / "model")["about"]["adaptation"] == "full"
    (before, _), (after, _) = load(starter), load(full / "model")
    trained = dict(after.named_parameters())
    assert all(not weight.equal(trained[name]) for name, weight in before.named_parameters())


@pytest.mark.parametrize("adaptation", ["full", "lora"])
def test_the_round_after_it_is_still_held_close_to_the_base(
    starter: Path, full: Path, tmp_path: Path, adaptation: str
) -> None:
    spec = TrainSpec(
        method="dpo", model=str(full / "model"), reference_model=str(starter), adaptation=adaptation, **ALL_IN_ONE
    )
    train_here(tmp_path / "run", spec, pairs(8))
    (policy, chat), (base, _) = load(full / "model"), load(starter)
    expected = dpo_loss(policy, base, chat)
    assert abs(expected - math.log(2)) > 0.01
    assert logged(tmp_path / "run")[0]["loss"] == pytest.approx(expected, abs=1e-4)


def test_it_is_measured_against_the_base_and_shown_beside_the_policy_before_it(
    starter: Path, full: Path, tmp_path: Path
) -> None:
    spec = ScoreSpec(policy=ModelRef(str(full / "model")), base=str(starter), max_new_tokens=6, device="cpu")
    rows = [{"kind": "prompt", "id": f"p{number}", "messages": messages("Where is my lamp?")} for number in range(3)]
    job = score_here(tmp_path / "same", spec, rows)
    assert job.metrics["kl_per_response"] is not None
    samples = list(rundir.iter_rows(tmp_path / "same" / "samples.jsonl"))
    texts = {name: [row["text"] for row in samples if row["set"] == name] for name in ("policy", "previous")}
    assert texts["policy"] == texts["previous"]  # of the policy's own model, as no other was named
    score_here(tmp_path / "other", ScoreSpec(**(vars(spec) | {"previous_model": str(starter)})), rows)
    samples = list(rundir.iter_rows(tmp_path / "other" / "samples.jsonl"))
    how = {"n": 1, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 6, "device": "cpu"}
    _, alone = sample_here(tmp_path / "alone", SampleSpec(model=ModelRef(str(starter)), seed=spec.seed, **how), rows)
    assert [row["text"] for row in samples if row["set"] == "previous"] == [row["text"] for row in alone]


def test_dora_stays_dora(starter: Path, tmp_path: Path) -> None:
    spec = TrainSpec(method="dpo", model=str(starter), adaptation="dora", **ALL_IN_ONE)
    train_here(tmp_path / "first", spec, pairs(8))
    adapter = tmp_path / "first" / "adapter"
    assert json.loads((adapter / "adapter_config.json").read_text())["use_dora"] is True
    again = TrainSpec(method="dpo", model=str(starter), start_adapter=str(adapter), **ALL_IN_ONE)
    with pytest.raises(Failure, match="is a DoRA adapter and stays one"):
        train_here(tmp_path / "lora", again, pairs(8))


def test_full_fine_tuning_takes_in_the_adapter_that_it_continues(starter: Path, tmp_path: Path) -> None:
    train_here(tmp_path / "first", TrainSpec(method="dpo", model=str(starter), **ALL_IN_ONE), pairs(8))
    adapter = str(tmp_path / "first" / "adapter")
    spec = TrainSpec(
        method="dpo", model=str(starter), start_adapter=adapter, reference="previous", adaptation="full", **ALL_IN_ONE
    )
    train_here(tmp_path / "full", spec, pairs(8))
    steps = logged(tmp_path / "full")
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)  # held close to what it begins from
    assert steps[1]["loss"] < steps[0]["loss"] - 0.01


def test_qlora_without_a_gpu_is_refused_in_words(starter: Path, tmp_path: Path) -> None:
    spec = TrainSpec(method="dpo", model=str(starter), adaptation="qlora", **ALL_IN_ONE)
    with pytest.raises(Failure, match=r"needs a GPU, and the worker has none\. Choose LoRA") as caught:
        train_here(tmp_path / "run", spec, pairs(8))
    assert caught.value.code == "no_quantization"


def test_accumulation_and_gradient_checkpointing_change_memory_and_not_what_is_learned(
    starter: Path, tmp_path: Path
) -> None:
    losses = []
    for number, values in enumerate(
        (
            {"batch_size": 8},
            {"batch_size": 2, "gradient_accumulation": 4},
            {"batch_size": 8, "gradient_checkpointing": True},
        )
    ):
        spec = TrainSpec(method="dpo", model=str(starter), **(ALL_IN_ONE | values))
        path = tmp_path / str(number)
        train_here(path, spec, pairs(8))
        losses.append([step["loss"] for step in logged(path)])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert losses[2] == pytest.approx(losses[0], abs=1e-4)
