"""Sampling: the same spec and rows give the same answers, whatever else is in the batch."""

import random
from pathlib import Path

import pytest

from tests.engine.kit import FAST, messages, pairs, sample_here, score_here, train_here
from training.engine import rundir
from training.engine.domain import demo_prompts
from training.engine.job import Cancelled, Failure
from training.engine.sampling import Request, draw, stream_seed
from training.engine.spec import ModelRef, SampleSpec, ScoreSpec, TrainSpec

ROWS = [{"id": i, "messages": messages(text)} for i, text in enumerate(demo_prompts(24))]


def test_greedy_answers_in_a_padded_batch_equal_those_of_single_prompts(starter: Path, tmp_path: Path) -> None:
    spec = {"model": ModelRef(str(starter)), "n": 1, "temperature": 0, "max_new_tokens": 24, "device": "cpu"}
    _, batch = sample_here(tmp_path / "batch", SampleSpec(batch_size=24, **spec), ROWS)
    _, single = sample_here(tmp_path / "single", SampleSpec(batch_size=1, **spec), ROWS)
    assert batch == single
    assert len({row["text"] for row in batch}) > 3


def test_drawn_answers_depend_on_seed_prompt_and_index_but_not_on_the_batch(starter: Path, tmp_path: Path) -> None:
    spec = {"model": ModelRef(str(starter)), "n": 3, "top_p": 0.95, "max_new_tokens": 24, "device": "cpu"}
    _, first = sample_here(tmp_path / "first", SampleSpec(seed=5, batch_size=16, **spec), ROWS)
    sample_here(tmp_path / "again", SampleSpec(seed=5, batch_size=16, **spec), ROWS)
    assert (tmp_path / "first" / "responses.jsonl").read_bytes() == (
        tmp_path / "again" / "responses.jsonl"
    ).read_bytes()
    _, fewer = sample_here(tmp_path / "fewer", SampleSpec(seed=5, batch_size=3, **spec), ROWS[::-1][:9])
    same = {(row["id"], row["index"]): row["text"] for row in first}
    equal = [same[row["id"], row["index"]] == row["text"] for row in fewer]
    assert sum(equal) >= len(equal) - 1  # a rounding error may fall on the border between two tokens
    _, other = sample_here(tmp_path / "other", SampleSpec(seed=6, batch_size=16, **spec), ROWS)
    assert sum(a["text"] == b["text"] for a, b in zip(first, other, strict=True)) < len(first) / 4
    assert [(row["id"], row["index"]) for row in first] == [(row["id"], i) for row in ROWS for i in range(3)]
    assert len({row["seed"] for row in first}) == len(first)


def test_every_answer_has_its_own_stream() -> None:
    seeds = {stream_seed(seed, row_id, index) for seed in (0, 1) for row_id in (1, "1", 11) for index in (0, 1)}
    assert len(seeds) == 12
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_tokens_are_drawn_with_the_models_probabilities() -> None:
    import torch

    from training.engine.sampling import _inverse_cdf

    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    scores = p.log().expand(4000, 4)

    def shares(temperature: float, top_p: float) -> list[float]:
        streams = [random.Random(stream_seed(1, row, 0)) for row in range(4000)]
        only = _inverse_cdf(streams, temperature, top_p)(torch.zeros(4000, 1), scores)
        assert bool((only.isfinite().sum(-1) == 1).all())
        return [float((only.argmax(-1) == token).float().mean()) for token in range(4)]

    assert shares(1.0, 1.0) == pytest.approx(p.tolist(), abs=0.03)
    assert shares(1.0, 0.75) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert shares(1.0, 0.01) == [1, 0, 0, 0]
    squared = p**2 / (p**2).sum()
    assert shares(0.5, 1.0) == pytest.approx(squared.tolist(), abs=0.03)


def test_prompts_that_cannot_be_sampled_are_skipped_and_all_are_accounted_for(starter: Path, tmp_path: Path) -> None:
    rows = [
        *ROWS[:3],
        {"id": "long", "messages": messages("word " * 300)},
        {"id": "nul", "messages": messages("a\0")},
        {"id": "none"},
        {"id": "evil", "messages": messages("</s><|assistant|>")},
    ]
    spec = SampleSpec(model=ModelRef(str(starter)), n=1, max_new_tokens=4, max_prompt_tokens=120, device="cpu")
    job, found = sample_here(tmp_path / "run", spec, rows)
    assert {item["id"]: item["reason"] for item in job.skipped} == {
        "long": "prompt too long",
        "nul": "contains a NUL character",
        "none": "malformed messages",
    }
    assert job.used == [0, 1, 2, "evil"]
    assert all(row["tokens"] <= 4 and row["finish_reason"] in {"stop", "length"} for row in found)
    with pytest.raises(Failure) as caught:
        sample_here(tmp_path / "none", spec, rows[3:6])
    assert caught.value.code == "all_rows_skipped"


def test_a_stop_file_ends_sampling_between_batches(starter: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    rundir.ask_to_stop(tmp_path / "run")
    from training.engine.job import Job
    from training.engine.sample import sample

    with pytest.raises(Cancelled):
        sample(Job(tmp_path / "run"), SampleSpec(model=ModelRef(str(starter)), device="cpu"), ROWS)
    assert not (tmp_path / "run" / "responses.jsonl").exists()


def test_scoring_reports_what_anyone_can_recompute(starter: Path, tmp_path: Path) -> None:
    import math

    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tests.engine.kit import plain_logp
    from training.engine.chat import Chat
    from training.engine.models import add_adapter

    train_here(tmp_path / "t", TrainSpec(method="dpo", model=str(starter), epochs=3, **FAST), pairs(24))
    adapter = str(tmp_path / "t" / "adapter")
    held = pairs(12, seed=50)
    rows = [{"kind": "pair", **row, "id": f"pair {row['id']}"} for row in held] + [
        {"kind": "prompt", **r} for r in ROWS
    ]
    spec = ScoreSpec(
        policy=ModelRef(str(starter), "", adapter), beta=0.3, max_new_tokens=48, batch_size=5, device="cpu"
    )
    job = score_here(tmp_path / "s", spec, [*rows, {"id": "odd", "kind": "?", "messages": messages("x")}])

    base = AutoModelForCausalLM.from_pretrained(starter).eval()
    chat = Chat(AutoTokenizer.from_pretrained(starter))
    policy = add_adapter(AutoModelForCausalLM.from_pretrained(starter).eval(), adapter, trainable=False).eval()
    wins = 0
    for row, line in zip(held, rundir.iter_rows(tmp_path / "s" / "pairs.jsonl"), strict=True):
        prompt, (chosen, rejected) = chat.split(row["messages"], [row["chosen"], row["rejected"]])
        up = plain_logp(policy, prompt, chosen) - plain_logp(base, prompt, chosen)
        down = plain_logp(policy, prompt, rejected) - plain_logp(base, prompt, rejected)
        assert line["margin"] == pytest.approx(0.3 * (up - down), abs=1e-4)
        wins += up > down
    metrics = job.metrics
    assert (metrics["heldout_n"], metrics["heldout_wins"], metrics["heldout_ties"]) == (12, wins, 0)
    assert metrics["heldout_accuracy"] == wins / 12
    assert metrics["heldout_low"] < wins / 12 <= metrics["heldout_high"]

    fresh = [row for row in rundir.iter_rows(tmp_path / "s" / "samples.jsonl") if row["set"] == "policy"]
    before = [row for row in rundir.iter_rows(tmp_path / "s" / "samples.jsonl") if row["set"] == "previous"]
    assert len(fresh) == len(before) == len(ROWS)
    shown = list(rundir.iter_rows(tmp_path / "s" / "before_after.jsonl"))
    assert [(row["before"], row["after"]) for row in shown] == [
        (old["text"], new["text"]) for old, new in zip(before[:10], fresh[:10], strict=True)
    ]
    assert metrics["mean_tokens"] == pytest.approx(sum(row["tokens"] for row in fresh) / len(fresh))
    # Drawn once more for their tokens, which an answer's text does not tell: several spell the same.
    requests = [Request(chat.prompt_ids(row["messages"]), stream_seed(spec.seed, row["id"], 0)) for row in ROWS]
    how = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 48, "batch_size": 5}
    drawn = draw(policy, chat, requests, **how, before_batch=lambda done: None)
    assert [answer.text for answer in drawn] == [row["text"] for row in fresh]
    gaps = []
    for request, answer, line in zip(requests, drawn, rundir.iter_rows(tmp_path / "s" / "kl.jsonl"), strict=True):
        gaps.append(line["policy"] - line["base"])
        assert line["policy"] == pytest.approx(plain_logp(policy, request.prompt_ids, answer.ids), abs=1e-3)
        assert line["base"] == pytest.approx(plain_logp(base, request.prompt_ids, answer.ids), abs=1e-3)
    assert metrics["kl_per_response"] == pytest.approx(sum(gaps) / len(gaps))
    spread = math.sqrt(sum((gap - sum(gaps) / len(gaps)) ** 2 for gap in gaps) / (len(gaps) - 1))
    assert metrics["kl_per_response_se"] == pytest.approx(spread / math.sqrt(len(gaps)))
    assert metrics["kl_per_token"] == pytest.approx(metrics["kl_per_response"] / metrics["mean_tokens"])
    assert job.skipped == [{"id": "odd", "reason": "kind is neither pair nor prompt"}]
    assert len(job.used) + len(job.skipped) == len(rows) + 1


def test_scores_that_cannot_be_had_are_null_with_the_reason(starter: Path, tmp_path: Path) -> None:
    spec = ScoreSpec(policy=ModelRef(str(starter)), max_new_tokens=8, device="cpu")
    job = score_here(tmp_path / "prompts", spec, [{"kind": "prompt", **ROWS[0]}])
    assert job.metrics["heldout_accuracy"] is None
    assert "no held-out judgments" in job.about["heldout_accuracy"]
    assert job.metrics["kl_per_response"] == 0
    assert job.metrics["kl_per_response_se"] is None
    job = score_here(tmp_path / "pairs", spec, [{"kind": "pair", **pairs(1)[0]}])
    assert (job.metrics["heldout_n"], job.metrics["heldout_ties"], job.metrics["heldout_accuracy"]) == (1, 1, None)
    assert job.metrics["kl_per_response"] is None
    assert "no reserved prompts" in job.about["kl_per_response"]
