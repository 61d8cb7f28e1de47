"""The onboarding quiz: passed before real work, its answers shown and kept apart from judgments."""

import random
import re

import pytest
from django.test import Client
from django.utils import timezone

from annotate.models import Comparison, Judgment, Membership, Project, QuizAnswer, QuizAttempt, Slot, User
from annotate.queries.quiz import attempts_left, quiz_due
from annotate.services.checks import make_gold, unasked_gold
from annotate.services.quiz import (
    NoAttemptLeftError,
    QuizNotReadyError,
    answer_question,
    pass_by_hand,
    reset_quiz,
    start_attempt,
)
from tests.cast import make_comparison, make_prompt


@pytest.fixture
def golds(project: Project, alice: User) -> list[Comparison]:
    """Four gold questions, and a quiz that asks three of them and wants two right."""
    made = [
        make_gold(
            comparison=make_comparison(make_prompt(project), slots=0), expected=expected, actor=alice,
            explanation=f"Because of *reason {number}*.",
        )
        for number, expected in enumerate(["first", "second", "tie", "both_bad"])
    ]  # fmt: skip
    project.quiz_questions, project.quiz_pass_percent = 3, 60
    project.save()
    return made


@pytest.fixture
def member(project: Project, bob: User, golds: list[Comparison]) -> Membership:
    return fresh(bob)


def fresh(person: User) -> Membership:
    return Membership.objects.select_related("project", "user").get(user=person)


def take(member: Membership, *, right: int, seed: int = 1) -> QuizAttempt:
    """A whole attempt with so many right answers."""
    attempt = start_attempt(membership=member, rng=random.Random(seed))
    for question in attempt.answers.select_related("comparison"):
        wrong = "tie" if question.expected != "tie" else "A"
        say(member, attempt, question.position, question.expected if question.position <= right else wrong)
    attempt.refresh_from_db()
    return attempt


def say(member: Membership, attempt: QuizAttempt, position: int, choice: str) -> QuizAnswer | None:
    return answer_question(
        membership=member, attempt_id=attempt.pk, position=position, choice=choice, now=timezone.now()
    )  # fmt: skip


# --- Services ---


@pytest.mark.parametrize(("right", "passed"), [(0, False), (1, False), (2, True), (3, True)])
def test_the_share_that_must_be_right_decides(member: Membership, right: int, passed: bool) -> None:
    attempt = take(member, right=right)
    assert (attempt.right, attempt.passed) == (right, passed)
    assert quiz_due(fresh(member.user)) is not passed
    verb = "quiz.passed" if passed else "quiz.failed"
    assert member.project.audit_entries.get(verb__startswith="quiz.").verb == verb


def test_nothing_of_it_is_a_judgment_or_takes_a_slot(member: Membership) -> None:
    slots = Slot.objects.count()
    take(member, right=3)
    assert not Judgment.objects.exists()
    assert Slot.objects.count() == slots
    assert not Slot.objects.filter(annotator=member.user).exists()


def test_the_first_answer_to_a_question_stands(member: Membership) -> None:
    attempt = start_attempt(membership=member, rng=random.Random(1))
    first = say(member, attempt, 1, "A")
    again = say(member, attempt, 1, "B")
    assert first is not None
    assert again is not None
    assert (first.choice, again.choice) == ("A", "A")
    assert attempt.answers.exclude(choice="").count() == 1


def test_a_second_tab_goes_on_with_the_attempt_under_way(member: Membership) -> None:
    first = start_attempt(membership=member, rng=random.Random(1))
    assert start_attempt(membership=member, rng=random.Random(2)) == first
    assert QuizAnswer.objects.count() == 3


def test_attempts_run_out_until_a_lead_lets_them_try_again(member: Membership, lea: User) -> None:
    for _ in range(2):
        take(member, right=0)
    assert attempts_left(member) == 0
    with pytest.raises(NoAttemptLeftError):
        start_attempt(membership=member, rng=random.Random(1))
    reset_quiz(by=fresh(lea), member=member)
    again = fresh(member.user)
    assert attempts_left(again) == 2
    assert take(again, right=3).passed
    verbs = list(member.project.audit_entries.filter(verb__startswith="quiz").values_list("verb", flat=True))
    assert verbs == ["quiz.passed", "quiz.reset", "quiz.failed", "quiz.failed"]


def test_a_lead_can_let_somebody_pass_and_ask_again(member: Membership, lea: User) -> None:
    assert pass_by_hand(by=fresh(lea), member=member)
    assert not pass_by_hand(by=fresh(lea), member=member)
    passed = fresh(member.user)
    assert (quiz_due(passed), passed.quiz_passed_by) == (False, lea)
    reset_quiz(by=fresh(lea), member=passed)
    assert quiz_due(fresh(member.user))


def test_a_second_attempt_asks_what_was_not_met_first(member: Membership) -> None:
    first = take(member, right=0)
    met = set(first.answers.values_list("comparison", flat=True))
    second = start_attempt(membership=member, rng=random.Random(5))
    asked = list(second.answers.order_by("position").values_list("comparison", flat=True))
    assert asked[0] not in met
    assert len(set(asked)) == 3


def test_a_pair_that_waits_to_be_judged_is_asked_in_the_quiz_last(member: Membership, golds: list[Comparison]) -> None:
    for gold in golds[:2]:
        ordinary = Comparison.objects.get(first=gold.first, second=gold.second, purpose="collect")
        Slot.objects.create(project=gold.project, kind="pair", comparison=ordinary)
    for seed in range(6):
        QuizAttempt.objects.all().delete()
        attempt = start_attempt(membership=member, rng=random.Random(seed))
        asked = list(attempt.answers.order_by("position").values_list("comparison", flat=True))
        assert set(asked[:2]) == {gold.pk for gold in golds[2:]}


def test_what_was_met_in_the_quiz_is_no_check_any_more(member: Membership, lea: User) -> None:
    assert unasked_gold(member.project, member.user).count() == 4
    take(member, right=3)
    assert unasked_gold(member.project, member.user).count() == 1
    assert unasked_gold(member.project, lea).count() == 4


def test_with_too_few_questions_it_cannot_begin(member: Membership) -> None:
    member.project.quiz_questions = 9
    with pytest.raises(QuizNotReadyError):
        start_attempt(membership=member, rng=random.Random(1))


def test_the_right_answer_is_told_by_the_sides_that_were_shown(member: Membership) -> None:
    seen = set()
    for seed in range(8):
        QuizAttempt.objects.all().delete()
        for question in start_attempt(membership=member, rng=random.Random(seed)).answers.select_related("comparison"):
            known = question.comparison.expected
            sides = {"first": "B" if question.swapped else "A", "second": "A" if question.swapped else "B"}
            assert question.expected == sides.get(known, known)
            seen.add((known, question.swapped))
    assert len(seen) == 8


# --- Pages ---


def url(project: Project, name: str) -> str:
    return f"/projects/{project.pk}/{name}"


def answer_on_page(client: Client, project: Project, choice: str = "") -> str:
    """Answers the question that the page asks, right unless told otherwise; the page that follows."""
    page = client.get(url(project, "quiz/")).content.decode()
    fields = dict(re.findall(r'name="(attempt|position)" value="(\d+)"', page))
    asked = QuizAnswer.objects.select_related("comparison")
    question = asked.get(attempt=fields["attempt"], position=fields["position"])
    data = fields | {"choice": choice or question.expected}
    return client.post(url(project, "quiz/answer/"), data, follow=True).content.decode()


def test_an_annotator_passes_it_and_judges(client: Client, project: Project, bob: User, member: Membership) -> None:
    client.force_login(bob)
    for address in ("judge/", "thumbs/"):
        gate = client.get(url(project, address)).content.decode()
        assert "First a short quiz" in gate
        assert 'name="choice"' not in gate
    assert not Slot.objects.filter(annotator=bob).exists()
    assert "Start the quiz" in client.get(url(project, "quiz/")).content.decode()
    client.post(url(project, "quiz/start/"))
    wrong = QuizAnswer.objects.select_related("comparison").get(position=1)
    page = answer_on_page(client, project, "tie" if wrong.expected != "tie" else "both_bad")
    assert "Not right" in page
    assert "Right is:" in page
    assert f"Because of <em>reason {wrong.comparison.explanation[-3]}" in page
    assert "Next question" in page
    assert ">Right<" in answer_on_page(client, project)
    assert "See how it went" in answer_on_page(client, project)
    outcome = client.get(url(project, "quiz/")).content.decode()
    assert "Passed" in outcome
    assert "2 of 3 right" in outcome
    assert "First a short quiz" not in client.get(url(project, "judge/")).content.decode()
    assert Slot.objects.filter(annotator=bob).exists()


def test_the_page_of_a_question_tells_neither_the_answer_nor_the_reason(
    client: Client, project: Project, bob: User, member: Membership
) -> None:
    client.force_login(bob)
    client.post(url(project, "quiz/start/"))
    for address in ("quiz/", "quiz/?answered=1", "quiz/?answered=x", "quiz/?answered=99"):
        page = client.get(url(project, address)).content.decode()
        assert "reason" not in page
        assert "Right is" not in page


def test_a_double_submit_says_that_the_first_answer_stands(
    client: Client, project: Project, bob: User, member: Membership
) -> None:
    client.force_login(bob)
    client.post(url(project, "quiz/start/"))
    attempt = QuizAttempt.objects.get()
    sent = {"attempt": attempt.pk, "position": 1}
    client.post(url(project, "quiz/answer/"), sent | {"choice": "A"})
    page = client.post(url(project, "quiz/answer/"), sent | {"choice": "B"}, follow=True).content.decode()
    assert "your first answer stands" in page
    for nonsense in ({"choice": "A", "position": "77"}, {"choice": "A", "attempt": "x"}):
        assert client.post(url(project, "quiz/answer/"), sent | nonsense).status_code == 302
    for no_choice in ({"choice": "skip"}, {"choice": "ranked"}, {}):
        asked_again = client.post(url(project, "quiz/answer/"), sent | {"position": 2} | no_choice)
        assert asked_again.status_code == 422
        assert "Press one of the buttons" in asked_again.content.decode()
    assert attempt.answers.exclude(choice="").count() == 1


def test_somebody_elses_attempt_cannot_be_answered(
    client: Client, project: Project, bob: User, lea: User, member: Membership
) -> None:
    attempt = start_attempt(membership=member, rng=random.Random(1))
    client.force_login(lea)
    client.post(url(project, "quiz/answer/"), {"attempt": attempt.pk, "position": 1, "choice": "A"})
    assert not attempt.answers.exclude(choice="").exists()


def test_whoever_failed_sees_it_and_so_does_the_lead_who_can_help(
    client: Client, project: Project, bob: User, lea: User, member: Membership
) -> None:
    for _ in range(2):
        take(member, right=0)
    client.force_login(bob)
    page = client.get(url(project, "quiz/")).content.decode()
    assert "No attempt is left" in page
    assert "The answers" in page
    assert "Start the quiz" not in page
    assert "No attempt is left" in client.post(url(project, "quiz/start/"), follow=True).content.decode()
    client.force_login(lea)
    assert "Quiz failed" in client.get(url(project, "people/")).content.decode()
    about_bob = url(project, f"people/{member.pk}/")
    assert "0 right; 60% needed" in client.get(about_bob).content.decode()
    client.post(f"{about_bob}quiz/reset/")
    assert "Quiz not passed yet" in client.get(url(project, "people/")).content.decode()
    client.post(f"{about_bob}quiz/pass/")
    assert "Quiz passed by a lead" in client.get(about_bob).content.decode()
    client.force_login(bob)
    assert "A lead has let you pass" in client.get(url(project, "quiz/")).content.decode()


def test_leads_need_not_pass_it(client: Client, project: Project, lea: User, member: Membership) -> None:
    client.force_login(lea)
    assert "First a short quiz" not in client.get(url(project, "judge/")).content.decode()
    assert "need not pass" in client.get(url(project, "quiz/")).content.decode()


def test_a_quiz_of_more_questions_than_there_are_is_refused_and_one_that_became_so_is_told_to_all(
    client: Client, project: Project, bob: User, lea: User, member: Membership
) -> None:
    client.force_login(lea)
    values = {field.html_name: field.value() for field in client.get(url(project, "settings/")).context["form"]}
    given = {name: value for name, value in values.items() if value is not None and value is not False}
    given |= {"reason_tags": "", "quiz_questions": "5"}
    refused = client.post(url(project, "settings/"), given)
    assert refused.status_code == 422
    assert "There are 4 gold questions" in refused.content.decode()
    saved = client.post(url(project, "settings/"), given | {"quiz_questions": "4"})
    assert saved.status_code == 302, saved.context["form"].errors
    Comparison.objects.filter(purpose="gold").latest("pk").delete()
    assert "fewer gold questions than it asks" in client.get(url(project, "people/")).content.decode()
    client.force_login(bob)
    assert "has too few questions" in client.get(url(project, "quiz/")).content.decode()
    assert "has too few questions" in client.post(url(project, "quiz/start/"), follow=True).content.decode()


def test_a_gold_question_is_made_with_its_reason(
    client: Client, project: Project, lea: User, comparisons: list[Comparison]
) -> None:
    client.force_login(lea)
    client.post(url(project, f"comparisons/{comparisons[0].pk}/verdict/"), {"verdict": "first", "note": "It is kind."})
    assert "It is kind." in client.get(url(project, f"comparisons/{comparisons[0].pk}/")).content.decode()
    sent = {"expected": "first", "explanation": "It **helps**."}
    client.post(url(project, f"comparisons/{comparisons[0].pk}/gold/"), sent)
    assert Comparison.objects.get(purpose="gold").explanation == "It **helps**."
