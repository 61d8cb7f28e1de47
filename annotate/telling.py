"""Says a ``Said`` in the language that is active, with its numbers and moments as people write them there."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext, ngettext

from annotate.said import GROUPED_FROM, Clock, Said, unpacked


def told(sentence: Any) -> str:
    """The sentence (a ``Said``, one as JSON keeps it, or a list) in the reader's language; any other text as it is."""
    said = unpacked(sentence)
    if isinstance(said, list):
        return ", ".join(map(told, said))
    if not isinstance(said, Said):
        return str(said)
    if not said.text:
        return ""
    text = ngettext(said.text, said.many, said.values.get("n", 2)) if said.many else gettext(said.text)
    try:
        return text % {name: _shown(value) for name, value in said.values.items()} if said.values else text
    except (KeyError, TypeError, ValueError):
        # Kept by another release, whose sentence had other values.
        return str(said)


def told_error(error: Exception) -> str:
    """What an exception of ours says; its ``Said`` is its first argument."""
    return told(error.args[0]) if error.args else str(error)


def _shown(value: Any) -> str:
    if isinstance(value, Clock):
        return formats.time_format(timezone.localtime(value.at), "TIME_FORMAT")
    if isinstance(value, datetime):
        return formats.date_format(timezone.localtime(value), "DATETIME_FORMAT")
    if isinstance(value, float):
        return f"{value:g}".replace(".", str(formats.get_format("DECIMAL_SEPARATOR")))
    if isinstance(value, int):
        return formats.number_format(value, force_grouping=True) if abs(value) >= GROUPED_FROM else str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_shown, value))
    return told(value)
