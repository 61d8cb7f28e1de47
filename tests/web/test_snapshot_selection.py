"""A run learns what its parent has not learnt, replays a share of the rest, and never loses a decision."""

import random

import pytest

from annotate.models import Judgment, Project, User
from tests.cast import make_comparison, make_judgment, make_prompt, make_rating, make_response, policy_author
from training.models import Loop, Policy, Round, Run, SnapshotItem
from training.services.loops import ensure_loop
from training.services.snapshots import Selection, freeze, frozen_rows, select_rows


@pytest.fixture
def loop(project: Project) -> Loop:
    return ensure_loop(project=project, base_model="some/model")


def judged(project: Project, annotator: User, number: int, choice: str = "A") -> list[Judgment]:
    return [make_judgment(make_comparison(make_prompt(project)), annotator, choice) for _ in range(number)]


def select(loop: Loop, parent: Policy, *, method: str = "dpo", replay: int = 25) -> Selection:
    return select_rows(
        project=loop.project, method=method, parent=parent, replay_percent=replay, min_rows=4, rng=random.Random(1)
    )


def trained(loop: Loop, parent: Policy, selection: Selection, number: int) -> Policy:
    """A policy whose run used every row of the selection."""
    snapshot = freeze(project=loop.project, selection=selection)
    SnapshotItem.objects.filter(snapshot=snapshot, outcome="pending").update(outcome="used")
    run = Run.objects.create(
        project=loop.project,
        round=Round.objects.get(project=loop.project),
        number=number,
        snapshot=snapshot,
        method="dpo",
        spec={},
        parent=parent,
        state="finished",
    )
    return Policy.objects.create(
        project=loop.project,
        number=number,
        parent=parent,
        author=policy_author(loop.project, number),
        run=run,
        base_model=parent.base_model,
        adapter_path=f"{number}",
        manifest_sha256="0" * 64,
    )


def ids(selection: Selection) -> set[int]:
    return {item.id for item in selection.made.items if item.kind == "judgment" and item.row_ids}


def test_the_first_run_takes_everything_and_skips_with_reasons(project: Project, bob: User, loop: Loop) -> None:
    learnable = judged(project, bob, 6)
    judged(project, bob, 2, "tie")
    found = select(loop, loop.sampler or Policy())
    assert ids(found) == {judgment.pk for judgment in learnable}
    assert found.made.skipped == {"tie": 2}
    assert (found.name, found.replayed) == ("new", 0)


def test_the_next_run_takes_the_new_ones_and_replays_a_share_of_the_old(
    project: Project, bob: User, loop: Loop
) -> None:
    base = Policy.objects.get(project=project, number=0)
    old = {judgment.pk for judgment in judged(project, bob, 20)}
    judged(project, bob, 3, "tie")
    first = trained(loop, base, select(loop, base), 1)
    new = {judgment.pk for judgment in judged(project, bob, 12)}
    found = select(loop, first)
    assert ids(found) >= new
    assert len(ids(found) & old) == found.replayed == 3
    assert found.made.skipped == {}  # the ties were accounted for by the first run
    assert frozen_rows(freeze(project=project, selection=found), "dpo").sha256 == found.made.sha256
    assert ids(select(loop, first, replay=0)) == new
    assert ids(select(loop, first, replay=400)) == new | old


def test_what_another_branch_learnt_is_new_to_the_base(project: Project, bob: User, loop: Loop) -> None:
    base = Policy.objects.get(project=project, number=0)
    old = {judgment.pk for judgment in judged(project, bob, 8)}
    trained(loop, base, select(loop, base), 1)
    assert ids(select(loop, base)) == old


def test_with_nothing_new_every_decision_is_taken_again(project: Project, bob: User, loop: Loop) -> None:
    base = Policy.objects.get(project=project, number=0)
    old = {judgment.pk for judgment in judged(project, bob, 8)}
    first = trained(loop, base, select(loop, base), 1)
    found = select(loop, first)
    assert (found.name, ids(found)) == ("all", old)


def test_ratings_that_dpo_had_to_leave_are_new_to_kto(project: Project, bob: User, loop: Loop) -> None:
    base = Policy.objects.get(project=project, number=0)
    judged(project, bob, 8)
    ratings = [
        make_rating(make_response(make_prompt(project)), bob, value) for value in ("up", "down", "up", "down", "up")
    ]
    first = trained(loop, base, select(loop, base), 1)
    found = select(loop, first, method="kto")
    assert {item.id for item in found.made.items if item.kind == "rating" and item.row_ids} == {
        rating.pk for rating in ratings
    }
