"""Which policies learned from judgments or ratings that a lead took back later, themselves or through an ancestor."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, Q

from training.models import Outcome, Policy, SnapshotItem


@dataclass(frozen=True, slots=True)
class Retracted:
    """How many of the decisions that a policy learned from are retracted now: by its own run (``own``), and by the runs
    of the policies that its weights continue (``through``: their numbers, the nearest first, and how many)."""

    own: int
    through: list[tuple[int, int]]


def retracted_since(policies: Iterable[Policy]) -> dict[int, Retracted]:
    """By policy id; policies without any are not there. Two queries, however many policies.

    A run continues its parent's adapter, so that what the parent learned is in the child's weights too. A run never
    freezes what is retracted, so that all of these were taken back after it had begun. Taking a retraction back takes
    the marks away.
    """
    wanted = list(policies)
    lineage = {
        pk: (number, parent)
        for pk, number, parent in Policy.objects.filter(
            project__in={policy.project_id for policy in wanted}
        ).values_list("pk", "number", "parent_id")
    }
    used = SnapshotItem.objects.filter(
        Q(judgment__retracted_at__isnull=False)
        | Q(rating__retracted_at__isnull=False)
        | Q(ranking__retracted_at__isnull=False),
        snapshot__run__policy__in=lineage,
        outcome=Outcome.USED,
    )
    counts = dict(used.order_by().values_list("snapshot__run__policy").annotate(Count("pk")))
    found = {}
    for policy in wanted:
        through, ancestor = [], policy.parent_id
        while ancestor is not None:
            number, above = lineage[ancestor]
            if counts.get(ancestor):
                through.append((number, counts[ancestor]))
            ancestor = above
        if counts.get(policy.pk) or through:
            found[policy.pk] = Retracted(counts.get(policy.pk, 0), through)
    return found
