"""PURE: from a machine, a model and a method's settings, how a run should use the machine, and what it will take.

`choose` changes a method's usual settings where the machine asks for it, and says why; `judge` says of any settings
whether they fit. Formulas, their sources and what they were measured against: docs/profile.md.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from annotate.said import Said
from training.engine.machine import Gpu, Machine
from training.engine.methods import METHODS
from training.engine.methods.base import Method
from training.engine.methods.dpo import LOSSES_OF_BATCHES
from training.engine.sizes import ModelFacts

GIB, MIB = 2**30, 2**20

# What a process holds before any model: Python, torch and the libraries (measured); on a GPU its context, workspaces.
CPU_PROCESS, GPU_PROCESS = 530 * MIB, 1024 * MIB
# The rest is for the system, the site, and memory that is free in pieces too small.
CPU_SHARE, GPU_SHARE = 0.8, 0.85
# NF4 with double quantization: 4.127 bits a weight (QLoRA, 2305.14314, section 3).
FOUR_BIT = 4.127 / 8
# AdamW in float32: the weight, its gradient and two moments (ZeRO, 1910.02054, section 3.1, without a 16-bit copy).
TRAINED = 16
# TRL projects on the vocabulary in tiles of so many tokens and words; how many of them are held at once, without
# Triton (measured) and with it.
TILE_TOKENS, TILE_WORDS = 4096, 32768
CPU_TILES, GPU_TILES = 10, 3
# In the backward pass one layer's gradients are there beside what it kept: so many times as much (measured).
GRADIENTS = 1.5
# DoRA scales what the base and the adapter give, and keeps both: about so many values more, in the same units.
DORA = 1.0
# Log-probabilities outside training: a batch's logits in float32 (training.engine.logprobs), and log_softmax's copies.
LOGIT_BYTES, LOGIT_COPIES = 512 * MIB, 3

# What a profile may change of a method's settings. A lead may override each.
CHOSEN = ("batch_size", "gradient_accumulation", "gradient_checkpointing", "adaptation", "max_length")
# What else of them memory depends on.
MATTERS = (*CHOSEN, "lora_r", "precision", "look_every", "loss_type")


@dataclass(frozen=True)
class Memory:
    """The most that is held at once, in bytes, by what holds it."""

    weights: int  # the base, and a second model where the reference is one
    trained: int  # what is trained: its weights, gradients and AdamW's moments
    rows: int  # one micro-batch: what the backward pass needs, and logits
    process: int  # before any model

    @property
    def total(self) -> int:
        return self.weights + self.trained + self.rows + self.process


@dataclass(frozen=True)
class Fit:
    """Whether settings fit a machine."""

    gpu: Gpu | None  # None: the CPU
    precision: str  # in which it computes: "float32" or "bfloat16"
    memory: Memory
    limit: int  # bytes that a run may take there
    changes: tuple[Said, ...] = ()  # where it does not fit: what to change

    @property
    def fits(self) -> bool:
        return self.memory.total <= self.limit


@dataclass(frozen=True)
class Profile:
    """A method's settings made for a machine, and why they are as they are."""

    settings: dict[str, Any]
    fit: Fit
    because: tuple[Said, ...]


def gib(size: float) -> float:
    """Bytes in GiB, as exactly as people want it: 0.4, 7.6, 141."""
    return round(size / GIB, 1) if size < 9.95 * GIB else round(size / GIB)


def narrow(gpu: Gpu | None, settings: Mapping[str, Any]) -> bool:
    """Does it compute in bfloat16? As `training.engine.models.choose_device` decides."""
    return gpu is not None and gpu.bf16 and settings["precision"] != "float32"


# --- What it takes ----------------------------------------------------------------------------------------------------


def memory_of(model: ModelFacts, method: str, settings: Mapping[str, Any], gpu: Gpu | None) -> Memory:
    """The peak of a run whose longest rows fill the maximal length."""
    own, full = METHODS[method], settings["adaptation"] == "full"
    value = 2 if narrow(gpu, settings) else 4  # bytes of an activation
    weight = 4 if full else value
    base = model.parameters * weight
    if settings["adaptation"] == "qlora":
        base = int(model.linear * FOUR_BIT) + (model.parameters - model.linear) * weight
    if own.merges and settings["adaptation"] == "qlora":
        base += model.parameters * weight  # what the adapter is merged into at the end
    if full:  # trained itself; the reference is another
        base = base if own.has_reference else 0
    if own.data == "prompts":
        base += model.parameters * value  # the reward model beside it
    elif own.needs_reward_model:
        base = max(base, model.parameters * value)  # the reward model, before training
    trained = (model.parameters if full else model.linear_widths * settings["lora_r"]) * TRAINED
    return Memory(
        weights=base,
        trained=trained,
        rows=max(
            _step(model, own, settings, gpu, value), 0 if own.makes_reward_model else _logits(model, settings, gpu)
        ),
        process=CPU_PROCESS if gpu is None else GPU_PROCESS,
    )


def _step(model: ModelFacts, own: Method, settings: Mapping[str, Any], gpu: Gpu | None, value: int) -> int:
    """One forward and backward pass of a micro-batch; a pair is two texts."""
    tokens: int = settings["batch_size"] * settings["max_length"] * (2 if own.data in ("pairs", "graded") else 1)
    values = model.kept + (DORA if settings["adaptation"] == "dora" else 0)
    layer = values * model.linear_widths / max(1, model.layers) * tokens * value
    kept = layer * model.layers
    if settings["gradient_checkpointing"]:  # the input of each layer, and all of one layer (Chen et al., 1604.06174)
        kept = layer + model.layers * model.hidden_size * tokens * value
    words = 1 if own.makes_reward_model else model.vocab_size
    tile = min(tokens, TILE_TOKENS) * min(words, TILE_WORDS) * value
    return int(kept + GRADIENTS * layer) + tile * (CPU_TILES if gpu is None else GPU_TILES)


def _logits(model: ModelFacts, settings: Mapping[str, Any], gpu: Gpu | None) -> int:
    """Log-probabilities of the reference and in looks, which are not asked for while a step is under way."""
    row: int = settings["max_length"] * model.vocab_size * 4
    rows = 32 if gpu is not None else 16 if settings["look_every"] else 4
    return LOGIT_COPIES * max(row, min(LOGIT_BYTES, rows * row))


# --- Does it fit? -----------------------------------------------------------------------------------------------------


def judge(machine: Machine, model: ModelFacts, method: str, settings: Mapping[str, Any]) -> Fit:
    """Whether these settings fit, and what to change where they do not."""
    fit = _fit(machine, model, method, settings)
    return fit if fit.fits else replace(fit, changes=tuple(_changes(machine, model, method, settings)))


def _fit(machine: Machine, model: ModelFacts, method: str, settings: Mapping[str, Any]) -> Fit:
    # Where several processes train as one, each has a GPU of its own: the smallest must do.
    gpu = min(machine.gpus[: machine.processes], key=lambda one: one.memory, default=None)
    return Fit(
        gpu=gpu,
        precision="bfloat16" if narrow(gpu, settings) else "float32",
        memory=memory_of(model, method, settings, gpu),
        limit=int(gpu.memory * GPU_SHARE) if gpu is not None else int(machine.memory * CPU_SHARE / machine.processes),
    )


def _changes(machine: Machine, model: ModelFacts, method: str, settings: Mapping[str, Any]) -> Iterator[Said]:
    """From the least change to the largest, as many as together suffice; where none do, what would be needed."""
    least = least_batch(settings)
    steps: list[tuple[dict[str, Any], Said]] = [
        (
            {"batch_size": least},
            Said("Lower the batch size to %(rows)s, and raise the accumulation in proportion.", rows=least),
        ),
        ({"gradient_checkpointing": True}, Said("Switch gradient checkpointing on.")),
    ]
    if settings["adaptation"] == "full":
        steps.append(({"adaptation": "lora"}, Said("Train an adapter (LoRA) instead of every weight.")))
    if machine.gpus and settings["adaptation"] != "qlora" and _may_quantize(method):
        quantize = Said("Choose QLoRA, which holds the base in 4 bits.")
        if not machine.bitsandbytes:
            quantize = Said("Install bitsandbytes beside the worker, and choose QLoRA, which holds the base in 4 bits.")
        steps.append(({"adaptation": "qlora"}, quantize))
    steps += [
        ({"max_length": shorter}, Said("Lower the maximal length to %(tokens)s tokens.", tokens=shorter))
        for shorter in (512, 256)
        if shorter < settings["max_length"]
    ]
    tried = dict(settings)
    advised: dict[str, Said] = {}  # a shorter length replaces a longer one
    for change, said in steps:
        if tried | change == tried:
            continue
        tried |= change
        advised[next(iter(change))] = said
        if _fit(machine, model, method, tried).fits:
            yield from advised.values()
            return
    if "adaptation" in advised:
        yield advised["adaptation"]
    yield Said(
        "However small batch and length are, it would take about %(size)s GiB: choose a smaller base model, or a "
        "larger machine.",
        size=gib(_fit(machine, model, method, tried).memory.total),
    )


def least_batch(settings: Mapping[str, Any]) -> int:
    """KTO and some losses compare rows within a batch, so one row alone teaches them nothing."""
    losses = set(settings.get("loss_type") or ())
    compares = losses & (LOSSES_OF_BATCHES | {"kto", "apo_zero_unpaired"})
    return 2 if compares else 1


# --- The choice -------------------------------------------------------------------------------------------------------


def choose(machine: Machine, model: ModelFacts, method: str, settings: Mapping[str, Any]) -> Profile:
    """`settings`, the method's usual ones, with as many rows a step, made to fit this machine."""
    chosen, because = dict(settings), []
    rows = settings["batch_size"] * settings["gradient_accumulation"]
    if 0 < model.positions < settings["max_length"]:
        chosen["max_length"] = model.positions
        because.append(Said("Maximal length %(tokens)s: the model reads no longer texts.", tokens=model.positions))
    tried = [
        _batches(machine, model, method, chosen | {"adaptation": kind}) for kind in _kinds(machine, method, chosen)
    ]
    found = next((one for one in tried if one is not None), None)
    if found is None:  # nothing fits: the smallest, and `judge` says what to change
        least = least_batch(chosen)
        found = chosen | {"batch_size": least, "gradient_accumulation": max(1, rows // least)}
        found["gradient_checkpointing"] = True
    fit = judge(machine, model, method, found)
    reasons = [*_about_device(machine, fit), *_about_choice(machine, model, method, settings, found, rows)]
    return Profile(found, fit, (*reasons, *because))


def _may_quantize(method: str) -> bool:
    return "qlora" not in METHODS[method].not_adapted_by


def _kinds(machine: Machine, method: str, settings: Mapping[str, Any]) -> list[str]:
    kinds = [settings["adaptation"]]
    if settings["adaptation"] == "lora" and machine.gpus and machine.bitsandbytes and _may_quantize(method):
        kinds.append("qlora")
    return kinds


def _batches(machine: Machine, model: ModelFacts, method: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The largest micro-batch that fits, without gradient checkpointing if that leaves two rows; None: none fits."""
    usual, times = settings["batch_size"], settings["gradient_accumulation"]
    rows, share = usual * times, machine.processes
    least = least_batch(settings)
    # More rows at once keep a GPU busier; two CPU cores are busy with few.
    most = rows if machine.gpus else usual
    sizes = [size for size in range(most, least - 1, -1) if rows % (size * share) == 0]
    if not sizes:  # more processes than the rows of a step can be shared among
        sizes, rows = [least], least * share
    for checkpointing in (False, True):
        for size in sizes:
            if not checkpointing and size < min(2, usual):
                continue
            made = dict(settings) | {
                "batch_size": size,
                "gradient_accumulation": rows // size,
                "gradient_checkpointing": checkpointing,
            }
            if _fit(machine, model, method, made).fits:
                return made
    return None


def _about_device(machine: Machine, fit: Fit) -> Iterator[Said]:
    if fit.gpu is None:
        yield Said("On the CPU, in float32: the worker sees no GPU.")
    elif fit.precision == "bfloat16":
        yield Said("On the %(gpu)s, in bfloat16, which it computes by itself.", gpu=fit.gpu.name)
    elif fit.gpu.bf16:
        yield Said("On the %(gpu)s, in float32, as it was asked for.", gpu=fit.gpu.name)
    else:
        yield Said("On the %(gpu)s, in float32: it has no bfloat16 of its own.", gpu=fit.gpu.name)
    if machine.processes > 1:
        yield Said("%(processes)s processes share each step.", processes=machine.processes)
    if machine.processes < len(machine.gpus):
        idle = len(machine.gpus) - machine.processes
        yield Said("%(idle)s more GPUs stay idle; PAIRLOOP_LAUNCH starts a process on each.", idle=idle)


def _about_choice(
    machine: Machine,
    model: ModelFacts,
    method: str,
    usual: Mapping[str, Any],
    chosen: Mapping[str, Any],
    rows: int,
) -> Iterator[Said]:
    batch, times = chosen["batch_size"], chosen["gradient_accumulation"]
    if batch == rows:
        yield Said("%(rows)s rows a step, as is usual for %(method)s.", rows=rows, method=METHODS[method].title)
    elif batch * times == rows:
        yield Said(
            "%(rows)s rows a step, as is usual for %(method)s: %(batch)s at once, %(times)s times.",
            batch=batch,
            times=times,
            rows=rows,
            method=METHODS[method].title,
        )
    else:
        yield Said(
            "%(rows)s rows a step: %(batch)s at once, %(times)s times. Fewer the processes cannot share.",
            batch=batch,
            times=times,
            rows=batch * times,
        )

    def takes(**other: Any) -> float:
        return gib(_fit(machine, model, method, dict(chosen) | other).memory.total)

    if chosen["gradient_checkpointing"]:
        size = takes(gradient_checkpointing=False)
        yield Said("Gradient checkpointing on: without it the run would take about %(size)s GiB.", size=size)
    else:
        yield Said("Gradient checkpointing off: there is room enough, and a step is faster without.")
    if chosen["adaptation"] != usual["adaptation"]:
        size = takes(adaptation=usual["adaptation"])
        yield Said("QLoRA: with the base in 16 or 32 bits the run would take about %(size)s GiB.", size=size)
    elif machine.gpus and chosen["adaptation"] == "lora" and _fit(machine, model, method, chosen).fits:
        yield Said("LoRA: the base fits as it is; QLoRA would only be slower.")
    if chosen["max_length"] == usual["max_length"]:
        tokens = chosen["max_length"]
        yield Said("Maximal length %(tokens)s, as is usual.", tokens=tokens)


# --- In words ---------------------------------------------------------------------------------------------------------


def described(machine: Machine) -> Said:
    """A machine in one line."""
    gpus = [Said("%(name)s (%(size)s GiB)", name=gpu.name, size=gib(gpu.memory)) for gpu in machine.gpus]
    return Said(
        "%(host)s: %(cores)s cores, %(size)s GiB of memory, GPUs: %(gpus)s",
        host=machine.host,
        cores=machine.cores,
        size=gib(machine.memory),
        gpus=gpus or Said("none"),
    )


def said_memory(fit: Fit) -> Said:
    """What the settings take, in one line."""
    memory = fit.memory
    return Said(
        "Memory: about %(total)s of %(limit)s GiB (base %(weights)s, what is trained %(trained)s, rows %(rows)s, "
        "libraries %(process)s).",
        total=gib(memory.total),
        limit=gib(fit.limit),
        weights=gib(memory.weights),
        trained=gib(memory.trained),
        rows=gib(memory.rows),
        process=gib(memory.process),
    )


def said_fit(fit: Fit) -> Iterator[Said]:
    """The same, and where they do not fit what to change."""
    yield said_memory(fit)
    if not fit.fits:
        yield Said("This will probably not fit.")
        yield from fit.changes
