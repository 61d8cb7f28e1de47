"""How large a model is, from its config alone, and what the engine says of the machine it ran on."""

from pathlib import Path
from typing import Any

import pytest

from tests.engine.kit import FAST, pairs, train_here
from tests.pure.test_profile import MODELS
from training.engine.job import Failure, Job
from training.engine.machine import Machine, look
from training.engine.show_profile import main
from training.engine.sizes import ModelFacts, model_facts
from training.engine.spec import ModelRef, TrainSpec


def config(name: str) -> Any:
    from transformers import LlamaConfig, Qwen2Config

    if name in ("0.5B", "1.5B"):
        small = name == "0.5B"
        return Qwen2Config(
            vocab_size=151_936,
            hidden_size=896 if small else 1536,
            intermediate_size=4864 if small else 8960,
            num_hidden_layers=24 if small else 28,
            num_attention_heads=14 if small else 12,
            num_key_value_heads=2,
            tie_word_embeddings=True,
        )
    small = name == "8B"
    return LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096 if small else 8192,
        intermediate_size=14_336 if small else 28_672,
        num_hidden_layers=32 if small else 80,
        num_attention_heads=32 if small else 64,
        num_key_value_heads=8,
        max_position_embeddings=131_072,
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_config_alone_tells_the_size(tmp_path: Path, name: str) -> None:
    """Qwen2.5 0.5B and 1.5B, Llama 3.1 8B and 70B, with the parameters that their cards name."""
    config(name).save_pretrained(tmp_path)
    assert model_facts(ModelRef(str(tmp_path))) == MODELS[name]


def test_gpt2_keeps_more_for_the_backward_pass_and_reads_no_further_than_its_positions(tmp_path: Path) -> None:
    from transformers import GPT2Config

    GPT2Config().save_pretrained(tmp_path)
    facts = model_facts(ModelRef(str(tmp_path)))
    assert (facts.parameters, facts.positions, facts.kept) == (124_439_808, 1024, 2.2)


def test_a_config_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot be read"):
        model_facts(ModelRef(str(tmp_path)))


def test_a_run_says_where_it_ran_and_how_large_its_base_is(starter: Path, tmp_path: Path) -> None:
    job: Job = train_here(tmp_path / "run", TrainSpec(method="dpo", model=str(starter), **FAST), pairs(8))
    assert Machine.from_json(job.about["machine"]) == look()
    assert ModelFacts(**job.about["base"]) == model_facts(ModelRef(str(starter)))


def test_bfloat16_is_refused_where_there_is_none(starter: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="bfloat16"):
        train_here(
            tmp_path / "run", TrainSpec(method="dpo", model=str(starter), precision="bfloat16", **FAST), pairs(8)
        )


def test_the_command_says_what_it_chose_and_why(starter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(starter), "--method", "kto"]) == 0
    said = capsys.readouterr().out
    assert f"{look().cores} cores" in said
    assert "batch_size=8" in said
    assert "16 rows a step, as is usual for KTO: 8 at once, 2 times." in said
    assert "Memory: about" in said
