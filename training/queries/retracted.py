"""Which policies learned from judgments or ratings that a lead took back later."""

from collections.abc import Iterable

from django.db.models import Count, Q

from training.models import Policy, SnapshotItem


def retracted_since(policies: Iterable[Policy]) -> dict[int, int]:
    """By policy id: how many of the decisions that its run used are retracted now. One query; none of them: not there.

    A run never freezes what is retracted, so that all of these were taken back after it had begun. Taking a retraction
    back takes the mark away.
    """
    used = SnapshotItem.objects.filter(
        Q(judgment__retracted_at__isnull=False) | Q(rating__retracted_at__isnull=False),
        snapshot__run__policy__in=[policy.pk for policy in policies],
        outcome=SnapshotItem.Outcome.USED,
    )
    return dict(used.order_by().values_list("snapshot__run__policy").annotate(Count("pk")))
