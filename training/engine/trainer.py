"""TRL's trainer of a method, made from a spec and the rows that passed the gate.

What is a method's own is in `training.engine.methods`; here is what every trainer is given alike.
"""

import math
from collections.abc import Sequence
from typing import Any

from annotate.said import Said
from training.engine import ranks
from training.engine.chat import Chat
from training.engine.job import Failure, Job
from training.engine.methods.base import Parts
from training.engine.models import Device
from training.engine.order import group_by_length
from training.engine.reward_model import HEAD
from training.engine.rows import TrainingRow
from training.engine.spec import TrainSpec

WORK = "work"  # where the trainer writes; nothing in it is ever trusted


def make_trainer(
    job: Job,
    spec: TrainSpec,
    device: Device,
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
