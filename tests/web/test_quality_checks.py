"""Gold questions and rechecks come unmarked, at the shares the project sets, and tell what they are there to tell."""

import random
from datetime import timedelta

import pytest
from django.utils import timezone

from annotate.models import Choice, Comparison, Judgment, Project, Slot, User, Verdict
from annotate.queries import quality
from annotate.services.checks import NotGoldError, due_rechecks, make_gold, slip_in_check
from tests.cast import make_comparison, make_judgment, make_prompt


def asked_of(annotator: User) -> list[Slot]:
    return list(Slot.objects.filter(only_for=annotator).select_related("comparison"))


@pytest.fixture
def judged(project: Project, bob: User) -> list[Judgment]:
    """Ten judgments of bob's, three days old."""
    made = [make_judgment(make_comparison(make_prompt(project)), bob, "A", swapped=i % 2 == 0) for i in range(10)]
    Judgment.objects.update(created_at=timezone.now() - timedelta(days=3))
    return made


def test_nothing_is_slipped_in_unless_the_project_sets_a_share(
    project: Project, bob: User, judged: list[Judgment]
) -> None:
    for seed in range(20):
        slip_in_check(project=project, annotator=bob, now=timezone.now(), rng=random.Random(seed))
    assert asked_of(bob) == []


def test_a_recheck_asks_the_same_pair_once_more_and_only_of_the_same_person(
    project: Project, bob: User, judged: list[Judgment]
) -> None:
    project.recheck_percent = 50
    project.recheck_after_hours = 48
    for seed in range(60):
        slip_in_check(project=project, annotator=bob, now=timezone.now(), rng=random.Random(seed))
    slots = asked_of(bob)
    assert 1 <= len(slots) <= 10
    originals = [slot.comparison.original_id for slot in slots if slot.comparison]
    assert len(set(originals)) == len(originals)
    for slot in slots:
        again = slot.comparison
        assert again is not None
        assert again.original is not None
        assert again.purpose == Comparison.Purpose.RECHECK
        assert (again.first_id, again.second_id) == (
            again.original.comparison.first_id,
            again.original.comparison.second_id,
        )


def test_yesterdays_judgments_are_not_due_after_two_days(project: Project, bob: User, judged: list[Judgment]) -> None:
    project.recheck_after_hours = 24 * 4
    assert not due_rechecks(project, bob, now=timezone.now()).exists()


def test_a_gold_question_is_asked_once_of_everyone_but_those_who_know_the_pair(
    project: Project, bob: User, lea: User, alice: User, judged: list[Judgment]
) -> None:
    known = judged[0].comparison
    make_gold(comparison=known, expected=Verdict.FIRST, actor=lea)
    project.gold_percent = 50
    for annotator in (bob, lea):
        for seed in range(30):
            slip_in_check(project=project, annotator=annotator, now=timezone.now(), rng=random.Random(seed))
    assert asked_of(bob) == []
    assert len(asked_of(lea)) == 1
    with pytest.raises(NotGoldError, match="already"):
        make_gold(comparison=known, expected=Verdict.FIRST, actor=lea)
    with pytest.raises(NotGoldError, match="known answer"):
        make_gold(comparison=judged[1].comparison, expected="exclude", actor=lea)


def test_gold_is_right_by_the_response_and_not_by_the_side(project: Project, bob: User, lea: User) -> None:
    for swapped, choice in ((False, "A"), (True, "B"), (False, "B"), (True, "A")):
        gold = make_gold(comparison=make_comparison(make_prompt(project), slots=0), expected=Verdict.FIRST, actor=lea)
        make_judgment(gold, bob, choice, swapped=swapped)
    assert quality.gold_outcomes(project) == {bob.pk: (2, 4)}


def test_agreeing_with_oneself_is_told_by_the_response_and_not_by_the_side(
    project: Project, bob: User, judged: list[Judgment]
) -> None:
    def again(original: Judgment, choice: str, *, swapped: bool) -> None:
        comparison = Comparison.objects.create(
            project=project,
            prompt=original.comparison.prompt,
            first=original.comparison.first,
            second=original.comparison.second,
            purpose=Comparison.Purpose.RECHECK,
            split="train",
            original=original,
        )
        make_judgment(comparison, bob, choice, swapped=swapped)

    # The first judgment was swapped, so A was the second response; unswapped, that is B.
    again(judged[0], "B", swapped=False)
    again(judged[1], "B", swapped=False)
    again(judged[2], Choice.TIE, swapped=False)
    assert quality.recheck_outcomes(project) == {bob.pk: (1, 3)}
