"""What must be true of the trainer's tables and of the weights they name; as in ``annotate.queries.invariants``."""

from collections.abc import Iterator

from django.db.models import Exists, OuterRef

from training.engine.rundir import ManifestError, verify_manifest
from training.models import Policy, RewardModel, SnapshotItem
from training.paths import reward_model_folder, weights_folder


def broken() -> Iterator[str]:
    """A sentence for each row that breaks a rule; reads all published weights to its last byte."""
    yield from _what_a_policy_learned_from_is_settled()
    yield from _published_weights_are_what_was_published()


def _what_a_policy_learned_from_is_settled() -> Iterator[str]:
    pending = SnapshotItem.objects.filter(snapshot=OuterRef("run__snapshot"), outcome=SnapshotItem.Outcome.PENDING)
    for table in (Policy, RewardModel):
        for made in table.objects.filter(Exists(pending)).select_related("run"):
            yield f"{made} of project {made.project_id}: used + skipped is less than its snapshot holds"


def _published_weights_are_what_was_published() -> Iterator[str]:
    for policy in Policy.objects.exclude(adapter_path="").iterator():
        try:
            verify_manifest(weights_folder(policy), policy.manifest_sha256)
        except ManifestError as error:
            yield f"{policy} of project {policy.project_id}: {error}"
    for made in RewardModel.objects.iterator():
        try:
            verify_manifest(reward_model_folder(made.project_id, made.number), made.manifest_sha256)
        except ManifestError as error:
            yield f"{made} of project {made.project_id}: {error}"
