"""Rankings in the loop: sampled answers become lineups, runs learn their pairs, reserved ones measure policies."""

import json
import random
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone

from annotate.models import Lineup, Project, Slot, User
from annotate.services.review import retract
from tests.cast import make_lineup, make_prompt, make_ranking
from training.models import Job, Loop, Policy, Round, Run
from training.queries.facts import gather, new_decisions
from training.queries.retracted import retracted_since
from training.services.leases import claim
from training.services.loops import ensure_loop
from training.services.sampling import publish_samples, start_sampling
from training.services.scoring import score_rows, start_scoring
from training.services.snapshots import Selection, freeze, frozen_rows, select_rows, settle


@pytest.fixture
def loop(project: Project, tmp_path: Path) -> Loop:
    """Asks for rankings of five, while two answers a prompt would do for pairs."""
    project.judging, project.ranking_size = Project.Judging.RANKING, 5
    project.save()
    (tmp_path / "config.json").write_text("{}")
    return ensure_loop(project=project, base_model=str(tmp_path), queue_target=4, responses_per_prompt=2)


def select(loop: Loop, parent: Policy | None = None, *, method: str = "dpo") -> Selection:
    parent = parent or loop.sampler
    assert parent is not None
    return select_rows(
        project=loop.project, method=method, parent=parent, replay_percent=0, min_rows=2, rng=random.Random(1)
    )


def trained(loop: Loop) -> Policy:
    """A policy of a run that used all there is now."""
    assert loop.sampler is not None
    selection = select(loop)
    snapshot = freeze(project=loop.project, selection=selection)
    run = Run.objects.create(
        project=loop.project,
        round=Round.objects.get(project=loop.project),
        number=1,
        snapshot=snapshot,
        method="dpo",
        spec={"beta": 0.1},
        parent=loop.sampler,
    )
    settle(snapshot=snapshot, made=selection.made, used=[row["id"] for row in selection.made.rows], skipped=[])
    author = type(loop.sampler.author).objects.create(project=loop.project, kind="policy", number=1, name="policy 1")
    return Policy.objects.create(
        project=loop.project, number=1, parent=loop.sampler, author=author, run=run, base_model="m",
        manifest_sha256="0" * 64,
    )  # fmt: skip


def test_sampled_answers_become_lineups_of_as_many_as_are_asked(loop: Loop, tmp_path: Path) -> None:
    job = start_sampling(loop=loop)
    assert job is not None
    assert job.payload["spec"]["n"] == 5
    lease = claim(job_id=job.pk, owner="worker 1")
    assert lease is not None
    row = '{{"id": {}, "index": {}, "text": "Answer {}", "tokens": 5, "finish_reason": "stop", "seed": 1}}'
    lines = [row.format(pk, index, index) for pk in job.payload["prompt_ids"] for index in range(5)]
    (tmp_path / "responses.jsonl").write_text("\n".join(lines) + "\n")
    publish_samples(lease=lease, job=job, folder=tmp_path, result={"skipped": []})
    lineups = Lineup.objects.filter(round=1)
    assert lineups.count() == len(job.payload["prompt_ids"]) > 1
    assert {lineup.responses.count() for lineup in lineups} == {5}
    assert Job.objects.get(pk=job.pk).payload["made"] == lineups.count()
    assert gather(loop).open_items == Slot.objects.filter(kind="ranking", state="open").count() == lineups.count()


def test_older_rounds_lineups_are_withdrawn_once_new_ones_are_there(loop: Loop, tmp_path: Path) -> None:
    make_lineup(make_prompt(loop.project), round=0)
    test_sampled_answers_become_lineups_of_as_many_as_are_asked(loop, tmp_path)
    assert Slot.objects.get(lineup__round=0).state == "withdrawn"


def test_a_ranking_counts_once_as_new_and_only_with_an_order(loop: Loop, bob: User) -> None:
    for order in ([1, 2, 3, 4], [1, 1, 1, 1], []):
        make_ranking(make_lineup(make_prompt(loop.project)), bob, order)
    make_ranking(make_lineup(make_prompt(loop.project, split="reserved")), bob, [1, 2, 3, 4])
    assert new_decisions(loop.project, method="dpo") == 1
    assert new_decisions(loop.project, method="kto") == 0
    selection = select(loop)
    assert len(selection.made.rows) == 6
    assert dict(selection.made.skipped) == {"tie": 1, "skip": 1, "reserved": 1}
    freeze(project=loop.project, selection=selection)
    assert new_decisions(loop.project, method="dpo") == 0


def test_a_snapshot_of_rankings_is_frozen_settled_and_learnt_once(loop: Loop, bob: User, lea: User) -> None:
    ranking = make_ranking(make_lineup(make_prompt(loop.project)), bob, [2, 1, 1, 3])
    policy = trained(loop)
    assert policy.run is not None
    snapshot = policy.run.snapshot
    [item] = snapshot.items.all()
    assert (item.ranking, item.outcome) == (ranking, "used")
    newer = make_ranking(make_lineup(make_prompt(loop.project)), bob, [1, 2, 3, 4])
    assert [(item.kind, item.id) for item in select(loop, policy).made.items] == [("ranking", newer.pk)]
    # What was frozen stays, whatever becomes of the ranking; the policy that learned from it is marked.
    before = frozen_rows(snapshot, "dpo").rows
    assert len(before) == 5
    retract(project=loop.project, actor=lea, annotator=bob, reason="Clicked through.")
    assert frozen_rows(snapshot, "dpo").rows == before
    assert retracted_since([policy])[policy.pk].own == 1


def test_a_run_of_kto_accounts_for_rankings_that_it_cannot_use(loop: Loop, bob: User) -> None:
    make_ranking(make_lineup(make_prompt(loop.project)), bob, [1, 2, 3, 4])
    snapshot = freeze(project=loop.project, selection=select(loop, method="kto"))
    assert [(item.outcome, item.reason) for item in snapshot.items.all()] == [("skipped", "needs_singles")]


def test_a_policy_is_measured_on_the_pairs_of_reserved_rankings(loop: Loop, bob: User) -> None:
    make_ranking(make_lineup(make_prompt(loop.project)), bob, [1, 2, 3, 4])
    policy = trained(loop)
    held_out = make_ranking(make_lineup(make_prompt(loop.project, split="reserved"), "x", "y", "z"), bob, [3, 1, 1])
    assert policy.run is not None
    job = start_scoring(run=policy.run)
    assert job is not None
    pairs = [row for row in score_rows(job) if row["kind"] == "pair"]
    # One pair of a ranking, and of the two best the first.
    assert [(row["chosen"], row["rejected"]) for row in pairs] == [("y", "x")]
    assert pairs[0]["id"].startswith(f"l{held_out.lineup_id}-")


def test_the_command_exports_rankings_and_their_pairs(loop: Loop, bob: User, tmp_path: Path) -> None:
    first = make_ranking(make_lineup(make_prompt(loop.project), "x", "y", "z"), bob, [3, 1, 1], rationale="Kinder.")
    make_ranking(make_lineup(make_prompt(loop.project, split="reserved")), bob, [])
    gone = make_ranking(make_lineup(make_prompt(loop.project)), bob, [1, 2, 3, 4], retracted_at=timezone.now())

    def exported(what: str, *options: str) -> list[dict[str, object]]:
        output = tmp_path / f"{what}.jsonl"
        call_command("export", str(loop.pk), what, "--output", str(output), *options, verbosity=0)
        return [json.loads(line) for line in output.read_text().splitlines()]

    rows = exported("rankings")
    assert [(row["value"], row["split"]) for row in rows] == [("ranked", "train"), ("skip", "reserved")]
    answers = rows[0]["answers"]
    assert isinstance(answers, list)
    assert [(answer["rank"], answer["text"], answer["author"]) for answer in answers] == [
        (3, "x", "base"), (1, "y", "base"), (1, "z", "base"),
    ]  # fmt: skip
    assert bob.username not in json.dumps(rows)
    assert gone.pk in [row["id"] for row in exported("rankings", "--include-inactive")]
    pairs = exported("dpo")
    assert [(row["source"], row["source_id"]) for row in pairs] == [("lineup", first.lineup_id)] * 2
    pairs = exported("dpo", "--aggregate", "single", "--ranking-pairs", "best_worst")
    assert [(row["source"], row["source_id"]) for row in pairs] == [("ranking", first.pk)]
    assert exported("kto") == exported("sft") == []
