"""Is the reference the model that was meant? Measured on the first rows, before the first step.

With PEFT, what TRL takes as the reference depends on how the model came in: adapters switched off, or a frozen copy
of the incoming adapter. Getting it wrong trains without an error. So the reference's log-probabilities are computed
twice: with plain torch on the intended model before TRL sees it, and by the trainer itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine.chat import Chat
from training.engine.job import Failure
from training.engine.logprobs import token_logprobs
from training.engine.rows import TrainingRow

if TYPE_CHECKING:
    from training.engine.models import Device


def probe_logprobs(model: Any, chat: Chat, rows: Sequence[TrainingRow], max_length: int) -> list[float]:
    """log p(answer | prompt), summed over tokens, of every answer of `rows`: first answers, then second ones."""
    sequences = [
        (row.prompt_ids, row.answer_ids[which][: max_length - len(row.prompt_ids)])
        for which in range(len(rows[0].answer_ids))
        for row in rows
    ]
    model.eval()
    pad = int(chat.tokenizer.pad_token_id)
    return [float(logps.sum()) for logps in token_logprobs(model, sequences, pad_token_id=pad, batch_size=8)]


@dataclass(frozen=True)
class Reference:
    """The intended reference and its log-probabilities on the first rows."""

    name: str  # "base" or "previous"
    expected: list[float]  # see `probe_logprobs`

    def verify(self, trainer: Any, device: "Device") -> dict[str, Any]:
        """Facts for the result, or Failure `wrong_reference` when the trainer holds the policy to another model."""
        import torch

        trainer.model.eval()
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
        actual = torch.cat([part.float().cpu() for part in parts])
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
