"""From messages to token ids: the one way in which training, sampling and scoring see text.

Two traps are closed here. Text that a person or a model wrote may spell a control token (`</s>`, `<|user|>`), and
tokenizers turn that into the real one: such spellings are broken up first. And scoring must split prompt and answer
where TRL's trainers split them, or it would measure something else than was trained.

Nothing here imports torch; `tokenizer` is a `transformers` fast or slow tokenizer.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from annotate.said import Said

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]
ROLES = ("system", "user", "assistant")

# For models without a chat template of their own (plain language models such as GPT-2): a transcript with one line a
# turn. An answer ends with the end-of-sequence token, so that training teaches the model to stop.
FALLBACK_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] | trim }}"
    "{{ eos_token if message['role'] == 'assistant' else '' }}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)

# Invisible, never part of a token, and without meaning between ASCII signs: put after the first character of a
# spelling.
WORD_JOINER = "\u2060"

# Why a row was left out. Fixed phrases, so that a page can count them.
NOT_TEXT = Said("not text")
EMPTY_PROMPT = Said("empty prompt")
EMPTY_ANSWER = Said("empty answer")
BAD_MESSAGES = Said("malformed messages")
LAST_NOT_USER = Said("last message is not the user's")
NUL = Said("contains a NUL character")
LONE_SURROGATE = Said("contains a lone surrogate")
CONTROL_TOKEN = Said("contains a control token that cannot be broken up")  # not a password
TEMPLATE_REFUSED = Said("refused by the model's chat template")
PROMPT_TOO_LONG = Said("prompt too long")
PAIR_TOO_LONG = Said("prompt and answer too long")


class RowProblem(ValueError):  # noqa: N818  # a reason, shown as it is
    """One row cannot be used; the text is one of the reasons above."""


def check_text(value: object) -> str:
    """`value` if it is text that can be tokenized and stored, else `RowProblem`."""
    if not isinstance(value, str):
        raise RowProblem(NOT_TEXT)
    if "\0" in value:
        raise RowProblem(NUL)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise RowProblem(LONE_SURROGATE)
    return value


def check_messages(value: object) -> list[Message]:
    """A conversation that waits for an answer, else `RowProblem`. Only `role` and `content` are kept."""
    if not isinstance(value, list) or not value:
        raise RowProblem(BAD_MESSAGES)
    messages = []
    for message in value:
        if not isinstance(message, Mapping) or message.get("role") not in ROLES or "content" not in message:
            raise RowProblem(BAD_MESSAGES)
        messages.append({"role": str(message["role"]), "content": check_text(message["content"])})
    if messages[-1]["role"] != "user":
        raise RowProblem(LAST_NOT_USER)
    if not messages[-1]["content"].strip():
        raise RowProblem(EMPTY_PROMPT)
    return messages


def prepare_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Gives the tokenizer what it lacks (a padding token, a chat template) and returns a sentence for each."""
    notes: list[str] = []
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
        notes.append(Said("The tokenizer has no padding token; %(token)s is used.", token=str(tokenizer.eos_token)))
    if not tokenizer.chat_template:
        tokenizer.chat_template = FALLBACK_CHAT_TEMPLATE
        notes.append(Said("The model has no chat template; a plain transcript (User: / Assistant:) is used."))
    return notes


def control_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
    """Spelling and id of every token that steers the model: the special ones, and those that the chat template writes.

    Other added tokens (runs of spaces, HTML tags) are ordinary text.
    """
    template = str(tokenizer.chat_template or "")
    return {
        token.content: index
        for index, token in tokenizer.added_tokens_decoder.items()
        if token.content.strip() and (token.special or token.content in template)
    }


class Chat:
    """One tokenizer with its control tokens looked up once."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokenizer = tokenizer
        spellings = control_tokens(tokenizer)
        self._spelled = re.compile(
            "|".join(re.escape(text) for text in sorted(spellings, key=len, reverse=True)) or r"(?!)"
        )
        # An unknown character is <unk> rightly; it steers nothing.
        self._control_ids = set(spellings.values()) - {tokenizer.unk_token_id}

    def escape(self, text: str) -> str:
        """`text` without any spelling of a control token. Text that has none comes back as it is.

        The result is checked by tokenizing it, because some tokenizers match after changing case or width.
        """
        while self._spelled.search(text):
            text = self._spelled.sub(lambda match: match[0][0] + WORD_JOINER + match[0][1:], text)
        if self._control_ids.intersection(self.tokenizer.encode(text, add_special_tokens=False)):
            raise RowProblem(CONTROL_TOKEN)
        return text

    def escape_messages(self, messages: Sequence[Mapping[str, str]]) -> list[Message]:
        """The conversation with every content escaped."""
        return [{"role": message["role"], "content": self.escape(message["content"])} for message in messages]

    def prompt_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of the conversation up to where the answer begins. The messages must be checked."""
        return self._apply(self.escape_messages(messages), add_generation_prompt=True)

    def split(self, messages: Sequence[Mapping[str, str]], answers: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """Token ids of the prompt and of each answer, split as TRL's `DPOTrainer` and `KTOTrainer` do.

        The answer begins where the tokens of "prompt" and "prompt and answer" part, for all answers alike; it ends with
        the template's end of turn.
        """
        escaped = self.escape_messages(messages)
        prompt = self._apply(escaped, add_generation_prompt=True)
        whole = [self._apply([*escaped, {"role": "assistant", "content": self.escape(answer)}]) for answer in answers]
        start = min([common_prefix(prompt, ids) for ids in whole], default=len(prompt))
        return prompt[:start], [ids[start:] for ids in whole]

    def _apply(self, messages: list[Message], *, add_generation_prompt: bool = False) -> list[int]:
        from jinja2 import TemplateError

        try:
            encoded: Any = self.tokenizer.apply_chat_template(
                messages, tokenize=True, return_dict=True, add_generation_prompt=add_generation_prompt
            )
        except TemplateError as error:
            raise RowProblem(TEMPLATE_REFUSED) from error
        return list(encoded["input_ids"])


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many leading items are equal."""
    shorter = min(len(first), len(second))
    return next((index for index in range(shorter) if first[index] != second[index]), shorter)
