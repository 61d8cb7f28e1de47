"""`train`: one LoRA run with TRL's own trainer of the method, and nothing published that is not sound.

What is a method's own (rows, trainer, checks) is in `training.engine.methods`; this is what they have in common. The
trainers are used as they are. What they get wrong without a word is closed around them: the row gate (rows), an
explicit reference that is measured before the first step (reference), verified checkpoints (checkpoints), a stop at
the first number that is not finite (watch), and a finite scan of the weights before they are published.

A resumed run starts from the original start adapter and then loads the checkpoint: started from the checkpoint
itself, it would silently take the half-trained adapter as its reference. On CPU the result is bit for bit that of an
uninterrupted run.
"""

import hashlib
import json
import math
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine import checkpoints, ranks, rundir
from training.engine.chat import Chat
from training.engine.job import Cancelled, Failure, Job, versions
from training.engine.looks import Looks, RewardLooks, untouched
from training.engine.methods.base import Parts
from training.engine.order import group_by_length
from training.engine.reward_model import HEAD
from training.engine.rows import TrainingRow, rows_sha256, usable_rows
from training.engine.sizes import note_surroundings, within_reach
from training.engine.spec import ModelRef, TrainSpec
from training.engine.trackers import tracked
from training.engine.watch import Watch, reported

if TYPE_CHECKING:
    from training.engine.models import Device

# Settings that a checkpoint need not agree in: where things lie and how often they are saved. Adapters by their bytes.
NOT_IN_THE_RESULT = (
    "resume_from",
    "start_adapter",
    "save_every",
    "save_total_limit",
    "reference_cache",
    "reference_cache_mb",
    "trackers",
    "tracker_project",
    "tracker_run",
)
WORK = "work"  # where the trainer writes; nothing in it is ever trusted


def train(job: Job, spec: TrainSpec, rows: Sequence[Mapping[str, Any]]) -> str:
    """Trains, publishes `adapter/` (`model/` where the method merges), and returns the closing sentence.

    Raises Failure or Cancelled; then nothing is published.
    """
    with tracked(job, spec):
        return _train(job, spec, rows)


def _train(job: Job, spec: TrainSpec, rows: Sequence[Mapping[str, Any]]) -> str:
    from training.engine.models import choose_device, load_base, load_tokenizer

    job.events.phase("load", Said("Loading the model and checking the rows"))
    whole, spec = spec, ranks.share(spec)
    device = choose_device(spec.device, spec.precision)
    ref = ModelRef(spec.model, spec.revision, spec.start_adapter)
    chat = load_tokenizer(ref, job)
    note_surroundings(job, ref)
    spec = within_reach(job, ref, spec)
    usable = usable_rows(job, chat, spec, rows)
    _quiet_libraries()
    import torch
    from transformers import PrinterCallback, set_seed

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # for debugging, and costs a fifth of the time
    asked, about = len(usable), partial(_checkpoint_about, whole, usable)
    usable = spec.own.keep(job, spec, chat, device, usable, about)
    set_seed(spec.seed)
    scores = spec.own.makes_reward_model
    model: Any = load_base(ref, _weights(spec, device), four_bit=spec.adaptation == "qlora", scores=scores)
    base = model
    if spec.reference_model:
        base = load_base(ModelRef(spec.reference_model, spec.reference_revision), _weights(spec, device))
    looks = (RewardLooks if scores else Looks)(job, spec, chat, usable)
    looks.measure_base(base)
    if spec.own.has_reference:
        far = None if base is model else base
        trainer = _held_close(job, spec, device, chat, model, usable, far=far, asked=asked)
    else:
        if spec.start_adapter:  # what was learned so far becomes part of what is trained on
            model = _with_adapter_merged(model, spec.start_adapter)
        job.events.phase("prepare", Said("Preparing %(n)s rows", n=len(usable)))
        trainer = make_trainer(job, spec, device, chat, model, usable, asked=asked)
    if spec.makes_whole_models and (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        raise Failure(
            "sharded",
            Said("Whole models are not made where each process holds a part. Train an adapter, or without sharding."),
        )
    _require_space(job, trainer.model, spec)
    if looks.wants_base_model:
        looks.base_model = _base_to_look_at(job, spec, device, trainer, None if base is model else base)

    trainer.remove_callback(PrinterCallback)
    found = _watch_and_find_checkpoint(job, whole, trainer, usable, looks)
    looks.at_start(trainer.model)
    job.events.phase("train", Said("Training on %(n)s rows", n=len(usable)))
    job.stop_only_between_steps()
    if looks.ended is None:  # else an attempt before this one had ended early and was killed before it could publish
        trainer.train(resume_from_checkpoint=str(found) if found else None)
    stopped = any(ranks.any_says(job.stop_asked))
    if job.rank == 0:
        shutil.rmtree(job.path / WORK, ignore_errors=True)
    if stopped:
        raise Cancelled
    return _finish(job, spec, device, trainer, chat, usable, looks)


def _watch_and_find_checkpoint(
    job: Job, spec: TrainSpec, trainer: Any, usable: Sequence[TrainingRow], looks: Looks
) -> Path | None:
    """Sets the watch on the trainer; the newest sound checkpoint of the very same job to resume from, or None.

    `spec`: the whole job's, not one process's share of it.
    """
    about = _checkpoint_about(spec, usable) | looks.about()
    root = job.path / checkpoints.FOLDER
    found: tuple[int, Path] | None = None
    if job.rank == 0:
        shutil.rmtree(job.path / WORK, ignore_errors=True)  # what a killed process left half-written
        places = [Path(item) for item in spec.resume_from] + [root]
        found = checkpoints.newest_verified(places, about=about, warn=job.events.warning)
    found = ranks.from_first(found)
    trainer.add_callback(Watch(job, root, about, spec.save_total_limit, looks).callback())
    if found is None:
        return None
    job.events.phase("resume", Said("Resuming from step %(step)s", step=found[0]))
    job.about["resumed_from_step"] = found[0]
    looks.restore(found[1])
    return found[1]


def _finish(
    job: Job,
    spec: TrainSpec,
    device: "Device",
    trainer: Any,
    chat: Chat,
    usable: Sequence[TrainingRow],
    looks: Looks,
) -> Said:
    """Publishes the weights, the best ones where the looks chose, and says what came of the run."""
    from training.engine.models import ADAPTER

    steps, ended_early = looks.ended or (int(trainer.state.global_step), None)
    looks.take_best(trainer.model, steps)
    job.metrics |= looks.at_end(trainer.model)
    about = _adapter_about(spec, usable, ended_early)
    weights = _gathered_weights(trainer)
    if job.rank:
        pass  # the first process publishes
    elif spec.makes_whole_models:
        job.events.phase("publish", Said("Merging, checking and saving the model"))
        job.manifest_sha256 = _publish_model(job, spec, device, trainer.model, chat, about)
    else:
        job.events.phase("publish", Said("Checking and saving the adapter"))
        job.manifest_sha256 = _publish(job.path, trainer.model, ADAPTER, about, weights)
    job.metrics |= {"rows": len(usable), "steps": steps} | _last_metrics(trainer.state.log_history)
    return _closing(job, rows=len(usable), steps=steps, ended_early=ended_early)


def _closing(job: Job, *, rows: int, steps: int, ended_early: Said | None) -> Said:
    """What the result says of a run that trained something."""
    skipped = len(job.skipped)
    if ended_early is not None:
        return Said(
            "Trained on %(rows)s rows, %(why)s; %(skipped)s rows skipped.", rows=rows, why=ended_early, skipped=skipped
        )
    return Said(
        "Trained on %(rows)s rows in %(steps)s steps; %(skipped)s rows skipped.",
        rows=rows,
        steps=steps,
        skipped=skipped,
    )


def _weights(spec: TrainSpec, device: "Device") -> "Device":
    """In which precision the weights are held: where all of them are trained, steps are too small for bfloat16."""
    return replace(device, bf16=False) if spec.adaptation == "full" else device


def _base_to_look_at(job: Job, spec: TrainSpec, device: "Device", trainer: Any, named: Any) -> Any:
    """The model that the KL is measured against: the one that the spec names, the trainer's reference where that is the
    base, or the base loaded once more."""
    from training.engine.models import load_base

    found = named
    if found is None and not (spec.reference == "previous" and spec.start_adapter):
        found = getattr(trainer, "ref_model", None)
    if found is None:
        ref = ModelRef(spec.model, spec.revision)
        with untouched(trainer.model):
            found = load_base(ref, _weights(spec, device), four_bit=spec.adaptation == "qlora")
    size = sum(weight.numel() * weight.element_size() for weight in found.parameters())
    job.events.phase(
        "base",
        Said("The KL is measured against a model of its own: %(mib)s MiB beside the one in training.", mib=size >> 20),
    )
    return found


def _with_adapter_merged(base: Any, adapter: str) -> Any:
    from training.engine.models import add_adapter

    merged = add_adapter(base, adapter, trainable=False).merge_and_unload()
    return merged.requires_grad_(True)  # peft had frozen the base's weights


def _held_close(
    job: Job,
    spec: TrainSpec,
    device: "Device",
    chat: Chat,
    base: Any,
    usable: list[TrainingRow],
    *,
    far: Any,
    asked: int,
) -> Any:
    """The trainer of a method with a reference, after its reference was found to be the model that is meant.

    `far` is the model of `spec.reference_model`, or None; `asked` as for `make_trainer`.
    """
    from training.engine.models import add_adapter
    from training.engine.reference import Reference, give_logprobs, open_cache, probe_logprobs, split_prompts

    probe = usable[:4]
    # The reference's log-probabilities, taken from the model that is meant before TRL has touched anything.
    previous = spec.reference == "previous" and bool(spec.start_adapter)
    other = _other_reference(spec, device, far, previous=previous)
    meant = base if other is None else other
    cache = None
    if known := spec.own.data != "prompts":  # else its answers do not exist yet
        cache = open_cache(spec, meant, device, adapter=spec.start_adapter if previous and other is None else "")
    expected = None if previous and other is None else probe_logprobs(meant, chat, probe, spec.max_length)
    model: Any = base
    if spec.start_adapter and spec.adaptation == "full":
        model = _with_adapter_merged(base, spec.start_adapter)
    elif spec.start_adapter:
        model = add_adapter(base, spec.start_adapter, trainable=True)
        _require_same_kind(spec, model)
    if expected is None:
        expected = probe_logprobs(model, chat, probe, spec.max_length)

    job.events.phase("prepare", Said("Preparing %(n)s rows", n=len(usable)))
    trainer = make_trainer(job, spec, device, chat, model, usable, reference=other, asked=asked)
    if "ref" in getattr(trainer.model, "peft_config", {}) and not previous:
        # TRL took the incoming adapter as the reference. Without this copy it switches adapters off instead: the base.
        trainer.model.delete_adapter("ref")
    reference = Reference("previous" if previous else "base", expected, split_prompts(probe))
    job.about["reference"] = reference.verify(trainer, device)
    if known:
        job.about["reference"] |= give_logprobs(trainer, job=job, spec=spec, chat=chat, device=device, cache=cache)
    return trainer


def _other_reference(spec: TrainSpec, device: "Device", far: Any, *, previous: bool) -> Any:
    """A second model, where the reference is not the one in training with its adapter off, or with the incoming one."""
    from training.engine.models import load_base

    if previous and spec.adaptation == "full":
        model = load_base(ModelRef(spec.model, spec.revision), _weights(spec, device))
        return _with_adapter_merged(model, spec.start_adapter)
    if far is not None and not previous:
        return far
    if spec.adaptation == "full":
        return load_base(ModelRef(spec.model, spec.revision), _weights(spec, device))
    return None


def _require_same_kind(spec: TrainSpec, model: Any) -> None:
    """An adapter that is continued stays what it is; the knob would change nothing, without a word."""
    from training.engine.models import ADAPTER

    if bool(model.peft_config[ADAPTER].use_dora) != (spec.adaptation == "dora"):
        raise Failure(
            "other_adaptation",
            Said(
                "The policy that is continued is a %(kind)s adapter and stays one. Choose that, or full fine-tuning.",
                kind="DoRA" if model.peft_config[ADAPTER].use_dora else "LoRA",
            ),
        )


def make_trainer(
    job: Job,
    spec: TrainSpec,
    device: "Device",
    chat: Chat,
    model: Any,
    usable: list[TrainingRow],
    *,
    reference: Any = None,
    asked: int = 0,
) -> Any:
    """TRL's trainer for the method, on the rows that passed the gate.

    `reference` is a model of its own, where `model` with another adapter or none is not what is meant. `asked` is how
    many rows the steps are counted of, where that is more than are trained on.
    """
    from datasets import Dataset
    from peft import LoraConfig, PeftModel
    from trl.trainer.utils import disable_dropout_in_model

    job.raise_if_stopped()
    modules = [name.strip() for name in spec.target_modules.split(",") if name.strip()]
    fresh = LoraConfig(
        r=spec.lora_r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules="all-linear" if modules == ["all-linear"] else modules,
        bias="none",
        task_type="SEQ_CLS" if spec.own.makes_reward_model else "CAUSAL_LM",
        modules_to_save=[HEAD] if spec.own.makes_reward_model else None,
        use_dora=spec.adaptation == "dora",
    )
    # TRL's disable_dropout also silences lora_dropout. The base's own dropout is always off: only the adapter's is a
    # knob.
    disable_dropout_in_model(model)
    continued = isinstance(model, PeftModel)
    if continued:
        _set_adapter_dropout(model, spec.lora_dropout)
    elif spec.adaptation != "full":
        _require_modules(model, modules)
    batch_size = spec.own.batch_size(spec, len(usable))
    steps = _steps(spec, max(asked, len(usable)), batch_size)
    job.about |= {"processes": ranks.processes(), "device": device.name, "bf16": device.bf16, "batch_size": batch_size}
    config: dict[str, Any] = {
        "output_dir": str(job.path / WORK),
        "learning_rate": spec.learning_rate,
        "num_train_epochs": spec.epochs,
        "max_steps": steps if asked > len(usable) else -1,
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": spec.gradient_accumulation,
        "max_length": spec.max_length,
        "warmup_steps": _warmup(job, spec, steps),  # below 1 it is a share of the steps
        "lr_scheduler_type": spec.lr_scheduler,
        "weight_decay": spec.weight_decay,
        "max_grad_norm": spec.max_grad_norm,
        "seed": spec.seed,
        "data_seed": spec.seed,
        "gradient_checkpointing": spec.gradient_checkpointing,
        "use_cpu": device.name == "cpu",
        "bf16": device.bf16,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # on, a NaN loss is logged as 0
        "save_strategy": "steps",
        "save_steps": spec.save_every,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": device.name != "cpu",
    }
    made: dict[str, Any] = {
        "model": model,
        "train_dataset": Dataset.from_list([row.trl for row in usable]),
        "processing_class": chat.tokenizer,
        "peft_config": None if continued or spec.adaptation == "full" else fresh,
    }
    if reference is not None:
        disable_dropout_in_model(reference)
        made["ref_model"] = reference
    trainer = spec.own.trainer(job, spec, usable, Parts(config, made, device))
    if "ref" in getattr(trainer.model, "peft_config", {}):
        _set_adapter_dropout(trainer.model, 0.0, only="ref")
    if len(trainer.train_dataset) != len(usable):
        raise Failure(
            "internal",
            Said(
                "TRL kept %(kept)s of %(rows)s rows. Report this with the rows.",
                kept=len(trainer.train_dataset),
                rows=len(usable),
            ),
        )
    if spec.group_by_length:
        group_by_length(trainer, [row.tokens(spec.max_length) for row in usable], seed=spec.seed)
    return trainer


def _steps(spec: TrainSpec, rows: int, batch_size: int) -> int:
    """Optimizer steps of a run on so many rows."""
    answers = rows * (spec.num_generations if spec.own.data == "prompts" else 1)
    batches = math.ceil(answers / (batch_size * ranks.processes()))
    return math.ceil(spec.epochs * max(1, math.ceil(batches / spec.gradient_accumulation)))


def _warmup(job: Job, spec: TrainSpec, steps: int) -> float:
    """The share of the steps that warm up. The first of those has a learning rate of 0: as the only step there is, it
    would learn nothing, and a policy that is its parent would come of it without a word."""
    if steps > 1 or not spec.warmup_ratio or spec.lr_scheduler == "constant":
        return spec.warmup_ratio
    job.events.warning(Said("There is only one step, so there is no warm-up: the learning rate would be 0 in it."))
    return 0.0


def _require_modules(model: Any, wanted: Sequence[str]) -> None:
    """Raises Failure `no_such_modules`: peft ignores a name that fits nothing, as long as another one does."""
    import torch
    from transformers.pytorch_utils import Conv1D

    if list(wanted) == ["all-linear"]:
        return
    names = [name for name, _ in model.named_modules()]
    missing = [want for want in wanted if not any(name == want or name.endswith(f".{want}") for name in names)]
    if not missing:
        return
    linear = (name for name, module in model.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D)))
    there = sorted({name.rpartition(".")[2] for name in linear} - {"lm_head"})
    raise Failure(
        "no_such_modules",
        Said(
            "The model has no modules called %(missing)s. Choose among %(there)s, or all-linear.",
            missing=", ".join(missing),
            there=", ".join(there),
        ),
    )


def _set_adapter_dropout(model: Any, rate: float, only: str = "") -> None:
    """Sets the dropout inside the LoRA layers, of one adapter or of all.

    A reference with dropout would be a noisy one.
    """
    import torch

    for module in model.modules():
        dropouts = getattr(module, "lora_dropout", None)
        if isinstance(dropouts, torch.nn.ModuleDict):
            for name in dropouts:
                if name == only or not only:
                    dropouts[name] = torch.nn.Dropout(rate) if rate else torch.nn.Identity()


def _quiet_libraries() -> None:
    """Progress bars are for terminals; ours are events. TRL still uses a name that transformers deprecates."""
    import datasets

    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing. is deprecated", category=FutureWarning)


def _require_space(job: Job, model: Any, spec: TrainSpec) -> None:
    """Refuses to start when the checkpoints would not fit: a full disk in the middle of a save loses more."""
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    # Weights and two Adam moments in float32, for each checkpoint kept, one being written, and the result.
    needed = weights * 4 * (3 * (spec.save_total_limit + 1) + 1) + 64 * 2**20
    if spec.makes_whole_models:
        needed += sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    free = shutil.disk_usage(job.path).free
    if free < needed:
        raise Failure(
            "no_space",
            Said(
                "The job needs about %(needed)s MiB of disk and %(free)s MiB are free. Free some space, or keep fewer "
                "checkpoints.",
                needed=needed // 2**20,
                free=free // 2**20,
            ),
        )


def _checkpoint_about(spec: TrainSpec, usable: Sequence[TrainingRow]) -> dict[str, Any]:
    """What a checkpoint must agree in to be resumed: rows, settings that shape the result, start adapter, versions."""
    settings = spec.to_json()
    for name in NOT_IN_THE_RESULT:
        settings.pop(name)
    return {
        "rows": rows_sha256(usable),
        "settings": hashlib.sha256(rundir.dumps(settings).encode()).hexdigest(),
        "start_adapter": _adapter_sha256(spec.start_adapter),
        "base": _base_sha256(spec.model),
        "versions": versions(),
        "processes": ranks.processes(),
    }


def _adapter_about(spec: TrainSpec, usable: Sequence[TrainingRow], ended_early: str | None) -> dict[str, Any]:
    """What the adapter's manifest says about it."""
    early = {} if ended_early is None else {"stopped_early": str(ended_early)}
    return early | {
        "base": spec.model,
        "revision": spec.revision,
        "method": spec.method,
        "adaptation": spec.adaptation,
        "loss_type": list(spec.loss_type),
        "reference": "" if not spec.own.has_reference else spec.reference if spec.start_adapter else "base",
        "beta": spec.beta,
        "start_adapter": _adapter_sha256(spec.start_adapter),
        "rows": rows_sha256(usable),
    }


def _base_sha256(model: str) -> str:
    """Tells one base from another without reading gigabytes: names and sizes of a local folder's files, and its config.

    A hub id is named by the settings, with its revision.
    """
    folder = Path(model)
    if not folder.is_dir():
        return ""
    facts: list[object] = [[item.name, item.stat().st_size] for item in sorted(folder.iterdir()) if item.is_file()]
    facts += [rundir.sha256_of(item) for item in (folder / "config.json", folder / rundir.MANIFEST) if item.is_file()]
    return hashlib.sha256(rundir.dumps(facts).encode()).hexdigest()


def _adapter_sha256(folder: str) -> str:
    from training.engine.models import ADAPTER_WEIGHTS

    return rundir.sha256_of(Path(folder) / ADAPTER_WEIGHTS) if folder else ""


def _gathered_weights(trainer: Any) -> Any:
    """The weights from all processes that hold a part of them (FSDP, DeepSpeed), else None. All must take part."""
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return None
    return trainer.accelerator.get_state_dict(trainer.model_wrapped)


def _publish(path: Path, model: Any, adapter: str, about: Mapping[str, Any], weights: Any) -> str:
    """Writes `adapter/` atomically and returns its manifest's sha256. Raises Failure `not_finite`.

    `weights`: the model's where the process that publishes holds only a part of them, else None.
    """
    from peft import get_peft_model_state_dict

    from training.engine.models import ADAPTER_CONFIG, ADAPTER_WEIGHTS, all_finite

    if not all_finite(get_peft_model_state_dict(model, state_dict=weights, adapter_name=adapter)):
        raise Failure(
            "not_finite",
            Said("The trained weights hold NaN or infinity, so there is no policy. Lower the learning rate."),
        )
    aside = path / ".adapter.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    # Only "default": a plain save also writes the frozen reference beside it.
    model.save_pretrained(str(aside), selected_adapters=[adapter], **({"state_dict": weights} if weights else {}))
    for item in aside.iterdir():
        if item.name not in {ADAPTER_WEIGHTS, ADAPTER_CONFIG}:
            item.unlink()  # peft's README is an empty template
    config = json.loads((aside / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    # peft keeps the module names in a set, whose order changes from process to process.
    config = {
        key: sorted(value) if key == "target_modules" and isinstance(value, list) else value
        for key, value in config.items()
    }
    config["inference_mode"] = True
    rundir.write_atomically(aside / ADAPTER_CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    return _in_place(path, aside, "adapter", about)


def _publish_model(
    job: Job, spec: TrainSpec, device: "Device", model: Any, chat: Chat, about: Mapping[str, Any]
) -> str:
    """Writes `model/` atomically, with the adapter merged and with its tokenizer; returns its manifest's sha256.

    Raises Failure `not_finite`.
    """
    from training.engine.models import all_finite, load_base

    path = job.path
    if spec.adaptation == "qlora":  # into weights of 4 bits it could not be merged without a loss
        kept = path / ".adapter.tmp"
        shutil.rmtree(kept, ignore_errors=True)
        model.save_pretrained(str(kept))
        whole = load_base(ModelRef(spec.model, spec.revision), device)
        if spec.start_adapter:
            whole = _with_adapter_merged(whole, spec.start_adapter)
        merged = _with_adapter_merged(whole, str(kept))
        shutil.rmtree(kept)
    elif spec.adaptation == "full":
        merged = model.bfloat16() if device.bf16 else model
    else:
        merged = model.merge_and_unload()
    if not all_finite(merged.state_dict()):
        raise Failure(
            "not_finite",
            Said("The trained weights hold NaN or infinity, so there is no policy. Lower the learning rate."),
        )
    aside = path / ".model.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    merged.config.use_cache = True  # the trainer switched it off
    merged.save_pretrained(str(aside))
    chat.tokenizer.save_pretrained(str(aside))
    return _in_place(path, aside, "model", about)


def _in_place(path: Path, aside: Path, name: str, about: Mapping[str, Any]) -> str:
    """Gives what was written aside its manifest and its name."""
    digest = rundir.write_manifest(aside, about)
    place = path / name
    if place.exists():  # of an earlier process that was killed before it wrote the result
        shutil.rmtree(place)
    aside.rename(place)
    rundir.fsync_folder(path)
    return digest


def _last_metrics(history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """First and last loss, and the last finite value of every logged metric."""
    logged = [entry for entry in history if "loss" in entry]
    found: dict[str, float] = {}
    for entry in logged:
        found |= {name: value for name, value in reported(entry).items() if math.isfinite(value)}
    if logged:
        found["first_loss"] = float(logged[0]["loss"])
    return found
