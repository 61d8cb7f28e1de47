"""Rows of like length meet, every row once an epoch, the same in every process that asks."""

import itertools
import random

import pytest

from training.engine.order import grouped_by_length


def padding(lengths: list[int], order: list[int], batch: int) -> float:
    """The share of a run's tokens that is padding."""
    batches = [[lengths[index] for index in order[at : at + batch]] for at in range(0, len(order), batch)]
    return 1 - sum(lengths) / sum(max(group) * len(group) for group in batches)


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 64, 100, 1001])
@pytest.mark.parametrize("step_rows", [1, 4, 8])
def test_every_row_comes_once_and_the_order_is_a_function_of_seed_and_epoch(rows: int, step_rows: int) -> None:
    lengths = [random.Random(n).randint(5, 400) for n in range(rows)]
    order = grouped_by_length(lengths, step_rows=step_rows, seed=1, epoch=0)
    assert sorted(order) == list(range(rows))
    assert order == grouped_by_length(lengths, step_rows=step_rows, seed=1, epoch=0)
    assert lengths.index(max(lengths)) in order[:step_rows] or rows % step_rows, "the longest is tried first"
    if rows > 20:
        assert order != grouped_by_length(lengths, step_rows=step_rows, seed=1, epoch=1)
        assert order != grouped_by_length(lengths, step_rows=step_rows, seed=2, epoch=0)


def test_there_is_a_fraction_of_the_padding_and_the_rows_still_mix() -> None:
    lengths = [int(random.Random(n).lognormvariate(5, 0.7)) + 1 for n in range(2000)]
    shuffled = random.Random(0).sample(range(2000), 2000)
    order = grouped_by_length(lengths, step_rows=16, seed=0, epoch=0)
    assert padding(lengths, order, 4) < padding(lengths, shuffled, 4) / 4
    steps = [order[at : at + 16] for at in range(0, 2000, 16)]
    means = [sum(lengths[index] for index in step) / 16 for step in steps]
    rises = sum(after > before for before, after in itertools.pairwise(means[1:]))
    assert 40 < rises < 84, "long and short steps alternate by chance"
