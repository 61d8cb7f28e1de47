"""The onboarding quiz asks rankings where the project does: gold lineups, right when every known order is respected."""

import random
import re

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from annotate.models import Lineup, Membership, Project, QuizAnswer, QuizAttempt, Ranking, Slot, User
from annotate.queries.quiz import quiz_due, quiz_questions_in
from annotate.services.checks import make_gold, make_gold_lineup, unasked_gold
from annotate.services.quiz import answer_question, start_attempt
from tests.cast import make_comparison, make_lineup, make_prompt


@pytest.fixture
def golds(project: Project, lea: User) -> list[Lineup]:
    """Three gold lineups of four answers, of which the order of the first, second and fourth is known."""
    project.judging, project.quiz_questions, project.quiz_pass_percent = Project.Judging.RANKING, 2, 100
    project.save()
    return [
        make_gold_lineup(
            lineup=make_lineup(make_prompt(project), slots=0),
            ranks=[1, 2, None, 3],
            actor=lea,
            explanation="It is *so*.",
        )
        for _ in range(3)
    ]


@pytest.fixture
def member(golds: list[Lineup], bob: User) -> Membership:
    return Membership.objects.select_related("project", "user").get(user=bob)


def in_order_shown(question: QuizAnswer, ranks: tuple[int, ...]) -> list[int]:
    """Ranks of the responses in order of id, told in the order in which the question shows them."""
    by_response = dict(zip(sorted(question.shown), ranks, strict=True))
    return [by_response[pk] for pk in question.shown]


def answer(member: Membership, question: QuizAnswer, *ranks: int) -> QuizAnswer:
    said = answer_question(
        membership=member,
        attempt_id=question.attempt_id,
        position=question.position,
        choice="ranked",
        ranks=in_order_shown(question, ranks),
        now=timezone.now(),
    )
    assert said is not None
    return said


def begin(member: Membership, seed: int = 1) -> list[QuizAnswer]:
    return list(start_attempt(membership=member, rng=random.Random(seed)).answers.order_by("position"))


@pytest.mark.parametrize(
    ("ranks", "right"),
    [
        ((1, 2, 3, 4), True),
        ((2, 3, 1, 4), True),  # of the third answer nothing is known
        ((2, 4, 4, 6), True),
        ((1, 3, 4, 2), False),
        ((1, 1, 2, 3), False),  # a tie is not the known order
        ((1, 1, 1, 1), False),
    ],
)
def test_an_order_is_right_when_every_known_order_is_in_it(
    member: Membership, ranks: tuple[int, ...], right: bool
) -> None:
    question = answer(member, begin(member)[0], *ranks)
    assert question.right is right
    assert max(question.ranks) == len(set(ranks))  # no rank is left out


def test_both_right_pass_and_nothing_of_it_is_a_ranking_or_a_check_any_more(member: Membership, lea: User) -> None:
    questions = begin(member)
    assert unasked_gold(member.project, member.user, "ranking").count() == 1
    assert unasked_gold(member.project, lea, "ranking").count() == 3
    for question in questions:
        assert sorted(question.shown) == sorted(question.subject.answers.values_list("response", flat=True))  # type: ignore[union-attr]
        answer(member, question, 1, 2, 3, 4)
    assert QuizAttempt.objects.get().passed
    assert not quiz_due(Membership.objects.get(pk=member.pk))
    assert not Ranking.objects.exists()
    assert not Slot.objects.filter(annotator=member.user).exists()


def test_the_places_are_drawn_anew_for_each_question(member: Membership) -> None:
    seen = set()
    for seed in range(12):
        QuizAttempt.objects.all().delete()
        seen |= {tuple(sorted(q.shown).index(pk) for pk in q.shown) for q in begin(member, seed)}
    assert len(seen) > 6


def test_the_first_order_stands_and_what_is_no_order_of_all_answers_is_refused(member: Membership) -> None:
    question, other = begin(member)
    assert answer(member, question, 1, 2, 3, 4).right
    assert answer(member, question, 4, 3, 2, 1).right
    sent = {"membership": member, "attempt_id": other.attempt_id, "position": 2, "now": timezone.now()}
    for choice, ranks in (("ranked", [1, 2]), ("ranked", []), ("A", []), ("A", [1, 2, 3, 4]), ("", [])):
        with pytest.raises(ValueError, match="answer"):
            answer_question(choice=choice, ranks=ranks, **sent)  # type: ignore[arg-type]
    assert QuizAnswer.objects.filter(choice="").count() == 1


def test_a_lineup_that_waits_to_be_ranked_comes_last_and_one_that_was_met_after_those_that_were_not(
    member: Membership, golds: list[Lineup]
) -> None:
    Slot.objects.create(project=member.project, kind="ranking", lineup=golds[0].same_as)
    for seed in range(6):
        QuizAttempt.objects.all().delete()
        assert {question.lineup_id for question in begin(member, seed)} == {golds[1].pk, golds[2].pk}
    Slot.objects.all().delete()
    for question in QuizAnswer.objects.all():
        answer(member, question, 4, 3, 2, 1)
    assert begin(member)[0].lineup_id == golds[0].pk


def test_a_project_asks_gold_questions_of_its_own_kind(project: Project, golds: list[Lineup], lea: User) -> None:
    make_gold(comparison=make_comparison(make_prompt(project), slots=0), expected="first", actor=lea)
    counted = {}
    for judging in Project.Judging.values:
        project.judging = judging
        counted[judging] = quiz_questions_in(project)
    assert counted == {"pairs": 1, "thumbs": 1, "both": 1, "ranking": 3}


def test_the_database_refuses_a_question_about_both_and_an_answer_of_the_other_kind(member: Membership) -> None:
    pair = make_comparison(make_prompt(member.project), slots=0)
    for wrong in ({"comparison": pair}, {"lineup": None}, {"choice": "A", "right": True}):
        question = QuizAnswer(attempt_id=begin(member)[0].attempt_id, position=9, lineup_id=make_lineup(pair.prompt).pk)
        for name, value in wrong.items():
            setattr(question, name, value)
        with pytest.raises(IntegrityError, match="quiz_asks_one_thing"), transaction.atomic():
            question.save()


# --- Pages ---


def url(project: Project, name: str) -> str:
    return f"/projects/{project.pk}/{name}"


def fields(page: str) -> dict[str, str]:
    return dict(re.findall(r'name="(attempt|position)" value="(\d+)"', page))


def test_an_annotator_ranks_sees_what_was_right_and_why_and_goes_on_to_rank(
    client: Client, project: Project, member: Membership
) -> None:
    client.force_login(member.user)
    assert "First a short quiz" in client.get(url(project, "rank/")).content.decode()
    page = client.post(url(project, "quiz/start/"), follow=True).content.decode()
    assert "in which order, from best to worst" in page
    assert page.count('type="radio"') == 16
    assert "Right is:" not in page
    assert "It is" not in page
    first, second = QuizAnswer.objects.order_by("position")
    # Without scripts a rank may be missing: the others are kept.
    refused = client.post(url(project, "quiz/answer/"), fields(page) | {"choice": "ranked", "rank_1": "2"})
    assert refused.status_code == 422
    assert "Missing: B, C, D." in refused.content.decode()
    assert refused.content.decode().count(" checked") == 1
    sent = {f"rank_{place}": rank for place, rank in enumerate(in_order_shown(first, (1, 3, 4, 2)), start=1)}
    page = client.post(url(project, "quiz/answer/"), fields(page) | {"choice": "ranked"} | sent, follow=True)
    body = " ".join(page.content.decode().split())
    first.refresh_from_db()
    letters = dict(zip(first.shown, "ABCD", strict=True))
    best, middle, unknown, last = (letters[pk] for pk in sorted(first.shown))
    assert f"You said: <strong>{best} › {last} › {middle} › {unknown}</strong>" in body
    assert ">Not right<" in body
    assert f"{best} above {middle}" in body
    assert f"<strong>{middle} above {last}</strong> (you had it otherwise)" in body
    assert f"{best} above {last}" not in body  # it follows from the two
    assert "It is <em>so</em>." in body
    assert body.count("Your rank: ") == 4
    assert 'type="radio"' not in body
    answer(member, second, 1, 2, 3, 4)
    overview = " ".join(client.get(url(project, "quiz/")).content.decode().split())
    assert "1 of 2 right" in overview
    assert f"{letters[min(first.shown)]} › " in overview
    assert overview.count("It is <em>so</em>.") == 2


def test_settings_count_the_gold_questions_of_what_will_be_asked(
    client: Client, project: Project, golds: list[Lineup], lea: User
) -> None:
    client.force_login(lea)
    form = client.get(url(project, "settings/")).context["form"]
    values = {field.html_name: field.value() for field in form}
    given = {name: value for name, value in values.items() if value is not None and value is not False}
    given |= {"reason_tags": "", "quiz_questions": "3"}
    assert client.post(url(project, "settings/"), given).status_code == 302
    refused = client.post(url(project, "settings/"), given | {"judging": "pairs"})
    assert refused.status_code == 422
    assert "There are 0 gold questions" in refused.content.decode()
