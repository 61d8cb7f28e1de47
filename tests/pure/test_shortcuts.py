"""What chance gives to honest people is not held against them."""

import random

from annotate.stats.shortcuts import longest_run, unlikely_run


def test_the_longest_run_is_found() -> None:
    assert longest_run("ABBBA") == ("B", 3)
    assert longest_run([]) == ("", 0)


def test_more_judgments_make_longer_runs_likely() -> None:
    assert unlikely_run(12, 12)
    assert not unlikely_run(9, 9)
    assert not unlikely_run(14, 400)
    assert unlikely_run(17, 400)


def test_fewer_than_one_in_a_hundred_honest_annotators_is_marked() -> None:
    rng = random.Random(0)
    marked = sum(unlikely_run(longest_run(rng.choices("AB", k=200))[1], 200) for _ in range(2000))
    assert marked / 2000 < 0.01
