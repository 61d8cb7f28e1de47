"""A downloaded adapter, opened with plain peft on the base, is the policy that the engine scored."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotate.models import Project, User
from tests.cast import make_comparison, make_judgment, make_prompt
from tests.engine.kit import FAST, pairs, plain_logp, score_here, train_here
from tests.web.test_registry import make_policy
from training.engine import rundir
from training.engine.job import Job
from training.engine.models import load_tokenizer
from training.engine.spec import ModelRef, ScoreSpec, TrainSpec
from training.models import Policy
from training.services.loops import ensure_loop


@pytest.fixture(scope="module")
def trained(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a policy that has moved away from its base. Read only."""
    path = tmp_path_factory.mktemp("released") / "run"
    train_here(path, TrainSpec(method="dpo", model=str(starter), epochs=2.0, min_rows=4, **FAST), pairs(8))
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


def test_a_downloaded_adapter_opens_with_plain_peft_and_is_the_policy(
    starter: Path, trained: Path, tmp_path: Path, client: Client, lea: User, bob: User, project: Project, settings: Any
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    settings.HOME = tmp_path
    policy = publish(project, trained, starter, tmp_path, [make_judgment(make_comparison(make_prompt(project)), bob)])
    client.force_login(lea)
    answer = client.post(reverse("training:download", args=[project.pk, 1]))
    archive = zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))  # type: ignore[attr-defined]
    archive.extractall(tmp_path / "taken")

    rows = [row | {"kind": "pair"} for row in pairs(3, seed=7)]
    spec = ScoreSpec(policy=ModelRef(str(starter), adapter=str(trained / "adapter")), max_new_tokens=4, device="cpu")
    score_here(tmp_path / "score", spec, rows)
    scored = {row["id"]: row["logps"] for row in rundir.iter_rows(tmp_path / "score" / "pairs.jsonl")}

    base = AutoModelForCausalLM.from_pretrained(starter)
    model = PeftModel.from_pretrained(base, tmp_path / "taken" / "policy-1").eval()
    (tmp_path / "job").mkdir()
    chat = load_tokenizer(ModelRef(str(starter)), Job(tmp_path / "job"))
    moved = 0.0
    for row in rows:
        prompt, answers = chat.split(row["messages"], [row["chosen"], row["rejected"]])
        logps = scored[row["id"]]
        for name, ids in zip(("chosen", "rejected"), answers, strict=True):
            assert plain_logp(model, prompt, ids) == pytest.approx(logps[f"policy_{name}"], abs=1e-3)
            moved = max(moved, abs(logps[f"policy_{name}"] - logps[f"base_{name}"]))
    assert moved > 0.05  # or the base alone would pass
    assert policy.manifest["files"]
