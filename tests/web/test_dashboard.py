"""The dashboard: what was done, what is left, how long it takes, what was chosen."""

import cProfile
import csv
import io
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.models import Comparison, Judgment, Project, Rating, Slot, User
from annotate.queries import dashboard
from annotate.queries.dashboard import Day, Remaining
from annotate.services.checks import make_gold_lineup
from annotate.views.dashboard import bars
from tests.cast import (
    make_comparison,
    make_judgment,
    make_lineup,
    make_prompt,
    make_ranking,
    make_rating,
    make_response,
)
from tests.crowd import fill, fill_rankings

NOON = timezone.make_aware(datetime(2026, 11, 20, 12, 0))  # noqa: DTZ001  (made aware at once)


def judged_at(project: Project, annotator: User, when: datetime, **fields: object) -> Judgment:
    judgment = make_judgment(make_comparison(make_prompt(project)), annotator, **fields)  # type: ignore[arg-type]
    Judgment.objects.filter(pk=judgment.pk).update(created_at=when)
    return judgment


def table(client: Client, project: Project, name: str) -> list[dict[str, str]]:
    body = client.get(reverse("annotate:dashboard_table", args=[project.pk, name])).content.decode()
    return list(csv.DictReader(io.StringIO(body)))


# --- Throughput -------------------------------------------------------------------------------------------------------


def test_days_begin_at_midnight_and_those_without_work_are_there_too(project: Project, bob: User) -> None:
    for when in (
        NOON,
        NOON.replace(hour=0),
        NOON.replace(hour=0) - timedelta(microseconds=1),
        NOON - timedelta(days=29),
        NOON.replace(hour=0) - timedelta(days=29, microseconds=1),  # too long ago
    ):
        judged_at(project, bob, when)
    rating = make_rating(make_response(make_prompt(project)), bob)
    Rating.objects.filter(pk=rating.pk).update(created_at=NOON)
    found = dashboard.days(project, now=NOON)
    assert len(found) == 30
    assert {day.date.isoformat(): (day.judgments, day.ratings) for day in found if day.total} == {
        "2026-10-22": (1, 0),
        "2026-11-19": (1, 0),
        "2026-11-20": (2, 1),
    }


def test_days_are_those_of_the_sites_time_zone_also_when_the_clocks_change(project: Project, bob: User) -> None:
    # In Berlin the 25th of October 2026 has 25 hours: 22:00 UTC of the 24th to 23:00 UTC of the 25th.
    utc = datetime.fromisoformat
    for when in ("2026-10-24T21:59:59+00:00", "2026-10-24T22:00:00+00:00", "2026-10-25T22:59:59+00:00"):
        judged_at(project, bob, utc(when))
    with timezone.override("Europe/Berlin"):
        found = dashboard.days(project, now=utc("2026-10-26T12:00:00+00:00"))
    assert {day.date.isoformat(): day.judgments for day in found if day.total} == {"2026-10-24": 1, "2026-10-25": 2}


def test_retracted_work_was_done_and_replaced_work_is_not_counted_twice(project: Project, bob: User) -> None:
    judged_at(project, bob, NOON, retracted_at=NOON)
    judged_at(project, bob, NOON, superseded_at=NOON)
    assert dashboard.days(project, now=NOON)[-1].judgments == 1


def test_the_busiest_day_fills_the_chart_and_no_day_with_work_is_invisible() -> None:
    some = [Day(NOON.date(), *counts) for counts in ((100, 50, 50), (1, 0, 0), (0, 0, 0), (50, 50, 0))]
    first, tiny, none, half = bars(some)
    assert [(part.kind, part.y, part.height) for part in first.parts] == [
        ("judgments", 50, 50),
        ("rankings", 25, 25),
        ("ratings", 0, 25),
    ]
    assert [part.height for part in tiny.parts] == [1]
    assert none.parts == []
    assert [(part.kind, part.y) for part in half.parts] == [("judgments", 75), ("ratings", 50)]
    assert [bar.x for bar in bars(some)] == [0, 10, 20, 30]
    assert bars([]) == []


# --- What is left -----------------------------------------------------------------------------------------------------


def worked(*totals: int) -> list[Day]:
    return [Day(NOON.date() + timedelta(days=number), total, 0) for number, total in enumerate(totals)]


def test_a_forecast_rests_on_the_last_fourteen_days_before_today_idle_ones_too() -> None:
    days = worked(900, 100, 0, 100, 100, 100, 0, 100, 100, 100, 0, 100, 100, 0, 100, 5)
    found = dashboard.forecast(days, Remaining(pairs=700, thumbs=300))
    assert found is not None
    assert (found.rests_on, found.worked, found.done) == (14, 10, 1000)
    assert found.span is not None
    assert found.span.low is not None
    assert found.span.middle is not None
    assert found.span.high is not None
    # Ten days of work, with four in fourteen days idle.
    assert found.span.low < 13 <= found.span.middle <= 16 < found.span.high


def test_days_before_the_work_began_say_nothing() -> None:
    found = dashboard.forecast(worked(0, 0, 0, 0, 50, 50, 50, 9), Remaining(pairs=100, thumbs=0))
    assert found is not None
    assert found.span is not None
    assert (found.rests_on, found.span.low, found.span.high) == (3, 2, 2)


@pytest.mark.parametrize(
    ("totals", "why"),
    [
        ((50, 60, 70), "three days with work"),
        ((50, 0, 60, 0, 9), "three days with work"),
        ((), "three days with work"),
        ((50, 60, 70, *(0,) * 7, 9), "nobody has worked for 7 days"),
    ],
)
def test_where_nobody_can_tell_the_forecast_says_why(totals: tuple[int, ...], why: str) -> None:
    found = dashboard.forecast(worked(*totals), Remaining(pairs=10, thumbs=0))
    assert found is not None
    assert found.span is None
    assert why in str(found.unknown)


def test_with_nothing_left_there_is_nothing_to_forecast() -> None:
    assert dashboard.forecast(worked(50, 60, 70, 0), Remaining(pairs=0, thumbs=0)) is None


def test_what_is_left_are_open_and_leased_slots_of_the_kinds_that_are_asked(project: Project, bob: User) -> None:
    leased = Slot.objects.filter(project=project)[0]
    leased.state, leased.annotator, leased.lease_until = Slot.State.LEASED, bob, NOON
    leased.save()
    Slot.objects.filter(pk=Slot.objects.filter(state="open").values("pk")[:1]).update(state=Slot.State.WITHDRAWN)
    response = make_response(make_prompt(project))
    Slot.objects.create(project=project, kind=Slot.Kind.THUMB, response=response)
    judged_at(project, bob, NOON)
    assert dashboard.remaining(project) == Remaining(pairs=2, thumbs=1)
    project.judging = Project.Judging.PAIRS
    assert dashboard.remaining(project) == Remaining(pairs=2, thumbs=0)


# --- Time and choices -------------------------------------------------------------------------------------------------


def test_active_time_is_summed_and_its_median_taken_of_what_was_timed(project: Project, bob: User, lea: User) -> None:
    for ms in (1000, 3000, 8000, None):
        judged_at(project, bob, NOON, active_ms=ms)
    make_rating(make_response(make_prompt(project)), bob, active_ms=500)
    make_rating(make_response(make_prompt(project)), lea)
    make_ranking(make_lineup(make_prompt(project)), bob, [1, 2, 3, 4], active_ms=7000)
    first, second = dashboard.active_time(project)
    assert (first.annotator, first.decisions, first.timed, first.seconds) == (bob.pk, 6, 5, 19.5)
    assert (first.median_judgment, first.median_rating, first.median_ranking) == (3, 0.5, 7)
    assert (second.annotator, second.decisions, second.timed, second.median_rating) == (lea.pk, 1, 0, None)


def test_choices_are_shares_of_what_was_decided_in_ordinary_comparisons(project: Project, bob: User) -> None:
    for choice in ["A", "B", "tie", "both_bad", "both_bad", "skip"]:
        make_judgment(make_comparison(make_prompt(project), round=2), bob, choice)
    make_judgment(make_comparison(make_prompt(project), round=10), bob, "tie")
    make_judgment(make_comparison(make_prompt(project)), bob, "tie")
    gold = make_comparison(make_prompt(project), round=2, purpose=Comparison.Purpose.GOLD, expected="tie")
    make_judgment(gold, bob, "tie")
    make_judgment(make_comparison(make_prompt(project), round=2), bob, "tie", retracted_at=NOON)
    found = dashboard.choices_by_round(project)
    assert [entry.round for entry in found] == [10, 2, None]
    second = found[1]
    assert (second.decided, second.skipped) == (5, 1)
    assert [(share.hits, share.n) for share in (second.preferred, second.ties, second.both_bad)] == [
        (2, 5),
        (1, 5),
        (2, 5),
    ]
    # Wilson by its formula for 2 of 5: (0.4 + z²/10 ± z sqrt(0.24/5 + z²/100)) / (1 + z²/5), z = 1.959964.
    assert second.both_bad.low == pytest.approx(0.1176, abs=1e-4)
    assert second.both_bad.high == pytest.approx(0.7693, abs=1e-4)


# --- Rankings ---------------------------------------------------------------------------------------------------------


def rank(project: Project, round_number: int | None, *orders: tuple[User, list[int]]) -> None:
    lineup = make_lineup(make_prompt(project), *[f"Answer {n}" for n in range(len(orders[0][1]) or 4)], slots=2,
                         round=round_number)  # fmt: skip
    for who, ranks in orders:
        make_ranking(lineup, who, ranks)


def test_rankings_are_counted_by_round(project: Project, bob: User, lea: User) -> None:
    for _ in range(2):
        rank(project, 3, (bob, [1, 2, 3, 4]), (lea, [1, 2, 4, 3]))
    rank(project, 3, (bob, [2, 1, 2]), (lea, []))
    rank(project, None, (bob, [1, 1, 2, 2]))
    gold = make_gold_lineup(lineup=make_lineup(make_prompt(project), round=3), ranks=[1, 2, 3, 4], actor=lea)
    make_ranking(gold, bob, [1, 2, 3, 4])
    make_ranking(make_lineup(make_prompt(project), round=3), bob, [1, 2, 3, 4], retracted_at=NOON)
    newest, none = dashboard.rankings_by_round(project)
    assert (newest.round, newest.decided, newest.skipped) == (3, 5, 1)
    assert (newest.same.hits, newest.same.n) == (10, 12)
    assert (newest.tied.hits, newest.tied.n) == (1, 4 * 6 + 3)
    assert (newest.first.hits, newest.first.n) == (4, 5)
    assert newest.chance == pytest.approx((4 / 4 + 1 / 3) / 5)
    assert (none.round, none.decided, none.first.n, none.chance, none.same.n) == (None, 1, 0, None, 0)
    assert (none.tied.hits, none.tied.n) == (2, 6)


def test_what_people_rank_is_in_the_charts(client: Client, project: Project, bob: User, lea: User) -> None:
    project.judging = Project.Judging.RANKING
    project.save()
    client.force_login(lea)
    page = reverse("annotate:dashboard", args=[project.pk])
    assert "Nothing was ranked yet" in client.get(page).content.decode()
    rank(project, 1, (bob, [1, 2, 3, 4]), (lea, [1, 2, 4, 3]))
    Slot.objects.create(project=project, kind="ranking", lineup=make_lineup(make_prompt(project), slots=0))
    body = client.get(page).content.decode()
    assert body.count('<rect class="rankings"') == 1
    assert '<rect class="judgments"' not in body
    assert '<span class="stat-value">1</span><span class="stat-label">rankings wanted' in body
    assert "Choices by round" not in body
    (row,) = table(client, project, "ranking-rounds")
    assert (row["round"], row["ranked"], row["same_n"], row["first_share"], row["first_by_chance"]) == (
        "1", "2", "6", "1.0", "0.25",
    )  # fmt: skip
    assert sum(int(day["rankings"]) for day in table(client, project, "days")) == 2


# --- The page ---------------------------------------------------------------------------------------------------------


def test_an_empty_project_has_a_dashboard_that_says_what_will_come(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    page = client.get(reverse("annotate:dashboard", args=[project.pk])).content.decode()
    assert "The chart appears with the first judgment" in page
    assert "it needs three days with work" in page
    assert '<svg viewBox="0 0 300' not in page


def test_the_page_shows_a_chart_a_forecast_and_people(
    client: Client, project: Project, lea: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOON)  # or midnight may come while the test runs
    for back, count in ((0, 1), (1, 2), (3, 4), (4, 3)):
        for _ in range(count):
            judged_at(project, bob, NOON - timedelta(days=back), active_ms=60_000)
    client.force_login(lea)
    page = client.get(reverse("annotate:dashboard", args=[project.pk])).content.decode()
    assert page.count('<rect class="judgments"') == 4
    assert "4 on the busiest day" in page
    assert '<span class="stat-value">2</span><span class="stat-label">days (1 to 4)' in page
    assert "If days go on like the last 4, on 3 of which 9 decisions were made" in page
    assert "0:10 h" in page
    assert "style=" not in page


def test_the_tables_come_as_csv_with_pseudonyms(client: Client, project: Project, lea: User, bob: User) -> None:
    judged_at(project, bob, timezone.now(), active_ms=2500)
    make_judgment(make_comparison(make_prompt(project), round=1), bob, "tie")
    User.objects.filter(pk=bob.pk).update(pseudonym="=1+1")
    client.force_login(lea)
    assert [sum(int(row["judgments"]) for row in table(client, project, "days"))] == [2]
    assert len(table(client, project, "days")) == 30
    assert table(client, project, "time") == [
        {
            "annotator": "'=1+1",
            "decisions": "2",
            "timed": "1",
            "active_seconds": "2.5",
            "median_judgment_seconds": "2.5",
            "median_rating_seconds": "",
            "median_ranking_seconds": "",
        }
    ]
    rounds = table(client, project, "rounds")
    assert [(row["round"], row["decided"], row["ties_share"]) for row in rounds] == [
        ("1", "1", "1.0"),
        ("", "1", "0.0"),
    ]
    assert client.get(reverse("annotate:dashboard_table", args=[project.pk, "people"])).status_code == 404


def test_pages_ask_as_little_of_fifty_thousand_judgments_as_of_one(
    client: Client, project: Project, lea: User, bob: User
) -> None:
    client.force_login(lea)
    make_judgment(make_comparison(make_prompt(project), round=1), bob)
    urls = [reverse(f"annotate:{name}", args=[project.pk]) for name in ("dashboard", "quality")]
    few = [queries_of(client, url) for url in urls]
    fill(project, judgments=50_000, now=timezone.now())
    many = [queries_of(client, url) for url in urls]
    assert many == few
    assert max(many) <= 14


def test_pages_ask_as_little_of_many_rankings_and_look_into_few(client: Client, project: Project, lea: User) -> None:
    """Calls of functions, as the profiler counts them: the same on a slow machine as on a fast one."""
    client.force_login(lea)
    urls = [reverse(f"annotate:{name}", args=[project.pk]) for name in ("dashboard", "quality")]
    measured = []
    for seed, count in enumerate((1_000, 2_000)):
        fill_rankings(project, rankings=count, now=timezone.now(), people=4, seed=seed)
        for url in urls:
            client.get(url)  # fills caches
        with CaptureQueriesContext(connection) as queries:
            calls = [calls_of(client, url) for url in urls]
        measured.append((len(queries), calls))
    (queries_before, before), (queries_after, after) = measured
    assert queries_after == queries_before <= 2 * 15
    # Measured: 20 on the one that asks more.
    assert max(many - few for few, many in zip(before, after, strict=True)) / 2_000 < 40, (before, after)


def test_the_quality_page_does_a_bounded_number_of_operations_for_each_judgment(
    client: Client, project: Project, lea: User
) -> None:
    """Calls of functions, as the profiler counts them: the same on a slow machine as on a fast one."""
    client.force_login(lea)
    page = reverse("annotate:quality", args=[project.pk])
    fill(project, judgments=3_000, now=timezone.now(), people=4)
    calls_of(client, page)  # The first one also fills caches.
    few = calls_of(client, page)
    fill(project, judgments=9_000, now=timezone.now(), people=4, seed=1)
    many = calls_of(client, page)
    # Measured: 26, and 17 above 5,000 judgments, the most whose texts are looked at; and 100,000 for the page itself.
    assert (many - few) / 9_000 < 40
    assert few < 300_000


def calls_of(client: Client, url: str) -> int:
    profile = cProfile.Profile()
    with profile:
        assert client.get(url).status_code == 200
    return sum(entry.callcount for entry in profile.getstats())


def queries_of(client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url).status_code == 200
    return len(queries)
