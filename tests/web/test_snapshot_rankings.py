"""Rankings of one lineup by several people become rows by the snapshot's rule, and every pair is accounted for."""

import random

import pytest
from django.test import Client
from django.urls import reverse

from annotate.models import OrderVerdict, Project, Ranking, User
from annotate.services.checks import make_gold_lineup
from tests.cast import join, make_lineup, make_prompt, make_ranking, make_user
from tests.web.test_snapshot_selection import trained
from training.models import Loop, Policy, Run, SnapshotLineup
from training.queries.facts import new_decisions
from training.queries.runs import accounting, snapshot_rows
from training.queries.stock import stock
from training.services.loops import ensure_loop
from training.services.scoring import held_out_pairs
from training.services.snapshots import Selection, freeze, frozen_rows, select_rows, settle


@pytest.fixture
def loop(project: Project) -> Loop:
    project.comparisons.all().delete()
    project.judging = Project.Judging.RANKING
    project.save()
    return ensure_loop(project=project, base_model="some/model")


@pytest.fixture
def crew(project: Project, bob: User) -> list[User]:
    made = [bob, make_user("dora"), make_user("emil")]
    for user in made[1:]:
        join(project, user)
    return made


def ranked(loop: Loop, crew: list[User], *orders: list[int], **prompt: str) -> list[Ranking]:
    lineup = make_lineup(make_prompt(loop.project, **prompt), slots=3)
    return [make_ranking(lineup, user, order) for user, order in zip(crew, orders, strict=False)]


def select(loop: Loop, rule: str, *, pairs: str = "all", parent: Policy | None = None) -> Selection:
    return select_rows(
        project=loop.project,
        method="dpo",
        parent=parent or Policy.objects.get(project=loop.project, number=0),
        replay_percent=0,
        min_rows=1,
        rng=random.Random(1),
        aggregation=rule,
        ranking_pairs=pairs,
    )


def test_a_lineup_is_one_item_with_a_row_for_each_decided_pair(loop: Loop, crew: list[User]) -> None:
    made = ranked(loop, crew, [1, 2, 3, 4], [1, 2, 4, 3], [])
    selection = select(loop, "majority")
    assert len(selection.made.rows) == 5  # the last two answers are drawn
    assert all(row["rankings"] == [made[0].pk, made[1].pk] for row in selection.made.rows)
    assert len(select(loop, "single").made.rows) == 12
    snapshot = freeze(project=loop.project, selection=selection)
    frozen = snapshot.lineups.get()
    assert [why for *_, why in frozen.pairs] == ["", "", "", "", "", "undecided"]
    assert [(item.ranking_id, item.outcome, item.reason) for item in snapshot.items.order_by("ranking")] == [
        (made[0].pk, "pending", ""), (made[1].pk, "pending", ""), (made[2].pk, "skipped", "skip"),
    ]  # fmt: skip
    again = frozen_rows(snapshot, "dpo")
    assert again.rows == selection.made.rows
    used = [row["id"] for row in again.rows[:1]]
    refused = [{"id": row["id"], "reason": "too long"} for row in again.rows[1:]]
    settle(snapshot=snapshot, made=again, used=used, skipped=refused)
    assert snapshot.lineups.get().outcome == "used"
    assert snapshot.items.filter(outcome="used").count() == 2
    shown = accounting(Run(snapshot=snapshot))
    assert (shown.total, shown.used, shown.judgments, shown.abstained, shown.lineup_pairs) == (1, 1, 2, 1, (6, 5))
    rows = list(snapshot_rows(Run(snapshot=snapshot)))
    assert [row[0] for row in rows] == ["lineup"] + ["lineup pair"] * 6
    assert rows[-1][5:7] == ("skipped", "undecided")


@pytest.mark.parametrize(("which", "count"), [("best_worst", 1), ("adjacent", 3), ("all", 6)])
def test_the_choice_of_pairs_is_frozen_with_the_snapshot(loop: Loop, crew: list[User], which: str, count: int) -> None:
    ranked(loop, crew, [2, 1, 4, 3])
    for rule in ("single", "adjudicated"):
        selection = select(loop, rule, pairs=which)
        assert len(selection.made.rows) == count
        snapshot = freeze(project=loop.project, selection=selection)
        assert snapshot.ranking_pairs == which
        assert frozen_rows(snapshot, "dpo").rows == selection.made.rows
    reasons = [why for *_, why in SnapshotLineup.objects.get().pairs]
    assert reasons.count("unchosen") == 6 - count


def test_a_verdict_on_a_lineup_decides_it_and_is_learnt_anew(loop: Loop, crew: list[User], lea: User) -> None:
    made = ranked(loop, crew, [1, 2, 3, 4], [4, 3, 2, 1])
    first = select(loop, "adjudicated")
    assert [item.skip_reason for item in first.made.items] == ["undecided"]
    agreed = ranked(loop, crew, [1, 2, 3, 4])
    before = select(loop, "adjudicated")
    policy = trained(loop, Policy.objects.get(project=loop.project, number=0), before, 1)
    SnapshotLineup.objects.filter(outcome="pending").update(outcome="used")
    fresh = select(loop, "adjudicated", parent=policy)
    assert (fresh.name, fresh.made.rows) == ("all", before.made.rows)  # nothing is new, so all of it again
    OrderVerdict.objects.create(lineup=made[0].lineup, reviewer=lea, ranks=[1, 1, 1, 2])
    OrderVerdict.objects.create(lineup=agreed[0].lineup, reviewer=lea, ranks=[4, 3, 2, 1])
    fresh = select(loop, "adjudicated", parent=policy)
    assert fresh.name == "new"
    assert sorted(item.id for item in fresh.made.items) == sorted([made[0].lineup_id, agreed[0].lineup_id])
    assert len(fresh.made.rows) == 3 + 6
    snapshot = freeze(project=loop.project, selection=fresh)
    assert snapshot.lineups.filter(verdict__isnull=False).count() == 2
    assert frozen_rows(snapshot, "dpo").rows == fresh.made.rows


def test_an_excluded_lineup_is_out_under_every_rule(loop: Loop, crew: list[User], lea: User) -> None:
    made = ranked(loop, crew, [1, 2, 3, 4], [1, 2, 3, 4])
    OrderVerdict.objects.create(lineup=made[0].lineup, reviewer=lea, ranks=[])
    for rule in ("single", "majority", "adjudicated", "dawid_skene"):
        selection = select(loop, rule)
        assert selection.made.rows == []
        assert {item.skip_reason for item in selection.made.items} == {"excluded"}
        assert frozen_rows(freeze(project=loop.project, selection=selection), "dpo").rows == []


def test_policies_are_measured_on_what_the_rule_decides(loop: Loop, crew: list[User]) -> None:
    made = ranked(loop, crew, [1, 2, 3, 4], [1, 2, 3, 4], [4, 3, 2, 1], split="reserved")
    ranked(loop, crew, [1, 2, 3, 4], [4, 3, 2, 1], split="reserved")
    best, *_, worst = made[0].shown
    assert [(row["chosen"], row["rejected"]) for row in held_out_pairs(loop)] == [(best, worst)]
    loop.aggregation, loop.ranking_pairs = "single", "all"
    assert len(held_out_pairs(loop)) == 5 * 6


def test_the_loops_settings_choose_the_rows_of_a_ranking(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    address = reverse("training:loop", args=[loop.pk])
    form = client.get(address).context["form"]
    data = {name: form[name].value() for name in form.fields if form[name].value() is not None}
    assert data["ranking_pairs"] == "best_worst"
    assert client.post(address, data | {"ranking_pairs": "adjacent"}).status_code == 302
    loop.refresh_from_db()
    assert loop.ranking_pairs == "adjacent"


def test_a_new_verdict_on_a_frozen_lineup_counts_as_new(loop: Loop, crew: list[User], lea: User) -> None:
    made = ranked(loop, crew, [1, 2, 3, 4], [4, 3, 2, 1])
    assert new_decisions(loop.project, method="dpo") == 2
    freeze(project=loop.project, selection=select(loop, "adjudicated"))
    assert new_decisions(loop.project, method="dpo") == 0
    OrderVerdict.objects.create(lineup=made[0].lineup, reviewer=lea, ranks=[1, 2, 3, 4])
    assert new_decisions(loop.project, method="dpo") == 1
    freeze(project=loop.project, selection=select(loop, "adjudicated"))
    assert new_decisions(loop.project, method="dpo") == 0


def test_a_gold_set_is_neither_trained_on_nor_measured_with(loop: Loop, crew: list[User], lea: User) -> None:
    for split in ("train", "reserved"):
        known = make_lineup(make_prompt(loop.project, split=split), slots=0)
        gold = make_gold_lineup(lineup=known, ranks=[1, 2, 3, 4], actor=lea)
        for user in crew:
            make_ranking(gold, user, [1, 2, 3, 4])
        OrderVerdict.objects.create(lineup=gold, reviewer=lea, ranks=[1, 2, 3, 4])
    assert (new_decisions(loop.project, method="dpo"), held_out_pairs(loop)) == (0, [])
    assert stock(loop.project).ranking_pairs == 0
    for rule in ("single", "adjudicated"):
        made = select(loop, rule).made
        assert (made.rows, {item.skip_reason for item in made.items}) == ([], {"gold"})
        assert frozen_rows(freeze(project=loop.project, selection=select(loop, rule)), "dpo").rows == []
