"""Log-probabilities of given answers under a model, with plain torch: what training and rewards rest on."""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

# Logits are the largest tensor: (rows, tokens, vocabulary) in float32. Batches are made smaller to stay below this.
LOGIT_BYTES = 512 * 2**20


def token_logprobs(
    model: "PreTrainedModel | PeftModel",
    sequences: Sequence[tuple[list[int], list[int]]],
    *,
    pad_token_id: int,
    batch_size: int,
    before_batch: Callable[[], None] = lambda: None,
) -> list["torch.Tensor"]:
    """log p(answer token | everything before it), for each (prompt ids, answer ids).

    One float32 CPU tensor of shape (answer tokens,) per sequence, in order. Padding is on the right, where causal
    attention never looks, and positions count from 0, as in training.
    """
    import torch

    vocabulary = int(model.config.get_text_config().vocab_size)
    base = getattr(model, "get_base_model", lambda: model)()
    # The prompt's logits are of no use, and they are most of the work behind a large vocabulary.
    can_leave_out = "logits_to_keep" in inspect.signature(type(base).forward).parameters
    found: dict[int, torch.Tensor] = {}
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index][0]) + len(sequences[index][1]))
    while order:
        before_batch()
        longest = max(len(sequences[order[-1]][0]) + len(sequences[order[-1]][1]), 1)
        size = max(1, min(batch_size, LOGIT_BYTES // (4 * vocabulary * longest)))
        batch, order = order[-size:], order[:-size]
        ids = torch.full((len(batch), longest), pad_token_id)
        mask = torch.zeros((len(batch), longest), dtype=torch.long)
        for row, index in enumerate(batch):
            whole = sequences[index][0] + sequences[index][1]
            ids[row, : len(whole)] = torch.tensor(whole, dtype=torch.long)
            mask[row, : len(whole)] = 1
        # The last position of a prompt says how likely the answer's first token is.
        first = max(0, min(len(sequences[index][0]) for index in batch) - 1) if can_leave_out else 0
        inputs: dict[str, Any] = {"input_ids": ids.to(model.device), "use_cache": False}
        if int(mask.sum()) < mask.numel():
            inputs["attention_mask"] = mask.to(model.device)
        if can_leave_out:
            inputs["logits_to_keep"] = longest - first
        with torch.inference_mode():
            logps = torch.log_softmax(model(**inputs).logits[:, :-1].float(), dim=-1)
            chosen = logps.gather(-1, ids[:, first + 1 :, None].to(model.device)).squeeze(-1).cpu()
        for row, index in enumerate(batch):
            prompt, answer = sequences[index]
            begin = len(prompt) - 1 - first
            found[index] = chosen[row, begin : begin + len(answer)].clone()
    return [found[index] for index in range(len(sequences))]
