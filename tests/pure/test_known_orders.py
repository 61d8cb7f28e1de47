"""Orders of two answers that are known to be right, as gold rankings have them."""

import random
from itertools import combinations, pairwise, permutations

import pytest

from annotate.known_orders import CircleError, implied, most_steps, steps


def walked(known: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """Every order that follows, found the long way: as many walks as there are answers."""
    found = set(known)
    for _ in range(6):
        found |= {(one, last) for one, middle in found for other, last in found if middle == other}
    return found


def test_the_steps_are_the_fewest_orders_that_imply_all_the_others() -> None:
    rng = random.Random(1)
    for _ in range(50):
        places = list(permutations(range(6), 2))
        # Of two answers the lower number is the better one, so that nothing goes in a circle.
        known = walked([(a, b) for a, b in rng.sample(places, 6) if a < b])
        found = steps(known)
        assert walked(found) == known
        assert all(walked([step for step in found if step != left_out]) != known for left_out in found)


def test_they_are_read_from_the_best_to_the_worst() -> None:
    assert steps([[7, 2], [7, 5], [2, 5], [1, 9]]) == [(1, 9), (7, 2), (2, 5)]


def test_what_follows_is_found_whatever_the_orders_or_else_the_circle_in_them() -> None:
    rng = random.Random(2)
    circles = 0
    for _ in range(200):
        said = rng.sample(list(permutations(range(5), 2)), rng.randint(1, 7))
        found = walked(said)
        if all(one != other for one, other in found):
            assert implied(said) == sorted(found)
            continue
        circles += 1
        with pytest.raises(CircleError) as error:
            implied(said)
        circle = error.value.circle
        assert circle[0] == circle[-1] == min(circle)
        assert all((one, other) in said for one, other in pairwise(circle))
    assert 50 < circles < 150
    with pytest.raises(CircleError):
        implied([(1, 1)])
    assert implied([]) == []


@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_every_partial_order_can_be_told_by_so_many_steps(size: int) -> None:
    halves = [(better, worse) for better in range(size // 2) for worse in range(size // 2, size)]
    assert len(steps(implied(halves))) == most_steps(size)
    rng = random.Random(size)
    pairs = list(combinations(range(size), 2))
    for _ in range(300):
        assert len(steps(implied(rng.sample(pairs, rng.randint(1, len(pairs)))))) <= most_steps(size)
