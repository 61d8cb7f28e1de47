"""Checks of a spec's fields: every problem is found, keyed by field, and raised together as one `SpecError`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from annotate.said import Said


class SpecError(ValueError):
    """A spec cannot be run. `problems` maps each field to a sentence that names the allowed range."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in self.problems.items()))


def _range(*, whole: bool, above: bool, low: str, high: str, value: str) -> Said:
    """Whole sentences, because other languages build them otherwise."""
    values = {"low": low, "high": high, "value": value}
    if whole and above:
        return Said("must be a whole number above %(low)s and at most %(high)s, not %(value)s", **values)
    if whole:
        return Said("must be a whole number from %(low)s to %(high)s, not %(value)s", **values)
    if above:
        return Said("must be a number above %(low)s and at most %(high)s, not %(value)s", **values)
    return Said("must be a number from %(low)s to %(high)s, not %(value)s", **values)


class Checks:
    """Collects problems by field; `finish` raises them together."""

    def __init__(self, spec: object) -> None:
        self._spec = spec
        self.problems: dict[str, str] = {}

    def value(self, name: str) -> Any:
        return getattr(self._spec, name)

    def add(self, name: str, problem: str) -> None:
        self.problems.setdefault(name, problem)

    def number(self, name: str, low: float, high: float, *, above: bool = False, whole: bool = False) -> None:
        """`low <= value <= high`, or `low < value` with `above`. Booleans are not numbers here."""
        value = self.value(name)
        right_type = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not right_type or not math.isfinite(value) or not (low < value if above else low <= value) or value > high:
            self.add(name, _range(whole=whole, above=above, low=f"{low:g}", high=f"{high:g}", value=repr(value)))

    def choice(self, name: str, allowed: Sequence[str]) -> None:
        if self.value(name) not in allowed:
            self.add(
                name, Said("must be one of %(allowed)s, not %(value)s", allowed=allowed, value=repr(self.value(name)))
            )

    def text(self, name: str, *, required: bool = False) -> None:
        value = self.value(name)
        if not isinstance(value, str):
            self.add(name, Said("must be text, not %(value)s", value=repr(value)))
        elif required and not value.strip():
            self.add(name, Said("must not be empty"))
        elif "\0" in value:
            self.add(name, Said("must not contain a NUL character"))

    def flag(self, name: str) -> None:
        if not isinstance(self.value(name), bool):
            self.add(name, Said("must be true or false, not %(value)s", value=repr(self.value(name))))

    def texts(self, name: str) -> None:
        value = self.value(name)
        if not isinstance(value, tuple) or not all(isinstance(item, str) and item for item in value):
            self.add(name, Said("must be a list of non-empty texts, not %(value)s", value=repr(value)))

    def finish(self) -> None:
        if self.problems:
            raise SpecError(self.problems)
