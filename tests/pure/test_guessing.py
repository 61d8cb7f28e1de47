"""People who guess agree no more than chance, and nothing is decided by what they say; people who know are believed."""

import random

import pytest

from annotate.aggregation import LABELS, UNDECIDED, Vote, decide, learn_reliability
from annotate.orders import OrderVote, decide_order, learn_from_orders
from annotate.stats.agreement import beyond_chance
from annotate.stats.dawid_skene import fit

MIRROR: dict[str | float, str] = {"first": "second", "second": "first"}
OFTEN = [0.42, 0.42, 0.1, 0.06]


def judged(skills: list[float], *, comparisons: int, seed: int) -> tuple[dict[int, str], list[tuple[int, int, str]]]:
    """What is right, and what three of these people said of each: right by their skill, else a guess."""
    rng = random.Random(seed)
    truth = {unit: rng.choices(LABELS, OFTEN)[0] for unit in range(1, comparisons + 1)}
    votes = [
        (unit, who, right if rng.random() < skills[who] else rng.choices(LABELS, OFTEN)[0])
        for unit, right in truth.items()
        for who in rng.sample(range(len(skills)), 3)
    ]
    return truth, votes


def outcome(skills: list[float], *, comparisons: int = 300, seed: int = 0) -> tuple[float, float]:
    """The share of comparisons that are decided, and of those the share that is right."""
    truth, votes = judged(skills, comparisons=comparisons, seed=seed)
    reliability = learn_reliability(votes)
    right = decided = 0
    for unit, label in truth.items():
        said = [Vote(number, who, told) for number, (at, who, told) in enumerate(votes) if at == unit]
        found = decide(said, None, rule="dawid_skene", reliability=reliability)
        decided += found.label != UNDECIDED
        right += found.label == label
    return decided / len(truth), right / max(decided, 1)


@pytest.mark.parametrize("skills", [[0.0] * 5, [0.0] * 12, [0.95, 0.0, 0.0, 0.0, 0.0]])
def test_nothing_is_decided_by_people_who_guess_nor_by_one_who_knows_among_them(skills: list[float]) -> None:
    for seed in range(3):
        assert outcome(skills, seed=seed) == (0, 0)


def test_without_the_question_guesses_would_be_believed() -> None:
    """The model by itself finds patterns in them: this is why it is asked."""
    _, votes = judged([0.0] * 5, comparisons=300, seed=0)
    model = fit(votes, labels=LABELS)
    assert model is not None
    said = [[(who, label) for at, who, label in votes if at == unit] for unit in range(1, 301)]
    sure = [max(model.probabilities(row).values()) for row in said]
    assert sum(probability > 0.5 for probability in sure) > 100


@pytest.mark.parametrize(
    ("skills", "fewest", "right"),
    [
        ([0.95, 0.95, 0.0, 0.0, 0.0, 0.0], 0.6, 0.8),
        ([0.5] * 5, 0.8, 0.65),
        ([0.95, 0.9, 0.8, 0.7, 0.6], 0.9, 0.85),
    ],
)
def test_people_who_know_are_found_and_believed(skills: list[float], fewest: float, right: float) -> None:
    decided, were_right = outcome(skills, comparisons=400)
    assert decided > fewest
    assert were_right > right


def test_a_handful_of_judgments_shows_nothing_and_is_weighed() -> None:
    few = [(1, 1, "first"), (1, 2, "first"), (2, 1, "second"), (2, 2, "tie")]
    assert beyond_chance(few, mirror=MIRROR) is None
    assert decide([Vote(1, 1, "first")], None, rule="dawid_skene", reliability=learn_reliability(few)).support
    assert beyond_chance([(1, 1, "first")], mirror=MIRROR) is None


def test_two_who_say_the_same_of_everything_show_nothing_by_it() -> None:
    habit = [(unit, who, "tie") for unit in range(200) for who in (1, 2)]
    assert beyond_chance(habit, mirror=MIRROR) is None
    informed = [(unit, who, ("first", "second")[unit % 2]) for unit in range(200) for who in (1, 2)]
    assert beyond_chance(informed, mirror=MIRROR) is True


def test_random_orders_are_no_more_believed_than_other_guesses() -> None:
    rng = random.Random(4)
    responses = [1, 2, 3, 4]
    said = [
        (lineup, who, dict(zip(responses, rng.sample(responses, 4), strict=True)))
        for lineup in range(120)
        for who in rng.sample(range(6), 3)
    ]
    votes = [OrderVote(number, who, ranks) for number, (lineup, who, ranks) in enumerate(said) if lineup == 0]
    reliability = learn_from_orders(said)
    assert decide_order(responses, votes, None, rule="dawid_skene", reliability=reliability).label == UNDECIDED
