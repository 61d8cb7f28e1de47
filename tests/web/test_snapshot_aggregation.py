"""A snapshot's rule: which rows it makes, what each is made of, and that nothing that comes later changes it."""

import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from annotate.models import Comparison, Judgment, Project, User
from annotate.queries.aggregated import pair_records
from annotate.services.verdicts import adjudicate
from tests.cast import (
    join,
    make_comparison,
    make_judgment,
    make_lineup,
    make_prompt,
    make_ranking,
    make_rating,
    make_response,
    make_user,
    policy_author,
)
from tests.web.test_runs import form_data
from tests.web.test_snapshot_selection import trained
from training.models import Loop, Policy, Run, Snapshot, SnapshotComparison
from training.queries.facts import new_decisions
from training.queries.runs import accounting, snapshot_rows
from training.rows import dpo_rows
from training.services.loops import ensure_loop
from training.services.runs import start_run
from training.services.snapshots import (
    Selection,
    SnapshotChangedError,
    freeze,
    frozen_rows,
    select_rows,
    settle,
    settle_refused,
)


@pytest.fixture
def loop(project: Project) -> Loop:
    project.comparisons.all().delete()
    return ensure_loop(project=project, base_model="some/model")


@pytest.fixture
def crew(project: Project, bob: User) -> list[User]:
    made = [bob, make_user("dora"), make_user("emil")]
    for user in made[1:]:
        join(project, user)
    return made


@pytest.fixture
def pairs(loop: Loop, crew: list[User], lea: User) -> dict[str, Comparison]:
    """One comparison for each thing that can come of three people's judgments, and the verdicts on some."""

    def judged(*choices: str, **fields: object) -> Comparison:
        comparison = make_comparison(make_prompt(loop.project, split=str(fields.get("split", "train"))), slots=3)
        for number, (user, choice) in enumerate(zip(crew, choices, strict=False)):
            # The sides swap, the response that was preferred does not.
            swapped = number == 1
            side = {"A": "B", "B": "A"}.get(choice, choice) if swapped else choice
            make_judgment(comparison, user, side, swapped=swapped)
        return comparison

    made = {
        "agreed": judged("A", "A", "A"),
        "most": judged("B", "B", "A"),
        "alone": judged("A"),
        "drawn": judged("A", "B"),
        "tied": judged("tie", "tie", "A"),
        "bad": judged("both_bad", "both_bad", "skip"),
        "skipped": judged("skip"),
        "settled": judged("A", "B"),
        "overruled": judged("A", "A", "B"),
        "excluded": judged("A", "A"),
        "reserved": judged("A", "A", split="reserved"),
    }
    for name, verdict in (("settled", "second"), ("overruled", "second"), ("excluded", "exclude")):
        adjudicate(comparison=made[name], verdict=verdict, note="", reviewer=lea)
    return made


def select(loop: Loop, rule: str, parent: Policy | None = None, **how: object) -> Selection:
    options = {"method": "dpo", "replay_percent": 0, "min_rows": 1} | how
    parent = parent or Policy.objects.get(project=loop.project, number=0)
    return select_rows(project=loop.project, parent=parent, rng=random.Random(1), aggregation=rule, **options)  # type: ignore[arg-type]


def ids(pairs: dict[str, Comparison], selection: Selection) -> dict[str, str]:
    """By name of the comparison: the label that it is trained on, or why it is not."""
    names = {comparison.pk: name for name, comparison in pairs.items()}
    return {
        names[item.id]: item.skip_reason or (item.decided.label if item.decided else "")
        for item in selection.made.items
        if item.kind == "comparison"
    }


@pytest.mark.parametrize(
    ("rule", "reviewed"),
    [("majority", ("undecided", "first")), ("adjudicated", ("second", "second"))],
)
def test_each_comparison_is_a_row_or_is_left_out_for_a_reason(
    loop: Loop, pairs: dict[str, Comparison], rule: str, reviewed: tuple[str, str]
) -> None:
    assert ids(pairs, select(loop, rule)) == {
        "agreed": "first",
        "most": "second",
        "alone": "first",
        "drawn": "undecided",
        "tied": "tie",
        "bad": "both_bad",
        "skipped": "skip",
        "settled": reviewed[0],
        "overruled": reviewed[1],
        "excluded": "excluded",
        "reserved": "reserved",
    }


def test_dawid_skene_decides_with_a_probability(loop: Loop, pairs: dict[str, Comparison]) -> None:
    found = select(loop, "dawid_skene")
    decided = ids(pairs, found)
    assert (decided["agreed"], decided["most"], decided["settled"]) == ("first", "second", "second")
    snapshot = freeze(project=loop.project, selection=found)
    agreed = snapshot.comparisons.get(comparison=pairs["agreed"])
    assert agreed.support is not None
    assert 0.5 < agreed.support <= 1
    assert frozen_rows(snapshot, "dpo").sha256 == snapshot.sha256


def test_every_row_names_the_judgments_that_went_into_it(loop: Loop, pairs: dict[str, Comparison]) -> None:
    found = select(loop, "adjudicated")
    most = pairs["most"]
    row = next(row for row in found.made.rows if row["id"] == f"c{most.pk}")
    judgments = list(most.judgments.order_by("id").values_list("pk", flat=True))
    assert row["judgments"] == judgments
    assert (row["chosen"], row["rejected"]) == (most.second.text, most.first.text)
    snapshot = freeze(project=loop.project, selection=found)
    stored = snapshot.comparisons.get(comparison=most)
    assert list(stored.items.values_list("judgment", flat=True)) == judgments
    assert (stored.label, stored.support, stored.adjudication) == ("second", pytest.approx(2 / 3), None)
    overruled = snapshot.comparisons.get(comparison=pairs["overruled"])
    assert overruled.adjudication == pairs["overruled"].verdicts.get()


def test_an_edit_is_a_row_of_its_own_also_where_its_author_was_outvoted(
    loop: Loop, pairs: dict[str, Comparison], bob: User
) -> None:
    """An improved answer is better than the original, whichever answer of the two wins."""
    written = {}
    for name in ("most", "drawn", "excluded"):
        mine = pairs[name].judgments.get(annotator=bob)
        better = make_response(pairs[name].prompt, f"Improved for {name}", author=policy_author(loop.project, 9))
        Judgment.objects.filter(pk=mine.pk).update(edited=better)
        written[name] = (f"c{pairs[name].pk}e{mine.pk}", mine)
    found = select(loop, "adjudicated")
    rows = {str(row["id"]): row for row in found.made.rows}
    for name in ("most", "drawn"):
        row_id, mine = written[name]
        assert rows[row_id]["chosen"] == f"Improved for {name}"
        assert rows[row_id]["rejected"] == mine.preferred.text
        assert rows[row_id]["judgments"] == [mine.pk]
    assert written["excluded"][0] not in rows
    assert f"c{pairs['drawn'].pk}" not in rows
    for_kto = {str(row["id"]): row for row in select(loop, "adjudicated", method="kto").made.rows}
    assert for_kto[written["drawn"][0]]["label"] is True
    snapshot = freeze(project=loop.project, selection=found)
    assert frozen_rows(snapshot, "dpo").sha256 == snapshot.sha256


def test_both_bad_is_two_bad_answers_for_kto(loop: Loop, pairs: dict[str, Comparison]) -> None:
    found = select(loop, "majority", method="kto")
    bad = [row for row in found.made.rows if str(row["id"]).startswith(f"c{pairs['bad'].pk}")]
    assert [row["label"] for row in bad] == [False, False]
    assert all(len(row["judgments"]) == 2 for row in bad)


def test_single_leaves_out_what_a_reviewer_excluded(loop: Loop, pairs: dict[str, Comparison]) -> None:
    found = select(loop, "single")
    assert found.made.skipped["excluded"] == 2
    # agreed 3, most 3, alone 1, drawn 2, tied 1, settled 2, overruled 3: each a row, contradictions and all.
    assert len(found.made.rows) == 15
    snapshot = freeze(project=loop.project, selection=found)
    pairs["excluded"].verdicts.update(superseded_at="2026-11-21T12:00:00Z")
    assert frozen_rows(snapshot, "dpo").sha256 == snapshot.sha256


# --- Frozen -----------------------------------------------------------------------------------------------------------


def test_what_comes_after_the_freeze_changes_nothing(
    loop: Loop, pairs: dict[str, Comparison], crew: list[User], lea: User
) -> None:
    snapshot = freeze(project=loop.project, selection=select(loop, "adjudicated"))
    adjudicate(comparison=pairs["agreed"], verdict="exclude", note="", reviewer=lea)
    make_judgment(pairs["alone"], crew[1], "B")
    make_judgment(pairs["alone"], crew[2], "B")
    Judgment.objects.filter(comparison=pairs["most"]).update(superseded_at="2026-11-21T12:00:00Z")
    assert frozen_rows(snapshot, "dpo").sha256 == snapshot.sha256


def test_a_hand_in_the_tables_is_noticed(loop: Loop, pairs: dict[str, Comparison]) -> None:
    snapshot = freeze(project=loop.project, selection=select(loop, "adjudicated"))
    snapshot.comparisons.filter(comparison=pairs["most"]).update(label="first")
    with pytest.raises(SnapshotChangedError):
        frozen_rows(snapshot, "dpo")


def test_every_judgment_and_every_comparison_is_accounted_for(loop: Loop, pairs: dict[str, Comparison]) -> None:
    run = start_run(
        loop=loop, method="dpo", settings={"min_rows": 1}, started_by=None, reason="test", aggregation="adjudicated"
    )
    before = accounting(run)
    assert (before.total, before.pending, before.skipped_total) == (11, 5, 6)
    made = frozen_rows(run.snapshot, "dpo")
    refused = {"id": f"c{pairs['alone'].pk}", "reason": "prompt too long"}
    used = [str(row["id"]) for row in made.rows if row["id"] != refused["id"]]
    settle(snapshot=run.snapshot, made=made, used=used, skipped=[refused])
    shown = accounting(run)
    assert (shown.used, shown.skipped_total, shown.pending) == (4, 7, 0)
    assert shown.used + shown.skipped_total == shown.total == Comparison.objects.count()
    assert {share.label for share in shown.skipped} >= {"prompt too long", "judged a tie"}
    # Two skipped: they abstained. All others went into a comparison.
    assert (shown.judgments, shown.abstained) == (Judgment.objects.count() - 2, 2)
    assert run.snapshot.items.count() == Judgment.objects.count()
    assert not run.snapshot.items.filter(outcome="pending").exists()
    assert run.snapshot.items.get(judgment__comparison=pairs["alone"]).reason == "prompt too long"
    assert set(run.snapshot.items.filter(judgment__comparison=pairs["most"]).values_list("outcome")) == {("used",)}


def test_rankings_and_ratings_are_accounted_for_beside_comparisons(
    loop: Loop, pairs: dict[str, Comparison], bob: User
) -> None:
    make_ranking(make_lineup(make_prompt(loop.project)), bob, [1, 2, 3, 4])
    make_rating(make_response(make_prompt(loop.project)), bob)
    for rule in ("single", "adjudicated"):
        snapshot = freeze(project=loop.project, selection=select(loop, rule))
        shown = accounting(Run(snapshot=snapshot))
        counted = Comparison.objects.count() if rule == "adjudicated" else Judgment.objects.count()
        assert shown.pending + shown.skipped_total == shown.total == counted + 2
        kinds = [row[0] for row in snapshot_rows(Run(snapshot=snapshot))]
        assert len(kinds) - kinds.count("lineup pair") == shown.total
        assert (kinds.count("ranking") + kinds.count("lineup"), kinds.count("rating")) == (1, 1)


def test_a_failed_run_says_which_rows_the_engine_refused(loop: Loop, pairs: dict[str, Comparison]) -> None:
    snapshot = freeze(project=loop.project, selection=select(loop, "majority"))
    made = frozen_rows(snapshot, "dpo")
    settle_refused(snapshot=snapshot, made=made, skipped=[{"id": f"c{pairs['agreed'].pk}", "reason": "too long"}])
    assert snapshot.comparisons.get(comparison=pairs["agreed"]).reason == "too long"
    assert snapshot.items.filter(reason="too long").count() == 3
    assert snapshot.comparisons.get(comparison=pairs["most"]).outcome == "pending"


# --- Round after round ------------------------------------------------------------------------------------------------


def later(loop: Loop, first: Selection) -> Policy:
    """A policy that was trained on every row of the selection."""
    made = trained(loop, Policy.objects.get(project=loop.project, number=0), first, 1)
    SnapshotComparison.objects.filter(outcome="pending").update(outcome="used")
    return made


def test_the_next_run_takes_what_is_new_or_was_decided_otherwise(
    loop: Loop, pairs: dict[str, Comparison], crew: list[User], lea: User
) -> None:
    policy = later(loop, select(loop, "adjudicated"))
    again = select(loop, "adjudicated", policy)
    assert again.name == "all"
    make_judgment(pairs["alone"], crew[1], "A")
    adjudicate(comparison=pairs["drawn"], verdict="first", note="", reviewer=lea)
    adjudicate(comparison=pairs["agreed"], verdict="second", note="", reviewer=lea)
    found = select(loop, "adjudicated", policy)
    assert found.name == "new"
    assert ids(pairs, found) == {"alone": "first", "drawn": "first", "agreed": "second"}
    replayed = select(loop, "adjudicated", policy, replay_percent=100)
    assert replayed.replayed == 3
    assert set(ids(pairs, replayed)) == {"alone", "drawn", "agreed", "most", "settled", "overruled"}


def test_another_rule_takes_what_it_decides_otherwise(loop: Loop, pairs: dict[str, Comparison]) -> None:
    policy = later(loop, select(loop, "single"))
    found = ids(pairs, select(loop, "adjudicated", policy))
    # What "single" had trained on in contradiction, or had said otherwise of, is decided now.
    assert {found[name] for name in ("settled", "overruled", "most")} == {"second"}
    assert "agreed" not in found
    assert "alone" not in found


# --- Pages ------------------------------------------------------------------------------------------------------------


def test_the_start_form_names_the_rule_and_the_loop_keeps_it(
    client: Client, lea: User, loop: Loop, pairs: dict[str, Comparison]
) -> None:
    client.force_login(lea)
    address = reverse("training:start", args=[loop.pk])
    page = client.get(address).content.decode()
    assert '<option value="adjudicated" selected>' in page
    answer = client.post(address, form_data(loop, min_rows=1, aggregation="majority"))
    assert answer.status_code == 302
    run = Run.objects.get()
    loop.refresh_from_db()
    assert (run.snapshot.aggregation, loop.aggregation) == ("majority", "majority")
    shown = client.get(reverse("training:run", args=[loop.pk, run.number])).content.decode()
    assert "Majority: what more than half said" in shown
    assert "Judgments and rankings that went in" in shown
    undecided = run.snapshot.comparisons.filter(label="undecided").count()
    assert undecided
    assert f"Comparisons left undecided: {undecided} of {run.snapshot.comparisons.count()} (" in shown


def test_the_loops_settings_name_the_rule_and_the_log_records_a_change(
    client: Client, lea: User, loop: Loop, pairs: dict[str, Comparison]
) -> None:
    client.force_login(lea)
    address = reverse("training:loop", args=[loop.pk])
    form = client.get(address).context["form"]
    data = {name: form[name].value() for name in form.fields if form[name].value() is not None}
    client.post(address, data | {"aggregation": "dawid_skene"})
    loop.refresh_from_db()
    assert loop.aggregation == "dawid_skene"
    assert loop.project.audit_entries.get(verb="loop.changed").detail["aggregation"] == "dawid_skene"
    run = start_run(loop=loop, method="dpo", settings={"min_rows": 1}, started_by=None, reason="test")
    assert run.snapshot.aggregation == "dawid_skene"


@pytest.mark.parametrize("rule", ["single", "adjudicated"])
def test_the_rows_can_be_taken_away(
    client: Client, lea: User, loop: Loop, pairs: dict[str, Comparison], rule: str
) -> None:
    run = start_run(loop=loop, method="dpo", settings={"min_rows": 1}, started_by=None, reason="test", aggregation=rule)
    client.force_login(lea)
    answer = client.get(reverse("training:run_rows", args=[loop.pk, run.number]))
    table = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert len(table) == accounting(run).total
    named = [int(pk) for row in table for pk in row["judgments"].split()]
    voted = Judgment.objects.exclude(choice="skip") if rule == "adjudicated" else Judgment.objects.all()
    assert sorted(named) == sorted(voted.values_list("pk", flat=True))
    if rule == "adjudicated":
        overruled = next(row for row in table if row["id"] == str(pairs["overruled"].pk))
        assert (overruled["label"], overruled["decided_by"]) == ("second", "reviewer")


def test_decisions_are_read_in_pages_with_a_constant_number_of_queries_each(
    loop: Loop, bob: User, django_assert_num_queries: object
) -> None:
    for _ in range(12):
        make_judgment(make_comparison(make_prompt(loop.project)), bob)
    # Comparisons, their votes, the verdicts, the edits and the strengths; a look for another page.
    with django_assert_num_queries(6):  # type: ignore[operator]
        made = dpo_rows(pair_records(loop.project, rule="adjudicated"))
    assert len(made.rows) == 12


def test_an_old_snapshot_keeps_its_rows(loop: Loop, pairs: dict[str, Comparison]) -> None:
    """Snapshots of before there were rules are "single", with rows as they always were."""
    found = select(loop, "single")
    assert all(set(row) == {"id", "messages", "chosen", "rejected"} for row in found.made.rows)
    assert Snapshot._meta.get_field("aggregation").get_default() == "single"


# --- Exports ----------------------------------------------------------------------------------------------------------


def chosen_of(row: dict[str, Any]) -> tuple[str, str]:
    """The texts of the answers that a row prefers, and does not, in a run's row as in the export's."""
    better, worse = row["chosen"], row["rejected"]
    return (better, worse) if isinstance(better, str) else (better[0]["content"], worse[0]["content"])


@pytest.mark.parametrize("rule", ["single", "majority", "adjudicated", "dawid_skene"])
def test_the_export_has_the_pairs_that_a_run_would_train_on(
    client: Client, lea: User, loop: Loop, pairs: dict[str, Comparison], rule: str
) -> None:
    client.force_login(lea)
    answer = client.post(
        reverse("annotate:export", args=[loop.pk]), {"what": "dpo", "format": "jsonl", "aggregation": rule}
    )
    rows = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]  # type: ignore[attr-defined]
    made = select(loop, rule).made
    assert sorted(map(chosen_of, rows)) == sorted(map(chosen_of, made.rows))
    assert {row["source"] for row in rows} == {"judgment" if rule == "single" else "comparison"}
    assert f"dpo-{rule}-" in answer["Content-Disposition"]
    entry = loop.project.audit_entries.get(verb="export.made")
    assert entry.detail["aggregation"] == rule
    assert entry.detail["left_out"]["excluded"] == (2 if rule == "single" else 1)


def test_the_command_exports_by_the_rule_it_is_given(
    loop: Loop, pairs: dict[str, Comparison], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for rule, options in (("adjudicated", []), ("majority", ["--aggregate", "majority"])):
        call_command("export", str(loop.pk), "dpo", "--output", str(tmp_path / rule), *options)
        rows = [json.loads(line) for line in (tmp_path / rule).read_text().splitlines()]
        assert sorted(map(chosen_of, rows)) == sorted(map(chosen_of, select(loop, rule).made.rows))
    assert "people disagree" in capsys.readouterr().out


def test_kto_takes_decided_comparisons_apart(loop: Loop, pairs: dict[str, Comparison], tmp_path: Path) -> None:
    call_command("export", str(loop.pk), "kto", "--output", str(tmp_path / "kto"))
    rows = [json.loads(line) for line in (tmp_path / "kto").read_text().splitlines()]
    assert len(rows) == len(select(loop, "adjudicated", method="kto").made.rows)


def test_a_verdict_on_what_is_frozen_counts_as_new_while_it_says_otherwise(
    loop: Loop, pairs: dict[str, Comparison], lea: User
) -> None:
    assert new_decisions(loop.project, method="dpo") > 0
    freeze(project=loop.project, selection=select(loop, "adjudicated"))
    assert new_decisions(loop.project, method="dpo") == 0
    adjudicate(comparison=pairs["agreed"], verdict="first", note="", reviewer=lea)  # what they said
    adjudicate(comparison=pairs["reserved"], verdict="second", note="", reviewer=lea)
    adjudicate(comparison=pairs["tied"], verdict="exclude", note="", reviewer=lea)
    assert new_decisions(loop.project, method="dpo") == 0
    adjudicate(comparison=pairs["drawn"], verdict="first", note="", reviewer=lea)
    adjudicate(comparison=pairs["most"], verdict="both_bad", note="", reviewer=lea)
    assert (new_decisions(loop.project, method="dpo"), new_decisions(loop.project, method="kto")) == (1, 2)
    loop.aggregation = "majority"
    loop.save()
    assert new_decisions(loop.project, method="dpo") == 0
    loop.aggregation = "adjudicated"
    loop.save()
    freeze(project=loop.project, selection=select(loop, "adjudicated"))
    assert new_decisions(loop.project, method="dpo") == 0
