"""Is the reference the model that was meant? Measured on the first rows, before the first step.

With PEFT, what TRL takes as the reference depends on how the model came in: adapters switched off, or a frozen copy
of the incoming adapter. Getting it wrong trains without an error. So the reference's log-probabilities are computed
twice: with plain torch on the intended model before TRL sees it, and by the trainer itself.

Then every answer's are computed once, or taken from the disk where an earlier run left them, and handed to the trainer
as columns (docs/adr/0012): a third of a step's work is the reference's forward pass, and its outcome never changes.
"""

import hashlib
import math
import random
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine import rundir
from training.engine.chat import Chat
from training.engine.job import Failure, Job, versions
from training.engine.logprobs import token_logprobs
from training.engine.refcache import ReferenceCache, answer_key
from training.engine.rows import TrainingRow

if TYPE_CHECKING:
    from training.engine.models import Device
    from training.engine.refcache import Numbers
    from training.engine.spec import ScoreSpec, TrainSpec


def probe_logprobs(model: Any, chat: Chat, rows: Sequence[TrainingRow], max_length: int) -> list[float]:
    """log p(answer | prompt), summed over tokens, of every answer of `rows`: first answers, then second ones."""
    sequences = split_prompts(rows) or [
        (row.prompt_ids, row.answer_ids[which][: max_length - len(row.prompt_ids)])
        for which in range(len(rows[0].answer_ids))
        for row in rows
    ]
    model.eval()
    pad = int(chat.tokenizer.pad_token_id)
    return [float(logps.sum()) for logps in token_logprobs(model, sequences, pad_token_id=pad, batch_size=8)]


def split_prompts(rows: Sequence[TrainingRow]) -> list[tuple[list[int], list[int]]]:
    """Of rows whose answers do not exist yet: the prompts' halves, whose likelihood tells models apart as well."""
    halves = [len(row.prompt_ids) // 2 for row in rows if not row.answer_ids]
    return [(row.prompt_ids[:half], row.prompt_ids[half:]) for row, half in zip(rows, halves, strict=False)]


@dataclass(frozen=True)
class Reference:
    """The intended reference and its log-probabilities on the first rows."""

    name: str  # "base" or "previous"
    expected: list[float]  # see `probe_logprobs`
    halves: Sequence[tuple[list[int], list[int]]] = ()  # `split_prompts` of the same rows

    def verify(self, trainer: Any, device: "Device") -> dict[str, Any]:
        """Facts for the result, or Failure `wrong_reference` when the trainer holds the policy to another model."""
        import torch

        trainer.model.eval()
        actual = self._by_halves(trainer) if self.halves else self._by_answers(trainer)
        expected = torch.tensor(self.expected)
        difference = float((actual - expected).abs().max())
        tolerance = (0.03 if device.bf16 else 1e-4) * max(1.0, float(expected.abs().max()))
        if not difference <= tolerance:  # also when it is NaN
            raise Failure(
                "not_finite" if math.isnan(difference) else "wrong_reference",
                Said(
                    "The reference is not the intended model (%(model)s): log-probabilities differ by %(difference)s. "
                    "Nothing was trained. Check the model's weights, or report this with the package versions.",
                    model=self.name,
                    difference=f"{difference:.4g}",
                ),
            )
        return {"model": self.name, "checked_answers": len(self.expected), "max_difference": round(difference, 7)}

    def _by_halves(self, trainer: Any) -> Any:
        """As trainers that ask the reference of their own answers switch to it."""
        import torch

        pad = int(trainer.processing_class.pad_token_id)
        logps = _under_reference(trainer, self.halves, pad_token_id=pad, batch_size=8)
        return torch.tensor([float(values.sum()) for values in logps])

    def _by_answers(self, trainer: Any) -> Any:
        """As DPO's and KTO's trainers compute it."""
        import torch

        rows = len(self.expected) // (2 if "chosen_ids" in trainer.train_dataset.column_names else 1)
        batch = trainer.data_collator([trainer.train_dataset[index] for index in range(rows)])
        # `Trainer._prepare_inputs` would do, but it is private.
        batch = {name: value.to(trainer.accelerator.device) for name, value in batch.items()}
        # LD-DPO would weigh the tail of the longer answer; here whole answers are compared.
        weighted, trainer.ld_alpha = vars(trainer).get("ld_alpha"), None
        found = trainer.compute_ref_log_probs(trainer.model if trainer.ref_model is None else trainer.ref_model, batch)
        trainer.ld_alpha = weighted
        # DPO: (chosen, rejected); KTO: (completions, mismatched completions for the KL estimate or None)
        parts = found if "label" not in batch else found[:1]
        return torch.cat([part.float().cpu() for part in parts])


# --- once per answer and reference ------------------------------------------------------------------------------------

# In TRL's datasets: the answer's tokens, and the column in which its collator looks for the reference's log-probability
# of them. First DPO's two, then KTO's, whose mismatched answers estimate the KL.
COLUMNS = {
    "chosen_ids": "ref_chosen_logps",
    "rejected_ids": "ref_rejected_logps",
    "completion_ids": "ref_logps",
    "KL_completion_ids": "ref_KL_logps",
}
# So many of the answers that the disk knows are computed again in each run.
REPEATED = 8


def weights_sha256(model: Any) -> str:
    """Digest of a loaded model: its config and every weight as it will be used, wherever it came from."""
    import torch

    digest = hashlib.sha256(model.config.to_json_string(use_diff=True).encode())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def open_cache(spec: "TrainSpec | ScoreSpec", base: Any, device: "Device", *, adapter: str) -> ReferenceCache | None:
    """What earlier runs left on disk of this reference, or None when the spec names no folder.

    The reference is `base`, as loaded and before anything was added to it, with the adapter in the folder `adapter`, or
    "". Its name on disk covers all that shapes its answers, on CPU to the last bit.
    """
    import torch

    if not spec.reference_cache:
        return None
    files = sorted(item for item in Path(adapter).glob("adapter_*") if item.is_file()) if adapter else []
    facts = {
        "base": weights_sha256(base),
        "adapter": {item.name: rundir.sha256_of(item) for item in files},
        "device": device.name,
        "bf16": device.bf16,
        "versions": {
            name: version for name, version in versions().items() if name in {"torch", "transformers", "peft"}
        },
        # Other kernels round otherwise.
        "cpu": [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()] if device.name == "cpu" else [],
    }
    digest = hashlib.sha256(rundir.dumps(facts).encode()).hexdigest()
    return ReferenceCache(Path(spec.reference_cache), digest, limit_bytes=spec.reference_cache_mb * 2**20)


def give_logprobs(
    trainer: Any, *, job: Job, spec: "TrainSpec", chat: Chat, device: "Device", cache: ReferenceCache | None
) -> dict[str, Any]:
    """Gives the trainer the reference's log-probability of every answer, so that it never asks the reference again.

    The trainer must hold the policy to the right reference already (`Reference.verify`). Returns facts for the result:
    how many answers were known and how many were computed. Across processes each computes its share.
    """
    if spec.epochs < 1:
        return {}  # not every answer is looked at even once
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return {}  # before the first step the weights are not where a forward pass wants them
    parts: dict[str, Any] = {"train_dataset": trainer.train_dataset, "eval_dataset": trainer.eval_dataset}
    tables = {part: table for part, table in parts.items() if hasattr(table, "column_names")}
    answers: dict[bytes, tuple[list[int], list[int]]] = {}
    keys: dict[str, dict[str, list[bytes]]] = {}
    for part, table in tables.items():
        keys[part] = {name: [] for name in COLUMNS if name in table.column_names}
        for row in table.select_columns(["prompt_ids", *keys[part]]):
            for name, listed in keys[part].items():
                answer = row[name][: max(0, spec.max_length - len(row["prompt_ids"]))]
                listed.append(answer_key(row["prompt_ids"], answer))
                answers[listed[-1]] = (row["prompt_ids"], answer)

    def compute(wanted: Sequence[bytes]) -> "dict[bytes, Numbers]":
        pad = int(chat.tokenizer.pad_token_id)
        return _computed(trainer, {key: answers[key] for key in wanted}, job, device, pad)

    known = _known(trainer, cache, answers, job, device, compute)
    found = compute([key for key in answers if key not in known])
    if cache is not None and trainer.accelerator.is_main_process:
        cache.add(found)
    known |= found
    for part, table in tables.items():
        sums = _sums({name: [known[key] for key in listed] for name, listed in keys[part].items()}, trainer)
        filled = table
        for name, values in sums.items():
            filled = filled.add_column(COLUMNS[name], values)
        setattr(trainer, part, filled)
    # With this TRL reads the columns. Its own way to fill them, `precompute_ref_log_probs`, starts anew in each run.
    trainer.precompute_ref_logps = True
    return {"known_answers": len(answers) - len(found), "computed_answers": len(found)}


def _known(
    trainer: Any,
    cache: ReferenceCache | None,
    answers: Mapping[bytes, object],
    job: Job,
    device: "Device",
    compute: "Callable[[Sequence[bytes]], dict[bytes, Numbers]]",
) -> "dict[bytes, Numbers]":
    """What the disk knows, after a sample of it was computed again and came out the same."""
    from accelerate.utils import broadcast_object_list

    # One process reads, so that all agree on what is left to compute.
    shared = [cache.get(answers.keys()) if cache is not None and trainer.accelerator.is_main_process else {}]
    broadcast_object_list(shared)
    return _checked(shared[0], cache, job, device, compute)


def _checked(
    known: "dict[bytes, Numbers]",
    cache: ReferenceCache | None,
    job: Job,
    device: "Device",
    compute: "Callable[[Sequence[bytes]], dict[bytes, Numbers]]",
) -> "dict[bytes, Numbers]":
    """What was known, or nothing where one of a sample comes out otherwise now: then the disk forgets it too."""
    sample = random.Random(len(known)).sample(sorted(known), min(REPEATED, len(known)))  # not for secrets
    for key, again in compute(sample).items():
        scale = max(1.0, abs(sum(again)))
        if not abs(sum(again) - sum(known[key])) <= (0.03 if device.bf16 else 1e-4) * scale:
            job.events.warning(
                Said(
                    "What was kept of the reference's log-probabilities is wrong. It is thrown away and computed anew."
                )
            )
            if cache is not None:
                cache.forget()
            return {}
    return known


def sums_under(
    model: Any,
    sequences: Sequence[tuple[list[int], list[int]]],
    *,
    job: Job,
    device: "Device",
    pad_token_id: int,
    batch_size: int,
    cache: ReferenceCache | None = None,
) -> tuple[list[float], int]:
    """(log p of each answer, how many of them the disk knew). `cache` is that of the very model, see `open_cache`.

    On CPU one answer at a time, as below: found or computed, a sum is the same to the last bit.
    """
    answers = {answer_key(*pair): pair for pair in sequences}

    def compute(wanted: Sequence[bytes]) -> "dict[bytes, Numbers]":
        logps = token_logprobs(
            model,
            [answers[key] for key in wanted],
            pad_token_id=pad_token_id,
            batch_size=1 if device.name == "cpu" else batch_size,
            before_batch=job.raise_if_stopped,
        )
        return {key: array("f", values.tolist()) for key, values in zip(wanted, logps, strict=True)}

    known = {} if cache is None else _checked(cache.get(answers.keys()), cache, job, device, compute)
    found = compute([key for key in answers if key not in known])
    if cache is not None:
        cache.add(found)
    values = known | found
    return [math.fsum(values[answer_key(*pair)]) for pair in sequences], len(known)


def _computed(
    trainer: Any,
    wanted: Mapping[bytes, tuple[list[int], list[int]]],
    job: Job,
    device: "Device",
    pad_token_id: int,
) -> "dict[bytes, Numbers]":
    """log p of each token of each wanted answer under the reference, computed now.

    On CPU one answer at a time: without padding that costs no more, and it makes the value a function of the answer
    alone, to the last bit, so that a run that finds it on disk trains to the same bytes as the one that left it there.
    """
    from accelerate.utils import gather_object

    rank, processes = trainer.accelerator.process_index, trainer.accelerator.num_processes
    mine = list(wanted)[rank::processes]
    logps = _under_reference(
        trainer,
        [wanted[key] for key in mine],
        pad_token_id=pad_token_id,
        batch_size=1 if device.name == "cpu" else 32,
        before_batch=job.raise_if_stopped,
    )
    found = [(key, array("f", values.tolist())) for key, values in zip(mine, logps, strict=True)]
    return dict(gather_object(found) if processes > 1 else found)


def _under_reference(trainer: Any, sequences: Sequence[tuple[list[int], list[int]]], **arguments: Any) -> list[Any]:
    """`token_logprobs` under what TRL's trainer takes as the reference: the adapter "ref", or none."""
    from peft import PeftModel
    from trl.trainer.utils import use_adapter

    model = trainer.ref_model or trainer.model
    model.eval()
    with trainer.accelerator.autocast():
        if isinstance(model, PeftModel):
            with use_adapter(model, "ref" if "ref" in model.peft_config else None):
                return token_logprobs(model, sequences, **arguments)
        return token_logprobs(model, sequences, **arguments)


def _sums(answers: Mapping[str, Sequence["Numbers"]], trainer: Any) -> dict[str, list[float]]:
    """log p of each answer as TRL's trainer would sum it: plainly, or with LD-DPO's weight (2409.06411) on what is
    longer than the pair's other answer."""
    alpha = getattr(trainer, "ld_alpha", None)
    if alpha is None:
        return {name: [math.fsum(values) for values in listed] for name, listed in answers.items()}
    shared = [min(map(len, pair)) for pair in zip(*answers.values(), strict=True)]
    return {
        name: [
            math.fsum(values[:both]) + alpha * math.fsum(values[both:])
            for values, both in zip(listed, shared, strict=True)
        ]
        for name, listed in answers.items()
    }
