"""`starter`: builds the starter model, so that the whole loop runs on a laptop without a download.

A Llama-shaped model of about a million parameters with a byte-level BPE tokenizer and a chat template of its own,
taught by TRL's SFTTrainer on a corpus that `training.engine.domain` generates. Two lessons: first replies that help,
then replies of mixed quality. Without the first, so small a model learns to sound like a shop long before it reads
the message.

    RUN_DIR/model/       the model, loadable by AutoModelForCausalLM, with manifest.json; appears whole or not at all
    RUN_DIR/result.json  last of all

`python -m training.engine starter RUN_DIR` needs no spec.json (the defaults are meant) and does nothing when it is
there.
"""

import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from annotate.said import Said
from training.engine import job as jobs
from training.engine import rundir
from training.engine.checks import SpecError
from training.engine.domain import Example, make_corpus, make_lesson
from training.engine.job import Failure, Job
from training.engine.spec import StarterSpec

MODEL = "model"
MAX_LENGTH = 512

# Control tokens stand alone, so that no text can merge with them: prompt ids are always a prefix of prompt + answer
# ids.
PAD, END = "<pad>", "</s>"
ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def main(path: Path) -> int:
    """The command: builds unless a verified model is there, and shows progress. Returns the exit code."""
    path.mkdir(parents=True, exist_ok=True)
    if (result := rundir.read_result(path)) is not None and result.get("status") == "finished":
        try:
            rundir.verify_manifest(path / MODEL, result["manifest_sha256"])
        except rundir.ManifestError as error:
            print(f"The starter model was changed ({error}); building it again.")  # noqa: T201
        else:
            print(f"The starter model is ready: {path / MODEL}")  # noqa: T201
            return jobs.FINISHED
    # Failed, cancelled or damaged: the result of another time must not pass for the new one.
    (path / rundir.RESULT).unlink(missing_ok=True)
    (path / rundir.STOP).unlink(missing_ok=True)

    def work(job: Job) -> str:
        try:
            data = rundir.read_spec_json(path) if (path / rundir.SPEC).exists() else StarterSpec().to_json()
            spec = StarterSpec.from_json(data)
        except (SpecError, ValueError) as error:
            raise Failure(
                "bad_spec", Said("%(file)s cannot be used: %(why)s", file=rundir.SPEC, why=str(error))
            ) from error
        return build(job, spec, show=True)

    return jobs.run(path, work)


def build(job: Job, spec: StarterSpec, *, show: bool = False) -> str:
    """Trains and writes `model/`; returns the closing sentence."""
    from training.engine.models import choose_device

    _say(job, "corpus", "Writing the corpus", show=show)
    lesson, corpus = make_lesson(min(spec.examples, 4000), spec.seed), make_corpus(spec.examples, spec.seed)
    tokenizer = make_tokenizer([*lesson, *corpus], spec.vocab_size)
    _say(job, "load", "Loading PyTorch and TRL", show=show)
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    device = choose_device(spec.device)
    set_seed(spec.seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # for debugging, and costs a fifth of the time
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=spec.hidden_size,
            intermediate_size=spec.hidden_size * 5 // 2,
            num_hidden_layers=spec.layers,
            num_attention_heads=spec.heads,
            num_key_value_heads=spec.heads,
            max_position_embeddings=MAX_LENGTH,
            tie_word_embeddings=True,
            initializer_range=0.05,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    total = spec.lesson_steps + spec.steps
    parameters = sum(parameter.numel() for parameter in model.parameters())
    _say(job, "train", f"Teaching {parameters:,} parameters", show=show)
    progress = _Progress(job, total, show=show)
    lessons = (
        (lesson, spec.lesson_steps, spec.lesson_learning_rate, "constant_with_warmup"),
        (corpus, spec.steps, spec.learning_rate, "cosine"),
    )
    for examples, steps, learning_rate, scheduler in lessons:
        _teach(job, spec, model, tokenizer, examples, steps, learning_rate, scheduler, device.name == "cpu", progress)
        progress.done += steps

    _say(job, "publish", "Saving the model", show=show)
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise Failure("not_finite", Said("The starter's weights hold NaN. Lower its learning rates."))
    aside, place = job.path / f".{MODEL}.tmp", job.path / MODEL
    shutil.rmtree(aside, ignore_errors=True)
    model.to("cpu").save_pretrained(str(aside))
    tokenizer.save_pretrained(str(aside))
    job.manifest_sha256 = rundir.put_in_place(aside, place, {"starter": spec.to_json()})
    job.metrics |= {"parameters": parameters, "steps": total, "loss": round(progress.loss, 4)}
    _say(job, "done", f"The starter model is ready: {place}", show=show)
    return Said("Built a starter model of %(parameters)s parameters.", parameters=parameters)


def make_tokenizer(examples: Sequence[Example], vocab_size: int) -> Any:
    """A byte-level BPE tokenizer: every text can be written, also in other alphabets. Reloads with AutoTokenizer."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END, *ROLE_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((text for example in examples for text in (example.message, example.reply)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLE_TOKENS),
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        padding_side="left",
    )


def _teach(
    job: Job,
    spec: StarterSpec,
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    steps: int,
    learning_rate: float,
    scheduler: str,
    use_cpu: bool,
    progress: "_Progress",
) -> None:
    """One SFT run: loss on the replies only."""
    import datasets
    import transformers
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing. is deprecated", category=FutureWarning)
    # No more rows than the steps can see: preparing a row costs about as much as learning from it.
    rows = [
        {
            "prompt": [{"role": "user", "content": example.message}],
            "completion": [{"role": "assistant", "content": example.reply}],
        }
        for example in examples[: steps * spec.batch_size]
    ]
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(job.path / "work"),
            max_steps=steps,
            per_device_train_batch_size=spec.batch_size,
            learning_rate=learning_rate,
            lr_scheduler_type=scheduler,
            warmup_steps=0.04,
            weight_decay=0.01,
            adam_beta2=0.98,
            max_length=MAX_LENGTH,
            train_sampling_strategy="group_by_length",  # short rows together: half of a random batch is padding
            seed=spec.seed,
            data_seed=spec.seed,
            use_cpu=use_cpu,
            bf16=False,
            gradient_checkpointing=False,
            logging_steps=25,
            logging_nan_inf_filter=False,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=not use_cpu,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[progress.callback()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    shutil.rmtree(job.path / "work", ignore_errors=True)


class _Progress:
    """Steps over both lessons, as events and, for a person, as a bar or as lines."""

    def __init__(self, job: Job, total: int, *, show: bool) -> None:
        self.job, self.total, self.show = job, total, show
        self.done = 0  # steps of earlier lessons
        self.loss = 0.0

    def step(self, here: int) -> None:
        self.job.raise_if_stopped()
        done = self.done + here
        if done % 10 and done != self.total:
            return
        self.job.events.progress(done, self.total)
        if not self.show:
            return
        if sys.stdout.isatty():
            filled = 30 * done // self.total
            end = "\n" if done == self.total else ""
            print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {100 * done // self.total:3d} %", end=end, flush=True)  # noqa: T201
        elif done % (10 * max(1, self.total // 100)) == 0 or done == self.total:
            print(f"{100 * done // self.total:3d} %  step {done} of {self.total}", flush=True)  # noqa: T201

    def callback(self) -> Any:
        from transformers import TrainerCallback

        progress = self

        class Callback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                progress.step(state.global_step)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
                progress.loss = float((logs or {}).get("loss", progress.loss))

        return Callback()


def _say(job: Job, name: str, message: str, *, show: bool) -> None:
    job.events.phase(name, message)
    if show:
        print(message, flush=True)  # noqa: T201
