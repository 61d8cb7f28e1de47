"""A policy's weights on their way out: with a model card, a manifest of their own, and nothing of this machine."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from annotate.models import User
from annotate.said import Said
from annotate.services.audit import record_deed
from training.card import card
from training.engine import rundir
from training.models import Policy
from training.queries.cards import card_facts, public_base
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
    return _release(policy, Path(settings.HOME) / policy.adapter_path, policy.manifest_sha256)


def _release(policy: Policy, folder: Path, digest: str) -> Release:
    try:
        recorded = rundir.verify_manifest(folder, digest)["files"]
    except rundir.ManifestError as error:
        raise CannotReleaseError(
            Said("The files are not what was published (%(why)s). Restore them from a backup.", why=str(error))
        ) from error
    form = "adapter" if ADAPTER_CONFIG in recorded else "model"
    own: dict[str, bytes] = {CARD: card(card_facts(policy, form=form)).encode()}
    if form == "adapter":
        own[ADAPTER_CONFIG] = _without_folders(folder / ADAPTER_CONFIG, policy)
    files: list[tuple[str, Path | bytes]] = [(name, folder / name) for name in recorded if name not in own]
    listed: dict[str, Any] = {name: recorded[name] for name in recorded if name not in own}
    for name, content in own.items():
        files.append((name, content))
        listed[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    files.append((rundir.MANIFEST, _manifest(policy, listed)))
    return Release(f"policy-{policy.number}", policy, sorted(files))


def _without_folders(config: Path, policy: Policy) -> bytes:
    """peft's config with the public name of the base: the folder on the worker's machine is nobody's business."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values["base_model_name_or_path"], _ = public_base(policy)
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def _manifest(policy: Policy, listed: dict[str, Any]) -> bytes:
    """As ``rundir.write_manifest`` writes it, of the files as they leave."""
    content: dict[str, Any] = {
        "files": listed,
        "about": {
            "policy": policy.number,
            "base": public_base(policy)[0],
            "revision": policy.base_revision,
            "trained_manifest_sha256": policy.manifest_sha256,
        },
    }
    digest = hashlib.sha256(rundir.dumps(content).encode()).hexdigest()
    return (json.dumps(content | {"sha256": digest}, indent=2, sort_keys=True) + "\n").encode()


def note_release(*, release: Release, actor: User | None, to: str) -> None:
    """Who took which weights where, in the audit log. ``to``: "download", "folder", or a repository."""
    record_deed(
        project=release.policy.project,
        actor=actor,
        verb="policy.released",
        subject=f"policy {release.policy.number}",
        files=len(release.files),
        manifest=release.policy.manifest_sha256,
        to=to,
    )


def write_release(release: Release, folder: Path) -> None:
    """The files in a new folder, which appears when it is whole. Raises ``FileExistsError`` or ``OSError``."""
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
            else:
                shutil.copyfile(source, target)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
