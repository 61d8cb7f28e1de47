"""What runs take on this CPU, beside what a profile says they will (docs/profile.md). ``python -m tests.bench.memory``.

Random models of three shapes, rows that fill the maximal length, the most memory that the engine's process held.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.train import run
from training.engine import rundir
from training.engine.machine import look
from training.engine.profile import MIB, judge
from training.engine.sizes import model_facts
from training.engine.spec import ModelRef, StarterSpec, TrainSpec

WORDS = ("apple", "river", "stone", "cloud", "green", "light", "house", "train", "bread", "music")
LENGTH = 384
# (shape, method, settings). None of these went into the formula's factors.
RUNS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("llama", "dpo", {"batch_size": 3}),
    ("llama", "dpo", {"batch_size": 6, "gradient_checkpointing": True}),
    ("llama", "kto", {"batch_size": 4}),
    ("llama", "sft", {"batch_size": 4}),
    ("llama", "dpo", {"batch_size": 2, "adaptation": "dora"}),
    ("llama", "sft", {"batch_size": 2, "adaptation": "full"}),
    ("qwen", "dpo", {"batch_size": 2, "lora_r": 64}),
    ("gpt2", "kto", {"batch_size": 4}),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="One shape: llama, qwen or gpt2.")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pairloop-memory-"))
    try:
        starter = folder / "starter"
        starter.mkdir()
        spec = StarterSpec(examples=300, lesson_steps=1, steps=1)
        rundir.write_atomically(starter / rundir.SPEC, json.dumps(spec.to_json()))
        run(["-m", "training.engine", "starter", str(starter)], starter / "log")
        for number, (shape, method, changes) in enumerate(RUNS):
            if options.only in ("", shape):
                _measure(folder / str(number), _model(folder / shape, starter / "model"), shape, method, changes)
    finally:
        shutil.rmtree(folder)
    return 0


def _measure(place: Path, model: Path, shape: str, method: str, changes: dict[str, Any]) -> None:
    settings = {"gradient_checkpointing": False, "max_length": LENGTH, "gradient_accumulation": 1} | changes
    spec = TrainSpec(method=method, model=str(model), device="cpu", epochs=1, min_rows=2, **settings)
    rundir.write_run_dir(place, spec, _rows(2 * spec.batch_size, spec))
    found = run(["-m", "training.engine", "train", str(place)], place / "log").memory
    said = judge(look(), model_facts(ModelRef(str(model))), method, spec.to_json()).memory.total
    how = " ".join(f"{name}={value}" for name, value in changes.items())
    print(f"{shape} {method} {how}: {found / MIB:.0f} MiB, said {said / MIB:.0f} ({said / found - 1:+.0%})", flush=True)


def _model(folder: Path, starter: Path) -> Path:
    """A random model of the shape that the folder is named after, with the starter's tokenizer."""
    from transformers import (
        AutoTokenizer,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    if folder.exists():
        return folder
    if folder.name == "gpt2":
        config = GPT2Config(n_embd=512, n_layer=8, n_head=8, n_positions=512, vocab_size=20000)
        model: Any = GPT2LMHeadModel(config)
    else:
        size = {"hidden_size": 768, "num_hidden_layers": 8, "num_attention_heads": 12, "vocab_size": 16000}
        if folder.name == "llama":
            model = LlamaForCausalLM(LlamaConfig(**size, intermediate_size=2048, max_position_embeddings=512))
        else:
            shape = size | {"num_key_value_heads": 4, "intermediate_size": 4096, "max_position_embeddings": 512}
            model = Qwen2ForCausalLM(Qwen2Config(**shape))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(starter)).save_pretrained(folder)
    return folder


def _rows(n: int, spec: TrainSpec) -> Sequence[dict[str, Any]]:
    """Answers that are longer than the maximal length, and so cut there."""
    dice = random.Random("memory")
    rows: list[dict[str, Any]] = []
    for number in range(n):
        one, other = (" ".join(dice.choices(WORDS, k=spec.max_length)) for _ in range(2))
        row: dict[str, Any] = {"id": number, "messages": [{"role": "user", "content": f"Say {number}"}]}
        if spec.own.data == "pairs":
            row |= {"chosen": one, "rejected": other}
        else:
            row |= {"completion": one} | ({"label": number % 2 == 0} if spec.own.data == "unpaired" else {})
        rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(main())
