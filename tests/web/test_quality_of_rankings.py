"""What leads see of the quality of rankings: agreement, people, and whether the place decides."""

import csv
import io
import math

import krippendorff
import numpy as np
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from annotate.models import Project, User
from annotate.queries import ranked
from tests.cast import join, make_lineup, make_prompt, make_ranking, make_user


@pytest.fixture
def eve(project: Project) -> User:
    person = make_user("eve")
    join(project, person)
    return person


def rank_together(project: Project, bob: User, eve: User, count: int = 6) -> None:
    """Bob and eve agree on all pairs but the last two answers of every other lineup."""
    for number in range(count):
        lineup = make_lineup(make_prompt(project), slots=2, round=1 + number % 2)
        make_ranking(lineup, bob, [1, 2, 3, 4], active_ms=1000)
        make_ranking(lineup, eve, [1, 2, 4, 3] if number % 2 else [1, 2, 3, 4], active_ms=9000)


def test_agreement_of_rankings_is_that_of_another_library(project: Project, bob: User, eve: User) -> None:
    rank_together(project, bob, eve)
    make_ranking(make_lineup(make_prompt(project)), bob, [1, 1, 2, 2])  # nobody else ranked it
    make_ranking(make_lineup(make_prompt(project)), eve, [])
    groups = ranked.shared(ranked.orders(project))
    found = ranked.agreement(groups)
    assert (found.lineups, found.same.hits, found.same.n) == (6, 33, 36)
    table = np.full((2, 24), math.nan)
    (sets,) = groups
    for place, (people, ranks) in enumerate(zip(sets.people, sets.ranks, strict=True)):
        for person, order in zip(people, ranks, strict=True):
            table[0 if person == bob.pk else 1, 4 * place : 4 * place + 4] = order
    theirs = krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal")
    assert found.ordinal.value == pytest.approx(theirs, abs=1e-9)
    assert found.ordinal.low is not None
    assert found.same.low is not None
    assert found.same.high is not None
    assert found.same.low < 33 / 36 < found.same.high
    assert [number for number, _ in ranked.agreement_by_round(groups)] == [2, 1]


def test_every_set_that_several_ranked_counts_however_many_they_are_and_whatever_was_shown_first() -> None:
    said = []
    for lineup in range(1, 5001):
        a, b, c = (3 * lineup + place for place in range(3))
        # Both put b first, a second and c last, as they were shown it.
        said.append(ranked.Order(1, lineup, "collect", None, f"[{c}, {a}, {b}]", "[3, 2, 1]", None))
        if lineup % 2:
            said.append(ranked.Order(2, lineup, "collect", None, f"[{b}, {c}, {a}]", "[1, 3, 2]", None))
    (sets,) = ranked.shared(reversed(said))
    assert sets.ids.tolist() == list(range(1, 5001, 2))
    assert (sets.ranks == [2, 1, 3]).all()
    found = ranked.agreement([sets])
    assert (found.lineups, found.same.hits, found.same.n, found.ordinal.value) == (2500, 7500, 7500, 1)
    assert ranked.agreement_by_round([sets]) == []  # of no round


def test_a_tie_agrees_with_a_tie_only(project: Project, bob: User, eve: User) -> None:
    lineup = make_lineup(make_prompt(project), "a", "b", "c", slots=2)
    make_ranking(lineup, bob, [1, 1, 2])
    make_ranking(lineup, eve, [1, 2, 2])
    found = ranked.agreement(ranked.shared(ranked.orders(project)))
    assert (found.same.hits, found.same.n) == (1, 3)  # a before c


def test_the_quality_page_of_a_project_that_only_ranks(
    client: Client, project: Project, lea: User, bob: User, eve: User
) -> None:
    client.force_login(lea)
    page = f"/projects/{project.pk}/quality/"
    assert "Nothing was judged yet" in client.get(page).content.decode()
    rank_together(project, bob, eve)
    body = client.get(page).content.decode()
    assert "Do people rank alike?" in body
    assert "92%" in body
    assert "Do people agree?" not in body
    own = client.get(f"{page}annotators/{bob.pk}/").content.decode()
    assert "Agrees with others on two answers" in own


def test_the_tables_of_rankings_are_pseudonymous(
    client: Client, project: Project, lea: User, bob: User, eve: User
) -> None:
    rank_together(project, bob, eve)
    client.force_login(lea)

    def table(name: str) -> list[dict[str, str]]:
        answer = client.get(f"/projects/{project.pk}/quality/tables/{name}.csv")
        assert answer.status_code == 200
        return list(csv.DictReader(io.StringIO(answer.content.decode())))

    rows = table("rankings")
    assert [row["of"] for row in rows] == ["all", "round", "round", "pair"]
    assert rows[0]["lineups"] == "6"
    people = {row["annotator"]: row for row in table("rankers")}
    assert set(people) == {bob.pseudonym, eve.pseudonym}
    assert people[bob.pseudonym]["fast_share"] == "1.0"
    assert people[bob.pseudonym]["first_shown_share"] == "1.0"
    assert people[eve.pseudonym]["same_n"] == "36"


def test_more_rankings_cost_no_more_queries(client: Client, project: Project, lea: User, bob: User, eve: User) -> None:
    client.force_login(lea)
    page = f"/projects/{project.pk}/quality/"
    rank_together(project, bob, eve, 2)
    client.get(page)
    with CaptureQueriesContext(connection) as few:
        client.get(page)
    rank_together(project, bob, eve, 8)
    with CaptureQueriesContext(connection) as many:
        client.get(page)
    assert len(many) == len(few)
