"""PURE: what several people's judgments of one comparison come to, by a rule that has a name.

``single`` has no part in this: there every judgment counts by itself. The other rules decide a comparison once:

- ``majority``: what more than half of those who decided said; skips are abstentions.
- ``adjudicated``: a reviewer's verdict where there is one, else as ``majority``.
- ``dawid_skene``: a reviewer's verdict where there is one, else the label that is more probable than not, given how
  reliable each annotator turned out to be (``annotate.stats.dawid_skene``), if anybody said it at all. Where people are
  shown to agree no more than chance would, nothing is known of anybody, and nothing is decided without a verdict.

A reviewer's "exclude from training" holds under every rule, ``single`` included.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from annotate.stats.agreement import beyond_chance
from annotate.stats.dawid_skene import PULL, Reliability, fit, nobodys

LABELS = ("first", "second", "tie", "both_bad")
_MIRROR: dict[str | float, str] = {"first": "second", "second": "first"}
UNDECIDED = "undecided"
EXCLUDED = "excluded"
ABSTAINED = "skip"


@dataclass(frozen=True, slots=True)
class Vote:
    """One counting judgment, told by the comparison's own responses: a label, or ``skip`` for an abstention."""

    judgment: int
    annotator: int
    label: str


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a reviewer decided on a comparison: a label, or ``excluded``."""

    adjudication: int
    label: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What a comparison came to: a label, ``undecided``, ``excluded``, or ``skip`` when nobody decided.

    ``votes`` are the judgments that went into it, ``abstained`` those that skipped it. ``support`` is the share of the
    votes, or the probability under Dawid-Skene; None where a reviewer (``adjudication``) decided.
    """

    label: str
    votes: tuple[int, ...]
    abstained: tuple[int, ...] = ()
    support: float | None = None
    adjudication: int | None = None


def agreed_strength(votes: Iterable[tuple[int | None, int | None]], preferred: int | None) -> float | None:
    """How much better ``preferred`` is, 0 to 3: the mean of what was said, where somebody said how much.

    ``votes``: each one's preferred answer (None for neither) and strength. A vote for the other answer counts below 0,
    one for neither as 0, one without a strength not at all: whoever is contradicted has said something weaker.
    """
    said = [
        0 if answer is None else (strength or 0) * (1 if answer == preferred else -1)
        for answer, strength in votes
        if answer is None or strength is not None
    ]
    return max(0.0, sum(said) / len(said)) if preferred is not None and any(said) else None


def learn_reliability(votes: Iterable[tuple[int, int, str]], *, weight: float = 1.0) -> Reliability | None:
    """The annotators' confusion matrices from (comparison, annotator, label); None when nobody judged one in common.

    Which response is a comparison's first means nothing, so every vote counts mirrored as well: without this, a few
    more wins of firsts would make a second less probable. ``weight`` is how much two labels of one comparison tell
    about whether people agree at all (``beyond_chance``).
    """
    by_comparison: dict[int, list[tuple[int, str]]] = {}
    for comparison, annotator, label in votes:
        if label in LABELS:
            by_comparison.setdefault(comparison, []).append((annotator, label))
    shared = [(unit, who, label) for unit, row in by_comparison.items() if len(row) > 1 for who, label in row]
    if beyond_chance(shared, mirror=_MIRROR, weight=weight) is False:
        return nobodys(LABELS)
    mirrored = [(-unit, who, _MIRROR.get(label, label)) for unit, who, label in shared]
    return fit([*shared, *mirrored], labels=LABELS, pull=2 * PULL)


def decide(votes: Sequence[Vote], ruling: Ruling | None, *, rule: str, reliability: Reliability | None) -> Decision:
    """What the comparison comes to. ``reliability`` is looked at under ``dawid_skene`` only; None there is a majority.

    Raises ``ValueError`` for a rule that decides no comparisons.
    """
    if rule not in ("majority", "adjudicated", "dawid_skene"):
        raise ValueError(f"{rule!r} decides no comparisons; give majority, adjudicated or dawid_skene")
    cast = [vote for vote in votes if vote.label != ABSTAINED]
    ids = tuple(vote.judgment for vote in cast)
    abstained = tuple(vote.judgment for vote in votes if vote.label == ABSTAINED)
    if ruling is not None and (rule != "majority" or ruling.label == EXCLUDED):
        return Decision(ruling.label, ids, abstained, adjudication=ruling.adjudication)
    if not cast:
        return Decision(ABSTAINED, ids, abstained)
    counts = Counter(vote.label for vote in cast)
    if rule == "dawid_skene" and reliability is not None:
        shares = reliability.probabilities([(vote.annotator, vote.label) for vote in cast])
    else:
        shares = {label: count / len(cast) for label, count in counts.items()}
    label, support = max(shares.items(), key=lambda entry: entry[1])
    decided = support > 0.5 and label in counts
    return Decision(label if decided else UNDECIDED, ids, abstained, support=support)
