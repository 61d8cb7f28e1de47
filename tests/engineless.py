"""What a worker does after the engine has ended, without an engine: weights are a few bytes, scores are made up."""

from pathlib import Path
from typing import Any

from training.engine import rundir
from training.models import Job, Policy, Run
from training.services.leases import claim
from training.services.publishing import publish_run
from training.services.runs import mark_training
from training.services.scoring import publish_scores, start_scoring
from training.services.snapshots import run_rows


def publish_as_trained(run: Run, folder: Path) -> Policy:
    """The run's policy, of weights with their manifest; every row is used. Scoring is next."""
    lease = claim(job_id=Job.objects.get(run=run, kind="train").pk, owner="worker 1")
    assert lease is not None
    mark_training(run)
    whole = run.method == "sft" or run.spec["adaptation"] == "full"
    weights = folder / ("model" if whole else "adapter")
    weights.mkdir(parents=True)
    (weights / "weights.safetensors").write_bytes(run.method.encode())
    digest = rundir.write_manifest(weights, {"method": run.method})
    ids = [row["id"] for row in run_rows(run).rows]
    result = {"status": "finished", "used": ids, "skipped": [], "manifest_sha256": digest, "metrics": {}}
    return publish_run(lease=lease, run=run, folder=folder, result=result)


def publish_as_scored(run: Run, folder: Path, **metrics: Any) -> Policy:
    """The run ends; its policy has these metrics, and the guards look at them."""
    run.refresh_from_db()
    job = start_scoring(run=run) or Job.objects.get(run=run, kind="score", state="queued")
    lease = claim(job_id=job.pk, owner="worker 1")
    assert lease is not None
    for name in ("samples.jsonl", "before_after.jsonl"):
        (folder / name).touch()
    result = {"status": "finished", "metrics": {"samples_n": 64} | metrics, "used": [], "skipped": []}
    policy = Policy.objects.get(run=run)
    publish_scores(lease=lease, run=run, policy=policy, folder=folder, result=result)
    policy.refresh_from_db()
    return policy
