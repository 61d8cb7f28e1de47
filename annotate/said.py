"""PURE: sentences that are kept, or made where no reader's language is known, and said later in the reader's language.

A ``Said`` is text and values: ``Said("queue low: %(open)s of %(target)s open items", open=12, target=60)``. As a string
it is the English sentence, for logs and the command line. ``annotate.telling.told`` says it in the language that is
active. Its text is the catalogue's key, so it is written out where it is made; placeholders are all ``%(name)s``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

# From here on a whole number is grouped: 9999, but 10,000. What is no quantity (an id) is given as a string.
GROUPED_FROM = 10_000


@dataclass(frozen=True, slots=True)
class Clock:
    """A moment of which only the time of day is said."""

    at: datetime


class Said(str):
    """A sentence with its values: strings, numbers, moments, and other sentences or lists of them.

    With ``many`` beside ``text`` the value ``n`` chooses between them.
    """

    text: str
    many: str
    values: Mapping[str, Any]

    def __new__(cls, text: str, /, **values: Any) -> "Said":
        return cls._made(text, "", values)

    @classmethod
    def _made(cls, text: str, many: str, values: Mapping[str, Any]) -> "Said":
        chosen = many if many and values.get("n") != 1 else text
        english = chosen % {name: _english(value) for name, value in values.items()} if values else chosen
        made = super().__new__(cls, english)
        made.text, made.many, made.values = text, many, values
        return made


def counted(one: str, many: str, /, *, n: int, **values: Any) -> Said:
    """A sentence whose wording depends on the number ``n``."""
    return Said._made(one, many, {"n": n, **values})


def _english(value: Any) -> str:
    if isinstance(value, (Clock, datetime)):
        at = (value.at if isinstance(value, Clock) else value).astimezone(UTC)
        return f"{at:%H:%M} UTC" if isinstance(value, Clock) else f"{at:%Y-%m-%d %H:%M} UTC"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= GROUPED_FROM else str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_english, value))
    return str(value)


# --- As JSON ----------------------------------------------------------------------------------------------------------


def packed(sentence: Any) -> Any:
    """``sentence`` as JSON holds it; what is no ``Said`` stays what it is."""
    if isinstance(sentence, Said):
        plural = {"many": sentence.many} if sentence.many else {}
        return {"text": sentence.text, **plural, "values": {k: packed(v) for k, v in sentence.values.items()}}
    if isinstance(sentence, Clock):
        return {"clock": sentence.at.isoformat()}
    if isinstance(sentence, datetime):
        return {"at": sentence.isoformat()}
    if isinstance(sentence, Sequence) and not isinstance(sentence, str):
        return [packed(part) for part in sentence]
    return sentence


def unpacked(kept: Any) -> Any:
    """The opposite of ``packed``. What was not packed comes back as it is, and so does what cannot be said."""
    if isinstance(kept, list):
        return [unpacked(part) for part in kept]
    if not isinstance(kept, dict):
        return kept
    try:
        if "clock" in kept:
            return Clock(datetime.fromisoformat(kept["clock"]))
        if "at" in kept:
            return datetime.fromisoformat(kept["at"])
        values = {name: unpacked(value) for name, value in kept["values"].items()}
        return Said._made(kept["text"], kept.get("many", ""), values)
    except (KeyError, TypeError, ValueError, AttributeError):
        return str(kept.get("text", kept))


def to_column(sentence: str) -> str:
    """For a column of text: a ``Said`` as JSON, any other text (what a person wrote) as it is."""
    return json.dumps(packed(sentence)) if isinstance(sentence, Said) else sentence


def from_column(kept: str) -> str:
    """The opposite of ``to_column``."""
    if not kept.startswith('{"text": '):
        return kept
    try:
        sentence = unpacked(json.loads(kept))
    except ValueError:
        return kept
    return sentence if isinstance(sentence, Said) else kept
