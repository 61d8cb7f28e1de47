"""DPO and KTO runs: the right reference, the right numbers, every row accounted for, nothing unsound published."""

import itertools
import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engine.kit import FAST, Row, logged, messages, pairs, plain_logp, thumbs, train_here
from training.engine import rundir
from training.engine.chat import Chat
from training.engine.job import Failure, Job
from training.engine.methods.kto import kto_batch_size, kto_weights
from training.engine.models import add_adapter, check_adapter
from training.engine.rows import usable_rows
from training.engine.spec import TrainSpec
from training.engine.watch import METRICS


def load(starter: Path, adapter: Path | None = None) -> Any:
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(starter).eval()
    return add_adapter(base, str(adapter), trainable=False).eval() if adapter else base


@pytest.fixture(scope="module")
def chat(starter: Path) -> Chat:
    from transformers import AutoTokenizer

    return Chat(AutoTokenizer.from_pretrained(starter))


@pytest.fixture(scope="module")
def first_round(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter trained from the base. Read only."""
    path = tmp_path_factory.mktemp("first") / "run"
    job = train_here(path, TrainSpec(method="dpo", model=str(starter), epochs=2, **FAST), pairs(24))
    assert job.about["reference"]["model"] == "base"
    return path / "adapter"


def rewards(policy: Any, reference: Any, chat: Chat, row: Row, answer: str, beta: float) -> tuple[float, float]:
    """(implicit reward, log p) of one answer, by plain torch."""
    prompt, [ids] = chat.split(row["messages"], [answer])
    ours = plain_logp(policy, prompt, ids)
    return beta * (ours - plain_logp(reference, prompt, ids)), ours


@pytest.mark.parametrize("reference", ["base", "previous"])
def test_losses_and_rewards_of_a_continued_adapter_equal_a_plain_recomputation(
    starter: Path, first_round: Path, chat: Chat, tmp_path: Path, reference: str
) -> None:
    rows = pairs(8, seed=9)
    rows[0]["messages"] = messages(
        "</s><|assistant|> My lamp is late."
    )  # control tokens: tokenized alike by TRL and us
    # One batch a step holds all rows, and a checkpoint is kept after each: so every logged loss can be had again.
    spec = TrainSpec(
        method="dpo",
        model=str(starter),
        start_adapter=str(first_round),
        reference=reference,
        beta=0.3,
        epochs=3,
        save_every=1,
        save_total_limit=9,
        warmup_ratio=0.0,
        **(FAST | {"batch_size": 8}),
    )
    job = train_here(tmp_path / "run", spec, rows)
    assert job.about["reference"]["model"] == reference
    assert job.about["reference"]["max_difference"] < 1e-3
    held_to = load(starter, first_round if reference == "previous" else None)
    steps = logged(tmp_path / "run")
    assert len(steps) == 3
    for step, values in enumerate(steps):
        before = first_round if step == 0 else tmp_path / f"step{step}"
        if step:
            shutil.copytree(tmp_path / "run" / "checkpoints" / f"checkpoint-{step}", before)
            (before / rundir.MANIFEST).unlink()
        policy = load(starter, before)
        chosen = [rewards(policy, held_to, chat, row, row["chosen"], 0.3) for row in rows]
        rejected = [rewards(policy, held_to, chat, row, row["rejected"], 0.3) for row in rows]
        margins = [up[0] - down[0] for up, down in zip(chosen, rejected, strict=True)]
        loss = sum(math.log1p(math.exp(-margin)) for margin in margins) / len(rows)
        assert values["loss"] == pytest.approx(loss, abs=1e-4)
        assert values["rewards/margins"] == pytest.approx(sum(margins) / len(rows), abs=1e-4)
        # At a margin of 0 (all of step 1 against the previous adapter) rounding decides.
        unsure = sum(abs(margin) < 1e-5 for margin in margins)
        won = values["rewards/accuracies"] * len(rows)
        assert won == pytest.approx(sum(margin > 0 for margin in margins), abs=unsure + 1e-3)
        assert unsure < len(rows) or (reference == "previous" and step == 0)
        assert values["rewards/chosen"] == pytest.approx(sum(r for r, _ in chosen) / len(rows), abs=1e-4)
        assert values["rewards/rejected"] == pytest.approx(sum(r for r, _ in rejected) / len(rows), abs=1e-4)
        assert values["logps/chosen"] == pytest.approx(sum(logp for _, logp in chosen) / len(rows), abs=1e-3)
        assert values["logps/rejected"] == pytest.approx(sum(logp for _, logp in rejected) / len(rows), abs=1e-3)
    if reference == "previous":
        assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired"])
def test_kto_losses_equal_a_plain_recomputation(starter: Path, chat: Chat, tmp_path: Path, loss: str) -> None:
    rows = thumbs(8, up=3, seed=4)
    spec = TrainSpec(
        method="kto",
        model=str(starter),
        loss_type=(loss,),
        beta=0.3,
        epochs=2,
        save_every=1,
        warmup_ratio=0.0,
        **(FAST | {"batch_size": 8}),
    )
    job = train_here(tmp_path / "run", spec, rows)
    (tmp_path / "again").mkdir()
    order = [row.id for row in usable_rows(Job(tmp_path / "again"), chat, spec, rows)]
    assert order != [row["id"] for row in rows]
    rows.sort(key=lambda row: order.index(row["id"]))
    desirable = job.metrics["desirable_weight"]
    assert (desirable, job.metrics["undesirable_weight"]) == (round(1.15 * 5 / 3, 4), 1.0)

    (tmp_path / "step1").mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copy(tmp_path / "run" / "checkpoints" / "checkpoint-1" / name, tmp_path / "step1")
    base, steps = load(starter), logged(tmp_path / "run")
    for policy, values in ((base, steps[0]), (load(starter, tmp_path / "step1"), steps[1])):
        gaps, mismatched = [], []
        for place, row in enumerate(rows):
            prompt, [answer] = chat.split(row["messages"], [row["completion"]])
            _, [other] = chat.split(rows[place - 1]["messages"], [rows[place - 1]["completion"]])
            gaps.append(plain_logp(policy, prompt, answer) - plain_logp(base, prompt, answer))
            mismatched.append(plain_logp(policy, prompt, other) - plain_logp(base, prompt, other))
        kl = max(sum(mismatched) / len(rows), 0.0) if loss == "kto" else 0.0  # APO's baseline is the reference
        losses = [
            desirable * (1 - 1 / (1 + math.exp(-0.3 * (gap - kl))))
            if row["label"]
            else 1 - 1 / (1 + math.exp(-0.3 * (kl - gap)))
            for row, gap in zip(rows, gaps, strict=True)
        ]
        assert loss != "kto" or values["kl"] == pytest.approx(kl, abs=1e-3)
        assert values["loss"] == pytest.approx(sum(losses) / len(rows), abs=1e-4)


def test_a_trained_adapter_is_published_whole_and_prefers_what_was_chosen(
    starter: Path, chat: Chat, tmp_path: Path
) -> None:
    rows = pairs(32)
    job = train_here(tmp_path / "run", TrainSpec(method="dpo", model=str(starter), epochs=3, **FAST), rows)
    adapter = tmp_path / "run" / "adapter"
    assert sorted(item.name for item in adapter.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    ]
    assert rundir.verify_manifest(adapter, job.manifest_sha256 or "")["about"]["method"] == "dpo"
    config = check_adapter(adapter)
    assert config["target_modules"] == sorted(config["target_modules"])
    assert not (tmp_path / "run" / "work").exists()
    for values in logged(tmp_path / "run"):
        assert set(values) <= {*METRICS, "memory_mib", "tokens_per_second"}
        assert {"loss", "grad_norm", "learning_rate", "rewards/accuracies", "rewards/margins"} <= set(values)
    policy, base = load(starter, adapter), load(starter)
    margins = [
        rewards(policy, base, chat, row, row["chosen"], 0.1)[0]
        - rewards(policy, base, chat, row, row["rejected"], 0.1)[0]
        for row in rows
    ]
    assert sum(margin > 0 for margin in margins) > 0.8 * len(rows)
    assert job.metrics["rows"] == 32
    assert json.dumps(job.metrics, allow_nan=False)


def test_the_same_spec_and_rows_give_the_same_bytes_and_another_seed_others(starter: Path, tmp_path: Path) -> None:
    rows = pairs(8)
    spec = TrainSpec(method="dpo", model=str(starter), lora_dropout=0.1, **FAST)
    digests = [train_here(tmp_path / name, spec, rows).manifest_sha256 for name in ("a", "b")]
    assert digests[0] == digests[1]
    other = TrainSpec(method="dpo", model=str(starter), lora_dropout=0.1, seed=1, **FAST)
    assert train_here(tmp_path / "c", other, rows).manifest_sha256 != digests[0]


def poisoned() -> dict[str, tuple[Row, str]]:
    """Every row that TRL would drop, crash on, or train on to no use."""
    good = {"messages": messages("Where is my lamp?"), "chosen": "On its way.", "rejected": "No."}
    long = "word " * 200
    return {
        "empty": (good | {"chosen": ""}, "empty answer"),
        "blank": (good | {"rejected": " \n"}, "empty answer"),
        "same": (good | {"chosen": "No. "}, "identical answers"),
        "prompt": (good | {"messages": messages(long)}, "prompt too long"),
        "cut": (good | {"chosen": long + "A", "rejected": long + "B"}, "answers differ only after the maximal length"),
        "none": (good | {"chosen": None}, "not text"),
        "number": (good | {"rejected": 7}, "not text"),
        "missing": ({"messages": good["messages"], "chosen": "x"}, "not text"),
        "surrogate": (good | {"chosen": "a\udc00"}, "contains a lone surrogate"),
        "nul": (good | {"messages": messages("a\0")}, "contains a NUL character"),
        "roles": (good | {"messages": [{"role": "bot", "content": "x"}]}, "malformed messages"),
        "text": (good | {"messages": "hello"}, "malformed messages"),
    }


def test_poisoned_rows_are_skipped_with_reasons_and_extra_columns_do_no_harm(starter: Path, tmp_path: Path) -> None:
    bad = poisoned()
    rows = [row | {"chat_template_kwargs": {"x": 1}, "tools": "nonsense"} for row in pairs(9)]
    rows += [row | {"id": name} for name, (row, _) in bad.items()]
    random.Random(0).shuffle(rows)
    job = train_here(tmp_path / "run", TrainSpec(method="dpo", model=str(starter), **FAST), rows)
    assert {item["id"]: item["reason"] for item in job.skipped} == {name: reason for name, (_, reason) in bad.items()}
    assert sorted(map(str, job.used)) == [str(i) for i in range(9)]
    assert len(job.used) + len(job.skipped) == len(rows)


def failure(path: Path, spec: TrainSpec, rows: list[Row]) -> tuple[Job, Failure]:
    path.mkdir()
    job = Job(path)
    from training.engine.train import train

    with pytest.raises(Failure) as caught:
        train(job, spec, rows)
    assert not (path / "adapter").exists()
    return job, caught.value


def test_too_few_one_sided_unusable_and_unnamed_rows_fail_with_a_code(starter: Path, tmp_path: Path) -> None:
    dpo = TrainSpec(method="dpo", model=str(starter), **FAST)
    kto = TrainSpec(method="kto", model=str(starter), **FAST)
    for number, (spec, rows, code) in enumerate(
        [
            (dpo, pairs(7), "too_few_rows"),
            (dpo, [], "too_few_rows"),
            (kto, thumbs(9, up=9), "one_sided"),
            (kto, thumbs(9, up=0), "one_sided"),
            (dpo, [row | {"chosen": ""} for row in pairs(9)], "all_rows_skipped"),
            (kto, [row | {"label": 1} for row in thumbs(9, up=4)], "all_rows_skipped"),
        ]
    ):
        job, error = failure(tmp_path / str(number), spec, rows)
        assert error.code == code
        assert (len(job.used), len(job.skipped)) == (0, len(rows))
    _, error = failure(tmp_path / "twice", dpo, pairs(8) + pairs(1))
    assert (error.code, "occurs twice" in error.message) == ("bad_rows", True)
    _, error = failure(tmp_path / "unnamed", dpo, [{"messages": []}])
    assert error.code == "bad_rows"


def test_a_missing_model_and_a_wrong_adapter_fail_before_training(
    starter: Path, first_round: Path, tmp_path: Path
) -> None:
    _, error = failure(tmp_path / "m", TrainSpec(method="dpo", model=str(tmp_path / "nothing"), **FAST), pairs(8))
    assert error.code == "bad_model"
    changed = tmp_path / "changed"
    shutil.copytree(first_round, changed)
    (changed / "adapter_config.json").write_text("{}")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copy(first_round / "adapter_config.json", pickled)
    (pickled / "adapter_model.bin").write_bytes(b"\x80\x04.")
    importing = tmp_path / "importing"
    shutil.copytree(first_round, importing)
    (importing / rundir.MANIFEST).unlink()
    config = json.loads((importing / "adapter_config.json").read_text()) | {"auto_mapping": {"parent_library": "os"}}
    (importing / "adapter_config.json").write_text(json.dumps(config))
    for name, folder, words in (
        ("c", changed, "changed after training"),
        ("p", pickled, "safetensors"),
        ("i", importing, "not a plain LoRA"),
    ):
        spec = TrainSpec(method="dpo", model=str(starter), start_adapter=str(folder), **FAST)
        _, error = failure(tmp_path / name, spec, pairs(8))
        assert error.code == "bad_adapter"
        assert words in error.message


def test_an_adapter_with_missing_weights_is_refused(starter: Path, first_round: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "half"
    shutil.copytree(first_round, folder)
    (folder / rundir.MANIFEST).unlink()
    weights = load_file(folder / "adapter_model.safetensors")
    weights.pop(min(weights))
    save_file(weights, folder / "adapter_model.safetensors")
    spec = TrainSpec(method="dpo", model=str(starter), start_adapter=str(folder), **FAST)
    _, error = failure(tmp_path / "run", spec, pairs(8))
    assert (error.code, "missing adapter keys" in error.message) == ("bad_adapter", True)


@pytest.mark.parametrize(("up", "down"), [(1, 19), (19, 1), (7, 13), (10, 10), (51, 49)])
def test_computed_kto_weights_lie_in_trls_recommended_range(up: int, down: int) -> None:
    desirable, undesirable = kto_weights(None, None, up, down)
    assert 1.0 <= desirable * up / (undesirable * down) <= 1.33
    assert 1.0 in {desirable, undesirable}
    desirable, undesirable = kto_weights(2.0, None, up, down)
    assert desirable == 2.0
    assert 1.0 <= desirable * up / (undesirable * down) <= 1.33


def test_kto_never_gets_a_batch_of_one_row() -> None:
    for wanted in range(2, 17):
        for rows in range(2, 80):
            size = kto_batch_size(wanted, rows)
            assert 2 <= size <= wanted
            assert rows % size != 1 or size == 2


def test_rows_of_one_label_after_the_other_are_mixed_before_training(starter: Path, chat: Chat, tmp_path: Path) -> None:
    spec = TrainSpec(method="kto", model=str(starter), **FAST)
    usable = usable_rows(Job(tmp_path), chat, spec, thumbs(40, up=20))
    labels = [row.trl["label"] for row in usable]
    changes = sum(a != b for a, b in itertools.pairwise(labels))
    assert changes > 8
    assert usable_rows(Job(tmp_path), chat, spec, thumbs(40, up=20)) == usable
