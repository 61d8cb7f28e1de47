"""Slots for one person alone: gold questions, rechecks and assignments come first, and look like any other pair."""

import random
import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from annotate.models import Comparison, Judgment, Project, Slot, User
from annotate.queries.judging import open_slots
from annotate.services.checks import make_gold
from annotate.services.claims import claim_slot, release_slots
from annotate.services.judging import Saved, record_judgment
from tests.cast import make_comparison, make_judgment, make_prompt, make_response


def claim(project: Project, person: User, seed: int = 1) -> Slot:
    slot = claim_slot(project=project, annotator=person, kind="pair", now=timezone.now(), rng=random.Random(seed))
    assert slot is not None
    return slot


def decide(slot: Slot, person: User, choice: str = "A") -> None:
    outcome = record_judgment(
        project=slot.project, annotator=person, slot_id=slot.pk, client_id=slot.submit_id, choice=choice,
        now=timezone.now(),
    )  # fmt: skip
    assert isinstance(outcome, Saved)


@pytest.fixture
def gold(project: Project, alice: User) -> Comparison:
    known = make_comparison(make_prompt(project), slots=0)
    project.gold_percent = 50
    project.save()
    return make_gold(comparison=known, expected="first", actor=alice)


def test_what_is_meant_for_one_person_comes_first_for_them_and_never_to_anybody_else(
    project: Project, bob: User, lea: User
) -> None:
    assigned = make_comparison(make_prompt(project), slots=0)
    Slot.objects.create(project=project, kind="pair", comparison=assigned, only_for=bob)
    for seed in range(3):
        other = claim(project, lea, seed)
        assert other.comparison != assigned
        decide(other, lea)
    assert claim_slot(project=project, annotator=lea, kind="pair", now=timezone.now(), rng=random.Random(9)) is None
    assert open_slots(project, "pair") == 0
    assert claim(project, bob).comparison == assigned


def test_a_lease_on_it_that_ran_out_still_goes_to_nobody_else(project: Project, bob: User, lea: User) -> None:
    Slot.objects.all().delete()
    assigned = make_comparison(make_prompt(project), slots=0)
    Slot.objects.create(project=project, kind="pair", comparison=assigned, only_for=bob)
    held = claim(project, bob)
    later = timezone.now() + timedelta(days=2)
    assert claim_slot(project=project, annotator=lea, kind="pair", now=later, rng=random.Random(1)) is None
    again = claim_slot(project=project, annotator=bob, kind="pair", now=later, rng=random.Random(1))
    assert again is not None
    assert again.submit_id == held.submit_id


def test_gold_is_slipped_in_when_a_new_pair_is_asked_for_and_at_no_other_time(
    project: Project, bob: User, gold: Comparison
) -> None:
    slot = claim(project, bob)
    for seed in range(30):
        assert claim(project, bob, seed) == slot
    seen = 0
    for seed in range(2, 6):
        held = claim(project, bob, seed)
        seen += held.comparison == gold
        decide(held, bob)
    assert seen == 1
    assert Slot.objects.filter(only_for__isnull=False).count() == 1


def test_no_check_comes_into_an_empty_queue_where_it_would_be_known_for_one(
    project: Project, bob: User, gold: Comparison
) -> None:
    Slot.objects.all().delete()
    for seed in range(30):
        assert (
            claim_slot(project=project, annotator=bob, kind="pair", now=timezone.now(), rng=random.Random(seed)) is None
        )
    assert not Slot.objects.exists()


@pytest.mark.parametrize("before", [False, True])
def test_a_recheck_shows_the_sides_the_other_way_round_also_after_it_was_handed_back(
    project: Project, bob: User, before: bool
) -> None:
    project.recheck_percent = 50
    project.recheck_after_hours = 1
    project.save()
    judged = make_judgment(make_comparison(make_prompt(project)), bob, swapped=before)
    Judgment.objects.update(created_at=timezone.now() - timedelta(hours=2))
    slot = next(
        slot for seed in range(60)
        if (slot := _fresh_claim(project, bob, seed)).only_for_id
    )  # fmt: skip
    assert slot.comparison is not None
    assert slot.comparison.original == judged
    assert slot.swapped is not before
    release_slots(project=project, annotator=bob)
    assert claim(project, bob, 99).swapped is not before


def _fresh_claim(project: Project, person: User, seed: int) -> Slot:
    release_slots(project=project, annotator=person)
    return claim(project, person, seed)


@pytest.mark.parametrize("kind", ["gold", "recheck"])
def test_the_page_of_a_check_differs_from_an_ordinary_one_in_ids_and_texts_alone(
    client: Client, project: Project, bob: User, alice: User, kind: str
) -> None:
    def shown() -> str:
        body = client.get(f"/projects/{project.pk}/judge/", headers={"HX-Request": "true"}).content.decode()
        release_slots(project=project, annotator=bob)
        return re.sub(r'(value|data-\w+|href|action)="[^"]*"|<p dir="auto">[^<]*</p>|(?<=>)[^<]*</pre>', "·", body)

    client.force_login(bob)
    ordinary = shown()
    pair = make_comparison(make_prompt(project), slots=0)
    if kind == "gold":
        asked = make_gold(comparison=pair, expected="tie", actor=alice)
    else:
        original = make_judgment(pair, lea_of(project))
        prompt = make_prompt(project)
        asked = Comparison.objects.create(
            project=project, prompt=prompt, first=make_response(prompt), second=make_response(prompt),
            split="train", purpose="recheck", original=original,
        )  # fmt: skip
    slot = Slot.objects.create(project=project, kind="pair", comparison=asked, only_for=bob)
    assert shown() == ordinary
    assert Slot.objects.get(pk=slot.pk).swapped in (True, False)


def lea_of(project: Project) -> User:
    return project.members.get(username="lea")
