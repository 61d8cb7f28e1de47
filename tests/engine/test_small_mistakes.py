"""Settings that would train nothing, or not what was meant, and say so."""

from pathlib import Path

import pytest

from tests.engine.kit import FAST, logged, pairs, train_here
from training.engine import rundir
from training.engine.job import Failure
from training.engine.models import ADAPTER_WEIGHTS
from training.engine.spec import TrainSpec


def test_the_only_step_of_a_run_learns_something(starter: Path, tmp_path: Path) -> None:
    """Its warm-up would begin, and end, with a learning rate of 0."""
    from safetensors.torch import load_file

    spec = TrainSpec(method="dpo", model=str(starter), **(FAST | {"gradient_accumulation": 4, "epochs": 1}))
    assert spec.warmup_ratio > 0
    train_here(tmp_path / "run", spec, pairs(8))
    assert [step["learning_rate"] for step in logged(tmp_path / "run")] == [spec.learning_rate]
    weights = load_file(tmp_path / "run" / "adapter" / ADAPTER_WEIGHTS)
    assert all(bool(weight.any()) for name, weight in weights.items() if "lora_B" in name)
    said = [event["message"] for event in rundir.read_events(tmp_path / "run") if event["kind"] == "warning"]
    assert said == ["There is only one step, so there is no warm-up: the learning rate would be 0 in it."]


def test_two_steps_keep_their_warm_up(starter: Path, tmp_path: Path) -> None:
    spec = TrainSpec(method="dpo", model=str(starter), **(FAST | {"epochs": 1}))
    train_here(tmp_path / "run", spec, pairs(8))
    assert [step["learning_rate"] for step in logged(tmp_path / "run")] == [0, spec.learning_rate]


@pytest.mark.parametrize("modules", ["q_porj", "q_proj, v_porj"])
def test_modules_that_the_model_lacks_are_refused_by_name(starter: Path, tmp_path: Path, modules: str) -> None:
    spec = TrainSpec(method="dpo", model=str(starter), **(FAST | {"target_modules": modules}))
    with pytest.raises(Failure, match=r"no modules called ._porj\. Choose among .*q_proj.*, or all-linear") as refused:
        train_here(tmp_path / "run", spec, pairs(8))
    assert refused.value.code == "no_such_modules"
