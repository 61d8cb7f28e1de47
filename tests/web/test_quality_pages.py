"""What leads see of quality, and what reviewers do about it."""

import csv
import io

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from annotate.models import Adjudication, AuditEntry, Comparison, Judgment, Project, Role, Slot, User
from annotate.queries import quality, review
from annotate.services.review import report_prompt, retract
from tests.cast import join, make_comparison, make_judgment, make_prompt, make_response, make_user


@pytest.fixture
def eve(project: Project) -> User:
    person = make_user("eve")
    join(project, person, Role.ANNOTATOR)
    return person


@pytest.fixture
def disputed(project: Project, bob: User, eve: User) -> Comparison:
    comparison = make_comparison(make_prompt(project), slots=2, round=1)
    make_judgment(comparison, bob, "A")
    make_judgment(comparison, eve, "A", swapped=True, rationale="kinder", tags=["tone"])
    return comparison


def url(name: str, project: Project, *args: object) -> str:
    return reverse(f"annotate:{name}", args=[project.pk, *args])


def test_the_quality_page_shows_agreement_biases_and_people(
    client: Client, project: Project, lea: User, bob: User, disputed: Comparison
) -> None:
    client.force_login(lea)
    page = client.get(url("quality", project)).content.decode()
    assert "eve" in page
    assert "The left answer wins" in page
    assert "100% " in page  # both of bob's and eve's preferences were for the left


def test_the_quality_page_says_why_alpha_is_undefined(client: Client, project: Project, lea: User, bob: User) -> None:
    make_judgment(make_comparison(make_prompt(project)), bob)
    client.force_login(lea)
    assert "judged by two people yet" in client.get(url("quality", project)).content.decode()


def test_a_preference_for_the_longer_answer_is_seen_by_its_text(project: Project, bob: User) -> None:
    for _ in range(6):
        prompt = make_prompt(project)
        long, short = make_response(prompt, "**Sure.** " + "very " * 20 + str(prompt.pk)), make_response(prompt)
        make_judgment(make_comparison(prompt, long, short), bob, "B", swapped=True)
    found = quality.shortcut_shares(project)
    assert (found.longer.hits, found.longer.n) == (6, 6)
    assert (found.formatted.hits, found.formatted.n) == (6, 6)
    assert (found.left.hits, found.left.n) == (0, 6)


def test_an_annotator_sees_their_own_measures_and_nobody_elses(
    client: Client, project: Project, bob: User, eve: User, disputed: Comparison
) -> None:
    client.force_login(bob)
    own = client.get(url("annotator", project, bob.pk))
    assert own.status_code == 200
    assert "Gold" not in own.content.decode()
    assert client.get(url("annotator", project, eve.pk)).status_code == 403


def test_the_table_of_annotators_is_pseudonymous(
    client: Client, project: Project, lea: User, bob: User, disputed: Comparison
) -> None:
    client.force_login(lea)
    table = list(csv.DictReader(io.StringIO(client.get(url("annotators_csv", project)).content.decode())))
    assert {row["annotator"] for row in table} == set(
        User.objects.filter(judgments__project=project).values_list("pseudonym", flat=True)
    )
    assert {row["left_n"] for row in table} == {"1"}


def test_a_disagreement_waits_for_review_until_somebody_decides(
    client: Client, project: Project, lea: User, disputed: Comparison
) -> None:
    assert list(review.disputed(project)) == [disputed]
    client.force_login(lea)
    page = client.get(url("review", project)).content.decode()
    assert "kinder" in page
    assert "eve" not in page  # pseudonyms only
    refused = client.post(url("adjudicate", project, disputed.pk), {"verdict": "maybe"})
    assert refused.status_code == 422
    assert client.post(url("adjudicate", project, disputed.pk), {"verdict": "second"}).status_code == 302
    assert not review.disputed(project).exists()
    client.post(url("adjudicate", project, disputed.pk), {"verdict": "first"})
    assert list(Adjudication.objects.filter(superseded_at=None).values_list("verdict", flat=True)) == ["first"]
    assert Adjudication.objects.count() == 2
    client.post(url("make_gold", project, disputed.pk), {"verdict": "first"})
    assert Comparison.objects.filter(purpose="gold", expected="first", first=disputed.first).count() == 1


@pytest.mark.parametrize(
    ("choices", "differ"),
    [
        (("A", "A"), False),
        (("A", "B"), True),
        (("A", "tie"), True),
        (("tie", "both_bad"), True),
        (("A", "skip"), False),
    ],
)
def test_what_counts_as_a_disagreement(
    project: Project, bob: User, eve: User, choices: tuple[str, str], differ: bool
) -> None:
    comparison = make_comparison(make_prompt(project), slots=2)
    for annotator, choice in zip((bob, eve), choices, strict=True):
        make_judgment(comparison, annotator, choice)
    assert review.disputed(project).exists() is differ


def test_a_reported_prompt_is_kept_or_withdrawn_with_its_open_slots(
    client: Client, project: Project, lea: User, bob: User, eve: User
) -> None:
    prompt = make_prompt(project)
    comparison = make_comparison(prompt, slots=2)
    for reporter in (bob, bob, eve):
        report_prompt(project=project, prompt=prompt, reporter=reporter, reason="private", note="Frau Beispiel")
    client.force_login(lea)
    assert client.get(url("review", project)).content.decode().count("Frau Beispiel") == 2
    client.post(url("resolve_reports", project, prompt.pk), {"resolution": "nonsense"})
    assert len(review.reported(project)) == 1
    client.post(url("resolve_reports", project, prompt.pk), {"resolution": "withdrawn"})
    assert review.reported(project) == []
    assert set(comparison.slots.values_list("state", flat=True)) == {Slot.State.WITHDRAWN}


def test_a_retraction_takes_a_persons_judgments_out_and_back_in(
    client: Client, project: Project, lea: User, bob: User, eve: User, disputed: Comparison
) -> None:
    client.force_login(lea)
    nothing = client.post(url("retract", project), {"reason": "all of it"})
    assert nothing.status_code == 422
    assert "nobody retracts everything" in nothing.content.decode()
    assert client.post(url("retract", project), {"annotator": eve.pk, "reason": "spam"}).status_code == 302
    assert [row.annotator for row in quality.rows(project)] == [bob.pk]
    again = client.post(url("retract", project), {"annotator": eve.pk, "reason": "spam"})
    assert again.status_code == 422
    assert "retracted already" in again.content.decode()
    made = project.retractions.get()
    assert (made.judgments, made.ratings) == (1, 0)
    client.post(url("reverse_retraction", project, made.pk))
    assert len(quality.rows(project)) == 2
    assert not Judgment.objects.filter(retracted_at__isnull=False).exists()


def test_the_audit_log_is_filtered_and_taken_away_as_safe_csv(
    client: Client, project: Project, lea: User, bob: User, disputed: Comparison
) -> None:
    retract(project=project, actor=lea, annotator=bob, reason="=HYPERLINK(1)")
    AuditEntry.objects.create(project=project, verb="=cmd", subject="@x")
    client.force_login(lea)
    page = client.get(url("audit", project), {"verb": "judgments"}).content.decode()
    assert "judgments.retracted" in page
    assert "project.created" not in page
    answer = client.get(url("audit", project), {"format": "csv"})
    lines = list(csv.reader(io.StringIO(b"".join(answer).decode())))  # type: ignore[call-overload]
    assert ["'=cmd", "'@x"] in [line[2:4] for line in lines]


def test_the_quality_page_asks_as_many_questions_for_many_people_as_for_few(
    client: Client, project: Project, lea: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(lea)
    for number in range(20):
        person = make_user(f"annotator{number}")
        join(project, person)
        for _ in range(3):
            make_judgment(make_comparison(make_prompt(project)), person)
    with django_assert_max_num_queries(14):
        client.get(url("quality", project))


def test_a_verdict_is_taken_back_and_both_are_recorded(
    client: Client, project: Project, lea: User, disputed: Comparison
) -> None:
    client.force_login(lea)
    client.post(url("adjudicate", project, disputed.pk), {"verdict": "first"})
    assert not review.disputed(project).exists()
    assert url("comparison", project, disputed.pk) in client.get(url("review", project)).content.decode()
    for _ in range(2):
        assert client.post(url("withdraw_verdict", project, disputed.pk)).status_code == 302
    assert list(review.disputed(project)) == [disputed]
    assert Adjudication.objects.get().superseded_at is not None
    verbs = list(project.audit_entries.order_by("id").values_list("verb", flat=True))
    assert verbs[-2:] == ["comparison.adjudicated", "verdict.withdrawn"]
