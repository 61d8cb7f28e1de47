"""Every DPO loss on offer, recomputed from log-probabilities by its paper's formula, without TRL."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.kit import FAST, pairs
from training.engine.chat import Chat
from training.engine.job import Job
from training.engine.methods.dpo import DPO
from training.engine.models import Device
from training.engine.rows import TrainingRow, usable_rows
from training.engine.spec import TrainSpec
from training.engine.trainer import make_trainer

BETA, EPSILON = 0.3, 0.1


@dataclass(frozen=True)
class Answer:
    """One answer's tokens: log p under the policy and under the reference, and log of the policy's collision p . p."""

    policy: list[float]
    reference: list[float]
    collisions: list[float]

    @property
    def gap(self) -> float:
        """log pi(y|x) - log pi_ref(y|x)."""
        return sum(self.policy) - sum(self.reference)

    def weighted(self, shared: int, alpha: float) -> "Answer":
        """With the tokens from the place `shared` on at weight `alpha` (LD-DPO)."""
        weights = [1.0 if place < shared else alpha for place in range(len(self.policy))]
        ours = [weight * value for weight, value in zip(weights, self.policy, strict=True)]
        theirs = [weight * value for weight, value in zip(weights, self.reference, strict=True)]
        return replace(self, policy=ours, reference=theirs)


Pairs = list[tuple[Answer, Answer]]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def nll(x: float) -> float:
    """-log sigmoid(x)"""
    return max(0.0, -x) + math.log1p(math.exp(-abs(x)))


def each(formula: Callable[[float, float], float]) -> Callable[[Pairs], list[float]]:
    """A loss of one pair's two log-ratios (chosen, rejected)."""
    return lambda given: [formula(chosen.gap, rejected.gap) for chosen, rejected in given]


def per_token(formula: Callable[[float], float]) -> Callable[[Pairs], list[float]]:
    """A loss of the difference of the two log-ratios per token."""
    return lambda given: [formula(c.gap / len(c.policy) - r.gap / len(r.policy)) for c, r in given]


def exo(chosen: float, rejected: float) -> float:
    p = sigmoid(BETA * (chosen - rejected))
    return p * math.log(p / (1 - EPSILON)) + (1 - p) * math.log((1 - p) / EPSILON)


def likelihood(given: Pairs) -> list[float]:
    tokens = [value for chosen, _ in given for value in chosen.policy]
    return [-sum(tokens) / len(tokens)] * len(given)


def aot(given: Pairs) -> list[float]:
    ours = sorted(sum(c.policy) - sum(r.policy) for c, r in given)
    theirs = sorted(sum(c.reference) - sum(r.reference) for c, r in given)
    return [nll(BETA * (a - b)) for a, b in zip(ours, theirs, strict=True)]


def aot_unpaired(given: Pairs) -> list[float]:
    chosen, rejected = sorted(c.gap for c, _ in given), sorted(r.gap for _, r in given)
    return [nll(BETA * (a - b)) for a, b in zip(chosen, rejected, strict=True)]


def dpo(chosen: float, rejected: float) -> float:
    return nll(BETA * (chosen - rejected))


def rdpo(c: float, r: float) -> float:
    return ((1 - EPSILON) * dpo(c, r) - EPSILON * dpo(r, c)) / (1 - 2 * EPSILON)


FORMULAS: dict[str, Callable[[Pairs], list[float]]] = {
    "sigmoid": each(dpo),
    "sft_mixed": lambda given: [a + 0.2 * b for a, b in zip(each(dpo)(given), likelihood(given), strict=True)],
    "cdpo": each(lambda c, r: (1 - EPSILON) * dpo(c, r) + EPSILON * dpo(r, c)),
    "hinge": each(lambda c, r: max(0.0, 1 - BETA * (c - r))),
    "ipo": per_token(lambda gap: (gap - 1 / (2 * BETA)) ** 2),
    "exo_pair": each(exo),
    "nca_pair": each(lambda c, r: nll(BETA * c) + 0.5 * nll(-BETA * c) + 0.5 * nll(-BETA * r)),
    "robust": each(rdpo),
    "bco_pair": each(lambda c, r: nll(BETA * c) + nll(-BETA * r)),
    "sppo_hard": each(lambda c, r: (c - 0.5 / BETA) ** 2 + (r + 0.5 / BETA) ** 2),
    "aot": aot,
    "aot_unpaired": aot_unpaired,
    "apo_zero": each(lambda c, r: 1 - sigmoid(BETA * c) + sigmoid(BETA * r)),
    "apo_down": each(lambda c, r: sigmoid(BETA * c) + 1 - sigmoid(BETA * (c - r))),
    "sft": likelihood,
    "sigmoid_norm": per_token(lambda gap: nll(BETA * gap)),
}


class Bench:
    """One small policy with a random adapter on the starter; a fresh TRL trainer for each spec."""

    def __init__(self, starter: Path, path: Path) -> None:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.manual_seed(0)
        self.starter, self.path = starter, path
        self.chat = Chat(AutoTokenizer.from_pretrained(starter))
        base = AutoModelForCausalLM.from_pretrained(starter)
        config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        self.model: Any = get_peft_model(base, config)
        with torch.no_grad():  # small enough a step for exponentials of log-ratios
            for name, weight in self.model.named_parameters():
                if "lora_B" in name:
                    weight.mul_(0.25)
        self.rows = pairs(16, seed=7)
        self.usable = usable_rows(Job(path), self.chat, self.spec(), self.rows)
        self.pairs = [(self.answer(row, 0), self.answer(row, 1)) for row in self.usable]

    def spec(self, **values: Any) -> TrainSpec:
        # `start_adapter` is named only: the model is in memory, and the base is its reference.
        common = FAST | {"batch_size": 8, "beta": BETA, "model": str(self.starter), "start_adapter": "in memory"}
        return TrainSpec(method="dpo", **(common | values))

    def answer(self, row: TrainingRow, which: int) -> Answer:
        import torch

        prompt, answer = row.prompt_ids, row.answer_ids[which]
        places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)

        def logps() -> Any:
            with torch.no_grad():
                logits = self.model.eval()(input_ids=torch.tensor([prompt + answer])).logits[0]
            return torch.log_softmax(logits.double(), dim=-1)

        ours = logps()
        with self.model.disable_adapter():
            theirs = logps()
        return Answer(
            [float(ours[place, token]) for place, token in zip(places, answer, strict=True)],
            [float(theirs[place, token]) for place, token in zip(places, answer, strict=True)],
            [float(torch.logsumexp(2 * ours[place], dim=-1)) for place in places],
        )

    def trainer(self, **values: Any) -> Any:
        trainer = make_trainer(
            Job(self.path), self.spec(**values), Device("cpu", bf16=False), self.chat, self.model, self.usable
        )
        trainer.model.delete_adapter("ref")
        return trainer

    def loss(self, **values: Any) -> float:
        trainer = self.trainer(**values)
        trainer.model.eval()
        batch = trainer.data_collator([trainer.train_dataset[place] for place in range(len(self.usable))])
        return float(trainer.compute_loss(trainer.model, batch).detach())


@pytest.fixture(scope="module")
def bench(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(starter, tmp_path_factory.mktemp("losses"))


def smoothing(*losses: str) -> float:
    return EPSILON if {"cdpo", "robust", "exo_pair"} & set(losses) else 0.0


def close(expected: float) -> Any:
    return pytest.approx(expected, rel=1e-4, abs=1e-5)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_there_is_a_formula_for_every_loss_on_offer_and_the_rows_tell_them_apart(bench: Bench) -> None:
    assert set(FORMULAS) == set(DPO.losses)
    assert max(abs(answer.gap) for pair in bench.pairs for answer in pair) > 0.5
    values = [round(mean(formula(bench.pairs)), 6) for formula in FORMULAS.values()]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("loss", FORMULAS)
def test_a_loss_is_its_papers_formula(bench: Bench, loss: str) -> None:
    value = bench.loss(loss_type=(loss,), label_smoothing=smoothing(loss))
    assert value == close(mean(FORMULAS[loss](bench.pairs)))


def test_several_losses_are_summed_with_their_weights(bench: Bench) -> None:
    value = bench.loss(loss_type=("cdpo", "ipo", "sigmoid"), loss_weights=(2.0, 0.5, -1.0), label_smoothing=EPSILON)
    cdpo, ipo, plain = (mean(FORMULAS[name](bench.pairs)) for name in ("cdpo", "ipo", "sigmoid"))
    assert value == close(2 * cdpo + 0.5 * ipo - plain)


def test_label_smoothing_acts_where_we_say_and_nowhere_else(bench: Bench) -> None:
    smoothed = [
        (1 - EPSILON) * value + EPSILON * nll(-inverse)
        for value, inverse in ((value, math.log(1 / math.expm1(value))) for value in aot(bench.pairs))
    ]
    assert bench.loss(loss_type=("aot",), label_smoothing=EPSILON) == close(mean(smoothed))
    # Past our own checks: TRL ignores it in the standard loss.
    spec = bench.spec()
    object.__setattr__(spec, "label_smoothing", 0.2)
    trainer = make_trainer(Job(bench.path), spec, Device("cpu", bf16=False), bench.chat, bench.model, bench.usable)
    trainer.model.delete_adapter("ref")
    batch = trainer.data_collator([trainer.train_dataset[place] for place in range(len(bench.usable))])
    assert float(trainer.compute_loss(trainer.model.eval(), batch).detach()) == close(
        mean(FORMULAS["sigmoid"](bench.pairs))
    )


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_wpo_weighs_each_pair_by_what_the_policy_would_say(bench: Bench, loss: str) -> None:
    def weight(answer: Answer) -> float:  # eq. 2 of 2406.11827, with the aligned weights of its section 3.2
        return math.exp(mean([p - c for p, c in zip(answer.policy, answer.collisions, strict=True)]))

    weights = [weight(chosen) * weight(rejected) for chosen, rejected in bench.pairs]
    plain = FORMULAS[loss](bench.pairs)
    expected = mean([w * value for w, value in zip(weights, plain, strict=True)])
    assert bench.loss(loss_type=(loss,), use_weighting=True) == close(expected)


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_ld_dpo_weighs_down_what_makes_one_answer_longer(bench: Bench, alpha: float) -> None:
    given = []
    for chosen, rejected in bench.pairs:
        shared = min(len(chosen.policy), len(rejected.policy))
        given.append((chosen.weighted(shared, alpha), rejected.weighted(shared, alpha)))
    assert bench.loss(ld_alpha=alpha) == close(mean(each(dpo)(given)))


@pytest.mark.parametrize(
    ("values", "derivative"),
    [
        ({"f_divergence_type": "forward_kl"}, lambda t: 1 - 1 / t),
        ({"f_divergence_type": "js_divergence"}, lambda t: math.log(2 * t / (t + 1))),
        (
            {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.5},
            lambda t: (t**-0.5 - 1) / -0.5,
        ),
    ],
)
def test_f_dpo_replaces_the_log_ratio_by_the_divergences_derivative(
    bench: Bench, values: dict[str, Any], derivative: Callable[[float], float]
) -> None:
    expected = each(lambda c, r: nll(BETA * (derivative(math.exp(c)) - derivative(math.exp(r)))))(bench.pairs)
    assert bench.loss(**values) == close(mean(expected))


def test_what_trl_would_choose_by_itself_is_said_outright(bench: Bench) -> None:
    args = bench.trainer(loss_type=("sft_mixed",)).args
    assert (args.bf16, args.use_cpu, args.gradient_checkpointing) == (False, True, False)
    assert (args.loss_type, args.loss_weights) == (["sigmoid", "sft"], [1.0, 0.2])
    assert (args.logging_nan_inf_filter, args.label_smoothing, args.report_to) == (False, 0.0, [])
