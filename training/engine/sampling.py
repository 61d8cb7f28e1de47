"""Batched sampling in which every answer has its own stream of random numbers.

An answer is drawn by inverting the cumulative distribution at uniform numbers that depend only on (seed, prompt id,
index) and the position. So neither the batch size nor the other prompts change it, up to rounding: padding changes
logits in the last bits, which moves a drawn token only if the uniform number falls into that gap (about 1 in 10^5
tokens in float32; much more often in bfloat16, where the promise is the same file for the same spec, rows and
machine).
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine.job import Failure
from training.engine.sizes import reach

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

    from training.engine.chat import Chat


@dataclass(frozen=True)
class Request:
    """One answer to draw."""

    prompt_ids: list[int]
    stream: int  # seed of the answer's own random numbers: see `stream_seed`


@dataclass(frozen=True)
class Drawn:
    """One answer. `ids` are the sampled tokens, with the end token when it was reached."""

    ids: list[int]
    text: str  # decoded without control tokens, stripped
    finish_reason: str  # "stop" or "length"


def stream_seed(seed: int, row_id: int | str, index: int) -> int:
    """A 64-bit seed that depends on all three, the same on every machine. `1` and `"1"` are different ids."""
    digest = hashlib.sha256(f"{seed}\n{index}\n{row_id!r}".encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:8], "big")


def draw(
    model: "PreTrainedModel | PeftModel",
    chat: "Chat",
    requests: Sequence[Request],
    *,
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    batch_size: int,
    before_batch: Callable[[int], None],
) -> list[Drawn]:
    """One answer per request, in order. `before_batch(done)` is called before each batch and may raise to stop.

    Prompts are padded on the left: on the right, padding would stand between a prompt and its answer. An answer ends
    at the last token that the model can read, whose prompt must be shorter (`sizes.within_reach`).
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    tokenizer = chat.tokenizer
    end_of_reach = reach(model)
    ends = end_token_ids(model, chat)
    # A fresh config: the model's own may ask for top-k, a repetition penalty or a maximal length of its own.
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,  # the processor below has drawn already: it leaves one token possible
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    drawn: dict[int, Drawn] = {}
    # Prompts of like length together need little padding. The order does not change what is drawn.
    order = sorted(range(len(requests)), key=lambda index: len(requests[index].prompt_ids))
    done = 0
    while done < len(order):
        before_batch(done)
        batch = order[done : done + batch_size]
        width = max(len(requests[index].prompt_ids) for index in batch)
        if end_of_reach and width + max_new_tokens > end_of_reach:
            # How long one answer may be must not depend on the prompts beside it.
            width = max(end_of_reach - max_new_tokens, len(requests[batch[0]].prompt_ids))
            batch = [index for index in batch if len(requests[index].prompt_ids) <= width]
            width = len(requests[batch[-1]].prompt_ids)
            config.max_new_tokens = min(max_new_tokens, end_of_reach - width)
        done += len(batch)
        ids = torch.full((len(batch), width), int(tokenizer.pad_token_id))
        mask = torch.zeros((len(batch), width), dtype=torch.long)
        for row, index in enumerate(batch):
            prompt = requests[index].prompt_ids
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        processors = LogitsProcessorList()
        if temperature > 0:
            streams = [random.Random(requests[index].stream) for index in batch]  # not for secrets
            processors.append(_inverse_cdf(streams, temperature, top_p))
        with torch.inference_mode():
            output = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                generation_config=config,
                logits_processor=processors,
            )
        for row, index in enumerate(batch):
            new = output[row, width:].tolist()
            end = next((place for place, token in enumerate(new) if token in ends), None)
            new = new if end is None else new[: end + 1]
            text = tokenizer.decode(new, skip_special_tokens=True).strip()
            drawn[index] = Drawn(new, text, "length" if end is None else "stop")
    before_batch(len(order))
    return [drawn[index] for index in range(len(requests))]


def end_token_ids(model: "PreTrainedModel | PeftModel", chat: "Chat") -> list[int]:
    """The tokens that end an answer: the tokenizer's, and those that the model's generation config adds."""
    configured: Any = model.generation_config.eos_token_id if model.generation_config is not None else None
    extra = configured if isinstance(configured, list) else [] if configured is None else [configured]
    return sorted({int(token) for token in (*extra, chat.tokenizer.eos_token_id)})


def _inverse_cdf(streams: Sequence[random.Random], temperature: float, top_p: float) -> Any:
    """A logits processor that draws each row's next token from its own stream, and forbids every other.

    With p the distribution at `temperature`, cut to the smallest set of mass >= `top_p`: token = min {k: CDF(k) > u}.
    """
    import torch

    def process(input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        p = torch.softmax(scores.double() / temperature, dim=-1)  # float64: a float32 sum over a vocabulary drifts
        if top_p < 1:
            ordered, places = p.sort(dim=-1, descending=True)
            ordered[ordered.cumsum(dim=-1) - ordered >= top_p] = 0  # the token that crosses the line stays
            p = torch.zeros_like(p).scatter(-1, places, ordered)
        cdf = p.cumsum(dim=-1)
        if not bool(cdf[:, -1].isfinite().all()):
            raise Failure(
                "not_finite", Said("The model answers with NaN instead of probabilities: its weights are damaged.")
            )
        u = torch.tensor([[stream.random()] for stream in streams], dtype=p.dtype, device=p.device) * cdf[:, -1:]
        # A sum that ends a rounding error early must not draw a token of probability zero.
        token = torch.searchsorted(cdf, u, right=True).clamp(max=p.shape[-1] - 1)
        token = torch.where(p.gather(-1, token) > 0, token, p.argmax(dim=-1, keepdim=True))
        return torch.full_like(scores, float("-inf")).scatter(-1, token, 0.0)

    return process
