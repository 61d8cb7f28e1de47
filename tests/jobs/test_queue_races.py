"""Skips, undos, changes and retractions at the same moment, and long queues, on SQLite and on PostgreSQL."""

from pathlib import Path

import pytest

from tests.jobs.races import environment
from tests.jobs.test_judging_races import Database


class QueueDatabase(Database):
    driver = "tests.jobs.queue_driver"


@pytest.fixture(params=["sqlite", "postgresql"])
def site_database(request: pytest.FixtureRequest, tmp_path: Path) -> QueueDatabase:
    env = environment(request.param, tmp_path, request)
    return QueueDatabase(request.param, env | {"DJANGO_SETTINGS_MODULE": "tests.settings"})


@pytest.mark.parametrize("overlap", [1, 2])
def test_each_comparison_is_skipped_as_often_as_the_limit_says_and_by_so_many_people(
    site_database: QueueDatabase, overlap: int
) -> None:
    made = site_database.run("setup", annotators=6, prompts=20, overlap=overlap)
    people = made["people"]
    crews = [
        site_database.start("skip_everything", project=made["project"], people=people[first : first + 3])
        for first in (0, 3)
    ]
    skipped = sum(site_database.result(crew)["skipped"] for crew in crews)
    # Whoever found nothing while others still held the rest has gone home: they come once more, one after the other.
    while more := sum(
        site_database.run("skip_everything", project=made["project"], people=[pk])["skipped"] for pk in people[:4]
    ):
        skipped += more
    found = site_database.run("skips", project=made["project"])
    # The limit is three: with two slots from the start there are two more after the first two skips.
    each = 3 if overlap == 1 else 4
    assert found == {"skips": [each] * 20, "people": [each] * 20, "open": 0, "broken": []}
    assert skipped == each * 20


def test_a_skip_that_is_undone_takes_the_slot_back_unless_somebody_has_it(site_database: QueueDatabase) -> None:
    made = site_database.run("setup", annotators=2, prompts=25)
    found = site_database.run("undo_a_skip", project=made["project"], people=made["people"], times=25)["found"]
    assert sum(found.values()) == 25
    assert set(found) <= {"nothing withdrawn late undone", "taken leased late undone"}


def test_an_undo_beside_another_tab_that_judges_leaves_one_judgment_a_slot(site_database: QueueDatabase) -> None:
    made = site_database.run("setup", annotators=1, prompts=60)
    outcome = site_database.run("undo_and_judge", project=made["project"], people=made["people"], times=25)
    assert outcome["broken"] == []
    assert sum(outcome["found"].values()) == 25
    # Undone once or, where the other tab's judgment had become the last one, not at all.
    assert set(outcome["found"]) <= {
        "judged True, undone 1, slot leased, stands 0",
        "judged True, undone 0, slot done, stands 1",
    }


def test_a_change_beside_a_retraction_never_slips_through(site_database: QueueDatabase) -> None:
    made = site_database.run("setup", annotators=1, prompts=1)
    outcome = site_database.run("change_and_retract", project=made["project"], people=made["people"], times=25)
    assert outcome["broken"] == []
    assert sum(outcome["found"].values()) == 25
    assert set(outcome["found"]) <= {"Saved retracted, counting 0", "Gone retracted, counting 0"}


def test_a_quiz_in_two_tabs_is_one_attempt_that_ends_once(site_database: QueueDatabase) -> None:
    made = site_database.run("setup", annotators=1, prompts=2)
    outcome = site_database.run("quiz_in_two_tabs", project=made["project"], people=made["people"], times=12)
    assert outcome == {"found": {"1 attempt, right 2, passed True": 12}, "deeds": 12}


def test_the_next_comparison_is_one_walk_of_an_index_however_long_the_queue(site_database: QueueDatabase) -> None:
    """200,000 comparisons are enough for the planner to choose as for a million (docs/reference/queue.md)."""
    found = site_database.run("plans", comparisons=200_000)
    assert found["comparisons"] == 200_000
    plan = found["plan"]
    for index in ("slot_targeted", "slot_of_group", "slot_queue"):
        assert index in plan, plan
    # Neither a walk over everything nor a sort of what was found.
    assert "Seq Scan on annotate_slot" not in plan, plan
    assert "SCAN annotate_slot" not in plan, plan
    assert "SCAN slot" not in plan, plan
    assert "Sort" not in plan, plan
    assert "TEMP B-TREE" not in plan, plan


def test_very_many_are_assigned_and_taken_back_at_once(site_database: QueueDatabase) -> None:
    done = site_database.run("assign_many", comparisons=20_000)
    # A tenth is open, of which eight in ten were everybody's.
    assert done["group"] == 400
    assert done["person"] == 1_600 - 400
    assert done["freed"] == [400, 1_200]
    assert done["moved"] == 2_000
