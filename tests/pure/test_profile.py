"""What a machine and a model ask of a run's settings: a table, and what may never be."""

from dataclasses import replace
from typing import Any

import pytest

from training.engine.machine import Gpu, Machine
from training.engine.methods import METHODS
from training.engine.methods.base import Method
from training.engine.profile import CHOSEN, GIB, choose, judge, memory_of
from training.engine.sizes import ModelFacts
from training.engine.spec import TrainSpec

# tests/engine/test_sizes.py counts the same models from their configs.
MODELS = {
    "0.5B": ModelFacts(494_032_768, 357_826_560, 549_888, 896, 24, 151_936, 32_768),
    "1.5B": ModelFacts(1_543_714_304, 1_310_195_712, 1_154_048, 1536, 28, 151_936, 32_768),
    "8B": ModelFacts(8_030_261_248, 6_979_321_856, 2_621_440, 4096, 32, 128_256, 131_072),
    "70B": ModelFacts(70_553_706_496, 68_451_041_280, 12_943_360, 8192, 80, 128_256, 131_072),
}
STARTER = ModelFacts(885_888, 753_664, 9_472, 128, 4, 1_024, 1_024)


def gpus(n: int, size: int, *, bf16: bool = True) -> tuple[Gpu, ...]:
    return (Gpu(f"GPU of {size} GiB", size * GIB, "8.0" if bf16 else "7.5", bf16),) * n


MACHINES = {
    "2 cores, 24 GiB": Machine("cpu", 2, 24 * GIB),
    "8 GiB without bf16": Machine("old", 8, 32 * GIB, gpus(1, 8, bf16=False), bitsandbytes=True),
    "24 GiB": Machine("one", 16, 64 * GIB, gpus(1, 24), bitsandbytes=True),
    "80 GiB": Machine("big", 32, 256 * GIB, gpus(1, 80), bitsandbytes=True),
    "8 x 80 GiB": Machine("many", 96, 1024 * GIB, gpus(8, 80), bitsandbytes=True, processes=8),
}


def usual(method: str, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = dict(METHODS[method].expert) | {"method": method, "model": "m", "look_every": 25}
    return TrainSpec(**(values | changes)).to_json()


NO = None  # it does not fit, whatever is done
TABLE = [
    # machine, model: rows at once, times, checkpointing, adaptation, precision
    ("2 cores, 24 GiB", "0.5B", (4, 4, True, "lora", "float32")),
    ("2 cores, 24 GiB", "1.5B", (4, 4, True, "lora", "float32")),
    ("2 cores, 24 GiB", "8B", NO),
    ("2 cores, 24 GiB", "70B", NO),
    ("8 GiB without bf16", "0.5B", (2, 8, True, "lora", "float32")),
    ("8 GiB without bf16", "1.5B", (1, 16, True, "qlora", "float32")),
    ("8 GiB without bf16", "8B", NO),
    ("8 GiB without bf16", "70B", NO),
    ("24 GiB", "0.5B", (4, 4, False, "lora", "bfloat16")),
    ("24 GiB", "1.5B", (2, 8, False, "lora", "bfloat16")),
    ("24 GiB", "8B", (1, 16, True, "lora", "bfloat16")),
    ("24 GiB", "70B", NO),
    ("80 GiB", "0.5B", (16, 1, False, "lora", "bfloat16")),
    ("80 GiB", "1.5B", (8, 2, False, "lora", "bfloat16")),
    ("80 GiB", "8B", (2, 8, False, "lora", "bfloat16")),
    ("80 GiB", "70B", (4, 4, True, "qlora", "bfloat16")),
    ("8 x 80 GiB", "0.5B", (2, 8, False, "lora", "bfloat16")),
    ("8 x 80 GiB", "1.5B", (2, 8, False, "lora", "bfloat16")),
    ("8 x 80 GiB", "8B", (2, 8, False, "lora", "bfloat16")),
    ("8 x 80 GiB", "70B", (2, 8, True, "qlora", "bfloat16")),
]


@pytest.mark.parametrize(("machine", "model", "expected"), TABLE)
def test_dpo_is_made_to_fit(machine: str, model: str, expected: tuple[Any, ...] | None) -> None:
    profile = choose(MACHINES[machine], MODELS[model], "dpo", usual("dpo"))
    made = profile.settings
    found = tuple(made[name] for name in CHOSEN if name != "max_length")
    assert made["batch_size"] * made["gradient_accumulation"] == 16
    assert made["max_length"] == 1024
    if expected is NO:
        assert not profile.fit.fits
        assert "smaller base model" in profile.fit.changes[-1]
        assert len(profile.fit.changes) <= 2
    else:
        assert profile.fit.fits
        assert not profile.fit.changes
        assert (*found, profile.fit.precision) == expected


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda machine: machine.host)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_choice_is_a_sound_spec_with_the_methods_rows_a_step(
    method: Method, machine: Machine, model: ModelFacts
) -> None:
    before = usual(method.name)
    profile = choose(machine, model, method.name, before)
    assert TrainSpec.from_json(profile.settings)
    assert {name for name, value in profile.settings.items() if value != before[name]} <= set(CHOSEN)
    rows = profile.settings["batch_size"] * profile.settings["gradient_accumulation"]
    assert rows == before["batch_size"] * before["gradient_accumulation"]
    assert rows % machine.processes == 0
    assert profile.because
    assert profile.fit == judge(machine, model, method.name, profile.settings)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda machine: machine.host)
@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_the_starter_is_trained_as_it_was_measured_wherever_it_is(machine: Machine, method: Method) -> None:
    before = TrainSpec(**(dict(method.starter) | {"method": method.name, "model": "m"})).to_json()
    assert choose(replace(machine, processes=1), STARTER, method.name, before).settings == before


def test_kto_never_gets_a_single_row_to_compare() -> None:
    made = choose(MACHINES["8 GiB without bf16"], MODELS["1.5B"], "kto", usual("kto")).settings
    assert made["batch_size"] >= 2
    sorted_batches = usual("dpo", loss_type=("aot",))
    assert choose(MACHINES["2 cores, 24 GiB"], MODELS["8B"], "dpo", sorted_batches).settings["batch_size"] == 2


def test_a_model_that_reads_no_longer_texts_is_not_given_any() -> None:
    profile = choose(MACHINES["24 GiB"], replace(MODELS["0.5B"], positions=256), "dpo", usual("dpo"))
    assert profile.settings["max_length"] == 256
    assert any("256" in said for said in profile.because)


def test_more_processes_than_rows_make_a_step_larger_and_say_so() -> None:
    small = usual("dpo", batch_size=2, gradient_accumulation=2)
    profile = choose(MACHINES["8 x 80 GiB"], MODELS["0.5B"], "dpo", small)
    assert profile.settings["batch_size"] * profile.settings["gradient_accumulation"] == 8
    assert any("cannot share" in said for said in profile.because)


def test_idle_gpus_are_named() -> None:
    alone = replace(MACHINES["8 x 80 GiB"], processes=1)
    assert any("7 more GPUs" in said for said in choose(alone, MODELS["0.5B"], "dpo", usual("dpo")).because)


def test_without_bitsandbytes_qlora_is_advised_and_not_chosen() -> None:
    machine = replace(MACHINES["24 GiB"], bitsandbytes=False, gpus=gpus(1, 12))
    profile = choose(machine, MODELS["8B"], "dpo", usual("dpo"))
    assert profile.settings["adaptation"] == "lora"
    assert not profile.fit.fits
    assert any(said.startswith("Install bitsandbytes") for said in profile.fit.changes)


def test_what_is_advised_suffices() -> None:
    """Where the advice ends without a smaller model, following all of it makes the run fit."""
    wide = usual("dpo", adaptation="full", batch_size=16, gradient_checkpointing=False)
    machine, model = MACHINES["24 GiB"], MODELS["1.5B"]
    fit = judge(machine, model, "dpo", wide)
    assert not fit.fits
    assert [said.text.split()[0] for said in fit.changes] == ["Lower", "Switch", "Train"]
    followed = wide | {"batch_size": 1, "gradient_checkpointing": True, "adaptation": "lora"}
    assert judge(machine, model, "dpo", followed).fits


def test_each_knob_moves_memory_the_way_it_should() -> None:
    model, gpu, base = MODELS["8B"], gpus(1, 80)[0], usual("dpo", gradient_checkpointing=False)

    def total(**changes: Any) -> int:
        return memory_of(model, "dpo", base | changes, gpu).total

    assert total(batch_size=8) > total() > total(batch_size=1)
    assert total(max_length=2048) > total() > total(max_length=256)
    assert total(gradient_checkpointing=True) < total()
    assert total(adaptation="qlora") < total() < total(adaptation="full")
    assert total(precision="float32") > total()
    assert total(lora_r=256) > total()
    assert memory_of(model, "kto", base, gpu).rows < memory_of(model, "dpo", base, gpu).rows
    # SFT has no reference beside it; what QLoRA learned is merged into weights of 16 bits at the end.
    full = base | {"adaptation": "full"}
    assert memory_of(model, "dpo", full, gpu).weights == 4 * model.parameters
    assert memory_of(model, "sft", full, gpu).weights == 0
    assert memory_of(model, "sft", base | {"adaptation": "qlora"}, gpu).weights > 2 * model.parameters


def test_a_machine_survives_json() -> None:
    for machine in MACHINES.values():
        assert Machine.from_json(machine.to_json()) == machine
