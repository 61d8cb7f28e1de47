"""Looks while it trains: held-out judgments, early stopping, guards; and that looking changes nothing."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engine.kit import FAST, messages, pairs, score_here
from training.engine import rundir
from training.engine.job import Job
from training.engine.models import ADAPTER_WEIGHTS
from training.engine.spec import ModelRef, ScoreSpec, TrainSpec
from training.engine.train import train

ROWS = pairs(8)
TO_IMITATE = [{"id": row["id"], "messages": row["messages"], "completion": row["chosen"]} for row in ROWS]
# The shorter reply is preferred here: the more is learnt from ROWS, the worse these are told.
AGAINST = [row | {"kind": "pair", "id": f"h{n}", "chosen": row["rejected"], "rejected": row["chosen"]}
           for n, row in enumerate(pairs(8))]  # fmt: skip
PROMPTS = [{"kind": "prompt", "id": f"p{n}", "messages": messages(f"My parcel {n} is late.")} for n in range(4)]
# Fast enough that the KL, estimated from four answers, lies above 0 whichever answers they are.
FASTER: dict[str, Any] = FAST | {"learning_rate": 1e-2}
SETTINGS: dict[str, Any] = FASTER | {"epochs": 8, "lora_dropout": 0.1, "save_every": 4, "gradient_checkpointing": True}
FRESH: dict[str, Any] = {"fresh_answers": 4, "fresh_tokens": 12}


def run(path: Path, starter: Path, heldout: list[dict[str, Any]], **chosen: Any) -> Job:
    spec = TrainSpec(**({"method": "dpo", "model": str(starter)} | SETTINGS | chosen))
    rows = TO_IMITATE if spec.method == "sft" else ROWS
    rundir.write_run_dir(path, spec, rows, heldout)
    job = Job(path)
    train(job, spec, rows)
    return job


def looks_of(path: Path) -> dict[int, dict[str, float]]:
    return {event["step"]: event["values"] for event in rundir.read_events(path) if event["kind"] == "look"}


def warnings_of(path: Path) -> list[str]:
    return [event["message"] for event in rundir.read_events(path) if event["kind"] == "warning"]


@pytest.fixture(scope="module")
def unwatched(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("unwatched") / "run"
    run(path, starter, [])
    return path


@pytest.fixture(scope="module")
def watched(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Looked at every four steps, all guards on and none of them crossed."""
    path = tmp_path_factory.mktemp("watched") / "run"
    on = {"kl_guard": "stop", "kl_budget": 1e4, "length_guard": "stop", "length_ratio": 999.0}
    run(path, starter, AGAINST + PROMPTS, look_every=4, chosen_guard="stop", chosen_drop=1e4, **on, **FRESH)
    return path


def test_looking_changes_no_bit_of_the_result(unwatched: Path, watched: Path) -> None:
    weights = "adapter/" + ADAPTER_WEIGHTS
    assert (watched / weights).read_bytes() == (unwatched / weights).read_bytes()
    assert (watched / "adapter/manifest.json").read_bytes() == (unwatched / "adapter/manifest.json").read_bytes()
    assert not looks_of(unwatched)


def test_guards_that_are_not_crossed_say_nothing(watched: Path) -> None:
    assert warnings_of(watched) == []
    assert sorted(looks_of(watched)) == [0, 4, 8, 12, 16]


def test_the_last_look_is_what_scoring_finds(starter: Path, watched: Path, tmp_path: Path) -> None:
    last = looks_of(watched)[16]
    policy = ModelRef(str(starter), adapter=str(watched / "adapter"))
    spec = ScoreSpec(policy=policy, max_new_tokens=12, kl_samples=4, seed=0, device="cpu")
    metrics = score_here(tmp_path / "score", spec, AGAINST + PROMPTS).metrics
    assert last["heldout_accuracy"] == metrics["heldout_accuracy"]
    for name in ("heldout_margin", "kl_per_response", "kl_per_response_se", "mean_tokens"):
        assert last[name] == pytest.approx(metrics[name], abs=1e-4)


def test_a_fresh_adapter_prefers_nothing_and_moves_away_from_there(watched: Path) -> None:
    first = looks_of(watched)[0]
    assert "heldout_accuracy" not in first
    assert (first["kl_per_response"], first["chosen_change"]) == (0, 0)
    assert abs(looks_of(watched)[16]["chosen_change"]) > 0.01


@pytest.mark.parametrize(
    ("guard", "limit", "words"),
    [
        ("kl", {"kl_budget": 1e-6, "learning_rate": 5e-2}, "the KL to the base is "),
        ("chosen", {"chosen_drop": 1e-6, "learning_rate": 5e-2}, "preferred answers are "),
        (
            "length",
            {"length_ratio": 1.000001, "learning_rate": 5e-2, "fresh_tokens": 60},
            "times as long as at the start",
        ),
    ],
)
def test_a_guard_that_is_crossed_ends_the_run_with_what_it_has_learnt(
    starter: Path, tmp_path: Path, guard: str, limit: dict[str, Any], words: str
) -> None:
    job = run(tmp_path / "run", starter, PROMPTS, look_every=4, **{f"{guard}_guard": "stop"}, **(FRESH | limit))
    assert job.metrics["steps"] < 16
    assert words in job.about["stopped_early"]
    assert words in rundir.verify_manifest(tmp_path / "run" / "adapter")["about"]["stopped_early"]
    assert job.manifest_sha256


def test_a_guard_that_only_warns_says_so_once(starter: Path, unwatched: Path, tmp_path: Path) -> None:
    job = run(tmp_path / "run", starter, PROMPTS, look_every=4, kl_guard="warn", kl_budget=1e-6, **FRESH)
    assert len(warnings_of(tmp_path / "run")) == 1
    assert "the KL to the base is" in warnings_of(tmp_path / "run")[0]
    assert "stopped_early" not in job.about
    assert job.manifest_sha256 == rundir.verify_manifest(unwatched / "adapter")["sha256"]


@pytest.fixture(scope="module")
def patient(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Job]:
    path = tmp_path_factory.mktemp("patient") / "run"
    return path, run(path, starter, AGAINST, look_every=2, patience=2)


def test_it_stops_when_held_out_accuracy_gets_no_better_and_publishes_the_best(patient: tuple[Path, Job]) -> None:
    path, job = patient
    accuracy = {step: values["heldout_accuracy"] for step, values in looks_of(path).items() if step}
    best = max(accuracy, key=lambda step: (accuracy[step], -step))
    assert job.metrics["steps"] == best + 4 < 16
    assert job.about["weights_of_step"] == best
    assert (
        f"no better held-out accuracy than the {round(100 * accuracy[best])}% of step {best} in 2 looks"
        in (job.about["stopped_early"])
    )


def test_killed_before_it_could_publish_it_ends_at_the_same_step_with_the_same_weights(
    starter: Path, patient: tuple[Path, Job], tmp_path: Path
) -> None:
    path, job = patient
    shutil.copytree(path / "checkpoints", tmp_path / "checkpoints")
    again = run(
        tmp_path / "run", starter, AGAINST, look_every=2, patience=2, resume_from=(str(tmp_path / "checkpoints"),)
    )
    assert again.manifest_sha256 == job.manifest_sha256
    assert again.metrics["steps"] == job.metrics["steps"]
    assert again.about["stopped_early"] == job.about["stopped_early"]


def test_resumed_in_between_it_remembers_what_was_best(
    starter: Path, patient: tuple[Path, Job], tmp_path: Path
) -> None:
    path, job = patient
    first = min((path / "checkpoints").iterdir(), key=lambda folder: int(folder.name.split("-")[1]))
    assert int(first.name.split("-")[1]) < job.metrics["steps"]
    shutil.copytree(first, tmp_path / "checkpoints" / first.name)
    again = run(
        tmp_path / "run", starter, AGAINST, look_every=2, patience=2, resume_from=(str(tmp_path / "checkpoints"),)
    )
    assert again.manifest_sha256 == job.manifest_sha256


def test_without_held_out_judgments_patience_says_that_it_cannot_work(
    starter: Path, unwatched: Path, tmp_path: Path
) -> None:
    job = run(tmp_path / "run", starter, [], look_every=8, patience=1)
    assert "no held-out judgments" in warnings_of(tmp_path / "run")[0]
    assert job.manifest_sha256 == rundir.verify_manifest(unwatched / "adapter")["sha256"]


@pytest.mark.parametrize("case", ["full", "merged", "named"])
def test_the_kl_is_measured_also_where_the_base_is_another_model(
    starter: Path, unwatched: Path, tmp_path: Path, case: str
) -> None:
    """Every weight is trained; SFT merged an earlier adapter; the reference is a model of its own."""
    earlier = {"start_adapter": str(unwatched / "adapter")}
    chosen = {
        "full": {"adaptation": "full"},
        "merged": earlier | {"method": "sft"},
        "named": earlier | {"reference": "previous", "reference_model": str(starter)},
    }[case]
    settings = SETTINGS | {"epochs": 1, "save_every": 99} | FRESH | chosen
    job = run(tmp_path / "run", starter, PROMPTS, look_every=1, kl_guard="warn", kl_budget=1e-9, **settings)
    assert job.metrics["steps"] == 2
    assert any("the KL to the base is" in warning for warning in warnings_of(tmp_path / "run"))
    first, *_, last = looks_of(tmp_path / "run").values()
    assert (first["kl_per_response"] == 0) == (case == "full")
    told = [event["message"] for event in rundir.read_events(tmp_path / "run") if event["kind"] == "phase"]
    assert any("MiB beside the one in training" in message for message in told)
    made = tmp_path / "run" / "model"
    policy = ModelRef(str(made)) if made.exists() else ModelRef(str(starter), adapter=str(tmp_path / "run" / "adapter"))
    spec = ScoreSpec(policy=policy, base=str(starter), max_new_tokens=12, kl_samples=4, seed=0, device="cpu")
    scored = score_here(tmp_path / "score", spec, PROMPTS).metrics
    assert last["kl_per_response"] == pytest.approx(scored["kl_per_response"], abs=1e-3)
    assert last["mean_tokens"] == scored["mean_tokens"]
    if case == "merged":  # here a model is loaded for it, and the adapter has dropout
        assert run(tmp_path / "unwatched", starter, [], **settings).manifest_sha256 == job.manifest_sha256
