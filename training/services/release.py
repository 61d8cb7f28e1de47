"""A policy's weights on their way out: with a model card, a manifest of their own, and nothing of this machine."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotate.models import User
from annotate.said import Said
from annotate.services.audit import record_deed
from training.card import card
from training.engine import rundir
from training.models import Job, Policy
from training.paths import merged_folder, weights_folder
from training.queries.cards import card_facts, public_base
from training.services.merged_copies import note_use
from training.streamzip import stream_zip

CARD, ADAPTER_CONFIG = "README.md", "adapter_config.json"
# Half a file is worse than none: a copy takes this name until it is whole.
_PART = ".part"


class CannotReleaseError(Exception):
    """There is nothing to give away, or it is not what was trained; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Release:
    """What leaves: names with their content, or with the file that holds it; ``manifest.json`` among them."""

    name: str
    policy: Policy
    files: list[tuple[str, Path | bytes]]

    def stream(self) -> Iterator[bytes]:
        """A ZIP archive of one folder, in pieces."""
        inside = ((f"{self.name}/{name}", source) for name, source in self.files)
        return stream_zip(inside, made=self.policy.created_at)


def release_of(policy: Policy) -> Release:
    """The policy's own weights, verified to the last byte: an adapter, or a whole model where it is one.

    Raises ``CannotReleaseError``.
    """
    if not policy.adapter_path:
        raise CannotReleaseError(Said("The base is not ours to give: take it from where it came."))
    return _release(policy, weights_folder(policy), policy.manifest_sha256)


def merged_release_of(policy: Policy) -> Release:
    """The whole model that a worker made of the policy. Raises ``CannotReleaseError`` when there is none.

    Its sizes are checked; its digests, which whoever gets it can verify, were when it was made: it may be large.
    """
    folder = merged_folder(policy)
    if merge_job(policy) is None or not (folder / rundir.MANIFEST).exists():
        raise CannotReleaseError(Said("There is no whole model of this policy yet. Let a worker make it first."))
    recorded = json.loads((folder / rundir.MANIFEST).read_text(encoding="utf-8"))["files"]
    for name, entry in recorded.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != entry["bytes"]:
            raise CannotReleaseError(Said("The whole model is damaged (%(file)s). Let it be made again.", file=name))
    note_use(folder)
    return _of(policy, folder, recorded, name=f"policy-{policy.number}-merged")


def merge_job(policy: Policy) -> Job | None:
    """The newest job that made a whole model of the policy."""
    return policy.jobs.filter(kind=Job.Kind.MERGE, state=Job.State.DONE).order_by("-created_at").first()


def _release(policy: Policy, folder: Path, digest: str) -> Release:
    try:
        recorded = rundir.verify_manifest(folder, digest)["files"]
    except rundir.ManifestError as error:
        raise CannotReleaseError(
            Said("The files are not what was published (%(why)s). Restore them from a backup.", why=str(error))
        ) from error
    return _of(policy, folder, recorded, name=f"policy-{policy.number}")


def _of(policy: Policy, folder: Path, recorded: dict[str, Any], *, name: str) -> Release:
    form = "adapter" if ADAPTER_CONFIG in recorded else "model"
    own: dict[str, bytes] = {CARD: card(card_facts(policy, form=form)).encode()}
    if form == "adapter":
        own[ADAPTER_CONFIG] = _without_folders(folder / ADAPTER_CONFIG, policy)
    files: list[tuple[str, Path | bytes]] = [(file, folder / file) for file in recorded if file not in own]
    listed: dict[str, Any] = {file: recorded[file] for file in recorded if file not in own}
    for file, content in own.items():
        files.append((file, content))
        listed[file] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    files.append((rundir.MANIFEST, _manifest(policy, listed)))
    return Release(name, policy, sorted(files, key=lambda entry: entry[0]))


def _without_folders(config: Path, policy: Policy) -> bytes:
    """peft's config with the public name of the base: the folder on the worker's machine is nobody's business."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values["base_model_name_or_path"], _ = public_base(policy)
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def _manifest(policy: Policy, listed: dict[str, Any]) -> bytes:
    """As ``rundir.write_manifest`` writes it, of the files as they leave."""
    about = {
        "policy": policy.number,
        "base": public_base(policy)[0],
        "revision": policy.base_revision,
        "trained_manifest_sha256": policy.manifest_sha256,
    }
    return rundir.manifest_of(listed, about)[1].encode()


def own_form(policy: Policy) -> str:
    """What the policy's own weights are: "adapter" or "model"."""
    return "model" if policy.whole else "adapter"


def note_release(*, policy: Policy, what: str, actor: User | None, to: str) -> None:
    """Who took which weights where, in the audit log.

    ``what``: "adapter", "model" or "merged"; ``to``: "download", "folder", or a repository's address.
    """
    record_deed(
        project=policy.project,
        actor=actor,
        verb="policy.released",
        subject=f"policy {policy.number}",
        what=what,
        manifest=policy.manifest_sha256,
        to=to,
    )


def write_release(release: Release, folder: Path, *, link: bool = False) -> None:
    """The files in a new folder, which appears when it is whole. Raises ``FileExistsError`` or ``OSError``.

    ``link``: weights are linked, not copied, for a folder that nobody will write into.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    part = folder.with_name(f".{folder.name}{_PART}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for name, source in release.files:
            target = part / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, bytes):
                target.write_bytes(source)
            elif link:
                os.link(source, target)
            else:
                shutil.copyfile(source, target)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
