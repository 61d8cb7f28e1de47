"""Quotas a day, and the limits under which a project pauses somebody by itself."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from annotate.models import AuditEntry, Comparison, Judgment, Membership, Project, User
from annotate.services import people
from annotate.services.limits import WINDOW, apply_limits, quota_left
from tests.cast import make_comparison, make_judgment, make_prompt, make_rating, make_response

NOON = timezone.make_aware(datetime(2026, 11, 20, 12, 0))  # noqa: DTZ001  (made aware at once)


def member(project: Project, user: User) -> Membership:
    return project.memberships.select_related("project", "user").get(user=user)


def at(judgment: Judgment, when: datetime) -> Judgment:
    Judgment.objects.filter(pk=judgment.pk).update(created_at=when)
    return judgment


def answer_gold(project: Project, annotator: User, right: Iterable[bool]) -> None:
    """Gold questions whose known answer is the second response, shown on the left half of the time."""
    for number, good in enumerate(right):
        gold = make_comparison(make_prompt(project), purpose=Comparison.Purpose.GOLD, expected="second")
        swapped = number % 2 == 0
        make_judgment(gold, annotator, "A" if good == swapped else "B", swapped=swapped)


def answer_in(project: Project, annotator: User, seconds: Iterable[float]) -> None:
    for taken in seconds:
        make_judgment(make_comparison(make_prompt(project)), annotator, active_ms=round(taken * 1000))


@pytest.fixture
def strict(project: Project) -> Project:
    project.gold_percent = 10
    project.pause_below_gold_percent = 70
    project.pause_above_fast_percent = 30
    project.pause_after = 10
    project.save()
    return project


# --- Quotas -----------------------------------------------------------------------------------------------------------


def test_without_a_quota_nothing_is_asked_of_the_database(
    project: Project, bob: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    membership = member(project, bob)
    with django_assert_num_queries(0):
        assert quota_left(membership, NOON) is None


def test_a_quota_counts_todays_judgments_and_ratings_and_never_goes_below_zero(project: Project, bob: User) -> None:
    Membership.objects.filter(user=bob).update(daily_quota=3)
    membership = member(project, bob)
    early = NOON.replace(hour=0, minute=0)
    at(make_judgment(make_comparison(make_prompt(project)), bob), early - timedelta(seconds=1))  # yesterday
    assert quota_left(membership, NOON) == 3
    at(make_judgment(make_comparison(make_prompt(project)), bob), early)
    at(make_judgment(make_comparison(make_prompt(project)), bob, superseded_at=NOON), early)  # edited: counts once
    at(make_judgment(make_comparison(make_prompt(project)), bob, retracted_at=NOON), early)
    rating = make_rating(make_response(make_prompt(project)), bob)
    type(rating).objects.filter(pk=rating.pk).update(created_at=NOON)
    assert quota_left(membership, NOON) == 0
    at(make_judgment(make_comparison(make_prompt(project)), bob), NOON)
    assert quota_left(membership, NOON) == 0
    assert quota_left(membership, NOON + timedelta(days=1)) == 3


def test_leads_set_and_take_back_a_quota(client: Client, project: Project, lea: User, bob: User) -> None:
    client.force_login(lea)
    membership = member(project, bob)
    url = reverse("annotate:change_quota", args=[project.pk, membership.pk])
    assert client.post(url, {"daily_quota": "40"}).status_code == 302
    assert member(project, bob).daily_quota == 40
    assert "at most 40 a day" in client.get(reverse("annotate:people", args=[project.pk])).content.decode()
    for nonsense in ("0", "-1", "many"):
        response = client.post(url, {"daily_quota": nonsense})
        assert response.status_code == 422
        assert 'class="errorlist"' in response.content.decode()
    client.post(url, {"daily_quota": "40"})  # says nothing new, so nothing is noted
    assert client.post(url, {"daily_quota": ""}).status_code == 302
    assert member(project, bob).daily_quota is None
    noted = AuditEntry.objects.filter(verb="member.quota_changed").order_by("id")
    assert [entry.detail["daily_quota"] for entry in noted] == [40, None]


def test_a_lead_cannot_set_an_owners_quota(client: Client, project: Project, alice: User, lea: User) -> None:
    client.force_login(lea)
    client.post(reverse("annotate:change_quota", args=[project.pk, member(project, alice).pk]), {"daily_quota": "1"})
    assert member(project, alice).daily_quota is None


# --- Limits -----------------------------------------------------------------------------------------------------------


def test_without_limits_nothing_is_asked_of_the_database(
    project: Project, bob: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        assert apply_limits(project=project, annotator=bob, now=NOON) is None


def test_looking_costs_three_queries_however_much_was_judged(
    strict: Project, bob: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    answer_gold(strict, bob, [True] * 12)
    answer_in(strict, bob, [20] * 12)
    with django_assert_num_queries(3):
        assert apply_limits(project=strict, annotator=bob, now=NOON) is None


def test_too_few_right_gold_questions_pause_with_the_reason_in_words(strict: Project, bob: User) -> None:
    answer_gold(strict, bob, [False] * 9)
    assert apply_limits(project=strict, annotator=bob, now=NOON) is None  # nine are too few to say
    answer_gold(strict, bob, [True])
    paused = apply_limits(project=strict, annotator=bob, now=NOON)
    assert paused is not None
    found = member(strict, bob)
    assert (found.paused_at, found.paused_by) == (NOON, None)
    # 1 of 10 by Wilson: 1.8 to 40.4 percent.
    assert found.paused_reason == "1 of 10 gold questions right (2–40%); the limit is 70%."
    entry = AuditEntry.objects.get(verb="member.paused")
    assert (entry.actor, entry.subject, entry.detail) == (None, "bob", {"reason": found.paused_reason})
    assert apply_limits(project=strict, annotator=bob, now=NOON) is None  # once is enough


def test_an_interval_that_still_holds_the_limit_pauses_nobody(strict: Project, bob: User) -> None:
    answer_gold(strict, bob, [True] * 5 + [False] * 5)  # 50 percent, but up to 76 may be the truth
    assert apply_limits(project=strict, annotator=bob, now=NOON) is None


def test_too_many_fast_judgments_pause(strict: Project, bob: User) -> None:
    answer_in(strict, bob, [1.9] * 8 + [2.0, 30])
    make_judgment(make_comparison(make_prompt(strict)), bob)  # without a time: says nothing
    make_judgment(make_comparison(make_prompt(strict)), bob, "skip", active_ms=100)  # a quick skip is no carelessness
    paused = apply_limits(project=strict, annotator=bob, now=NOON)
    assert paused is not None
    assert paused.paused_reason == "8 of 10 judgments took under 2 seconds (49–94%); the limit is 30%."


def test_others_and_other_projects_do_not_count(strict: Project, alice: User, bob: User, lea: User) -> None:
    other = Project.objects.create(name="Other", created_by=alice)
    answer_gold(strict, lea, [False] * 12)
    answer_gold(other, bob, [False] * 12)
    assert apply_limits(project=strict, annotator=bob, now=NOON) is None


def test_retracted_and_replaced_answers_do_not_count(strict: Project, bob: User) -> None:
    answer_gold(strict, bob, [False] * 20)
    Judgment.objects.filter(pk__in=Judgment.objects.values("pk")[:10]).update(retracted_at=NOON)
    Judgment.objects.filter(retracted_at=None).update(superseded_at=NOON)
    assert apply_limits(project=strict, annotator=bob, now=NOON) is None


def test_who_was_careful_for_long_is_noticed_when_that_ends(strict: Project, bob: User) -> None:
    answer_in(strict, bob, [20] * WINDOW)
    assert apply_limits(project=strict, annotator=bob, now=NOON) is None
    answer_in(strict, bob, [1] * (WINDOW // 2))
    assert apply_limits(project=strict, annotator=bob, now=NOON) is not None


def test_who_may_judge_again_is_measured_anew(client: Client, strict: Project, lea: User, bob: User) -> None:
    answer_gold(strict, bob, [False] * 10)
    assert apply_limits(project=strict, annotator=bob, now=timezone.now()) is not None
    client.force_login(lea)
    page = client.get(reverse("annotate:member", args=[strict.pk, member(strict, bob).pk])).content.decode()
    assert "0 of 10 gold questions right" in page
    assert "by a limit of the project" in page
    client.post(reverse("annotate:resume", args=[strict.pk, member(strict, bob).pk]))
    assert member(strict, bob).paused_at is None
    assert apply_limits(project=strict, annotator=bob, now=timezone.now()) is None
    answer_gold(strict, bob, [False] * 9)
    assert apply_limits(project=strict, annotator=bob, now=timezone.now()) is None
    answer_gold(strict, bob, [False])
    assert apply_limits(project=strict, annotator=bob, now=timezone.now()) is not None


def test_a_pause_by_a_lead_says_who(client: Client, project: Project, lea: User, bob: User) -> None:
    people.pause_member(by=member(project, lea), member=member(project, bob), reason="Please read section 2")
    assert member(project, bob).paused_by == lea
    client.force_login(lea)
    page = client.get(reverse("annotate:member", args=[project.pk, member(project, bob).pk])).content.decode()
    assert "by lea:" in page
