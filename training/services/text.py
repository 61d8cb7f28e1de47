"""The sanitiser for what the engine says: PostgreSQL refuses NUL and lone surrogates where SQLite stores them."""

import math
from typing import Any

from annotate.services.content import clean_text


def storable(value: Any) -> Any:
    """``value`` (JSON-like) with every text and number fit for both databases.

    NUL and lone surrogates become U+FFFD; numbers that are not finite become None.
    """
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    return value
