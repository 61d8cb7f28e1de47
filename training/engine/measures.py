"""Small statistics of answers and rewards: functions of values, standard library only."""

import math
from collections.abc import Sequence

Z95 = 1.959963984540054


def wilson_interval(successes: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval for a share (Wilson 1927): (low, high), sane also at 0, at n and for small n.

    n must be > 0.
    """
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; values must not be empty."""
    return sum(values) / len(values)


def standard_error(values: Sequence[float]) -> float | None:
    """Of the mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(sum((value - centre) ** 2 for value in values) / (len(values) - 1) / len(values))


def ratio_standard_error(numerators: Sequence[float], denominators: Sequence[float]) -> float | None:
    """Of sum(numerators) / sum(denominators), by the delta method over pairs; None for fewer than two."""
    n = len(numerators)
    if n < 2:
        return None
    ratio = sum(numerators) / sum(denominators)
    squares = sum((top - ratio * bottom) ** 2 for top, bottom in zip(numerators, denominators, strict=True))
    return math.sqrt(squares * n / (n - 1)) / sum(denominators)


def repeats_itself(text: str) -> bool:
    """Whether more than a fifth of the text's three-word sequences occurred in it before. False below eight words."""
    words = text.lower().split()
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return len(words) >= 8 and len(set(triples)) < 0.8 * len(triples)
