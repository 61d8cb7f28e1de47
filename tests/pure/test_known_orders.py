"""Orders of two answers that are known to be right, as gold rankings have them."""

import random
from itertools import permutations

from annotate.known_orders import steps


def implied(known: list[tuple[int, int]]) -> set[tuple[int, int]]:
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
        known = implied([(a, b) for a, b in rng.sample(places, 6) if a < b])
        found = steps(known)
        assert implied(found) == known
        assert all(implied([step for step in found if step != left_out]) != known for left_out in found)


def test_they_are_read_from_the_best_to_the_worst() -> None:
    assert steps([[7, 2], [7, 5], [2, 5], [1, 9]]) == [(1, 9), (7, 2), (2, 5)]
