"""A push to the Hub: off unless set, below one namespace, private, with the token of the environment."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from huggingface_hub import ModelCard

from annotate.models import User
from tests.hub import TOKEN, Hub, running_hub
from tests.web.test_release import WEIGHTS, policy  # noqa: F401  (a fixture)
from training.engine import rundir
from training.models import Job, Policy
from training.services.leases import claim
from training.services.outbound import publish_push, write_push_dir

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        yield running


@pytest.fixture
def allowed(settings: Any) -> None:
    settings.HUB_NAMESPACE, settings.HUB_PRIVATE = "parcels", True


def ask(client: Client, policy: Policy, name: str, **more: str) -> str:  # noqa: F811
    url = reverse("training:push", args=[policy.project_id, policy.number])
    page: str = client.post(url, {"name": name} | more, follow=True).content.decode()
    return page


def work(folder: Path, hub: Hub, token: str = TOKEN) -> dict[str, Any]:
    """What a worker does: the run directory, and the engine in a process of its own."""
    job = Job.objects.select_related("policy__project", "policy__run").get(kind="push", state="queued")
    assert job.policy is not None
    lease = claim(job_id=job.pk, owner="worker")
    assert lease is not None
    write_push_dir(job, job.policy, folder)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PAIRLOOP_", "DJANGO_"))}
    env = clean | {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf")}
    command = [sys.executable, "-m", "training.engine", "push", str(folder)]
    subprocess.run(command, cwd=ROOT, env=env | ({"HF_TOKEN": token} if token else {}), check=False, timeout=120)
    result = rundir.read_result(folder)
    assert result is not None
    if result["status"] == "finished":
        publish_push(lease=lease, job=job, policy=job.policy, result=result)
    return result


@pytest.mark.usefixtures("allowed")
def test_a_policy_goes_to_a_private_repository_with_its_card(
    client: Client,
    lea: User,
    policy: Policy,  # noqa: F811
    hub: Hub,
    tmp_path: Path,
) -> None:
    client.force_login(lea)
    assert "Waiting for a worker." in ask(client, policy, "kind-replies")
    result = work(tmp_path / "run", hub)
    assert result["status"] == "finished", result
    repo = hub.repos["parcels/kind-replies"]
    assert repo["private"] is True
    assert repo["files"]["adapter_model.safetensors"] == WEIGHTS
    assert {"README.md", "adapter_config.json", "manifest.json"} <= set(repo["files"])
    data = ModelCard(repo["files"]["README.md"].decode()).data
    assert (data.library_name, data.pipeline_tag) == ("peft", "text-generation")
    page = client.get(reverse("training:policy", args=[policy.project_id, 1])).content.decode()
    assert f'href="{hub.url}/parcels/kind-replies"' in page
    deed = policy.project.audit_entries.get(verb="policy.released")
    assert (deed.actor, deed.detail["to"]) == (lea, f"{hub.url}/parcels/kind-replies")
    assert not any(TOKEN in path.read_text(errors="replace") for path in (tmp_path / "run").glob("*.json*"))
    # Once more, into the same repository.
    ask(client, policy, "kind-replies")
    assert work(tmp_path / "again", hub)["status"] == "finished"


@pytest.mark.usefixtures("allowed")
def test_without_a_token_or_rights_the_result_says_what_to_do(
    client: Client,
    lea: User,
    policy: Policy,  # noqa: F811
    hub: Hub,
    tmp_path: Path,
    settings: Any,
) -> None:
    client.force_login(lea)
    ask(client, policy, "kind-replies")
    without = work(tmp_path / "without", hub, token="")
    assert (without["status"], without["code"]) == ("failed", "no_token")
    assert "HF_TOKEN" in without["message"]
    settings.HUB_NAMESPACE = "others"
    Job.objects.update(state="failed")
    ask(client, policy, "kind-replies")
    refused = work(tmp_path / "refused", hub)
    assert (refused["status"], refused["code"]) == ("failed", "hub_refused")
    assert hub.repos == {}


def test_pushing_is_off_unless_it_is_set(client: Client, lea: User, policy: Policy) -> None:  # noqa: F811
    client.force_login(lea)
    page = client.get(reverse("training:policy", args=[policy.project_id, 1])).content.decode()
    assert "Push to the Hub" not in page
    assert "Pushing is off" in ask(client, policy, "kind-replies")
    with pytest.raises(CommandError, match="Pushing is off"):
        call_command("push_policy", policy.project_id, 1, name="kind-replies")
    assert not Job.objects.filter(kind="push").exists()


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("name", ["", "a/b", "../x", "-x", "a--b", "x.git", "ä", "x" * 97])
def test_a_name_that_leads_elsewhere_is_refused(client: Client, lea: User, policy: Policy, name: str) -> None:  # noqa: F811
    client.force_login(lea)
    assert "repository&#x27;s name" in ask(client, policy, name)
    assert not Job.objects.filter(kind="push").exists()


@pytest.mark.usefixtures("allowed")
def test_two_presses_push_once(client: Client, lea: User, policy: Policy) -> None:  # noqa: F811
    client.force_login(lea)
    ask(client, policy, "kind-replies")
    ask(client, policy, "kind-replies")
    assert Job.objects.filter(kind="push").count() == 1
