"""What we export is what TRL trains on: each file is loaded by plain `datasets`, and one step is taken on it."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from annotate.models import Project, User
from annotate.services.content import person_author
from tests.cast import (
    make_comparison,
    make_judgment,
    make_lineup,
    make_prompt,
    make_ranking,
    make_rating,
    make_response,
    policy_author,
)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a Llama of a few thousand random parameters and a byte-level tokenizer with a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(special + letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        additional_special_tokens=special[2:],
        chat_template=CHAT_TEMPLATE,
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(wrapped),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=512,
        eos_token_id=wrapped.eos_token_id,
        pad_token_id=wrapped.pad_token_id,
    )
    folder = str(tmp_path_factory.mktemp("tiny"))
    LlamaForCausalLM(config).save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture
def judged(project: Project, bob: User) -> Project:
    """Eight judged pairs (one answer was edited), a tie, both bad, a skip, one on a reserved prompt; seven ratings."""
    newer, person = policy_author(project, 1), person_author(project=project, user=bob)
    for number in range(8):
        prompt = make_prompt(project, f"Where is parcel {number}? 🎁")
        better = make_response(prompt, f"Parcel {number} is on its way.", author=newer, sampling={"seed": number})
        worse = make_response(prompt, "No.", sampling={"seed": number, "temperature": 0.7} if number % 2 else {})
        swapped = number % 2 == 0
        comparison = make_comparison(prompt, better, worse, round=1)
        own = make_response(prompt, f"Parcel {number} is on its way, sorry.", author=person) if number == 7 else None
        make_judgment(comparison, bob, "B" if swapped else "A", swapped=swapped, strength=2, edited=own)
        if number < 6:
            make_rating(better if number % 2 else worse, bob, "up" if number % 2 else "down")
    for choice in ("tie", "both_bad", "skip"):
        make_judgment(make_comparison(make_prompt(project), round=2), bob, choice)
    make_judgment(make_comparison(make_prompt(project, split="reserved"), round=2), bob)
    make_rating(make_response(make_prompt(project)), bob, "skip")
    return project


@pytest.fixture
def load(judged: Project, tmp_path: Path) -> Iterator[Any]:
    from datasets import load_dataset

    def export_and_load(what: str, kind: str, *options: str) -> Any:
        file = tmp_path / f"{what}.{kind}"
        call_command(
            "export", str(judged.pk), what, "--format", kind, "--output", str(file), *options, stdout=io.StringIO()
        )
        loader = "parquet" if kind == "parquet" else "json"
        return load_dataset(loader, data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))

    return export_and_load


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_judgments_load_with_everything_in_them(load: Any, judged: Project, kind: str) -> None:
    rows = load("judgments", kind)
    assert len(rows) == judged.judgments.count() == 12
    assert sorted(set(rows["choice"])) == ["A", "B", "both_bad", "skip", "tie"]
    assert set(rows["split"]) == {"train", "reserved"}
    first = rows[0]
    assert first["messages"] == [{"role": "user", "content": "Where is parcel 0? 🎁"}]
    assert (first["swapped"], first["choice"], first["b_text"]) == (True, "B", "Parcel 0 is on its way.")
    assert first["preferred"] == first["b_response"]
    assert (first["b_author"], first["b_policy"], first["a_policy"], first["strength"]) == ("policy 1", 1, 0, 2)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_ratings_load_with_everything_in_them(load: Any, kind: str) -> None:
    rows = load("ratings", kind)
    assert sorted(rows["value"]) == ["down"] * 3 + ["skip"] + ["up"] * 3
    assert rows["answer_text"][0] == "No."


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_dpo_rows_train_one_step(load: Any, tiny: str, tmp_path: Path, kind: str) -> None:
    from trl import DPOConfig, DPOTrainer

    rows = load("dpo", kind)
    assert rows.column_names == ["prompt", "chosen", "rejected", "source", "source_id"]
    assert rows["source"].count("edit") == 1
    rows = rows.filter(lambda row: row["source"] == "comparison")
    assert len(rows) == 8  # Neither tie, nor both bad, nor skip, nor the reserved prompt.
    assert all(row["chosen"][0]["content"].endswith("on its way.") for row in rows)
    arguments = DPOConfig(output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4, **_quiet())
    trainer = DPOTrainer(model=tiny, args=arguments, train_dataset=rows)
    assert len(trainer.train_dataset) == 8
    # At the start policy and reference agree, so that the sigmoid loss is log 2.
    assert trainer.train().training_loss == pytest.approx(0.6931, abs=1e-3)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_kto_rows_train_one_step_and_mix_their_labels(load: Any, tiny: str, tmp_path: Path, kind: str) -> None:
    from trl import KTOConfig, KTOTrainer

    rows = load("kto", kind)
    assert rows.column_names == ["prompt", "completion", "label"]
    assert len(rows) == 6 + 2 * 8 + 2 + 1  # Thumbs, pairs taken apart, both bad, an edited answer.
    labels = rows["label"]
    assert sum(labels) == 3 + 8 + 1
    assert labels[:6] not in ([True] * 6, [False] * 6, [True, False] * 3)
    assert len(load("kto", kind, "--ratings-only")) == 6
    arguments = KTOConfig(output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4, **_quiet())
    trainer = KTOTrainer(model=tiny, args=arguments, train_dataset=rows)
    assert 0 < trainer.train().training_loss < 2


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rankings_load_and_their_pairs_train_one_step(
    load: Any, judged: Project, bob: User, tiny: str, tmp_path: Path, kind: str
) -> None:
    from trl import DPOConfig, DPOTrainer

    lineup = make_lineup(make_prompt(judged), "Today.", "No.", "Tomorrow.")
    make_ranking(lineup, bob, [1, 2, 2])
    make_ranking(make_lineup(make_prompt(judged)), bob, [])
    first, skipped = load("rankings", kind)
    assert [(answer["rank"], answer["text"]) for answer in first["answers"]] == [
        (1, "Today."), (2, "No."), (2, "Tomorrow."),
    ]  # fmt: skip
    assert [answer["rank"] for answer in skipped["answers"]] == [None] * 4
    rows = load("dpo", kind).filter(lambda row: row["source"] == "lineup")
    assert rows["source_id"][:] == [lineup.pk] * 2
    assert [row["chosen"][0]["content"] for row in rows] == ["Today."] * 2
    arguments = DPOConfig(output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=2, **_quiet())
    assert DPOTrainer(model=tiny, args=arguments, train_dataset=rows).train().training_loss > 0


def test_sft_rows_train_one_step(load: Any, tiny: str, tmp_path: Path) -> None:
    from trl import SFTConfig, SFTTrainer

    rows = load("sft", "jsonl")
    assert [row["completion"][0]["content"] for row in rows] == ["Parcel 7 is on its way, sorry."]
    arguments = SFTConfig(output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=1, **_quiet())
    assert SFTTrainer(model=tiny, args=arguments, train_dataset=rows).train().training_loss > 0


def _quiet() -> dict[str, Any]:
    return {"use_cpu": True, "bf16": False, "report_to": [], "save_strategy": "no", "disable_tqdm": True}
