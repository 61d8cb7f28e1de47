"""What is downloaded is the policy that the engine scored: an adapter with plain peft, a merged model without."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from huggingface_hub import ModelCard

from annotate.models import Project, User
from tests.cast import make_comparison, make_judgment, make_prompt
from tests.engine.kit import FAST, pairs, plain_logp, score_here, train_here
from tests.web.test_registry import make_policy
from training.engine import rundir
from training.engine.job import Job as EngineJob
from training.engine.merge import merge
from training.engine.models import load_tokenizer
from training.engine.spec import MergeSpec, ModelRef, ScoreSpec, TrainSpec
from training.models import Job, Policy
from training.paths import merged_folder
from training.services.leases import claim
from training.services.loops import ensure_loop
from training.services.outbound import publish_merge, write_merge_dir

FASTER: dict[str, Any] = FAST | {"learning_rate": 1e-2}


@pytest.fixture(scope="module")
def trained(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a policy that has moved away from its base. Read only."""
    path = tmp_path_factory.mktemp("released") / "run"
    train_here(path, TrainSpec(method="dpo", model=str(starter), epochs=2.0, min_rows=4, **FASTER), pairs(8))
    return path


def publish(project: Project, trained: Path, starter: Path, home: Path, judgments: list[Any]) -> Policy:
    """The policy's row, as the worker would write it, its adapter in place."""
    loop = ensure_loop(project=project, base_model=str(starter))
    policy = make_policy(loop, 1, 0, judgments)
    (home / policy.adapter_path).parent.mkdir(parents=True, exist_ok=True)
    (home / policy.adapter_path).symlink_to(trained / "adapter")
    policy.base_model = str(starter)
    policy.manifest = rundir.verify_manifest(trained / "adapter")
    policy.manifest_sha256 = policy.manifest["sha256"]
    policy.save()
    return policy


Scored = list[tuple[list[int], list[int], float, float]]


@pytest.fixture(scope="module")
def scored(starter: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """(prompt ids, answer ids, log-probability under policy, under base) of six answers, as scoring wrote it."""
    path = tmp_path_factory.mktemp("scored")
    rows = [row | {"kind": "pair"} for row in pairs(3, seed=7)]
    spec = ScoreSpec(policy=ModelRef(str(starter), adapter=str(trained / "adapter")), max_new_tokens=4, device="cpu")
    job = score_here(path / "score", spec, rows)
    chat = load_tokenizer(ModelRef(str(starter)), job)
    logps = {row["id"]: row["logps"] for row in rundir.iter_rows(path / "score" / "pairs.jsonl")}
    found: Scored = []
    for row in rows:
        prompt, answers = chat.split(row["messages"], [row["chosen"], row["rejected"]])
        of = logps[row["id"]]
        found += [
            (prompt, ids, of[f"policy_{name}"], of[f"base_{name}"])
            for name, ids in zip(("chosen", "rejected"), answers, strict=True)
        ]
    assert max(abs(policy - base) for _, _, policy, base in found) > 0.05  # or the base alone would pass
    return found


@pytest.fixture
def policy(starter: Path, trained: Path, tmp_path: Path, bob: User, project: Project, settings: Any) -> Policy:
    settings.HOME = tmp_path
    return publish(project, trained, starter, tmp_path, [make_judgment(make_comparison(make_prompt(project)), bob)])


def taken(client: Client, policy: Policy, folder: Path, what: str = "") -> Path:
    """The one folder of the downloaded archive."""
    answer = client.post(reverse("training:download", args=[policy.project_id, 1]), {"what": what})
    archive = zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))  # type: ignore[attr-defined]
    archive.extractall(folder)
    (inside,) = folder.iterdir()
    assert rundir.verify_manifest(inside)
    return inside


def test_a_downloaded_adapter_opens_with_plain_peft_and_is_the_policy(
    starter: Path, scored: Scored, policy: Policy, tmp_path: Path, client: Client, lea: User
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    client.force_login(lea)
    base = AutoModelForCausalLM.from_pretrained(starter)
    model = PeftModel.from_pretrained(base, taken(client, policy, tmp_path / "taken")).eval()
    for prompt, ids, logp, _ in scored:
        assert plain_logp(model, prompt, ids) == pytest.approx(logp, abs=1e-3)


def test_a_merged_model_opens_with_plain_transformers_and_is_the_policy(
    starter: Path, scored: Scored, policy: Policy, tmp_path: Path, client: Client, lea: User
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    client.force_login(lea)
    page = client.post(reverse("training:download", args=[policy.project_id, 1]), {"what": "merged"}, follow=True)
    assert "no whole model of this policy yet" in page.content.decode()
    client.post(reverse("training:merge", args=[policy.project_id, 1]))
    queued = Job.objects.select_related("policy").get(kind="merge")
    lease = claim(job_id=queued.pk, owner="worker")
    assert lease is not None
    folder = tmp_path / "run"
    write_merge_dir(queued, folder)
    job = EngineJob(folder)
    merge(job, MergeSpec.from_json(rundir.read_spec_json(folder)))
    result = {"manifest_sha256": job.manifest_sha256}
    publish_merge(lease=lease, job=queued, policy=policy, folder=folder, result=result)

    where = taken(client, policy, tmp_path / "taken", "merged")
    assert not any(str(starter).encode() in path.read_bytes() for path in where.rglob("*") if path.is_file())
    assert ModelCard.load(where / "README.md").data.library_name == "transformers"
    model: Any = AutoModelForCausalLM.from_pretrained(where)
    for prompt, ids, logp, _ in scored:
        assert plain_logp(model, prompt, ids) == pytest.approx(logp, abs=1e-3)
    plain, ours = (AutoTokenizer.from_pretrained(folder) for folder in (starter, where))
    talk = [{"role": "user", "content": "Where is it?"}]
    assert plain.apply_chat_template(talk, tokenize=False) == ours.apply_chat_template(talk, tokenize=False)
    (merged_folder(policy) / "config.json").write_text("{")
    page = client.post(reverse("training:download", args=[policy.project_id, 1]), {"what": "merged"}, follow=True)
    assert "The whole model is damaged (config.json)" in page.content.decode()
