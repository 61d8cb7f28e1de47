"""RLOO and GRPO against a reward model: the formulas, the reference, the same bytes, and answers that score higher."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from tests.engine.kit import FAST, Row, logged, pairs, plain_logp, train_here
from training.engine import rundir
from training.engine.chat import Chat
from training.engine.job import Failure
from training.engine.models import Device
from training.engine.order import repeated_prompts
from training.engine.reward_model import load_reward_model, rewards
from training.engine.spec import ModelRef, TrainSpec

CPU = Device("cpu", bf16=False)
SETTINGS: dict[str, Any] = FAST | {"batch_size": 8, "num_generations": 4, "max_new_tokens": 12, "min_rows": 2}


def prompts(n: int) -> list[Row]:
    return [{"id": f"p{row['id']}", "messages": row["messages"]} for row in pairs(n)]


@contextmanager
def overheard(trainer_class: str) -> Iterator[list[dict[str, Any]]]:
    """What TRL's trainer drew and made of it, step by step: it hands these to its own loss."""
    import trl

    kind = getattr(trl, trainer_class)
    found: list[dict[str, Any]] = []
    original = kind._compute_loss

    def listen(self: Any, model: Any, inputs: dict[str, Any]) -> Any:
        loss = original(self, model, inputs)
        found.append(inputs | {"loss": float(loss.detach())})
        return loss

    kind._compute_loss = listen
    try:
        yield found
    finally:
        kind._compute_loss = original


def drawn(step: dict[str, Any]) -> list[tuple[list[int], list[int], float]]:
    """(prompt ids, answer ids, advantage) of each answer of a step, without padding."""
    rows = []
    for place in range(len(step["advantages"])):
        prompt = step["prompt_ids"][place][step["prompt_mask"][place].bool()].tolist()
        answer = step["completion_ids"][place][step["completion_mask"][place].bool()].tolist()
        rows.append((prompt, answer, float(step["advantages"][place])))
    return rows


def judged(starter: Path, reward_model: ModelRef, answers: list[tuple[list[int], list[int], float]]) -> list[float]:
    """The reward of each answer, of its text as a finished turn of its conversation, by plain code."""
    from transformers import AutoTokenizer

    chat = Chat(AutoTokenizer.from_pretrained(starter))
    known = {tuple(chat.prompt_ids(row["messages"])): row["messages"] for row in prompts(16)}
    model = load_reward_model(reward_model, CPU)
    found = []
    for prompt, answer, _ in answers:
        text = chat.tokenizer.decode(answer, skip_special_tokens=True)
        ids, [said] = chat.split(known[tuple(prompt)], [text])
        found += rewards(model, [(ids, said)], pad_token_id=int(chat.tokenizer.pad_token_id), batch_size=1)
    return found


def groups(
    answers: list[tuple[list[int], list[int], float]], values: list[float]
) -> Iterator[list[tuple[float, float]]]:
    """(value, advantage) of each answer, by prompt."""
    by_prompt: dict[tuple[int, ...], list[tuple[float, float]]] = {}
    for (prompt, _, advantage), value in zip(answers, values, strict=True):
        by_prompt.setdefault(tuple(prompt), []).append((value, advantage))
    yield from by_prompt.values()


def test_rloo_learns_an_answer_as_far_as_it_beats_the_mean_of_the_others(
    starter: Path, reward_model: ModelRef, tmp_path: Path
) -> None:
    """2402.14740, equation 6: R(y_i) - mean of the others' R, with R = r - beta log(pi / pi_ref)."""
    from transformers import AutoModelForCausalLM

    from training.engine.models import add_adapter

    before = tmp_path / "before"
    train_here(before, TrainSpec(method="dpo", model=str(starter), **(FAST | {"learning_rate": 1e-2})), pairs(16))
    spec = TrainSpec(
        method="rloo",
        model=str(starter),
        start_adapter=str(before / "adapter"),
        reward_model=reward_model,
        beta=0.3,
        **SETTINGS,
    )
    with overheard("RLOOTrainer") as steps:
        job = train_here(tmp_path / "run", spec, prompts(4))
    assert job.about["reference"]["model"] == "base"
    answers = drawn(steps[0])
    base = AutoModelForCausalLM.from_pretrained(starter).eval()
    ref = [plain_logp(base, prompt, answer) for prompt, answer, _ in answers]
    policy = add_adapter(base, str(before / "adapter"), trainable=False).eval()
    own = [plain_logp(policy, prompt, answer) for prompt, answer, _ in answers]
    scores = judged(starter, reward_model, answers)
    penalised = [r - 0.3 * (pi - pi_ref) for r, pi, pi_ref in zip(scores, own, ref, strict=True)]
    assert any(abs(pi - pi_ref) > 0.1 for pi, pi_ref in zip(own, ref, strict=True))
    for group in groups(answers, penalised):
        for place, (value, advantage) in enumerate(group):
            others = [other for number, (other, _) in enumerate(group) if number != place]
            assert advantage == pytest.approx(value - mean(others), abs=2e-3)
    assert logged(tmp_path / "run")[0]["reward"] == pytest.approx(mean(scores), abs=1e-3)


def test_grpo_divides_by_the_groups_spread_and_pulls_to_the_reference_in_its_loss(
    starter: Path, reward_model: ModelRef, tmp_path: Path
) -> None:
    """2402.03300, equations 3 and 4; at the first step pi is pi_old and pi_ref, so that the KL is 0."""
    spec = TrainSpec(method="grpo", model=str(starter), reward_model=reward_model, **SETTINGS)
    with overheard("GRPOTrainer") as steps:
        train_here(tmp_path / "run", spec, prompts(4))
    answers = drawn(steps[0])
    scores = judged(starter, reward_model, answers)
    for group in groups(answers, scores):
        values = [value for value, _ in group]
        for value, advantage in group:
            spread = stdev(values) + 1e-4
            # Of four times the same answer the rewards differ by rounding alone.
            assert advantage == pytest.approx((value - mean(values)) / spread, abs=5e-3 + 1e-5 / spread)
    assert steps[0]["loss"] == pytest.approx(-mean(advantage for _, _, advantage in answers), abs=1e-5)
    assert logged(tmp_path / "run")[0]["kl"] == pytest.approx(0, abs=1e-6)


def test_answers_come_to_score_higher(starter: Path, reward_model: ModelRef, tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "epochs": 6,
        "learning_rate": 1e-2,
        "beta": 0.01,
        "batch_size": 16,
        "lr_scheduler": "constant",
    }
    spec = TrainSpec(method="rloo", model=str(starter), reward_model=reward_model, **(SETTINGS | more))
    job = train_here(tmp_path / "run", spec, prompts(16))
    steps = logged(tmp_path / "run")
    assert mean(step["reward"] for step in steps[-4:]) > mean(step["reward"] for step in steps[:4])
    assert steps[-1]["kl"] != 0
    assert job.used == [f"p{number}" for number in range(16)]
    rundir.verify_manifest(tmp_path / "run" / "adapter", job.manifest_sha256 or "")


def test_every_prompt_is_asked_in_every_epoch_and_a_group_stays_together() -> None:
    order = repeated_prompts(7, group=2, step_rows=6, times=2, seed=1, epoch=0)
    assert len(order) == 3 * 6 * 2
    steps = [order[start : start + 6] for start in range(0, len(order), 12)]
    assert [order[start : start + 6] for start in range(6, len(order), 12)] == steps
    assert all(step[place] == step[place + 1] for step in steps for place in (0, 2, 4))
    assert {index for step in steps for index in step} == set(range(7))
    assert order != repeated_prompts(7, group=2, step_rows=6, times=2, seed=1, epoch=1)
    assert len(repeated_prompts(1, group=2, step_rows=6, times=1, seed=1, epoch=0)) == 6


def test_without_a_reward_model_it_says_so(starter: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="Train one first"):
        train_here(tmp_path / "run", TrainSpec(method="rloo", model=str(starter), **SETTINGS), prompts(4))


def test_a_prompt_that_leaves_no_room_is_left_out(starter: Path, reward_model: ModelRef, tmp_path: Path) -> None:
    rows = prompts(3)
    rows[1]["messages"][0]["content"] = "Where is my lamp? " * 60
    spec = TrainSpec(method="grpo", model=str(starter), reward_model=reward_model, **SETTINGS)
    job = train_here(tmp_path / "run", spec, rows)
    assert (job.used, [row["reason"] for row in job.skipped]) == (["p0", "p2"], ["prompt too long"])
    assert math.isfinite(logged(tmp_path / "run")[0]["loss"])
