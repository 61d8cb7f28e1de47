"""PURE: what several people's orders of one set of answers come to, and which pairs of an order are trained on.

Each two answers of the set are decided as a comparison is (``annotate.aggregation``), by the same named rule: a ranking
says of them that one is better, or that they tie. What the pairs come to need not be an order: three people can put
three answers in a circle. Nothing here needs one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import sqrt

from annotate.aggregation import ABSTAINED, EXCLUDED, UNDECIDED, Ruling, Vote, decide, learn_reliability
from annotate.stats.dawid_skene import Reliability

# Which pairs of a ranking become rows (``annotate.models.RankingPairs`` says it to people).
BEST_WORST, ADJACENT, ALL = "best_worst", "adjacent", "all"
# Why a pair of a ranking makes no row when nothing else is wrong with it.
UNCHOSEN = "unchosen"


@dataclass(frozen=True, slots=True)
class OrderVote:
    """One counting ranking: the rank of each response by its id, 1 the best; none for an abstention."""

    ranking: int
    annotator: int
    ranks: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class OrderRuling:
    """What a reviewer decided on a set of answers: an order of their own, or (no ranks) that it is excluded."""

    verdict: int
    ranks: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class PairDecision:
    """What was decided of two responses, ``first`` the lower id: a label as ``annotate.aggregation`` has them."""

    first: int
    second: int
    label: str
    support: float | None = None

    @property
    def better(self) -> tuple[int, int] | None:
        """(better, worse), or None where neither was preferred."""
        return {"first": (self.first, self.second), "second": (self.second, self.first)}.get(self.label)


@dataclass(frozen=True, slots=True)
class OrderDecision:
    """What the rankings of one set came to, pair by pair. ``votes`` are the rankings in it, ``abstained`` the skips."""

    pairs: tuple[PairDecision, ...]
    votes: tuple[int, ...]
    abstained: tuple[int, ...] = ()
    verdict: int | None = None

    @property
    def label(self) -> str:
        """``ranked`` when something can be learnt, else why not: excluded, skip, undecided, tie."""
        labels = {pair.label for pair in self.pairs}
        if labels & {"first", "second"}:
            return "ranked"
        return next((why for why in (EXCLUDED, ABSTAINED, UNDECIDED) if why in labels), "tie")

    @property
    def better(self) -> list[tuple[int, int]]:
        """(better, worse) of every two responses that were decided for one of them."""
        return [pair.better for pair in self.pairs if pair.better is not None]

    @property
    def said(self) -> str:
        """All that was decided, in one line: two decisions that teach the same say the same."""
        return " ".join(f"{pair.first}-{pair.second}:{pair.label}" for pair in self.pairs)


def label_between(ranks: Mapping[int, int], first: int, second: int) -> str:
    """What an order says of two responses: ``first``, ``second`` or ``tie``."""
    if ranks[first] == ranks[second]:
        return "tie"
    return "first" if ranks[first] < ranks[second] else "second"


def tau_b(left: Mapping[int, int], right: Mapping[int, int]) -> float | None:
    """Kendall's tau-b of two orders of the same responses: 1 alike, 0 as many pairs turned round as alike, -1 opposite.

    What either of them ties counts for neither, and makes the two less comparable: (alike - turned) / sqrt(pairs that
    left tells apart x pairs that right tells apart). None where one of them ties everything. Source: Kendall (1945),
    "The treatment of ties in ranking problems".
    """
    score = left_apart = right_apart = 0
    for first, second in combinations(left, 2):
        one, other = _sign(left[second] - left[first]), _sign(right[second] - right[first])
        score += one * other
        left_apart += abs(one)
        right_apart += abs(other)
    return score / sqrt(left_apart * right_apart) if left_apart and right_apart else None


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def lowest_tau(orders: Iterable[Mapping[int, int]]) -> float | None:
    """Of any two of the orders, the tau-b of those that are least alike; None where no two can be compared."""
    taus = [tau_b(left, right) for left, right in combinations(orders, 2)]
    return min((tau for tau in taus if tau is not None), default=None)


def orders_right(ranks: Mapping[int, int], known: Iterable[Sequence[int]]) -> tuple[int, int]:
    """Of the known orders (better, worse): how many the ranks have so, and how many there are. A tie has none so."""
    right = [ranks[better] < ranks[worse] for better, worse in known]
    return sum(right), len(right)


def decide_order(
    responses: Iterable[int],
    votes: Sequence[OrderVote],
    ruling: OrderRuling | None,
    *,
    rule: str,
    reliability: Reliability | None = None,
) -> OrderDecision:
    """What the rankings of these responses come to by ``rule``: arguments and errors as ``aggregation.decide``."""
    decided = []
    for first, second in combinations(sorted(responses), 2):
        said = [Vote(vote.ranking, vote.annotator, _said(vote.ranks, first, second)) for vote in votes]
        verdict = None
        if ruling is not None:
            label = label_between(ruling.ranks, first, second) if ruling.ranks else EXCLUDED
            verdict = Ruling(ruling.verdict, label)
        found = decide(said, verdict, rule=rule, reliability=reliability)
        decided.append(PairDecision(first, second, found.label, found.support))
    ruled = ruling is not None and (rule != "majority" or not ruling.ranks)
    return OrderDecision(
        tuple(decided),
        votes=tuple(vote.ranking for vote in votes if vote.ranks),
        abstained=tuple(vote.ranking for vote in votes if not vote.ranks),
        verdict=ruling.verdict if ruling is not None and ruled else None,
    )


def _said(ranks: Mapping[int, int], first: int, second: int) -> str:
    return label_between(ranks, first, second) if ranks else ABSTAINED


def learn_from_orders(votes: Iterable[tuple[int, int, Mapping[int, int]]]) -> Reliability | None:
    """How reliable those are who rank, from (lineup, annotator, ranks): each two answers are a unit.

    They hang together: two random orders of six agree on pairs with nearly twice the variance of as many coins (Kendall
    1938), so that a pair tells half as much.
    """
    units: dict[tuple[int, int, int], int] = {}
    said = (
        (units.setdefault((lineup, *pair), len(units) + 1), annotator, label_between(ranks, *pair))
        for lineup, annotator, ranks in votes
        for pair in combinations(sorted(ranks), 2)
    )
    return learn_reliability(said, weight=0.5)


def choose_pairs(better: Sequence[tuple[int, int]], which: str) -> list[tuple[int, int]]:
    """Those of the pairs (better, worse) of one set that become rows.

    ``best_worst`` is the one pair that lies farthest apart; ``adjacent`` one pair for each step from a rank to the
    next; ``all`` is all of them. A response's place is how many others it beats less how many beat it: in one person's
    ranking that is their order. Of pairs that lie equally, the first by the responses' ids. Raises ``ValueError`` for
    another word.
    """
    if which == ALL:
        return list(better)
    place: Counter[int] = Counter()
    for winner, loser in better:
        place[winner] += 1
        place[loser] -= 1
    ordered = sorted(better)
    if which == BEST_WORST:
        return [max(ordered, key=lambda pair: place[pair[0]] - place[pair[1]])] if ordered else []
    if which != ADJACENT:
        raise ValueError(f"{which!r} chooses no pairs; give {BEST_WORST}, {ADJACENT} or {ALL}")
    levels = sorted(set(place.values()), reverse=True)
    steps = ([pair for pair in ordered if (place[pair[0]], place[pair[1]]) == step] for step in pairwise(levels))
    return [pairs[0] for pairs in steps if pairs]
