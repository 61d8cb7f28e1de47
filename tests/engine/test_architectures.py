"""Any local model folder works through the same code, also without a chat template or a padding token."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.kit import FAST, messages, pairs, sample_here, score_here, train_here
from training.engine import rundir
from training.engine.job import Failure, Job
from training.engine.models import Device, load_base, load_tokenizer
from training.engine.reward_model import load_reward_model, rewards
from training.engine.spec import ModelRef, SampleSpec, ScoreSpec, TrainSpec


def tokenizer_of(starter: Path, **changes: Any) -> Any:
    """The starter's BPE with other special tokens and template."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(str(starter / "tokenizer.json")), **changes)


def gpt2(starter: Path, folder: Path) -> Path:
    """GPT-2-shaped: no chat template, no padding token, dropout in the base, absolute positions, tied embeddings."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = tokenizer_of(starter, eos_token="</s>", bos_token="</s>")
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=256, bos_token_id=1, eos_token_id=1
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def qwen(starter: Path, folder: Path, poison: str = "") -> Path:
    """Qwen-shaped: grouped query attention, ChatML, untied embeddings. `poison`: text whose tokens embed as NaN."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = tokenizer_of(
        starter,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=(
            "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
        ),
    )
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=False,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    if poison:
        with torch.no_grad():
            model.get_input_embeddings().weight[tokenizer.encode(poison, add_special_tokens=False)] = float("nan")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("make", [gpt2, qwen])
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_another_architecture_trains_samples_and_scores(
    starter: Path, tmp_path: Path, make: Callable[[Path, Path], Path], method: str
) -> None:
    model = str(make(starter, tmp_path / "model"))
    rows = pairs(8)
    if method == "kto":
        rows = [
            {"id": r["id"], "messages": r["messages"], "completion": r["chosen"], "label": r["id"] % 2 == 0}
            for r in rows
        ]
    job = train_here(tmp_path / "t", TrainSpec(method=method, model=model, **FAST), rows)
    assert job.about["reference"]["max_difference"] < 1e-2
    adapter = str(tmp_path / "t" / "adapter")
    prompts = [{"id": i, "messages": messages("Hi. " * (i + 1))} for i in range(4)]
    spec = {"model": ModelRef(model, "", adapter), "n": 1, "temperature": 0, "max_new_tokens": 8, "device": "cpu"}
    _, batch = sample_here(tmp_path / "b", SampleSpec(batch_size=4, **spec), prompts)
    _, single = sample_here(tmp_path / "1", SampleSpec(batch_size=1, **spec), prompts)
    assert batch == single
    score_spec = ScoreSpec(policy=ModelRef(model, "", adapter), max_new_tokens=8, device="cpu")
    held_out = [{"kind": "pair", **row} for row in pairs(4, seed=7)]
    scored = score_here(
        tmp_path / "s", score_spec, held_out + [{"kind": "prompt", **p, "id": f"p{p['id']}"} for p in prompts]
    )
    assert scored.metrics["heldout_n"] == 4
    assert scored.metrics["kl_n"] == 4


def test_texts_longer_than_a_model_has_positions_for_do_not_stop_the_rest(starter: Path, tmp_path: Path) -> None:
    """GPT-2 has a table of them: one token more is an error inside torch, which takes the whole job along."""
    model = str(gpt2(starter, tmp_path / "model"))
    (tmp_path / "probe").mkdir()
    chat = load_tokenizer(ModelRef(model), Job(tmp_path / "probe"))

    def of_tokens(n: int) -> list[dict[str, str]]:
        text = "Hi."
        while len(chat.prompt_ids(messages(text))) < n:
            text += " Hi."
        return messages(text)

    prompts = [{"id": n, "messages": of_tokens(n)} for n in (20, 40, 244, 300)]
    spec = {"model": ModelRef(model), "n": 1, "max_new_tokens": 16, "device": "cpu"}
    job, together = sample_here(tmp_path / "b", SampleSpec(batch_size=8, **spec), prompts)
    assert job.skipped == [{"id": 300, "reason": "prompt too long"}]
    _, single = sample_here(tmp_path / "1", SampleSpec(batch_size=1, **spec), prompts)
    assert together == single
    assert max(answer["tokens"] for answer in together if answer["id"] == 20) <= 16
    assert max(answer["tokens"] for answer in together if answer["id"] == 244) <= 256 - 244

    (tmp_path / "t").mkdir()
    rundir.write_rows(tmp_path / "t" / rundir.HELDOUT, [{"kind": "prompt", **row} for row in prompts])
    long = {"id": "long", "messages": of_tokens(240), "chosen": "yes " * 40, "rejected": "no " * 40}
    longer = long | {"id": "longer", "messages": of_tokens(300)}
    looks = {"look_every": 2, "length_guard": "warn", "max_length": 512}
    trained = train_here(
        tmp_path / "t", TrainSpec(method="dpo", model=model, **FAST | looks), [*pairs(8), long, longer]
    )
    assert "long" in trained.used
    assert trained.skipped == [{"id": "longer", "reason": "prompt too long"}]

    policy = ModelRef(model, "", str(tmp_path / "t" / "adapter"))
    rows = [{"kind": "pair", **row} for row in (pairs(1)[0] | {"id": "fits"}, long)]
    scored = score_here(
        tmp_path / "s",
        ScoreSpec(policy=policy, max_new_tokens=16, device="cpu"),
        [*rows, *({"kind": "prompt", **row} for row in prompts)],
    )
    assert {item["id"]: item["reason"] for item in scored.skipped} == {
        "long": "prompt and answer too long",
        300: "prompt too long",
    }
    assert scored.metrics["kl_n"] == 3


def test_a_tokenizer_with_more_tokens_than_its_model_is_refused_by_name(starter: Path, tmp_path: Path) -> None:
    from transformers import GPT2Config

    tokenizer_of(starter, eos_token="</s>").save_pretrained(tmp_path)
    GPT2Config(vocab_size=100).save_pretrained(tmp_path)
    with pytest.raises(Failure) as caught:
        load_tokenizer(ModelRef(str(tmp_path)), Job(tmp_path))
    assert caught.value.code == "bad_model"
    assert "and its model 100" in caught.value.message


def test_weights_that_were_cut_short_are_refused_by_name(starter: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(starter, tmp_path / "model"))
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Failure) as caught:
        load_base(ModelRef(str(model)), Device("cpu", bf16=False))
    assert caught.value.code == "bad_model"


def test_a_model_that_gives_nan_samples_nothing(starter: Path, tmp_path: Path) -> None:
    model = str(qwen(starter, tmp_path / "model", poison="Ω"))
    spec = SampleSpec(model=ModelRef(model), n=1, max_new_tokens=4, device="cpu")
    with pytest.raises(Failure) as caught:
        sample_here(tmp_path / "s", spec, [{"id": 1, "messages": messages("Ω")}])
    assert caught.value.code == "not_finite"
    assert not (tmp_path / "s" / "responses.jsonl").exists()


@pytest.mark.parametrize(("make", "method"), [(gpt2, "rloo"), (qwen, "grpo")])
def test_another_architecture_makes_a_reward_model_and_is_trained_against_it(
    starter: Path, tmp_path: Path, make: Callable[[Path, Path], Path], method: str
) -> None:
    model = str(make(starter, tmp_path / "model"))
    (tmp_path / "r").mkdir()
    held_out = [{"kind": "pair", **row} for row in pairs(4, seed=7)]
    rundir.write_rows(tmp_path / "r" / rundir.HELDOUT, held_out)
    made = train_here(tmp_path / "r", TrainSpec(method="reward", model=model, **FAST), pairs(8))
    # A batch is padded and one sequence is not: both must be read at the same token.
    device, ref = Device("cpu", bf16=False), ModelRef(model, adapter=str(tmp_path / "r" / "adapter"))
    chat = load_tokenizer(ref, Job(tmp_path / "r"))
    scorer = load_reward_model(ref, device)
    for row, line in zip(held_out, rundir.iter_rows(tmp_path / "r" / "pairs.jsonl"), strict=True):
        prompt, [chosen, _] = chat.split(row["messages"], [row["chosen"], row["rejected"]])
        one = rewards(scorer, [(prompt, chosen)], pad_token_id=int(chat.tokenizer.pad_token_id), batch_size=1)
        assert line["reward_chosen"] == pytest.approx(one[0], abs=1e-4)
    assert made.metrics["heldout_n"] == 4
    rows = [{"id": row["id"], "messages": row["messages"]} for row in pairs(4)]
    settings = FAST | {"num_generations": 4, "max_new_tokens": 6, "min_rows": 2}
    job = train_here(tmp_path / "t", TrainSpec(method=method, model=model, reward_model=ref, **settings), rows)
    assert job.about["reference"]["max_difference"] < 1e-4
    assert math.isfinite(job.metrics["reward"])


def test_a_model_without_template_or_padding_gets_both_and_says_so(starter: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    job = Job(tmp_path / "run")
    chat = load_tokenizer(ModelRef(str(gpt2(starter, tmp_path / "model"))), job)
    assert [event["kind"] for event in rundir.read_events(tmp_path / "run")] == ["warning", "warning"]
    prompt, [answer] = chat.split([{"role": "system", "content": "S"}, *messages(" Hi </s> there ")], ["Fine."])
    assert chat.tokenizer.decode(prompt) == "System: S\nUser: Hi <\u2060/s> there\nAssistant:"
    assert chat.tokenizer.decode(answer) == " Fine.</s>\n"


def test_nan_in_the_middle_of_training_fails_and_publishes_nothing(starter: Path, tmp_path: Path) -> None:
    model = str(qwen(starter, tmp_path / "model", poison="Ω"))
    rows = pairs(12)
    rows[7]["chosen"] = "Ω"  # not among the first rows, on which the reference is measured
    with pytest.raises(Failure) as caught:
        train_here(tmp_path / "run", TrainSpec(method="dpo", model=model, epochs=3, **FAST), rows)
    assert caught.value.code == "not_finite"
    assert "is nan at step" in caught.value.message
    assert not (tmp_path / "run" / "adapter").exists()
    assert all(
        math.isfinite(value)
        for step in rundir.read_events(tmp_path / "run")
        for value in step.get("values", {}).values()
    )


def test_a_reference_of_nan_is_found_before_the_first_step(starter: Path, tmp_path: Path) -> None:
    model = str(qwen(starter, tmp_path / "model", poison="Ω"))
    rows = pairs(12)
    rows[1]["rejected"] = "Ω"
    with pytest.raises(Failure) as caught:
        train_here(tmp_path / "run", TrainSpec(method="dpo", model=model, **FAST), rows)
    assert caught.value.code == "not_finite"
    assert not [event for event in rundir.read_events(tmp_path / "run") if event["kind"] == "metric"]
