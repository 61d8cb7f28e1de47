"""Claiming and deciding: leases, sides, exactly once, and what happens when somebody else was first."""

import random
import uuid
from datetime import datetime, timedelta

import pytest
from django.db.models import ForeignKey, Model
from django.utils import timezone

from annotate.models import Author, Comparison, Guideline, Judgment, Project, Ranking, Rating, Role, Slot, User
from annotate.queries.judging import made_today, pair_to_judge
from annotate.queries.projects import midnight
from annotate.services.claims import claim_slot, release_slots
from annotate.services.judging import LONGEST_MS, Conflict, Gone, Saved, Why, record_judgment, record_rating
from tests.cast import join, make_comparison, make_prompt, make_response, make_user

NOW = datetime(2040, 5, 17, 12, 0, tzinfo=timezone.get_default_timezone())


def claim(project: Project, person: User, *, kind: str = "pair", now: datetime = NOW, seed: int = 1) -> Slot | None:
    return claim_slot(project=project, annotator=person, kind=kind, now=now, rng=random.Random(seed))


def claimed(project: Project, person: User, *, kind: str = "pair", now: datetime = NOW, seed: int = 1) -> Slot:
    slot = claim(project, person, kind=kind, now=now, seed=seed)
    assert slot is not None
    return slot


def judge(
    slot: Slot,
    person: User,
    choice: str = "A",
    *,
    client_id: uuid.UUID | None = None,
    skip_reason: str = "",
    active_ms: int | None = None,
    now: datetime = NOW + timedelta(seconds=9),
) -> Saved[Judgment] | Conflict[Judgment] | Gone:
    return record_judgment(
        project=slot.project,
        annotator=person,
        slot_id=slot.pk,
        client_id=client_id or slot.submit_id,
        choice=choice,
        skip_reason=skip_reason,
        active_ms=active_ms,
        now=now,
    )


# --- Claim ---


def test_a_claim_leases_a_slot_and_a_reload_shows_the_same_pair_with_the_same_sides(
    project: Project, bob: User
) -> None:
    slot = claimed(project, bob)
    assert slot.state == "leased"
    assert slot.lease_until == NOW + timedelta(minutes=project.lease_minutes)
    again = claimed(project, bob, now=NOW + timedelta(minutes=2), seed=99)
    assert (again.pk, again.submit_id, again.swapped) == (slot.pk, slot.submit_id, slot.swapped)
    assert again.shown_at == NOW


def test_two_people_are_never_asked_for_the_same_judgment(project: Project, bob: User, lea: User) -> None:
    comparisons = set()
    for person in (bob, lea, make_user("ida")):
        slot = claimed(project, person)
        comparisons.add(slot.comparison_id)
    assert len(comparisons) == 3
    assert claim(project, make_user("late")) is None


def test_with_overlap_nobody_gets_a_comparison_twice(project: Project, bob: User, lea: User) -> None:
    Slot.objects.all().delete()
    comparison = make_comparison(make_prompt(project), slots=2)
    first = claimed(project, bob)
    judge(first, bob)
    assert claim(project, bob) is None
    assert claimed(project, lea).comparison == comparison


def test_a_lease_that_ran_out_goes_to_the_next_person_with_a_new_submit_id(
    project: Project, bob: User, lea: User
) -> None:
    Slot.objects.exclude(pk=Slot.objects.earliest("pk").pk).delete()
    held = claimed(project, bob)
    assert claim(project, lea, now=NOW + timedelta(minutes=29)) is None
    taken = claimed(project, lea, now=NOW + timedelta(minutes=31))
    assert taken.pk == held.pk
    assert taken.submit_id != held.submit_id
    assert claim(project, bob, now=NOW + timedelta(minutes=31)) is None


def test_whoever_comes_back_late_keeps_the_pair_when_nobody_else_was_asked(project: Project, bob: User) -> None:
    held = claimed(project, bob)
    later = NOW + timedelta(hours=3)
    again = claimed(project, bob, now=later)
    assert (again.pk, again.submit_id, again.swapped) == (held.pk, held.submit_id, held.swapped)
    assert again.lease_until == later + timedelta(minutes=30)


def test_higher_priority_comes_first(project: Project, bob: User) -> None:
    urgent = make_comparison(make_prompt(project))
    urgent.slots.update(priority=3)
    for _ in range(15):
        make_comparison(make_prompt(project))
    assert claimed(project, bob).comparison == urgent


def test_nobody_is_asked_about_an_answer_of_their_own(project: Project, bob: User, lea: User) -> None:
    Slot.objects.all().delete()
    prompt = make_prompt(project)
    by_bob = Author.objects.create(project=project, kind="person", name="Bob", user=bob)
    written = make_response(prompt, "By hand.", author=by_bob)
    make_comparison(prompt, make_response(prompt), written)
    Slot.objects.create(project=project, kind="thumb", response=written)
    assert claim(project, bob) is None
    assert claim(project, bob, kind="thumb") is None
    assert claim(project, lea) is not None
    assert claim(project, lea, kind="thumb") is not None


def test_kinds_projects_and_withdrawn_slots_are_kept_apart(project: Project, bob: User, alice: User) -> None:
    Slot.objects.update(state="withdrawn")
    other = Project.objects.create(name="Other", created_by=alice)
    make_comparison(make_prompt(other))
    assert claim(project, bob) is None
    Slot.objects.create(project=project, kind="thumb", response=make_response(make_prompt(project)))
    assert claim(project, bob) is None
    assert claimed(project, bob, kind="thumb").response is not None


def test_a_slot_that_is_handed_back_can_be_asked_of_others_at_once(project: Project, bob: User, lea: User) -> None:
    Slot.objects.exclude(pk=Slot.objects.earliest("pk").pk).delete()
    held = claimed(project, bob)
    assert release_slots(project=project, annotator=lea) == 0
    assert release_slots(project=project, annotator=bob) == 1
    assert release_slots(project=project, annotator=bob) == 0
    assert claimed(project, lea).pk == held.pk


def test_both_sides_come_up_and_what_is_shown_left_is_a(project: Project) -> None:
    Slot.objects.all().delete()
    comparison = make_comparison(make_prompt(project), slots=40)
    swapped = set()
    for seed in range(40):
        slot = claimed(project, make_user(f"person {seed}"), seed=seed)
        shown = pair_to_judge(slot)
        assert shown.a == (comparison.second if slot.swapped else comparison.first).text
        assert shown.b == (comparison.first if slot.swapped else comparison.second).text
        swapped.add(slot.swapped)
    assert swapped == {False, True}


# --- Decide ---


@pytest.mark.parametrize("choice", ["A", "B", "tie", "both_bad"])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_judgment_keeps_what_was_shown_and_who_won(
    project: Project, bob: User, comparisons: list[Comparison], choice: str, swapped: bool
) -> None:
    slot = claimed(project, bob)
    Slot.objects.filter(pk=slot.pk).update(swapped=swapped)
    outcome = judge(slot, bob, choice, active_ms=4_000)
    assert isinstance(outcome, Saved)
    kept = Judgment.objects.get()
    left, right = (
        (kept.comparison.second, kept.comparison.first) if swapped else (kept.comparison.first, kept.comparison.second)
    )
    assert kept.preferred == {"A": left, "B": right}.get(choice)
    assert (kept.choice, kept.swapped, kept.active_ms, kept.shown_at) == (choice, swapped, 4_000, NOW)
    assert (kept.client_id, kept.slot, kept.project, kept.annotator) == (slot.submit_id, slot, project, bob)
    assert Slot.objects.get(pk=slot.pk).state == "done"


def test_a_skip_keeps_its_reason_and_closes_the_slot(project: Project, bob: User) -> None:
    slot = claimed(project, bob)
    judge(slot, bob, "skip", skip_reason="language")
    assert Judgment.objects.get().skip_reason == "language"
    assert claimed(project, bob).pk != slot.pk


@pytest.mark.parametrize(
    ("choice", "skip_reason"), [("skip", ""), ("A", "language"), ("skip", "boredom"), ("C", ""), ("", "")]
)
def test_what_cannot_be_is_refused_before_the_database(
    project: Project, bob: User, choice: str, skip_reason: str
) -> None:
    slot = claimed(project, bob)
    with pytest.raises(ValueError, match=r"decision|skip"):
        judge(slot, bob, choice, skip_reason=skip_reason)
    with pytest.raises(ValueError, match="strength"):
        record_judgment(
            project=project, annotator=bob, slot_id=slot.pk, client_id=slot.submit_id, choice="tie", strength=2, now=NOW
        )
    assert Slot.objects.get(pk=slot.pk).state == "leased"


def test_the_same_submit_again_gives_the_same_answer(project: Project, bob: User) -> None:
    slot = claimed(project, bob)
    first, second = judge(slot, bob, "B"), judge(slot, bob, "B", now=NOW + timedelta(hours=5))
    assert isinstance(first, Saved)
    assert second == Saved(first.decision, repeated=True)
    assert Judgment.objects.count() == 1


def test_another_answer_to_the_same_pair_is_a_conflict_that_says_what_was_saved(project: Project, bob: User) -> None:
    slot = claimed(project, bob)
    judge(slot, bob, "B")
    outcome = judge(slot, bob, "A")
    assert isinstance(outcome, Conflict)
    assert outcome.saved.choice == "B"
    assert Judgment.objects.get().choice == "B"


def test_a_late_answer_counts_when_nobody_else_was_asked(project: Project, bob: User) -> None:
    slot = claimed(project, bob)
    assert isinstance(judge(slot, bob, now=NOW + timedelta(days=3)), Saved)


def test_a_late_answer_is_refused_when_somebody_else_was_asked(project: Project, bob: User, lea: User) -> None:
    Slot.objects.exclude(pk=Slot.objects.earliest("pk").pk).delete()
    slot = claimed(project, bob)
    late = NOW + timedelta(hours=1)
    taken = claimed(project, lea, now=late)
    assert judge(slot, bob, now=late) == Gone(Why.TAKEN)
    assert isinstance(judge(taken, lea, now=late), Saved)
    assert judge(slot, bob, now=late) == Gone(Why.TAKEN)
    assert Judgment.objects.get().annotator == lea


def test_a_form_of_an_older_lease_of_ones_own_changes_nothing(project: Project, bob: User) -> None:
    """Its sides may have been the other way round."""
    Slot.objects.exclude(pk=Slot.objects.earliest("pk").pk).delete()
    old = claimed(project, bob)
    release_slots(project=project, annotator=bob)
    assert judge(old, bob) == Gone(Why.RELEASED)
    new = claimed(project, bob)
    assert new.submit_id != old.submit_id
    assert judge(old, bob) == Gone(Why.UNKNOWN)
    assert isinstance(judge(new, bob), Saved)


def test_somebody_elses_slot_cannot_be_answered(project: Project, bob: User, lea: User, charlie: User) -> None:
    slot = claimed(project, bob)
    for person in (lea, charlie):
        assert judge(slot, person) == Gone(Why.TAKEN)
    judge(slot, bob)
    assert judge(slot, lea) == Gone(Why.TAKEN)
    assert judge(slot, bob, client_id=uuid.uuid4()) == Conflict(Judgment.objects.get())


def test_a_slot_of_another_project_and_a_withdrawn_one_say_what_happened(
    project: Project, bob: User, alice: User
) -> None:
    slot = claimed(project, bob)
    Slot.objects.filter(pk=slot.pk).update(state="withdrawn")
    assert judge(slot, bob) == Gone(Why.WITHDRAWN)
    slot.project = Project.objects.create(name="Other", created_by=alice)
    assert judge(slot, bob) == Gone(Why.UNKNOWN)


def test_a_judgment_carries_the_guideline_that_stood_when_the_pair_was_shown(
    project: Project, bob: User, alice: User
) -> None:
    first = Guideline.objects.get()
    slot = claimed(project, bob)
    second = Guideline.objects.create(project=project, version=2, text="New.", created_by=alice)
    Guideline.objects.filter(pk=second.pk).update(created_at=NOW + timedelta(seconds=5))
    judge(slot, bob)
    judge(claimed(project, bob, now=NOW + timedelta(seconds=6)), bob, now=NOW + timedelta(seconds=8))
    assert [judgment.guideline for judgment in Judgment.objects.all()] == [first, second]


@pytest.mark.parametrize(
    ("measured", "passed", "kept"),
    [
        (None, timedelta(seconds=9), None),
        (-5, timedelta(seconds=9), None),
        (4_000, timedelta(seconds=9), 4_000),
        (99_000_000, timedelta(seconds=9), 9_000),
        (99_000_000, timedelta(days=40), LONGEST_MS),
        (4_000, timedelta(seconds=-9), 0),
    ],
)
def test_active_time_is_believed_only_within_what_can_be(
    project: Project, bob: User, measured: int | None, passed: timedelta, kept: int | None
) -> None:
    judge(claimed(project, bob), bob, active_ms=measured, now=NOW + passed)
    assert Judgment.objects.get().active_ms == kept


def test_a_rating_is_saved_once_and_a_second_opinion_of_ones_own_is_a_conflict(project: Project, bob: User) -> None:
    Slot.objects.create(project=project, kind="thumb", response=make_response(make_prompt(project)))
    slot = claimed(project, bob, kind="thumb")

    def rate(value: str, skip_reason: str = "") -> Saved[Rating] | Conflict[Rating] | Gone:
        return record_rating(
            project=project,
            annotator=bob,
            slot_id=slot.pk,
            client_id=slot.submit_id,
            value=value,
            skip_reason=skip_reason,
            now=NOW,
        )

    assert isinstance(rate("up"), Saved)
    assert rate("up") == Saved(Rating.objects.get(), repeated=True)
    assert rate("skip", "other") == Conflict(Rating.objects.get())
    assert Rating.objects.get().response == slot.response
    assert claim(project, bob, kind="thumb") is None


def test_today_counts_ones_own_decisions_since_midnight(project: Project, bob: User, lea: User) -> None:
    join(project, make_user("ida"), Role.ANNOTATOR)
    for person in (bob, bob, lea):
        judge(claimed(project, person), person)
    Judgment.objects.update(created_at=midnight())
    assert made_today(annotator=bob, project=project, kind="pair") == 2
    assert made_today(annotator=bob, project=project, kind="thumb") == 0
    Judgment.objects.update(created_at=midnight() - timedelta(seconds=1))
    assert made_today(annotator=bob, project=project, kind="pair") == 0


@pytest.mark.parametrize("model", [Slot, Judgment, Rating, Ranking])
def test_no_foreign_key_that_every_judgment_writes_is_indexed_twice(model: type[Model]) -> None:
    """Each judgment pays for each index of these tables: one that another begins with is never needed."""
    beginnings = {index.fields_orders[0][0] for index in model._meta.indexes if index.fields and not index.condition}
    keys = [field for field in model._meta.local_fields if isinstance(field, ForeignKey)]
    assert beginnings & {field.name for field in keys if field.deconstruct()[3].get("db_index", True)} == set()
