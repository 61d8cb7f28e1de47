"""Starting, watching and cancelling runs in the browser, without an engine: what it says is written by hand here."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.models import Judgment, Project, User
from tests.cast import make_comparison, make_judgment, make_prompt, make_rating, make_response
from training.engine import rundir
from training.models import Job, Loop, Policy, Run, RunEvent, SnapshotItem
from training.queries.curves import curve
from training.queries.runs import accounting, eta_seconds, live
from training.services.defaults import default_settings
from training.services.leases import Lease, LeaseLostError, claim
from training.services.loops import ensure_loop
from training.services.publishing import publish_run, relay
from training.services.runs import (
    AlreadyRunningError,
    CannotStartError,
    cancel_run,
    mark_training,
    start_run,
)
from training.services.snapshots import SnapshotChangedError, frozen_rows

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def loop(project: Project) -> Loop:
    return ensure_loop(project=project, base_model=str(settings.STARTER_DIR))


@pytest.fixture
def judged(loop: Loop, bob: User) -> list[Judgment]:
    """Ten preferences on train prompts, a tie, a skip, and two preferences on a reserved prompt."""
    project = loop.project
    made = [
        make_judgment(make_comparison(make_prompt(project), round=1), bob, "A" if number % 2 else "B")
        for number in range(10)
    ]
    made.append(make_judgment(make_comparison(make_prompt(project), round=1), bob, "tie"))
    made.append(make_judgment(make_comparison(make_prompt(project), round=1), bob, "skip"))
    for _ in range(2):
        reserved = make_prompt(project, split="reserved")
        made.append(make_judgment(make_comparison(reserved, round=1), bob, "A"))
    return made


def started(loop: Loop, user: User | None = None, method: str = "dpo", aggregation: str = "", **chosen: object) -> Run:
    return start_run(
        loop=loop,
        method=method,
        settings=chosen,
        started_by=user,
        reason="Alice pressed Start",
        aggregation=aggregation,
    )


def form_data(loop: Loop, method: str = "dpo", **changed: object) -> dict[str, object]:
    """What a browser sends when the form is left as it is, but for ``changed``."""
    values = default_settings(method=method, base_model=loop.base_model)
    data = {name: "" if value is None else value for name, value in values.items()}
    data |= {"method": method, "loss_weights": ""}
    if not values["gradient_checkpointing"]:
        del data["gradient_checkpointing"]
    return data | changed


# --- Starting ---------------------------------------------------------------------------------------------------------


def test_a_press_on_start_freezes_snapshot_and_plan_and_opens_the_run(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    client.force_login(alice)
    answer = client.post(reverse("training:start", args=[loop.pk]), form_data(loop, beta="0.2"))
    run = Run.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == reverse("training:run", args=[loop.pk, 1])
    assert (run.number, run.state, run.spec["beta"], run.reference) == (1, "queued", 0.2, "base")
    assert run.spec["model"] == str(settings.STARTER_DIR)
    assert Job.objects.get().run == run
    assert frozen_rows(run.snapshot, "dpo").sha256 == run.snapshot.sha256
    loop.refresh_from_db()
    assert loop.settings["beta"] == 0.2


def test_every_judgment_is_in_the_snapshot_used_or_skipped_for_a_reason(loop: Loop, judged: list[Judgment]) -> None:
    shown = accounting(started(loop))
    assert (shown.total, shown.pending, shown.used, shown.skipped_total) == (14, 10, 0, 4)
    assert {share.label: share.count for share in shown.skipped} == {
        "judged a tie": 1,
        "skipped by the annotator": 1,
        "on a reserved prompt: kept to measure the policies": 2,
    }


def test_a_double_press_leads_to_the_one_run(client: Client, alice: User, loop: Loop, judged: list[Judgment]) -> None:
    client.force_login(alice)
    address = reverse("training:start", args=[loop.pk])
    first = client.post(address, form_data(loop))
    second = client.post(address, form_data(loop))
    assert first["Location"] == second["Location"]
    assert Run.objects.count() == Job.objects.count() == 1
    with pytest.raises(AlreadyRunningError):
        started(loop)


def test_a_nonsense_value_comes_back_beside_its_field_and_starts_nothing(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    client.force_login(alice)
    answer = client.post(reverse("training:start", args=[loop.pk]), form_data(loop, beta="-3", warmup_ratio="9"))
    assert answer.status_code == 422
    errors = answer.context["form"].errors
    assert "above 0" in errors["beta"][0]
    assert "0.5" in errors["warmup_ratio"][0]
    assert not Run.objects.exists()


@pytest.mark.parametrize("junk", ["", "abc", "NaN", "1e999", "\0"])
def test_junk_in_a_number_is_a_422(client: Client, alice: User, loop: Loop, judged: list[Judgment], junk: str) -> None:
    client.force_login(alice)
    answer = client.post(reverse("training:start", args=[loop.pk]), form_data(loop, learning_rate=junk))
    assert answer.status_code == 422
    assert not Run.objects.exists()


def test_too_few_judgments_say_how_many_are_missing(client: Client, alice: User, loop: Loop) -> None:
    client.force_login(alice)
    answer = client.post(reverse("training:start", args=[loop.pk]), form_data(loop))
    assert answer.status_code == 422
    assert "Too few rows to train on: 0 of at least" in answer.content.decode()


def test_one_sided_thumbs_start_no_kto_run(loop: Loop, bob: User) -> None:
    for _ in range(20):
        make_rating(make_response(make_prompt(loop.project)), bob, "up")
    with pytest.raises(CannotStartError, match="Rate some answers down"):
        started(loop, method="kto")


def test_kto_learns_from_thumbs_and_from_pairs_taken_apart(loop: Loop, judged: list[Judgment], bob: User) -> None:
    make_rating(make_response(make_prompt(loop.project)), bob, "down")
    run = started(loop, method="kto")
    assert len(frozen_rows(run.snapshot, "kto").rows) == 21
    assert accounting(run).pending == 11


def test_a_judgment_edited_after_the_freeze_changes_nothing_in_the_run(loop: Loop, judged: list[Judgment]) -> None:
    run = started(loop, aggregation="single")
    Judgment.objects.filter(pk=judged[0].pk).update(superseded_at=NOW)
    assert frozen_rows(run.snapshot, "dpo").sha256 == run.snapshot.sha256
    Judgment.objects.filter(pk=judged[1].pk).update(swapped=True, choice="A", preferred=judged[1].comparison.second)
    with pytest.raises(SnapshotChangedError):
        frozen_rows(run.snapshot, "dpo")


def test_the_other_methods_form_comes_with_its_own_knobs(client: Client, alice: User, loop: Loop) -> None:
    client.force_login(alice)
    address = reverse("training:start", args=[loop.pk])
    page = client.get(address, {"method": "kto"}).content.decode()
    fragment = client.get(address, {"method": "kto"}, headers={"HX-Request": "true"}).content.decode()
    assert 'name="desirable_weight"' in page
    assert 'name="label_smoothing"' not in page
    assert "<html" in page
    assert "<html" not in fragment
    assert 'name="desirable_weight"' in fragment


def test_the_form_on_the_runs_page_can_be_sent_as_it_is(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    client.force_login(alice)
    form = client.get(reverse("training:runs", args=[loop.pk])).context["form"]
    data = {bound.html_name: bound.value() for bound in form if bound.value() is not None}
    if not data["gradient_checkpointing"]:
        del data["gradient_checkpointing"]
    assert client.post(reverse("training:start", args=[loop.pk]), data).status_code == 302


# --- Watching ---------------------------------------------------------------------------------------------------------


def say(run: Run, *, step: int, loss: float, seconds: float, attempt: int = 1, seq: int = 0) -> None:
    at = NOW.timestamp() + seconds
    values = {"loss": loss, "rewards/accuracies": 0.5, "rewards/margins": 0.1}
    events = [
        {"seq": seq, "at": at, "kind": "progress", "step": step, "total": 40},
        {"seq": seq + 1, "at": at, "kind": "metric", "step": step, "values": values},
    ]
    relay(run, events, attempt=attempt, stage="train")


def test_the_run_page_shows_state_step_loss_and_time_left(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    run = started(loop)
    mark_training(run)
    for step in range(1, 13):
        say(run, step=step, loss=0.7 - step / 100, seconds=step * 2)
    client.force_login(alice)
    page = client.get(reverse("training:run", args=[loop.pk, 1])).content.decode()
    assert "Training" in page
    assert "0.5800" in page
    assert "56 s" in page
    assert 'value="12"' in page
    assert "Cancel run" in page


def test_the_live_part_is_silent_until_something_changed(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    run = started(loop)
    client.force_login(alice)
    address = reverse("training:run_live", args=[loop.pk, 1])
    seen = live(run).seen
    assert client.get(address, {"seen": seen}).status_code == 204
    mark_training(run)
    say(run, step=1, loss=0.69, seconds=1)
    changed = client.get(address, {"seen": seen})
    assert changed.status_code == 200
    assert "hx-trigger" in changed.content.decode()


def test_the_live_part_of_an_ended_run_polls_no_more(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    run = started(loop)
    cancel_run(run=run, actor=alice)
    client.force_login(alice)
    page = client.get(reverse("training:run_live", args=[loop.pk, 1])).content.decode()
    assert "hx-trigger" not in page
    assert "Cancelled by alice" in page


def test_the_results_come_when_the_state_moves_and_then_no_more_is_asked(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    run = started(loop)
    client.force_login(alice)
    address = reverse("training:run_results", args=[loop.pk, 1])
    seen = live(run).results_seen
    assert client.get(address, {"seen": seen}).status_code == 204
    cancel_run(run=run, actor=alice)
    page = client.get(address, {"seen": seen})
    assert page.status_code == 200
    assert "not trained on" in page.content.decode()
    assert "hx-trigger" not in page.content.decode()


def test_the_curve_comes_in_pieces_and_a_resumed_attempt_replaces_its_steps(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    run = started(loop)
    say(run, step=1, loss=0.69, seconds=1)
    say(run, step=2, loss=0.60, seconds=2)
    client.force_login(alice)
    address = reverse("training:run_curve", args=[loop.pk, 1])
    first = client.get(address).json()
    assert [point["loss"] for point in first["points"]] == [0.69, 0.6]
    assert first["active"] is True
    say(run, step=2, loss=0.61, seconds=30, attempt=2)
    news = client.get(address, {"after": first["after"]}).json()
    assert [(point["step"], point["loss"]) for point in news["points"]] == [(2, 0.61)]
    assert [point["loss"] for point in curve(run)] == [0.69, 0.61]
    assert client.get(address, {"after": "; drop"}).status_code == 404


def test_a_number_that_is_not_finite_never_reaches_the_database(loop: Loop, judged: list[Judgment]) -> None:
    run = started(loop)
    events = [{"seq": 1, "at": 0.0, "kind": "metric", "step": 1, "values": {"loss": float("nan"), "kl": float("inf")}}]
    relay(run, events, attempt=1, stage="train")
    relay(run, [{"seq": 2, "at": 0.0, "kind": "warning", "message": "a\0b\ud800"}], attempt=1, stage="train")
    assert curve(run)[0]["loss"] is None
    assert RunEvent.objects.get(kind="warning").data["message"] == "a\ufffdb\ufffd"


def test_the_time_left_follows_the_pace_of_the_present_attempt() -> None:
    assert eta_seconds((0, NOW), (10, NOW + timedelta(seconds=20)), total=40) == 60
    assert eta_seconds((10, NOW), (10, NOW), total=40) is None
    assert eta_seconds((1, NOW), (5, NOW + timedelta(seconds=4)), total=0) is None


# --- Cancelling -------------------------------------------------------------------------------------------------------


def test_a_queued_run_is_cancelled_at_once_and_twice_is_once(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    run = started(loop)
    client.force_login(alice)
    for _ in range(2):
        assert client.post(reverse("training:cancel", args=[loop.pk, 1])).status_code == 302
    run.refresh_from_db()
    assert run.state == "cancelled"
    assert Job.objects.get().state == "cancelled"
    assert run.events.filter(kind="move", data__to="cancelled").count() == 1


def test_a_running_one_is_asked_to_end_and_stays_until_the_worker_says_so(
    alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    run = started(loop)
    assert claim(job_id=Job.objects.get().pk, owner="worker 1")
    mark_training(run)
    cancel_run(run=run, actor=alice)
    run.refresh_from_db()
    assert run.state == "training"
    assert run.cancel_requested_at is not None


# --- Publishing -------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(loop: Loop, judged: list[Judgment], tmp_path: Path) -> tuple[Run, Lease, Path, dict[str, object]]:
    """A run whose engine has just finished: an adapter with its manifest, and the result."""
    run = started(loop)
    lease = claim(job_id=Job.objects.get().pk, owner="worker 1")
    assert lease is not None
    mark_training(run)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    digest = rundir.write_manifest(tmp_path / "adapter", {"method": "dpo"})
    ids = [row["id"] for row in frozen_rows(run.snapshot, "dpo").rows]
    skipped = [{"id": ids[0], "reason": "prompt too long"}]
    result = {"status": "finished", "used": ids[1:], "skipped": skipped, "manifest_sha256": digest, "metrics": {}}
    yield run, lease, tmp_path, result
    shutil.rmtree(settings.POLICIES_DIR, ignore_errors=True)


def test_a_finished_run_becomes_an_immutable_policy_and_every_row_is_accounted_for(
    trained: tuple[Run, Lease, Path, dict[str, object]],
) -> None:
    run, lease, folder, result = trained
    policy = publish_run(lease=lease, run=run, folder=folder, result=result)
    run.refresh_from_db()
    assert (policy.number, policy.parent, policy.author.name) == (1, run.parent, "policy 1")
    assert run.state == "scoring"
    kept = Path(settings.HOME) / policy.adapter_path
    assert rundir.verify_manifest(kept, policy.manifest_sha256)
    shown = accounting(run)
    assert (shown.total, shown.used, shown.pending, shown.skipped_total) == (14, 9, 0, 5)
    assert SnapshotItem.objects.filter(reason="prompt too long").count() == 1


def test_a_lost_lease_publishes_nothing(trained: tuple[Run, Lease, Path, dict[str, object]]) -> None:
    run, lease, folder, result = trained
    Job.objects.update(token=lease.token + 1)
    with pytest.raises(LeaseLostError):
        publish_run(lease=lease, run=run, folder=folder, result=result)
    assert not Policy.objects.filter(run=run).exists()
    assert not list(Path(settings.POLICIES_DIR).rglob("*.safetensors"))
    assert accounting(run).pending == 10


def test_an_adapter_that_differs_from_its_manifest_is_no_policy(
    trained: tuple[Run, Lease, Path, dict[str, object]],
) -> None:
    run, lease, folder, result = trained
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"other weights")
    with pytest.raises(rundir.ManifestError):
        publish_run(lease=lease, run=run, folder=folder, result=result)
    assert not Policy.objects.filter(run=run).exists()


def test_a_row_that_the_engine_forgot_is_no_policy(trained: tuple[Run, Lease, Path, dict[str, object]]) -> None:
    run, lease, folder, result = trained
    with pytest.raises(ValueError, match="did not account"):
        publish_run(lease=lease, run=run, folder=folder, result=result | {"skipped": []})
    assert not Policy.objects.filter(run=run).exists()
    assert Job.objects.get().state == "running"


# --- Who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["runs", "start", "run", "run_live", "run_results", "run_curve", "cancel"])
@pytest.mark.usefixtures("judged")
def test_annotators_and_strangers_see_no_runs(client: Client, bob: User, charlie: User, loop: Loop, name: str) -> None:
    started(loop)
    numbered = name in ("run", "run_live", "run_results", "run_curve", "cancel")
    address = reverse(f"training:{name}", args=[loop.pk, 1] if numbered else [loop.pk])
    ask = client.post if name == "cancel" else client.get
    assert ask(address).status_code == 302
    client.force_login(bob)
    assert ask(address).status_code == 403
    client.force_login(charlie)
    assert ask(address).status_code == 404


def test_the_list_needs_as_many_queries_for_twenty_runs_as_for_ten(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    client.force_login(alice)

    def queries_for(runs: int) -> int:
        while Run.objects.count() < runs:
            cancel_run(run=started(loop), actor=alice)
        client.get(reverse("training:runs", args=[loop.pk]))
        with CaptureQueriesContext(connection) as captured:
            assert client.get(reverse("training:runs", args=[loop.pk])).status_code == 200
        return len(captured)

    assert queries_for(20) == queries_for(10)
