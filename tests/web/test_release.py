"""A policy on its way out: as a download and as a folder, with card and manifest, and nothing of this machine."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from annotate.models import Project, User
from tests.cast import make_comparison, make_judgment, make_prompt
from tests.web.test_registry import make_policy
from training.engine import rundir
from training.models import Loop, Policy, Run
from training.queries.cards import card_facts
from training.services.loops import ensure_loop

WEIGHTS = b"\x00weights\xff" * 1000


@pytest.fixture
def policy(project: Project, bob: User, settings: Any, tmp_path: Path) -> Policy:
    """Policy 1 on a base in a folder, with files that are what its manifest says."""
    settings.HOME = tmp_path
    loop = ensure_loop(project=project, base_model="/srv/secret-machine/models/Qwen-Mine")
    said = [make_judgment(make_comparison(make_prompt(project, "Where is my secret parcel?")), bob, "A")]
    made = make_policy(loop, 1, 0, said)
    folder = tmp_path / made.adapter_path
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(WEIGHTS)
    config = {"peft_type": "LORA", "base_model_name_or_path": "/srv/secret-machine/models/Qwen-Mine"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    made.manifest_sha256 = rundir.write_manifest(folder, {"base": "/srv/secret-machine/models/Qwen-Mine"})
    made.manifest = rundir.verify_manifest(folder)
    made.base_model = "/srv/secret-machine/models/Qwen-Mine"
    made.save()
    Run.objects.filter(pk=made.run_id).update(reason="Lea pressed Start", created_by=bob)
    return made


def downloaded(client: Client, policy: Policy) -> zipfile.ZipFile:
    answer = client.post(reverse("training:download", args=[policy.project_id, policy.number]))
    assert answer["Content-Type"] == "application/zip"
    assert 'filename="policy-1-project' in answer["Content-Disposition"]
    return zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))  # type: ignore[attr-defined]


def test_a_download_is_whole_and_says_so_itself(client: Client, lea: User, policy: Policy, tmp_path: Path) -> None:
    client.force_login(lea)
    archive = downloaded(client, policy)
    assert archive.testzip() is None
    archive.extractall(tmp_path / "out")
    folder = tmp_path / "out" / "policy-1"
    names = {"README.md", "adapter_config.json", "adapter_model.safetensors", "manifest.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert rundir.verify_manifest(folder)["about"]["trained_manifest_sha256"] == policy.manifest_sha256
    assert (folder / "adapter_model.safetensors").read_bytes() == WEIGHTS
    deed = policy.project.audit_entries.get(verb="policy.released")
    assert (deed.actor, deed.subject) == (lea, "policy 1")


def test_nothing_of_the_machine_or_of_people_leaves(client: Client, lea: User, bob: User, policy: Policy) -> None:
    client.force_login(lea)
    archive = downloaded(client, policy)
    for name in archive.namelist():
        content = archive.read(name)
        for secret in ("secret", "parcel", "/srv", bob.username, bob.pseudonym, "Lea pressed", policy.project.name):
            assert secret.encode() not in content, (name, secret)
    assert json.loads(archive.read("policy-1/adapter_config.json"))["base_model_name_or_path"] == "Qwen-Mine"


def test_weights_that_were_changed_do_not_leave(client: Client, lea: User, policy: Policy, tmp_path: Path) -> None:
    with (tmp_path / policy.adapter_path / "adapter_model.safetensors").open("ab") as file:
        file.write(b"!")
    client.force_login(lea)
    url = reverse("training:download", args=[policy.project_id, 1])
    page = client.post(url, follow=True).content.decode()
    assert "adapter_model.safetensors was changed" in page
    base = client.post(reverse("training:download", args=[policy.project_id, 0]), follow=True).content.decode()
    assert "The base is not ours to give" in base
    assert not policy.project.audit_entries.filter(verb="policy.released").exists()


def test_the_command_writes_the_same_folder_or_archive(client: Client, policy: Policy, tmp_path: Path) -> None:
    folder, archive = tmp_path / "taken", tmp_path / "taken.zip"
    call_command("export_policy", policy.project_id, 1, output=folder, stdout=io.StringIO())
    assert rundir.verify_manifest(folder)
    call_command("export_policy", policy.project_id, 1, output=archive, stdout=io.StringIO())
    with zipfile.ZipFile(archive) as packed:
        for path in folder.iterdir():
            assert packed.read(f"policy-1/{path.name}") == path.read_bytes()
    with pytest.raises(CommandError, match="is there already"):
        call_command("export_policy", policy.project_id, 1, output=folder)
    with pytest.raises(CommandError, match="has no policy 7"):
        call_command("export_policy", policy.project_id, 7, output=tmp_path / "x")
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_the_command_lists_policies_for_people_and_for_scripts(policy: Policy) -> None:
    Loop.objects.filter(project=policy.project).update(sampler=policy)
    words, lines = io.StringIO(), io.StringIO()
    call_command("policies", policy.project_id, stdout=words)
    assert "from 0 by run 1 (dpo; beta 0.1" in words.getvalue()
    assert "1 of 1 decisions" in words.getvalue()
    call_command("policies", policy.project_id, json=True, stdout=lines)
    newest, base = map(json.loads, lines.getvalue().splitlines())
    assert (newest["policy"], newest["parent"], newest["sampler"], newest["used"]) == (1, 0, True, 1)
    assert (base["policy"], base["champion"], base["settings"]) == (0, True, {})


def test_a_model_that_sft_made_is_taken_whole_and_an_adapter_on_it_names_it(
    client: Client, lea: User, policy: Policy, tmp_path: Path
) -> None:
    folder = tmp_path / policy.adapter_path
    (folder / "adapter_config.json").unlink()
    (folder / "config.json").write_text("{}")
    digest = rundir.write_manifest(folder, {})
    manifest = rundir.verify_manifest(folder)
    Policy.objects.filter(pk=policy.pk).update(
        model_path=policy.adapter_path, manifest=manifest, manifest_sha256=digest
    )
    client.force_login(lea)
    page = client.get(reverse("training:policy", args=[policy.project_id, 1])).content.decode()
    assert "Download the model" in page
    assert "Make a merged model" not in page
    archive = downloaded(client, policy)
    assert {"policy-1/config.json", "policy-1/README.md", "policy-1/manifest.json"} <= set(archive.namelist())
    assert 'library_name: "transformers"' in archive.read("policy-1/README.md").decode()
    assert policy.project.audit_entries.get(verb="policy.released").detail["what"] == "model"
    refused = client.post(reverse("training:merge", args=[policy.project_id, 1]), follow=True).content.decode()
    assert "it is a whole model already" in refused
    child = make_policy(policy.project.loop, 2, 1, [])
    child.model_path = policy.adapter_path
    child.save()
    assert card_facts(child, form="adapter").base == "policy-1"
    assert not card_facts(child, form="adapter").base_on_hub
