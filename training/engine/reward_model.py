"""Reward models at work: loading one, and the number it gives each answer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.engine.models import Device
    from training.engine.spec import ModelRef

HEAD = "score"  # what transformers calls the head of a sequence classifier on a decoder


def load_reward_model(ref: "ModelRef", device: "Device") -> Any:
    """A model with one output a sequence, in evaluation mode, its adapter merged.

    `ref.model` is a whole reward model, or the model that the reward model in the folder `ref.adapter` was trained on.
    Raises Failure `bad_model` or `bad_adapter`.
    """
    from training.engine.models import add_adapter, load_base

    model = load_base(ref, device, scores=True)
    if not ref.adapter:
        return model
    return add_adapter(model, ref.adapter, trainable=False).merge_and_unload().eval()


def rewards(
    model: Any, sequences: Sequence[tuple[list[int], list[int]]], *, pad_token_id: int, batch_size: int
) -> list[float]:
    """The reward of each (prompt ids, answer ids): the model's output at the last token that is no padding."""
    import torch

    model.config.get_text_config().pad_token_id = pad_token_id
    whole = [prompt + answer for prompt, answer in sequences]
    order = sorted(range(len(whole)), key=lambda index: len(whole[index]))
    found: dict[int, float] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        longest = len(whole[batch[-1]])
        ids = torch.full((len(batch), longest), pad_token_id)
        mask = torch.zeros((len(batch), longest), dtype=torch.long)
        for row, index in enumerate(batch):
            ids[row, : len(whole[index])] = torch.tensor(whole[index])
            mask[row, : len(whole[index])] = 1
        with torch.inference_mode():
            logits = model(
                input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False
            ).logits.float()
        found |= dict(zip(batch, logits[:, 0].cpu().tolist(), strict=True))
    return [found[index] for index in range(len(whole))]
