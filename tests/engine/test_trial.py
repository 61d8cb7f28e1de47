"""A trial: both policies answer as they would by themselves, from the same random numbers."""

from pathlib import Path

from tests.engine.kit import FAST, messages, pairs, sample_here, train_here
from training.engine import rundir
from training.engine.domain import demo_prompts
from training.engine.job import Job
from training.engine.spec import ModelRef, SampleSpec, TrainSpec, TrialSpec
from training.engine.trial import trial

ROWS = [{"id": place, "messages": messages(text)} for place, text in enumerate(demo_prompts(6))]
FASTER = FAST | {"learning_rate": 5e-2}  # so that the two say different things
SAMPLING = {"temperature": 0.9, "top_p": 0.95, "max_new_tokens": 16, "seed": 11, "device": "cpu"}


def test_each_side_answers_as_it_would_alone(starter: Path, tmp_path: Path) -> None:
    train_here(tmp_path / "train", TrainSpec(method="dpo", model=str(starter), min_rows=4, **FASTER), pairs(8))
    base, tuned = ModelRef(str(starter)), ModelRef(str(starter), adapter=str(tmp_path / "train" / "adapter"))
    (tmp_path / "trial").mkdir()
    job = Job(tmp_path / "trial")
    said = trial(job, TrialSpec(left=base, right=tuned, **SAMPLING), [*ROWS, {"id": 99, "messages": messages("a\0")}])
    found = list(rundir.iter_rows(tmp_path / "trial" / "answers.jsonl"))
    assert [row["id"] for row in found] == job.used == [row["id"] for row in ROWS]
    assert [item["id"] for item in job.skipped] == [99]
    assert "6 prompts; 1 skipped" in said
    for side, ref in (("left", base), ("right", tuned)):
        _, alone = sample_here(tmp_path / side, SampleSpec(model=ref, n=1, **SAMPLING), ROWS)
        assert [row[side]["text"] for row in found] == [row["text"] for row in alone]
        assert [row[side]["tokens"] for row in found] == [row["tokens"] for row in alone]
    assert any(row["left"] != row["right"] for row in found)
