"""The reference is asked once per answer, and never again by epochs, runs and rounds; what is learnt stays the same."""

from array import array
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.kit import FAST, Row, logged, pairs, score_here, thumbs, train_here
from training.engine import reference, reference_models, rundir
from training.engine.refcache import SUFFIX, ReferenceCache
from training.engine.spec import ModelRef, ScoreSpec, TrainSpec


def spec(starter: Path, method: str, **more: Any) -> TrainSpec:
    return TrainSpec(method=method, model=str(starter), **(FAST | {"epochs": 2, "lora_dropout": 0.1} | more))


def rows_for(method: str) -> list[Row]:
    return pairs(9) if method == "dpo" else thumbs(9, up=4)


def facts(job: Any) -> tuple[int, int]:
    about = job.about["reference"]
    return about["known_answers"], about["computed_answers"]


# KTO also asks of 9 answers that belong to other prompts.
@pytest.mark.parametrize(("method", "answers"), [("dpo", 18), ("kto", 18)])
def test_losses_and_rewards_are_those_of_a_run_that_asks_its_reference_in_every_step(
    starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, answers: int
) -> None:
    cached = spec(starter, method, reference_cache=str(tmp_path / "cache"))
    first = train_here(tmp_path / "first", cached, rows_for(method))
    assert facts(first) == (0, answers)
    again = train_here(tmp_path / "again", cached, rows_for(method))
    assert facts(again) == (answers, 0)
    assert again.manifest_sha256 == first.manifest_sha256, "found or computed: the same bytes"

    monkeypatch.setattr(reference_models, "give_logprobs", lambda *arguments, **more: {})
    asking = train_here(tmp_path / "plain", spec(starter, method), rows_for(method))
    assert "computed_answers" not in asking.about["reference"]
    plain, quick = logged(tmp_path / "plain"), logged(tmp_path / "first")
    assert len(plain) == len(quick) == 6
    for asked, remembered in zip(plain, quick, strict=True):
        assert set(asked) == set(remembered)
        for name, value in asked.items():
            if name in {"tokens_per_second", "memory_mib"}:
                continue  # these are the machine's
            if name == "rewards/accuracies":
                continue  # of a margin near 0 rounding decides whether it is above; the margins are compared
            assert remembered[name] == pytest.approx(value, abs=2e-4, rel=1e-4), name


def test_a_second_round_asks_only_for_what_is_new_and_another_reference_for_everything(
    starter: Path, tmp_path: Path
) -> None:
    where = {"reference_cache": str(tmp_path / "cache"), "epochs": 1}
    old, new = pairs(8), [row | {"id": f"new {row['id']}"} for row in pairs(8, seed=5)]
    train_here(tmp_path / "one", spec(starter, "dpo", **where), old)
    adapter = str(tmp_path / "one" / "adapter")
    second = train_here(tmp_path / "two", spec(starter, "dpo", start_adapter=adapter, **where), [*new, *old[:4]])
    assert facts(second) == (8, 16)
    held = spec(starter, "dpo", start_adapter=adapter, reference="previous", **where)
    assert facts(train_here(tmp_path / "three", held, old)) == (0, 16)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    # One answer whose maximal length cuts it is another answer; the others are known.
    cut = train_here(tmp_path / "cut", spec(starter, "dpo", **(where | {"max_length": 40})), old)
    known, computed = facts(cut)
    assert known > 0
    assert computed > 0


def test_numbers_that_are_wrong_but_whole_are_found_out_and_computed_anew(starter: Path, tmp_path: Path) -> None:
    cached = spec(starter, "dpo", reference_cache=str(tmp_path / "cache"))
    first = train_here(tmp_path / "first", cached, rows_for("dpo"))
    [segment] = (tmp_path / "cache").rglob(f"*{SUFFIX}")
    cache = ReferenceCache(tmp_path / "cache", segment.parent.name, limit_bytes=2**30)
    wrong = {key: array("f", [value - 0.1 for value in values]) for key, values in cache._read(segment)}
    segment.unlink()
    cache.add(wrong)
    again = train_here(tmp_path / "again", cached, rows_for("dpo"))
    assert facts(again) == (0, 18)
    assert again.manifest_sha256 == first.manifest_sha256
    warnings = [event["message"] for event in rundir.read_events(tmp_path / "again") if event["kind"] == "warning"]
    assert any("thrown away" in message for message in warnings)
    [mended] = (tmp_path / "cache").rglob(f"*{SUFFIX}")
    assert mended.name == segment.name


def test_ld_dpo_weighs_what_is_longer_than_the_other_answer() -> None:
    answers = {"chosen_ids": [array("f", [-1, -2, -4])], "rejected_ids": [array("f", [-8])]}
    assert reference._sums(answers, SimpleNamespace()) == {"chosen_ids": [-7], "rejected_ids": [-8]}
    weighed = reference._sums(answers, SimpleNamespace(ld_alpha=0.5))
    assert weighed == {"chosen_ids": [-4], "rejected_ids": [-8]}


def test_scoring_finds_what_training_or_an_earlier_scoring_left_and_measures_the_same(
    starter: Path, tmp_path: Path
) -> None:
    cache: dict[str, Any] = {"reference_cache": str(tmp_path / "cache")}
    train_here(tmp_path / "train", spec(starter, "dpo", **cache, epochs=3, min_rows=4), pairs(4))
    policy = ModelRef(str(starter), adapter=str(tmp_path / "train" / "adapter"))
    rows = [row | {"kind": "pair"} for row in pairs(6)]
    settings: dict[str, Any] = {"policy": policy, "device": "cpu"}
    plain = score_here(tmp_path / "plain", ScoreSpec(**settings), rows)
    first = score_here(tmp_path / "first", ScoreSpec(**settings, **cache), rows)
    again = score_here(tmp_path / "again", ScoreSpec(**settings, **cache), rows)
    assert [facts(job) for job in (plain, first, again)] == [(0, 12), (8, 4), (12, 0)]
    files = [(tmp_path / name / "pairs.jsonl").read_bytes() for name in ("plain", "first", "again")]
    assert files[0] == files[1] == files[2]
    assert plain.metrics == first.metrics == again.metrics
    assert abs(plain.metrics["heldout_margin"]) > 0
