"""What waits to be given out, counted: by the indexes over open and leased slots, however many are done."""

from collections import Counter
from collections.abc import Collection

from django.db.models import BooleanField, Count, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone

from annotate.models import Membership, Slot, User

# SQLite uses a partial index only for a query that repeats its condition with constants, and the ORM passes parameters.
_ACTIVE = RawSQL("annotate_slot.state IN ('open', 'leased')", (), output_field=BooleanField())
_EVERYBODYS = Q(only_for__isnull=True, only_for_group__isnull=True)


def everybodys_slots() -> QuerySet[Slot]:
    """Open and leased slots that are meant for nobody in particular. Not for subqueries: it names its table."""
    return Slot.objects.filter(_ACTIVE, _EVERYBODYS)


def claimable(user: User, projects: Collection[int]) -> Counter[tuple[int, str]]:
    """By project and kind: slots that could be given to the user now. They are open, or their lease is over, and they
    are meant for everybody, for them or for their group. One query."""
    groups = Membership.objects.filter(user=user, group__isnull=False).values("group")
    over = Q(state=Slot.State.OPEN) | Q(lease_until__lt=timezone.now())
    # Each of them has an index of its own, which one condition for all would not use; no slot is in two.
    everybodys, own, of_groups = (
        Slot.objects.filter(_ACTIVE, meant, over, project__in=projects)
        .order_by()
        .values_list("project_id", "kind")
        .annotate(Count("pk"))
        for meant in (_EVERYBODYS, Q(only_for=user), Q(only_for_group__in=groups))
    )
    found: Counter[tuple[int, str]] = Counter()
    for project, kind, count in everybodys.union(own, of_groups, all=True):
        found[project, kind] += count
    return found
