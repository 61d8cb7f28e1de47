"""Jobs that get a policy ready to leave: merge its adapter into a whole model, push it to the Hub."""

import re
import shutil
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from annotate.models import User
from annotate.said import Said
from training.engine import rundir
from training.engine.merge import MODEL
from training.engine.spec import MergeSpec, PushSpec
from training.models import Job, Policy
from training.paths import merged_folder
from training.services.doorbell import ring_after_commit
from training.services.leases import Lease, finish
from training.services.merged_copies import trim_merged
from training.services.release import (
    CannotReleaseError,
    merged_release_of,
    note_release,
    own_form,
    release_of,
    write_release,
)
from training.services.sampling import model_ref
from training.states import JOB_ACTIVE

# The Hub's own rule for the name of a repository, without the owner's part.
REPO_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_][A-Za-z0-9._-]{0,94}[A-Za-z0-9_]")


def start_merge(*, policy: Policy) -> Job:
    """A job that makes a whole model of base and adapter, or the one under way. Raises ``CannotReleaseError``."""
    ref = model_ref(policy)
    if not ref.adapter:
        raise CannotReleaseError(Said("It has no adapter to merge: it is a whole model already."))
    return _start(policy, Job.Kind.MERGE, {"spec": MergeSpec(policy=ref).to_json()})


def start_push(*, policy: Policy, name: str, merged: bool, started_by: User | None) -> Job:
    """A job that pushes the policy to ``name`` in the configured namespace, or the one under way.

    Raises ``CannotReleaseError``: nothing is configured, the name is none, or there is nothing to push.
    """
    if not settings.HUB_NAMESPACE:
        raise CannotReleaseError(Said("Pushing is off: set PAIRLOOP_HUB_NAMESPACE."))
    if not REPO_NAME.fullmatch(name) or name.endswith(".git"):
        raise CannotReleaseError(
            Said("A repository's name is of letters, digits, “-”, “_” and “.”, at most 96; not “%(name)s”.", name=name)
        )
    if not policy.adapter_path:
        raise CannotReleaseError(Said("The base is not ours to give: take it from where it came."))
    if merged:
        merged_release_of(policy)
    payload = {
        "repo": f"{settings.HUB_NAMESPACE}/{name}",
        "private": settings.HUB_PRIVATE,
        "merged": merged,
        "started_by": started_by.pk if started_by else None,
    }
    return _start(policy, Job.Kind.PUSH, payload)


def _start(policy: Policy, kind: str, payload: dict[str, Any]) -> Job:
    try:
        with transaction.atomic():
            job = Job.objects.create(project=policy.project, policy=policy, kind=kind, payload=payload)
            ring_after_commit(job.pk)
    except IntegrityError:
        return Job.objects.get(policy=policy, kind=kind, state__in=JOB_ACTIVE)
    return job


def newest_job(policy: Policy, kind: str) -> Job | None:
    """The last of its kind for this policy, whatever became of it."""
    return policy.jobs.filter(kind=kind).order_by("-created_at").first()


# --- The worker's side ------------------------------------------------------------------------------------------------


def write_merge_dir(job: Job, folder: Path) -> None:
    """What the engine needs to merge."""
    rundir.write_run_dir(folder, MergeSpec.from_json(job.payload["spec"]), [])


def publish_merge(*, lease: Lease, job: Job, policy: Policy, folder: Path, result: dict[str, Any]) -> None:
    """Ends the job and puts the model in its place. Raises ``LeaseLostError`` or ``ManifestError``."""
    digest = str(result["manifest_sha256"])
    rundir.verify_manifest(folder / MODEL, digest)
    target = merged_folder(policy)
    target.parent.mkdir(parents=True, exist_ok=True)
    with transaction.atomic():
        finish(lease, state=Job.State.DONE)
        Job.objects.filter(pk=job.pk).update(payload=job.payload | {"manifest_sha256": digest})
        shutil.rmtree(target, ignore_errors=True)
        (folder / MODEL).rename(target)
        rundir.fsync_folder(target.parent)
    trim_merged(keep=target)


def write_push_dir(job: Job, policy: Policy, folder: Path) -> None:
    """What the engine needs to push: the files as they leave, and where to. Raises ``CannotReleaseError``."""
    release = merged_release_of(policy) if job.payload["merged"] else release_of(policy)
    going = folder / "work" / release.name
    shutil.rmtree(going, ignore_errors=True)
    write_release(release, going, link=True)
    spec = PushSpec(
        folder=str(going),
        repo=job.payload["repo"],
        private=job.payload["private"],
        message=f"Policy {policy.number}, {timezone.now():%Y-%m-%d}",
    )
    rundir.write_run_dir(folder, spec, [])


@transaction.atomic
def publish_push(*, lease: Lease, job: Job, policy: Policy, result: dict[str, Any]) -> None:
    """Ends the job, keeps where the weights went, and notes it in the audit log. Raises ``LeaseLostError``."""
    finish(lease, state=Job.State.DONE)
    url, commit = str(result["metrics"]["url"]), str(result["metrics"]["commit"])
    Job.objects.filter(pk=job.pk).update(payload=job.payload | {"url": url, "commit": commit})
    actor = User.objects.filter(pk=job.payload["started_by"]).first() if job.payload["started_by"] else None
    what = "merged" if job.payload["merged"] else own_form(policy)
    note_release(policy=policy, what=what, actor=actor, to=url)
