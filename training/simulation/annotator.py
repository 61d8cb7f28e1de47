"""A simulated annotator: a Bradley-Terry judge with ties, a left bias and slips. Pure: no Django, no HTTP, no model.

It knows the hidden reward of the two answers, which no model and no person ever sees, and decides as noisily as it is
told.
"""

import math
import random
from dataclasses import dataclass

A, B, TIE, BOTH_BAD = "A", "B", "tie", "both_bad"
CHOICES = (A, B, TIE, BOTH_BAD)

# Someone who would call it a tie, but would be annoyed by either answer (reward 0 to 1), says "both bad" instead.
BAD_REWARD = 0.2


@dataclass(frozen=True)
class Temperament:
    """How one annotator turns two rewards into a choice. Rewards and the first three knobs share a scale (0 to 1)."""

    temperature: float = 0.1  # noise of the comparison: 0 always prefers the better answer, large tosses a coin
    tie: float = 0.02  # half-width of the band of felt differences that counts as a tie
    left_bias: float = 0.02  # added to the left answer's reward: people lean to what they read first
    flips: float = 0.1  # share of decided judgments whose side is mixed up: slips of the hand, misread pages

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be 0 or more, not {self.temperature}")
        if not (math.isfinite(self.tie) and self.tie >= 0):
            raise ValueError(f"tie must be 0 or more, not {self.tie}")
        if not math.isfinite(self.left_bias):
            raise ValueError(f"left_bias must be a finite number, not {self.left_bias}")
        if not 0 <= self.flips <= 0.5:
            raise ValueError(f"flips must be from 0 to 0.5, not {self.flips}: beyond a half, flipping is agreeing")


def probabilities(temperament: Temperament, left: float, right: float) -> dict[str, float]:
    """Chance of each choice for answers of reward `left` (shown as A) and `right` (shown as B); they sum to 1.

    With d = left - right + left_bias, the felt difference is d plus logistic noise of scale `temperature`. Within +-tie
    it is a tie. That is the model of Rao and Kupper (1967), and Bradley-Terry at tie = 0::

        a = sigmoid((d - tie) / temperature)      P(A) = (1 - flips) a + flips b
        b = sigmoid((-d - tie) / temperature)     P(B) = (1 - flips) b + flips a
                                                  P(tie or both bad) = 1 - a - b
    """
    difference = left - right + temperament.left_bias
    a = _sigmoid(difference - temperament.tie, temperament.temperature)
    b = _sigmoid(-difference - temperament.tie, temperament.temperature)
    tied = max(1 - a - b, 0.0)
    bad = max(left, right) < BAD_REWARD
    return {
        A: (1 - temperament.flips) * a + temperament.flips * b,
        B: (1 - temperament.flips) * b + temperament.flips * a,
        TIE: 0.0 if bad else tied,
        BOTH_BAD: tied if bad else 0.0,
    }


def decide(temperament: Temperament, left: float, right: float, rng: random.Random) -> str:
    """One choice drawn from `probabilities`: "A", "B", "tie" or "both_bad"."""
    chances = probabilities(temperament, left, right)
    return rng.choices(CHOICES, [chances[choice] for choice in CHOICES])[0]


def _sigmoid(difference: float, temperature: float) -> float:
    """The logistic function of difference / temperature; at temperature 0 a step, with a half at 0."""
    if temperature == 0:
        return 0.5 if difference == 0 else float(difference > 0)
    # exp overflows from 710 on, where the result has long been 0 or 1.
    return 1 / (1 + math.exp(min(max(-difference / temperature, -700.0), 700.0)))
