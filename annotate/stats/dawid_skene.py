"""PURE: what is most probably right about a unit, when some annotators are right more often than others.

Dawid and Skene's model: each unit has one true label; each annotator turns true labels into given ones with a confusion
matrix of their own; EM finds both, from nothing but where people agree. In what people guess it finds patterns as well,
and who knows among people who guess looks like them: ask ``agreement.beyond_chance`` first. A small one of our own: the
library that has it, crowd-kit, installs transformers and scikit-learn, which have no place in the web process
(tests/pure/test_dawid_skene.py compares the numbers with it).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# An annotator's matrix is estimated as if they had, for each true label, so many further votes in which they were like
# everybody else: without this, who judged three comparisons would count as infallible or as hopeless.
PULL = 5.0
_CONVERGED = 1e-6
_TINY = 1e-10


@dataclass(frozen=True, slots=True)
class Reliability:
    """The fitted model. ``confusion[i, t, g]``: how often annotator i says g of what is truly t; rows add up to 1.

    The last matrix belongs to annotators that the fit did not see: it is everybody's together.
    """

    labels: tuple[str, ...]
    annotators: dict[int, int]
    # Shape (labels,): how frequent each true label is.
    frequency: Floats
    # Shape (annotators + 1, labels, labels).
    confusion: Floats

    def probabilities(self, votes: Sequence[tuple[int, str]]) -> dict[str, float]:
        """Of each true label, given what these annotators said: the model's posterior. Adds up to 1."""
        logs = np.log(np.clip(self.frequency, _TINY, None))
        for annotator, label in votes:
            matrix = self.confusion[self.annotators.get(annotator, -1)]
            logs = logs + np.log(np.clip(matrix[:, self.labels.index(label)], _TINY, None))
        weights = np.exp(logs - logs.max())
        return dict(zip(self.labels, map(float, weights / weights.sum()), strict=True))


def nobodys(labels: tuple[str, ...]) -> Reliability:
    """Of people whose labels tell nothing: whatever they said, each true label is as probable as any other."""
    size = len(labels)
    return Reliability(labels, {}, np.full(size, 1 / size), np.full((1, size, size), 1 / size))


def fit(
    votes: Iterable[tuple[int, int, str]], *, labels: tuple[str, ...], pull: float = PULL, most_steps: int = 200
) -> Reliability | None:
    """EM over ``votes`` (unit, annotator, label), starting from the share of votes; None without any vote.

    Raises ``ValueError`` for a label that is not in ``labels``. ``pull`` 0 is the paper's plain maximum likelihood.
    Source: Dawid and Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm" (1979).
    """
    rows = sorted(votes)
    if not rows:
        return None
    people = {who: number for number, who in enumerate(dict.fromkeys(who for _, who, _ in rows))}
    unit = np.unique(np.array([unit for unit, _, _ in rows]), return_inverse=True)[1]
    who = np.array([people[who] for _, who, _ in rows])
    said = np.array([labels.index(label) for _, _, label in rows])
    starts = np.flatnonzero(np.diff(unit, prepend=-1))
    truth = np.add.reduceat(np.eye(len(labels))[said], starts)
    truth /= truth.sum(axis=1, keepdims=True)
    cell, cells = who * len(labels) + said, len(people) * len(labels)
    for _ in range(1, most_steps + 1):
        frequency = truth.mean(axis=0)
        confusion = _confusion(truth[unit], cell, cells, pull=pull)
        votes_logs = np.log(np.clip(confusion[who, :, said], _TINY, None))
        logs = np.log(np.clip(frequency, _TINY, None)) + np.add.reduceat(votes_logs, starts)
        found = np.exp(logs - logs.max(axis=1, keepdims=True))
        found /= found.sum(axis=1, keepdims=True)
        change = float(np.abs(found - truth).max())
        truth = found
        if change < _CONVERGED:
            break
    return Reliability(labels, people, frequency, confusion)


def _confusion(truth: Floats, cell: npt.NDArray[np.int_], cells: int, *, pull: float) -> Floats:
    """Matrices of all annotators and, last, everybody's together. ``truth`` has a row for each vote, and ``cell`` says
    whose vote it is and for what."""
    size = truth.shape[1]
    # counts[annotator, true, given]
    counts = np.stack([np.bincount(cell, weights=truth[:, true], minlength=cells) for true in range(size)])
    counts = counts.reshape(size, -1, size).transpose(1, 0, 2)
    everybody = counts.sum(axis=0)
    everybody = (everybody + 1 / size) / (everybody.sum(axis=1, keepdims=True) + 1)
    matrices = counts + pull * everybody
    total = matrices.sum(axis=2, keepdims=True)
    matrices = np.divide(matrices, total, out=np.broadcast_to(everybody, matrices.shape).copy(), where=total > 0)
    return np.concatenate([matrices, everybody[None]])
