"""Judgments and ratings as records: right sides, pseudonyms only, in order, streamed with one query a chunk."""

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from annotate.models import Author, Comparison, Project, User
from annotate.queries import records
from annotate.queries.records import judgment_records, rating_records
from tests.cast import make_comparison, make_judgment, make_prompt, make_rating, make_response


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("choice", ["A", "B"])
def test_a_and_b_are_what_was_shown_and_preferred_is_the_response_that_was_stored(
    comparisons: list[Comparison], bob: User, choice: str, swapped: bool
) -> None:
    judgment = make_judgment(comparisons[0], bob, choice, swapped=swapped)
    (record,) = judgment_records(judgment.project)
    assert record.a.id == (comparisons[0].second_id if swapped else comparisons[0].first_id)
    assert {record.a.id, record.b.id} == {comparisons[0].first_id, comparisons[0].second_id}
    assert record.preferred is not None
    assert record.preferred.id == judgment.preferred_id
    assert record.other is not None
    assert record.other.id != judgment.preferred_id


def test_nothing_in_a_record_names_the_annotator_or_a_person_who_wrote_an_answer(
    project: Project, bob: User, lea: User
) -> None:
    prompt = make_prompt(project)
    person = Author.objects.create(project=project, kind="person", name="Lea Example", user=lea)
    written = make_response(prompt, "By hand.", author=person)
    make_judgment(make_comparison(prompt, written), bob)
    make_rating(written, bob)
    (judgment,), (rating,) = judgment_records(project), rating_records(project)
    assert judgment.annotator == rating.annotator == bob.pseudonym
    assert judgment.a.author == rating.answer.author == lea.pseudonym
    assert "Lea Example" not in repr(judgment) + repr(rating)


def test_superseded_and_retracted_decisions_are_left_out_unless_asked_for(
    comparisons: list[Comparison], project: Project, alice: User, lea: User, bob: User
) -> None:
    kept = make_judgment(comparisons[0], bob)
    make_judgment(comparisons[0], lea, superseded_at=timezone.now())
    make_judgment(comparisons[0], alice, retracted_at=timezone.now())
    assert [record.id for record in judgment_records(project)] == [kept.pk]
    everything = list(judgment_records(project, include_inactive=True))
    assert [record.superseded_at is not None for record in everything] == [False, True, False]
    assert [record.retracted_at is not None for record in everything] == [False, False, True]


def test_every_filter_keeps_what_it_says(project: Project, bob: User) -> None:
    train = make_judgment(make_comparison(make_prompt(project), round=1), bob)
    reserved = make_prompt(project, split="reserved")
    duel = make_judgment(make_comparison(reserved, purpose="duel", round=2), bob, "B")
    skip = make_judgment(make_comparison(make_prompt(project), round=2), bob, "skip")

    def ids(**filters: object) -> list[int]:
        return [record.id for record in judgment_records(project, **filters)]  # type: ignore[arg-type]

    assert ids() == [train.pk, duel.pk, skip.pk]
    assert ids(splits=["train"]) == [train.pk, skip.pk]
    assert ids(purposes=["duel"]) == [duel.pk]
    assert ids(rounds=[2]) == [duel.pk, skip.pk]
    assert ids(include_skips=False) == [train.pk, duel.pk]
    assert ids(since_id=train.pk) == [duel.pk, skip.pk]
    assert ids(judgment_ids=[skip.pk, train.pk, 999_999]) == [train.pk, skip.pk]
    assert ids(judgment_ids=[]) == []


def test_ratings_take_the_same_filters(project: Project, bob: User) -> None:
    first = make_rating(make_response(make_prompt(project), round=1), bob)
    second = make_rating(make_response(make_prompt(project, split="reserved"), round=2), bob, "down")
    skip = make_rating(make_response(make_prompt(project), round=2), bob, "skip")
    assert [record.id for record in rating_records(project)] == [first.pk, second.pk, skip.pk]
    assert [record.id for record in rating_records(project, splits=["reserved"])] == [second.pk]
    assert [record.id for record in rating_records(project, rounds=[2], include_skips=False)] == [second.pk]
    assert [record.id for record in rating_records(project, rating_ids=[skip.pk], since_id=first.pk)] == [skip.pk]


def test_another_projects_judgments_are_never_in_it(project: Project, alice: User, bob: User) -> None:
    other = Project.objects.create(name="Other", created_by=alice)
    elsewhere = make_judgment(make_comparison(make_prompt(other)), bob)
    make_rating(make_response(make_prompt(other)), bob)
    assert list(judgment_records(project, judgment_ids=[elsewhere.pk])) == []
    assert list(rating_records(project)) == []


def test_a_chunk_costs_one_query_however_many_rows_it_has(
    project: Project,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    monkeypatch.setattr(records, "CHUNK", 4)
    for _ in range(10):
        comparison = make_comparison(make_prompt(project))
        make_judgment(comparison, bob)
        make_rating(comparison.first, bob)
    with django_assert_num_queries(3):  # Chunks of 4, 4 and 2.
        assert len(list(judgment_records(project))) == 10
    with django_assert_num_queries(3):
        assert len(list(rating_records(project))) == 10
    with django_assert_num_queries(1):
        next(judgment_records(project))
