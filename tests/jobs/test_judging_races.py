"""Many annotators at once, in several processes, on SQLite and on PostgreSQL: nothing twice, nothing lost."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.races import environment
from tests.live_site import ROOT


class Database:
    """An empty, migrated database of a site of its own, and the driver that works on it."""

    driver = "tests.jobs.judging_driver"

    def __init__(self, name: str, env: dict[str, str]) -> None:
        self.name = name
        self._env = env

    def start(self, verb: str, **arguments: Any) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", self.driver, verb, json.dumps(arguments)]
        return subprocess.Popen(command, cwd=ROOT, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, verb: str, **arguments: Any) -> dict[str, Any]:
        return self.result(self.start(verb, **arguments))

    @staticmethod
    def result(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err.decode()[-4000:]
        return dict(json.loads(out))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    env = environment(request.param, tmp_path, request)
    return Database(request.param, env | {"DJANGO_SETTINGS_MODULE": "tests.settings"})


@pytest.mark.parametrize("overlap", [1, 2])
def test_eight_annotators_in_four_processes_judge_every_slot_exactly_once(
    database: Database, overlap: int, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.mkdir()
    made = database.run("setup", annotators=8, prompts=200 // overlap, overlap=overlap)
    people = made["people"]
    crews = [
        database.start(
            "judge_all", project=made["project"], people=people[first : first + 2], seed=first, gate=str(gate)
        )
        for first in range(0, 8, 2)
    ]
    saved = [count for crew in crews for count in database.result(crew)["saved"]]
    found = database.run("report", project=made["project"])
    assert sum(saved) == 200
    # They did race, though nobody is promised a turn by a busy machine.
    assert sum(count > 0 for count in saved) >= 2
    assert found["states"] == ["done"] * 200
    assert found["judged_slots"] == found["slots"]
    assert len({tuple(pair) for pair in found["pairs"]}) == 200
    assert found["wrong_sides"] == 0
    assert 60 < found["swapped"] < 140  # a fair coin: 100, give or take 7


def test_the_same_submit_from_four_threads_at_once_is_saved_once(database: Database) -> None:
    made = database.run("setup", annotators=1, prompts=40)
    rounds = database.run("same_submit", project=made["project"], people=made["people"], times=40)["rounds"]
    assert len(rounds) == 40
    for entry in rounds:
        assert entry["outcomes"].count("saved") == 1
        winner = entry["choices"][entry["outcomes"].index("saved")]
        for choice, outcome in zip(entry["choices"], entry["outcomes"], strict=True):
            assert outcome in ({"saved", "repeated"} if choice == winner else {"conflict"})
    found = database.run("report", project=made["project"])
    assert len(found["judged_slots"]) == len(set(found["judged_slots"])) == 40


def test_a_late_submit_and_a_new_claim_never_both_win(database: Database) -> None:
    made = database.run("setup", annotators=2, prompts=30)
    outcomes = database.run("late_holders", project=made["project"], people=made["people"], times=30)["outcomes"]
    assert len(outcomes) == 30
    assert {tuple(outcome) for outcome in outcomes} <= {("Saved", "nothing"), ("Gone", "taken")}


def test_a_submit_brings_the_next_pair_and_holds_it_and_nothing_else(database: Database) -> None:
    made = database.run("setup", annotators=1, prompts=6)
    submits = database.run("pages", project=made["project"], people=made["people"])["submits"]
    assert [submit["status"] for submit in submits] == [200] * 6
    *before, last = submits
    for submit in before:
        assert submit["alone"] == "alone"
        assert len(submit["held"]) == 1
        assert submit["shows"] == submit["held"]
    assert last["held"] == []
    if database.name == "postgresql":
        # Who is it, and may they; then all the rest at once. A skip takes the next pair by itself.
        assert [submit["statements"] for submit in (before[0], *before[2:])] == [2] * 4


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_decision_is_saved_though_another_tab_takes_the_next_pair_at_that_moment(database: Database) -> None:
    made = database.run("setup", annotators=1, prompts=2, overlap=2)
    found = database.run("other_tab", project=made["project"], people=made["people"])
    assert found["outcomes"] == ["taken", "Saved None"]
    assert found["states"] == ["done", "leased", "open"]
    assert found["judgments"] == 1


def test_the_next_slot_is_found_through_the_index_of_what_is_open(database: Database) -> None:
    plan = database.run("plan", slots=20_000)["plan"]
    assert "slot_queue" in plan, plan
    assert "slot_targeted" in plan, plan
    # Neither a walk over everything nor a sort of what was found.
    assert "Seq Scan on annotate_slot" not in plan, plan
    assert "SCAN annotate" not in plan, plan
    assert "Sort" not in plan, plan
    assert "TEMP B-TREE" not in plan, plan
    # What the person was asked before is looked up by comparison: never all of it for each claim.
    assert "Join Filter: (mine" not in plan, plan


def test_an_improved_answer_from_three_threads_at_once_is_saved_once_with_its_judgment(database: Database) -> None:
    made = database.run("setup", annotators=1, prompts=24)
    found = database.run("same_edit", project=made["project"], people=made["people"], times=24)
    assert len(found["rounds"]) == 24
    for entry in found["rounds"]:
        assert entry["outcomes"].count("saved") == 1
        winner = entry["texts"][entry["outcomes"].index("saved")]
        for text, outcome in zip(entry["texts"], entry["outcomes"], strict=True):
            assert outcome in ({"saved", "repeated"} if text == winner else {"conflict"})
    # Every written answer belongs to a judgment, and none is left over from a refused one.
    assert found["written"] == found["edits"]
    assert (len(found["edits"]), found["authors"]) == (24, 1)


@pytest.mark.parametrize("overlap", [1, 2])
def test_four_people_in_two_tabs_each_rank_every_slot_exactly_once(database: Database, overlap: int) -> None:
    made = database.run("setup_rankings", annotators=4, prompts=60 // overlap, overlap=overlap)
    people = made["people"]
    crews = [
        database.start("rank_all", project=made["project"], people=people[first : first + 2], seed=first)
        for first in (0, 2)
    ]
    saved = [count for crew in crews for count in database.result(crew)["saved"]]
    found = database.run("report_rankings", project=made["project"])
    assert sum(saved) == 60
    assert found["states"] == ["done"] * 60
    assert found["ranked_slots"] == found["slots"]
    assert len({tuple(pair) for pair in found["who_what"]}) == 60
    assert found["broken"] == []
    assert found["orders"] > 12  # of 24
