"""A skipped item is asked of somebody else, up to a limit; never of the same person, and never twice for one skip."""

import random
import uuid
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from annotate.models import Comparison, Judgment, Project, Rating, Slot, User
from annotate.queries.unsettled import skipped_comparisons
from annotate.services.checks import make_gold
from annotate.services.claims import claim_slot
from annotate.services.corrections import change_judgment, undo_last
from annotate.services.judging import Saved, record_judgment, record_rating
from annotate.services.reporting import report_and_skip
from annotate.services.review import resolve_reports
from annotate.services.verdicts import adjudicate
from tests.cast import join, make_comparison, make_prompt, make_response, make_user


@pytest.fixture
def comparison(project: Project) -> Comparison:
    """The only one that is asked."""
    Slot.objects.all().delete()
    return make_comparison(make_prompt(project))


@pytest.fixture
def people(project: Project, bob: User, lea: User, alice: User) -> list[User]:
    """Five who can be asked."""
    more = [make_user("ida"), make_user("ulf")]
    for person in more:
        join(project, person)
    return [bob, lea, alice, *more]


def claim(project: Project, person: User, kind: str = "pair") -> Slot | None:
    return claim_slot(project=project, annotator=person, kind=kind, now=timezone.now(), rng=random.Random(1))


def skip(project: Project, person: User, reason: str = "expertise") -> Judgment:
    slot = claim(project, person)
    assert slot is not None
    outcome = record_judgment(
        project=project, annotator=person, slot_id=slot.pk, client_id=slot.submit_id, choice="skip",
        skip_reason=reason, now=timezone.now(),
    )  # fmt: skip
    assert isinstance(outcome, Saved)
    return outcome.decision


def undo(project: Project, person: User) -> bool:
    last = Judgment.objects.filter(annotator=person, superseded_at__isnull=True).latest("pk")
    return undo_last(
        project=project, annotator=person, kind="pair", client_id=last.client_id, now=timezone.now()
    )  # fmt: skip


@pytest.mark.parametrize("reason", ["unclear", "expertise", "language", "other"])
def test_a_skip_is_asked_of_somebody_else_and_never_again_of_the_same_person(
    project: Project, comparison: Comparison, bob: User, lea: User, reason: str
) -> None:
    comparison.slots.update(priority=4)
    skipped = skip(project, bob, reason)
    instead = Slot.objects.get(replaces=skipped.slot)
    assert (instead.comparison, instead.priority, instead.state) == (comparison, 4, "open")
    assert claim(project, bob) is None
    assert claim(project, lea) == instead


def test_after_three_skips_nobody_else_is_asked_and_a_reviewer_is(
    client: Client, project: Project, comparison: Comparison, people: list[User], lea: User
) -> None:
    for person in people[:2]:
        skip(project, person)
        assert not skipped_comparisons(project).exists()
    skip(project, people[2], "language")
    assert claim(project, people[3]) is None
    assert skipped_comparisons(project).get() == comparison
    client.force_login(lea)
    page = client.get(f"/projects/{project.pk}/review/").content.decode()
    assert "1 skipped" in page
    assert "Not a language I read" in page
    adjudicate(comparison=comparison, verdict="exclude", note="", reviewer=lea)
    assert not skipped_comparisons(project).exists()


def test_the_limit_is_the_projects(project: Project, comparison: Comparison, bob: User, lea: User) -> None:
    Project.objects.update(skips_before_review=1)
    skip(project, bob)
    assert claim(project, lea) is None
    assert skipped_comparisons(project).get() == comparison


@pytest.mark.parametrize("reason", ["broken", "harmful"])
def test_what_is_wrong_with_the_item_itself_goes_to_review_at_once(
    project: Project, comparison: Comparison, bob: User, lea: User, reason: str
) -> None:
    skip(project, bob, reason)
    assert claim(project, lea) is None
    assert skipped_comparisons(project).get() == comparison


def test_undoing_a_skip_takes_the_slot_back_and_skipping_again_gives_it_again(
    project: Project, comparison: Comparison, bob: User, lea: User
) -> None:
    skip(project, bob)
    assert undo(project, bob)
    assert claim(project, lea) is None
    again = skip(project, bob)
    assert claim(project, lea) == Slot.objects.get(replaces=again.slot)
    assert comparison.slots.count() == 2


def test_undoing_a_skip_leaves_what_somebody_else_holds_already(
    project: Project, comparison: Comparison, bob: User, lea: User
) -> None:
    skip(project, bob)
    taken = claim(project, lea)
    assert taken is not None
    assert undo(project, bob)
    assert Slot.objects.get(pk=taken.pk).state == "leased"
    mine = claim(project, bob)
    assert mine is not None
    assert mine.comparison == comparison


def test_the_first_of_two_skips_that_is_undone_makes_room_for_another(
    project: Project, comparison: Comparison, people: list[User]
) -> None:
    for person in people[:3]:
        skip(project, person)
    assert undo(project, people[0])
    skip(project, people[0])
    assert comparison.slots.count() == 3


def test_saying_otherwise_about_a_skip_takes_it_back_and_the_other_way_round(
    project: Project, comparison: Comparison, bob: User, lea: User
) -> None:
    old = skip(project, bob)
    better = change_judgment(old, client_id=uuid.uuid4(), now=timezone.now(), choice="A")
    assert isinstance(better, Saved)
    assert claim(project, lea) is None
    worse = change_judgment(
        better.decision, client_id=uuid.uuid4(), now=timezone.now(), choice="skip", skip_reason="unclear"
    )
    assert isinstance(worse, Saved)
    assert claim(project, lea) is not None


def test_gold_questions_and_rechecks_are_put_to_nobody_else(
    project: Project, comparison: Comparison, bob: User, lea: User, alice: User
) -> None:
    gold = make_gold(comparison=comparison, expected="tie", actor=alice)
    Slot.objects.create(project=project, kind="pair", comparison=gold, only_for=bob)
    assert skip(project, bob).comparison == gold
    assert gold.slots.count() == 1
    assert not skipped_comparisons(project).exists()


def test_a_skip_of_an_older_round_is_asked_no_more(project: Project, bob: User, lea: User) -> None:
    Slot.objects.all().delete()
    old = make_comparison(make_prompt(project), round=1)
    held = claim(project, bob)
    make_comparison(make_prompt(project), round=2, slots=0)
    assert held is not None
    skip(project, bob)
    assert claim(project, lea) is None
    assert set(old.slots.values_list("state", flat=True)) == {"done", "withdrawn"}
    assert not skipped_comparisons(project).exists()


@pytest.mark.parametrize(("resolution", "asked"), [("kept", True), ("withdrawn", False)])
def test_a_reported_prompt_is_asked_of_nobody_until_it_is_kept(
    project: Project, comparison: Comparison, bob: User, lea: User, alice: User, resolution: str, asked: bool
) -> None:
    slot = claim(project, bob)
    assert slot is not None
    report_and_skip(
        project=project, annotator=bob, kind="pair", slot_id=slot.pk, client_id=slot.submit_id, reason="private",
        note="", now=timezone.now(),
    )  # fmt: skip
    assert claim(project, lea) is None
    assert not skipped_comparisons(project).exists()
    resolve_reports(project=project, prompt=comparison.prompt, resolution=resolution, reviewer=alice)
    assert (claim(project, lea) is not None) is asked


def test_a_skipped_answer_is_asked_of_somebody_else_too(project: Project, people: list[User]) -> None:
    response = make_response(make_prompt(project))
    Slot.objects.create(project=project, kind="thumb", response=response)
    for number, person in enumerate(people[:3], start=1):
        slot = claim(project, person, "thumb")
        assert slot is not None
        outcome = record_rating(
            project=project, annotator=person, slot_id=slot.pk, client_id=slot.submit_id, value="skip",
            skip_reason="unclear", now=timezone.now() + timedelta(seconds=number),
        )  # fmt: skip
        assert isinstance(outcome, Saved)
    assert Rating.objects.count() == 3
    assert claim(project, people[3], "thumb") is None
