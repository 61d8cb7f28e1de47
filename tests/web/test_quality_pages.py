"""What leads see of quality, and what reviewers do about it."""

import csv
import io
import json
import math
import random
from itertools import combinations
from typing import Any

import krippendorff
import numpy as np
import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries
from scipy import stats

from annotate.models import Adjudication, AuditEntry, Comparison, Judgment, Project, Role, Slot, User
from annotate.queries import quality, review
from annotate.services.review import report_prompt, retract
from tests.cast import join, make_comparison, make_judgment, make_prompt, make_rating, make_response, make_user


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
    assert "Choose a verdict." in client.post(url("adjudicate", project, disputed.pk)).content.decode()
    assert client.post(url("adjudicate", project, disputed.pk), {"verdict": "second"}).status_code == 302
    assert not review.disputed(project).exists()
    client.post(url("adjudicate", project, disputed.pk), {"verdict": "first"})
    assert list(Adjudication.objects.filter(superseded_at=None).values_list("verdict", flat=True)) == ["first"]
    assert Adjudication.objects.count() == 2
    client.post(url("make_gold", project, disputed.pk), {"expected": "first"})
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


def test_whoever_only_rated_can_be_retracted_too(client: Client, project: Project, lea: User, bob: User) -> None:
    rating = make_rating(make_response(make_prompt(project)), bob)
    client.force_login(lea)
    assert client.post(url("retract", project), {"annotator": bob.pk, "reason": "spam"}).status_code == 302
    rating.refresh_from_db()
    assert rating.retracted_at is not None


def test_the_audit_log_is_filtered_and_taken_away_as_safe_csv(
    client: Client, project: Project, lea: User, bob: User, disputed: Comparison
) -> None:
    retract(project=project, actor=lea, annotator=bob, reason="=HYPERLINK(1)")
    AuditEntry.objects.create(project=project, verb="=cmd", subject="@x", detail={"members": ["bob", "eve"]})
    client.force_login(lea)
    assert "members: bob, eve" in client.get(url("audit", project)).content.decode()
    rows = client.get(url("audit", project), {"verb": "judgments"}).content.decode().partition("<tbody>")[2]
    assert "judgments.retracted" in rows
    assert "project.created" not in rows
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


# --- Agreement --------------------------------------------------------------------------------------------------------


@pytest.fixture
def judged_by_three(project: Project, bob: User, eve: User, lea: User) -> list[Comparison]:
    """Thirty comparisons in two rounds, each judged by two of three people; sides, strengths and tags vary."""
    rng = random.Random(4)
    made = []
    for number in range(30):
        comparison = make_comparison(make_prompt(project), slots=2, round=1 + number % 2)
        truth = rng.choice(["A", "B", "tie", "both_bad"])
        for person in rng.sample([bob, eve, lea], 2):
            said = truth if rng.random() < 0.7 else rng.choice(["A", "B", "tie"])
            swapped = rng.random() < 0.5
            shown = {"A": "B", "B": "A"}.get(said, said) if swapped else said
            fields = {"strength": rng.choice([1, 2, 3])} if said in ("A", "B") else {}
            tags = rng.choice([[], ["tone"], ["accuracy", "tone"]])
            make_judgment(comparison, person, shown, swapped=swapped, tags=tags, **fields)
        made.append(comparison)
    make_judgment(make_comparison(make_prompt(project)), bob, "skip")
    return made


def exported(client: Client, project: Project) -> list[dict[str, str]]:
    """The project's judgments as a lead downloads them."""
    data = {"what": "judgments", "format": "jsonl", "aggregation": "single"}
    answer = client.post(reverse("annotate:export", args=[project.pk]), data)
    return [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]  # type: ignore[attr-defined]


def alpha_elsewhere(rows: list[dict[str, Any]], level: str) -> float:
    """Alpha by the krippendorff package, from nothing but the export."""
    first = {row["comparison"]: min(row["a_response"], row["b_response"]) for row in rows}
    places = {}
    for row in rows:
        if row["choice"] == "skip":
            continue
        if row["preferred"] is None:
            value = {"tie": 0.0, "both_bad": None if level == "ordinal" else 9.0}[row["choice"]]
        else:
            size = (row["strength"] or 1) if level == "ordinal" else 1
            value = float(size if row["preferred"] == first[row["comparison"]] else -size)
        if value is not None:
            places[row["annotator"], row["comparison"]] = value
    people, units = (sorted({key[side] for key in places}) for side in (0, 1))
    table = [[places.get((person, unit), math.nan) for unit in units] for person in people]
    return float(krippendorff.alpha(reliability_data=np.array(table), level_of_measurement=level))


def test_the_agreement_table_is_what_another_library_makes_of_the_export(
    client: Client, project: Project, lea: User, judged_by_three: list[Comparison]
) -> None:
    client.force_login(lea)
    answer = client.get(url("quality_table", project, "agreement"))
    table = {(row["of"], row["which"]): row for row in csv.DictReader(io.StringIO(answer.content.decode()))}
    rows = exported(client, project)
    groups = {("all", ""): rows}
    groups |= {("round", str(number)): [row for row in rows if row["round"] == number] for number in (1, 2)}
    for tag in ("tone", "accuracy"):
        about = {row["comparison"] for row in rows if tag in row["tags"]}
        groups["tag", tag] = [row for row in rows if row["comparison"] in about]
    for names in combinations(sorted({row["annotator"] for row in rows}), 2):
        key = next(key for key in table if key[0] == "pair" and set(key[1].split()) == set(names))
        groups[key] = [row for row in rows if row["annotator"] in names]
    assert set(groups) == set(table)
    for key, group in groups.items():
        assert float(table[key]["alpha_nominal_value"]) == pytest.approx(alpha_elsewhere(group, "nominal"))
        if table[key]["alpha_nominal_low"]:
            low, value, high = (float(table[key][f"alpha_nominal_{part}"]) for part in ("low", "value", "high"))
            assert low < value < high
        if key[0] != "pair":
            assert float(table[key]["alpha_ordinal_value"]) == pytest.approx(alpha_elsewhere(group, "ordinal"))
            assert float(table[key]["same_low"]) < float(table[key]["same"]) < float(table[key]["same_high"])


def test_the_page_shows_agreement_by_round_tag_and_pair(
    client: Client, project: Project, lea: User, judged_by_three: list[Comparison]
) -> None:
    client.force_login(lea)
    page = client.get(url("quality", project)).content.decode()
    for text in ("By round", "By reason tag", "By pair of annotators", "accuracy", "Alpha, ordinal", "Same reason"):
        assert text in page


def test_same_reason_counts_pairs_of_people(project: Project, bob: User, eve: User) -> None:
    for tags in ((["tone"], ["tone"]), (["tone"], []), ([], [])):
        comparison = make_comparison(make_prompt(project), slots=2)
        for person, given in zip((bob, eve), tags, strict=True):
            make_judgment(comparison, person, tags=given)
    (found,) = quality.agreement_by_tag(project, quality.shared(quality.rows(project)))
    assert (found.tag, found.both.hits, found.both.n, found.choice.raw.n) == ("tone", 1, 2, 2)


def test_a_group_in_which_all_say_the_same_says_why_its_alpha_is_undefined(
    client: Client, project: Project, lea: User, bob: User, eve: User
) -> None:
    for number, choice in enumerate(("A", "A", "B", "B")):
        comparison = make_comparison(make_prompt(project), slots=2, round=1 + number // 2)
        make_judgment(comparison, bob, choice)
        make_judgment(comparison, eve, choice)
    client.force_login(lea)
    page = client.get(url("quality", project)).content.decode()
    assert page.count("Everyone gave the same label everywhere") >= 2  # both rounds; together they differ
    assert "no interval" in page


# --- Straight-lining --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "flagged"), [(12, True), (9, False)])
def test_the_same_side_too_often_in_a_row_is_shown(
    client: Client, project: Project, lea: User, bob: User, length: int, flagged: bool
) -> None:
    for _ in range(length):
        make_judgment(make_comparison(make_prompt(project)), bob, "B")
    client.force_login(lea)
    page = client.get(url("annotator", project, bob.pk)).content.decode()
    assert ("in a row" in page) is flagged
    table = list(csv.DictReader(io.StringIO(client.get(url("annotators_csv", project)).content.decode())))
    assert [row["straight_lined"] for row in table] == [str(int(flagged))]


def test_ties_many_times_in_a_row_may_be_right(project: Project, bob: User) -> None:
    for _ in range(15):
        make_judgment(make_comparison(make_prompt(project)), bob, "tie")
    (measured,) = quality.annotators(project, quality.rows(project))
    assert measured.longest_run == ("tie", 15)
    assert not measured.straight_lined


# --- Shortcuts --------------------------------------------------------------------------------------------------------


def test_the_shortcut_shares_are_those_of_the_export(
    client: Client, project: Project, lea: User, bob: User, eve: User
) -> None:
    """Counted once more from the exported texts, with scipy's interval."""
    rng = random.Random(2)
    texts = [
        "- one\n- two",
        "**bold** word",
        "plain",
        "longer and plain",
        "# Title\nand more",
        "same size",
        "size same",
    ]
    for _ in range(40):
        prompt = make_prompt(project)
        first, second = (make_response(prompt, text) for text in rng.sample(texts, 2))
        comparison = make_comparison(prompt, first, second, slots=2)
        for person in (bob, eve):
            make_judgment(comparison, person, rng.choice(["A", "B", "tie"]), swapped=rng.random() < 0.5)
    client.force_login(lea)
    rows = [row for row in exported(client, project) if row["choice"] in ("A", "B")]
    formatted = {text: text.startswith(("-", "#", "**")) for text in texts}
    wins: dict[str, list[bool]] = {"left": [], "longer": [], "formatted": []}
    for row in rows:
        won, lost = (row["a_text"], row["b_text"]) if row["choice"] == "A" else (row["b_text"], row["a_text"])
        wins["left"].append(row["choice"] == "A")
        if len(won) != len(lost):
            wins["longer"].append(len(won) > len(lost))
        if formatted[won] != formatted[lost]:
            wins["formatted"].append(formatted[won])
    answer = client.get(url("quality_table", project, "shortcuts"))
    table = {row["wins"]: row for row in csv.DictReader(io.StringIO(answer.content.decode()))}
    for name, counted in wins.items():
        theirs = stats.binomtest(sum(counted), len(counted)).proportion_ci(method="wilson")
        found = [float(table[name][column]) for column in ("share", "low", "high", "n")]
        assert found == pytest.approx([sum(counted) / len(counted), theirs.low, theirs.high, len(counted)])
    assert client.get(url("quality_table", project, "people")).status_code == 404
