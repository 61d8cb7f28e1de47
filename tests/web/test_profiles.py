"""What the worker told of its machine shapes the next run's settings, and is shown before a run starts."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.models import Judgment, Project, User
from tests.cast import make_comparison, make_judgment, make_prompt
from tests.pure.test_profile import MACHINES, MODELS
from training.engine.machine import Machine
from training.models import BaseFacts, Job, Loop, Run, RunEvent, Worker
from training.queries.machines import surroundings
from training.services.defaults import default_settings, usual_settings
from training.services.loops import ensure_loop
from training.services.machines import note_surroundings, processes_of
from training.services.runs import start_run

BASE = "some/model"


@pytest.fixture
def loop(project: Project) -> Loop:
    return ensure_loop(project=project, base_model=BASE)


@pytest.fixture
def judged(loop: Loop, bob: User) -> list[Judgment]:
    return [make_judgment(make_comparison(make_prompt(loop.project), round=1), bob, "A") for _ in range(10)]


def told(loop: Loop, machine: Machine, model: str) -> None:
    """As if a job of the loop's had ended on this machine."""
    job = Job(project=loop.project, kind=Job.Kind.SAMPLE)
    note_surroundings(
        job=job, result={"about": {"machine": machine.to_json(), "base": MODELS[model].to_json()}, "status": "finished"}
    )


def form_data(loop: Loop, **changed: object) -> dict[str, Any]:
    values = default_settings(method="dpo", base_model=loop.base_model) | changed
    data = {name: "" if value is None else value for name, value in values.items() if value is not False}
    return data | {"method": "dpo", "loss_weights": ""}


def test_before_any_worker_told_of_itself_the_page_says_so(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    client.force_login(alice)
    for name in ("training:runs", "training:start", "annotate:project"):
        assert "No worker has told yet" in client.get(reverse(name, args=[loop.pk])).content.decode()
    assert default_settings(method="dpo", base_model=BASE) == usual_settings(method="dpo", base_model=BASE)
    assert client.post(reverse("training:start", args=[loop.pk]), form_data(loop)).status_code == 302


def test_the_profile_fills_the_form_and_says_why(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    told(loop, MACHINES["24 GiB"], "1.5B")
    client.force_login(alice)
    page = client.get(reverse("training:start", args=[loop.pk]))
    form = page.context["form"]
    assert [form.initial[name] for name in ("batch_size", "gradient_accumulation")] == [2, 8]
    assert form.initial["gradient_checkpointing"] is False
    text = page.content.decode()
    assert "one: 16 cores, 64 GiB of memory, GPUs: GPU of 24 GiB (24 GiB)" in text
    assert "16 rows a step, as is usual for DPO: 2 at once, 8 times." in text
    assert "seen " in text
    assert "differs from this profile" not in text
    client.post(reverse("training:start", args=[loop.pk]), form_data(loop))
    run = Run.objects.get()
    assert (run.spec["batch_size"], run.spec["gradient_accumulation"]) == (2, 8)
    event = RunEvent.objects.get(run=run, kind="profile")
    assert Machine.from_json(event.data["machine"]) == MACHINES["24 GiB"]
    assert "Made for one: about 20 of 20 GiB of memory." in client.get(run_page(run)).content.decode()


def run_page(run: Run) -> str:
    return reverse("training:run", args=[run.project_id, run.number])


def test_a_lead_may_choose_otherwise_and_is_told_what_it_takes(client: Client, alice: User, loop: Loop) -> None:
    told(loop, MACHINES["24 GiB"], "1.5B")
    client.force_login(alice)
    address = reverse("training:start", args=[loop.pk])
    page = client.post(address, form_data(loop, batch_size=4, gradient_accumulation=4) | {"check": "1"})
    assert page.status_code == 200
    text = page.content.decode()
    assert "batch_size: 4 instead of 2" in text
    assert "This will probably not fit." in text
    assert "Lower the batch size to 1" in text
    assert not Run.objects.exists()
    assert page.context["form"].data["batch_size"] == "4"
    wrong = client.post(address, form_data(loop, batch_size="many") | {"check": "1"})
    assert wrong.status_code == 422


def test_what_does_not_fit_starts_only_when_the_lead_insists(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    told(loop, MACHINES["2 cores, 24 GiB"], "70B")
    client.force_login(alice)
    address = reverse("training:start", args=[loop.pk])
    refused = client.post(address, form_data(loop))
    assert refused.status_code == 422
    assert "smaller base model" in refused.content.decode()
    assert not refused.context["form"].hidden_errors()
    assert not Run.objects.exists()
    assert client.post(address, form_data(loop) | {"anyway": "on"}).status_code == 302
    warning = RunEvent.objects.get(run=Run.objects.get(), kind="warning")
    assert warning.data["message"].startswith("Started although it will probably not fit")


def test_what_the_last_run_chose_stays_until_the_profile_is_asked_for(
    client: Client, alice: User, loop: Loop, judged: list[Judgment]
) -> None:
    told(loop, MACHINES["80 GiB"], "0.5B")
    start_run(loop=loop, method="dpo", settings={"batch_size": 4}, started_by=alice, reason="")
    client.force_login(alice)
    address = reverse("training:start", args=[loop.pk])
    page = client.get(address)
    assert page.context["form"].initial["batch_size"] == 4
    assert "batch_size: 4 instead of 16" in page.content.decode()
    assert client.get(f"{address}?method=dpo&profiled").context["form"].initial["batch_size"] == 16


def test_the_newest_machine_counts_and_the_others_are_named(client: Client, alice: User, loop: Loop) -> None:
    told(loop, MACHINES["80 GiB"], "0.5B")
    told(loop, MACHINES["24 GiB"], "0.5B")
    where = surroundings(BASE)
    assert where is not None
    assert where.machine == MACHINES["24 GiB"]
    assert [machine.host for machine in where.others] == ["big"]
    client.force_login(alice)
    assert "Other workers: big." in client.get(reverse("training:start", args=[loop.pk])).content.decode()
    told(loop, MACHINES["80 GiB"], "0.5B")
    assert Worker.objects.count() == 2
    assert BaseFacts.objects.count() == 1


@pytest.mark.django_db
def test_facts_of_another_release_are_as_none() -> None:
    Worker.objects.create(host="h", facts={"host": "h", "gpus": [], "wings": 2}, seen_at=timezone.now())
    BaseFacts.objects.create(model=BASE, facts=MODELS["8B"].to_json(), seen_at=timezone.now())
    assert surroundings(BASE) is None


def test_a_result_that_says_nothing_of_its_machine_changes_nothing(loop: Loop) -> None:
    note_surroundings(job=Job(project=loop.project), result={"status": "failed", "code": "bad_spec"})
    note_surroundings(job=Job(project=loop.project), result={})
    assert not Worker.objects.exists()


def test_the_command_line_says_the_same_and_refuses_what_does_not_fit(loop: Loop, judged: list[Judgment]) -> None:
    out = StringIO()
    told(loop, MACHINES["24 GiB"], "1.5B")
    with pytest.raises(CommandError, match=r"Lower the batch size to 1.*--anyway"):
        call_command("train", "--project", loop.pk, "--set", "batch_size=16", stdout=out)
    assert not Run.objects.exists()
    call_command("train", "--project", loop.pk, "--set", "batch_size=1", stdout=out)
    said = out.getvalue()
    assert "16 cores" in said
    assert "2 at once, 8 times" in said
    assert "batch_size: 1 instead of 2" in said
    assert Run.objects.get().spec["gradient_accumulation"] == 8


@pytest.mark.parametrize(
    ("launch", "gpus", "processes"),
    [
        ((), 8, 1),
        (("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "4"), 8, 4),
        (("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"), 0, 2),
        (("-m", "torch.distributed.run", "--nproc_per_node=gpu"), 8, 8),
        (("-m", "torch.distributed.run", "--standalone"), 8, 1),
        (("-m", "accelerate.commands.launch", "--config_file", "fsdp2.yaml"), 8, 8),
        (("-m", "accelerate.commands.launch", "--num_processes", "2"), 8, 2),
    ],
)
def test_how_many_processes_a_launch_starts(launch: tuple[str, ...], gpus: int, processes: int) -> None:
    assert processes_of(launch, gpus=gpus) == processes
