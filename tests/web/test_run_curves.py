"""The curves of a run's page, several runs in the same figures, and the end of the engine's log."""

from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from annotate.models import Project, User
from tests.cast import make_comparison, make_judgment, make_prompt
from training.engine.spec import TrainSpec
from training.models import Job, Loop, Run
from training.paths import attempt_folder
from training.queries.curves import curve, figures, last_values, loss_of
from training.services.loops import ensure_loop
from training.services.publishing import relay
from training.services.runs import cancel_run, start_run


@pytest.fixture
def loop(project: Project, bob: User) -> Loop:
    for number in range(10):
        make_judgment(make_comparison(make_prompt(project), round=1), bob, "A" if number % 2 else "B")
    return ensure_loop(project=project, base_model=str(settings.STARTER_DIR))


def ended(loop: Loop, alice: User, *, method: str = "dpo", steps: int = 3, **chosen: object) -> Run:
    """A run that took some steps and was cancelled."""
    run = start_run(loop=loop, method=method, settings=chosen, started_by=alice, reason="Alice pressed Start")
    for step in range(1, steps + 1):
        say(run, step, loss=0.7 / step)
    cancel_run(run=run, actor=alice)
    run.refresh_from_db()
    return run


def say(run: Run, step: int, kind: str = "metric", **values: float) -> None:
    progress = {"seq": 2 * step, "at": float(step), "kind": "progress", "step": step, "total": 40}
    relay(run, [progress, {"seq": 2 * step + 1, "at": float(step), "kind": kind, "step": step, "values": values}],
          attempt=1, stage="train")  # fmt: skip


def page_of(client: Client, run: Run, *wanted: Run) -> str:
    address = reverse("training:run", args=[run.project_id, run.number])
    return client.get(address, {"with": [other.number for other in wanted]}).content.decode()


def test_losses_of_different_types_never_stand_on_one_axis(loop: Loop, alice: User) -> None:
    plain = ended(loop, alice)
    other = ended(loop, alice, loss_type=["ipo"])
    again = ended(loop, alice, beta=0.2)
    drawn = figures(plain, [other, again])
    losses = [(figure.title, [line.run for line in figure.lines]) for figure in drawn if figure.lines[0].name == "loss"]
    assert losses == [("Loss: DPO sigmoid", [1, 3]), ("Loss: DPO ipo", [2])]
    margins = [figure for figure in drawn if figure.lines[0].name == "margin"]
    assert [[line.run for line in figure.lines] for figure in margins] == [[1, 2, 3]]
    assert "Loss" not in {row.title for row in last_values([plain, other])}
    assert "Loss" in {row.title for row in last_values([plain, again])}


def test_weights_and_smoothing_make_another_loss() -> None:
    sum_of_two = {"method": "dpo", "loss_type": ["sigmoid", "sft"], "loss_weights": [1, 0.2]}
    assert loss_of(sum_of_two) == "DPO sigmoid + 0.2 × sft"
    assert loss_of({"method": "dpo", "loss_type": ["robust"], "label_smoothing": 0.1}) == (
        "DPO robust, label smoothing 0.1"
    )


def test_losses_of_different_types_have_axes_of_their_own() -> None:
    specs = [TrainSpec(method="dpo", model="m"), TrainSpec(method="dpo", model="m", loss_type=("ipo",))]
    specs += [TrainSpec(method="kto", model="m"), TrainSpec(method="dpo", model="m", loss_weights=(2.0,))]
    assert len({loss_of(spec.to_json()) for spec in specs}) == len(specs)
    again = TrainSpec(method="dpo", model="n", learning_rate=1e-3)
    assert loss_of(specs[0].to_json()) == loss_of(again.to_json())
    # The filter chooses rows; the loss is DPO's, and the two are compared in one figure.
    assert loss_of({"method": "fdpo", "loss_type": ["ipo"]}) == loss_of({"method": "dpo", "loss_type": ["ipo"]})


def test_other_runs_are_drawn_beside_it_and_told_as_a_table(client: Client, loop: Loop, alice: User) -> None:
    first, second = ended(loop, alice), ended(loop, alice, steps=5)
    client.force_login(alice)
    alone = page_of(client, second)
    assert 'name="with" value="1"' in alone
    assert "<span>Run 1, DPO sigmoid, " in alone
    assert "Last values, side by side" not in alone
    both = page_of(client, second, first)
    assert f'data-url="{reverse("training:run_curve", args=[loop.pk, 1])}"' in both
    assert "Last values, side by side" in both
    assert "0.2333" in both
    assert "0.1400" in both
    Run.objects.filter(pk=first.pk).update(method="sft", spec=TrainSpec(method="sft", model="m").to_json())
    assert "<span>Run 1, SFT, " in page_of(client, second)


def test_an_address_cannot_name_runs_of_elsewhere_or_too_many(client: Client, loop: Loop, alice: User) -> None:
    runs = [ended(loop, alice, steps=1) for _ in range(7)]
    client.force_login(alice)
    page = page_of(client, runs[0], *runs[1:])
    assert page.count("data-run=") == 6
    address = reverse("training:run", args=[loop.pk, 1])
    assert client.get(address, {"with": ["99", "x", "1", "-1", "9" * 400]}).content.decode().count("data-run=") == 1


def test_a_look_joins_the_point_of_its_step(loop: Loop, alice: User) -> None:
    run = ended(loop, alice)
    say(run, 2, "look", heldout_accuracy=0.75, kl_per_response=1.5)
    say(run, 4, "look", heldout_accuracy=0.8)
    points = {point["step"]: point for point in curve(run)}
    assert (points[2]["loss"], points[2]["heldout"], points[2]["fresh_kl"]) == (0.35, 0.75, 1.5)
    assert points[4] == {"step": 4, "heldout": 0.8}


def test_the_log_is_escaped_and_names_neither_keys_nor_folders(
    client: Client, loop: Loop, alice: User, tmp_path: Path, settings: object
) -> None:
    settings.RUNS_DIR = tmp_path  # type: ignore[attr-defined]
    run = ended(loop, alice)
    assert "The engine printed nothing" in page_for(client, alice, run)
    folder = attempt_folder(Job.objects.get(run=run), 2)
    folder.mkdir(parents=True)
    (folder / "engine.log").write_text(f"<script>x</script> in {tmp_path}/a/b.py\nHF_TOKEN=hf_{'a' * 30}\n")
    page = page_for(client, alice, run)
    assert "&lt;script&gt;x&lt;/script&gt; in …" in page
    assert "<script>x" not in page
    assert str(tmp_path) not in page
    assert "hf_a" not in page


def page_for(client: Client, user: User, run: Run) -> str:
    client.force_login(user)
    return client.get(reverse("training:run_log", args=[run.project_id, run.number])).content.decode()


def test_the_log_of_a_run_under_way_is_sent_again_only_when_it_grew(
    client: Client, loop: Loop, alice: User, tmp_path: Path, settings: object
) -> None:
    settings.RUNS_DIR = tmp_path  # type: ignore[attr-defined]
    run = start_run(loop=loop, method="dpo", settings={}, started_by=alice, reason="")
    folder = attempt_folder(Job.objects.get(run=run), 1)
    folder.mkdir(parents=True)
    (folder / "engine.log").write_text("loading\n")
    client.force_login(alice)
    address = reverse("training:run_log", args=[loop.pk, run.number])
    tail = client.get(address).context["log"]
    assert client.get(address, {"seen": tail.seen}).status_code == 204
    with (folder / "engine.log").open("a") as file:
        file.write("step 1\n")
    assert "step 1" in client.get(address, {"seen": tail.seen}).content.decode()
