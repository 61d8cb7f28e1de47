"""Specs are loud: what they cannot mean never starts a process."""

import json
import math
from typing import Any

import pytest

from training.engine.checks import SpecError
from training.engine.methods import METHODS
from training.engine.methods.dpo import DPO, LOSSES_THAT_MUST_SMOOTH, trl_losses
from training.engine.spec import ModelRef, SampleSpec, ScoreSpec, StarterSpec, TrainSpec


def problems(make: Any, **values: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        make(**values)
    return caught.value.problems


@pytest.mark.parametrize(
    "spec",
    [
        StarterSpec(),
        TrainSpec(method="dpo", model="m", loss_type=("sigmoid", "sft"), loss_weights=(1, 0.2), resume_from=("a", "b")),
        TrainSpec(method="kto", model="m", desirable_weight=2.0),
        SampleSpec(model=ModelRef("m", "rev", "adapter")),
        ScoreSpec(policy=ModelRef("m"), previous="p"),
    ],
)
def test_a_spec_survives_a_round_trip_through_json(spec: Any) -> None:
    assert type(spec).from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_an_unknown_field_is_refused_by_name() -> None:
    data = TrainSpec(method="dpo", model="m").to_json() | {"learningrate": 1}
    with pytest.raises(SpecError, match="learningrate: unknown field"):
        TrainSpec.from_json(data)
    nested = SampleSpec(model=ModelRef("m")).to_json()
    nested["model"]["revison"] = "x"
    with pytest.raises(SpecError, match="revison: unknown field"):
        SampleSpec.from_json(nested)


def test_a_missing_field_another_kind_and_another_format_are_refused() -> None:
    with pytest.raises(SpecError, match="model"):
        TrainSpec.from_json({"method": "dpo"})
    with pytest.raises(SpecError, match="needs a 'train' spec, not 'sample'"):
        TrainSpec.from_json(SampleSpec(model=ModelRef("m")).to_json())
    with pytest.raises(SpecError, match="use the same release"):
        TrainSpec.from_json(TrainSpec(method="dpo", model="m").to_json() | {"format": 99})


def test_all_problems_come_together_and_name_the_allowed_range() -> None:
    found = problems(TrainSpec, method="dpo", model=" ", beta=0, learning_rate=math.nan, epochs=True, lora_r=1.5)
    assert set(found) == {"model", "beta", "learning_rate", "epochs", "lora_r"}
    assert "above 0" in found["beta"]
    assert "whole number from 1 to 512" in found["lora_r"]


def test_discopop_is_refused_with_the_reason_and_every_other_loss_is_taken() -> None:
    assert "wrong sign" in problems(TrainSpec, method="dpo", model="m", loss_type=("discopop",))["loss_type"]
    for loss in DPO.losses:
        smoothing = 0.001 if loss in LOSSES_THAT_MUST_SMOOTH else 0.0
        assert TrainSpec(method="dpo", model="m", loss_type=(loss,), label_smoothing=smoothing).loss_type == (loss,)


def test_label_smoothing_where_it_has_no_effect_is_refused_and_where_it_must_be_is_asked_for() -> None:
    found = problems(TrainSpec, method="dpo", model="m", label_smoothing=0.1)
    assert "no effect on sigmoid" in found["label_smoothing"]
    assert TrainSpec(method="dpo", model="m", loss_type=("robust",), label_smoothing=0.1).label_smoothing == 0.1
    for loss in ("exo_pair", "robust", "cdpo"):
        assert loss in problems(TrainSpec, method="dpo", model="m", loss_type=(loss,))["label_smoothing"]


def test_the_recipes_are_sums_of_trls_losses() -> None:
    def terms(**values: Any) -> dict[str, float]:
        return trl_losses(TrainSpec(method="dpo", model="m", **values))

    assert terms() == {"sigmoid": 1.0}
    assert terms(loss_type=("sft_mixed",)) == {"sigmoid": 1.0, "sft": 0.2}
    assert terms(loss_type=("cdpo",), label_smoothing=0.1) == pytest.approx({"sigmoid": 1.8, "robust": -0.8})
    both = terms(loss_type=("sft_mixed", "sigmoid"), loss_weights=(2.0, 1.0))
    assert both == pytest.approx({"sigmoid": 3.0, "sft": 0.4})


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"method": "ppo"}, "method"),
        ({"loss_type": ("sigmoid", "sigmoid")}, "loss_type"),
        ({"loss_type": ("kto",)}, "loss_type"),
        ({"loss_type": "sigmoid"}, "loss_type"),
        ({"loss_weights": (1.0, 2.0)}, "loss_weights"),
        ({"loss_weights": (0.0,)}, "loss_weights"),
        ({"loss_weights": (math.inf,)}, "loss_weights"),
        ({"target_modules": "q_proj, lm_head"}, "target_modules"),
        ({"reference": "other"}, "reference"),
        ({"desirable_weight": -1.0}, "desirable_weight"),
        ({"seed": 2**32}, "seed"),
        ({"model": "a\0b"}, "model"),
        ({"gradient_checkpointing": 1}, "gradient_checkpointing"),
        ({"resume_from": ("",)}, "resume_from"),
        ({"loss_type": ("aot",), "use_weighting": True}, "use_weighting"),
        ({"loss_type": ("aot_unpaired",), "batch_size": 1}, "batch_size"),
        ({"use_weighting": "yes"}, "use_weighting"),
        ({"ld_alpha": 1.5}, "ld_alpha"),
        ({"loss_type": ("sft",), "ld_alpha": 0.5}, "ld_alpha"),
        ({"f_divergence_type": "kl"}, "f_divergence_type"),
        ({"f_divergence_type": "forward_kl", "loss_type": ("apo_zero",)}, "f_divergence_type"),
        ({"f_divergence_type": "forward_kl", "loss_type": ("sft_mixed",)}, "f_divergence_type"),
        ({"f_divergence_type": "alpha_divergence"}, "f_alpha_divergence_coef"),
        ({"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 1.0}, "f_alpha_divergence_coef"),
        ({"f_alpha_divergence_coef": 0.5}, "f_alpha_divergence_coef"),
    ],
)
def test_nonsense_is_refused_beside_its_field(values: dict[str, Any], field: str) -> None:
    assert field in problems(TrainSpec, **({"method": "dpo", "model": "m"} | values))


def test_kto_needs_two_rows_a_batch_and_one_loss() -> None:
    assert "batch_size" in problems(TrainSpec, method="kto", model="m", batch_size=1)
    assert TrainSpec(method="kto", model="m").loss_type == ("kto",)


def test_greedy_sampling_gives_one_answer_a_prompt() -> None:
    assert "the same" in problems(SampleSpec, model=ModelRef("m"), temperature=0)["n"]
    assert SampleSpec(model=ModelRef("m"), temperature=0, n=1).temperature == 0
    assert set(problems(SampleSpec, model=ModelRef("m"), top_p=0, temperature=3)) == {"top_p", "temperature"}


@pytest.mark.parametrize("name", METHODS)
def test_every_preset_is_a_valid_start(name: str) -> None:
    for preset in (METHODS[name].expert, METHODS[name].starter):
        assert TrainSpec(method=name, model="m", **preset).own is METHODS[name]


def test_a_knob_of_another_method_is_refused_rather_than_ignored() -> None:
    found = problems(TrainSpec, method="kto", model="m", label_smoothing=0.1, loss_weights=(1.0,))
    assert set(found) == {"label_smoothing", "loss_weights"}
    assert found["label_smoothing"] == "has no effect on KTO; leave it out"
    assert set(problems(TrainSpec, method="dpo", model="m", desirable_weight=2.0)) == {"desirable_weight"}


def test_guards_and_patience_need_looks() -> None:
    with pytest.raises(SpecError) as caught:
        TrainSpec(method="dpo", model="m", patience=2, kl_guard="stop")
    assert set(caught.value.problems) == {"patience", "kl_guard"}
    assert TrainSpec(method="dpo", model="m", patience=2, kl_guard="stop", look_every=5).patience == 2
    with pytest.raises(SpecError, match="must be one of"):
        TrainSpec(method="dpo", model="m", look_every=5, length_guard="shout")
