"""What waits is counted rightly, and by the index over what is open, however much is done."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from annotate.models import Membership, Project, Slot, User
from annotate.queries.waiting import claimable, everybodys_slots
from annotate.services.assignments import save_group
from tests.cast import make_comparison, make_prompt

pytestmark = pytest.mark.django_db


@pytest.mark.skipif(connection.vendor != "sqlite", reason="another database reads so small a table at once")
def test_sqlite_counts_what_waits_by_the_index_over_what_is_open(project: Project) -> None:
    plan = everybodys_slots().filter(project=project, kind="pair").explain()
    assert "slot_queue" in plan


def test_each_sort_of_slot_is_counted_once(project: Project, alice: User, bob: User, lea: User) -> None:
    group = save_group(project=project, actor=alice, name="Readers", members=list(Membership.objects.filter(user=bob)))
    Slot.objects.all().delete()
    prompt = make_prompt(project)
    slots = [make_comparison(prompt).slots.get() for _ in range(7)]
    hour = timedelta(hours=1)
    changes = [
        {},
        {"only_for": bob},
        {"only_for_group": group},
        {"only_for": lea},
        {"state": "leased", "annotator": lea, "lease_until": timezone.now() - hour},
        {"state": "leased", "annotator": lea, "lease_until": timezone.now() + hour},
        {"state": "done", "annotator": lea},
    ]
    for slot, values in zip(slots, changes, strict=True):
        if values:
            Slot.objects.filter(pk=slot.pk).update(**values)
    assert claimable(bob, [project.pk]) == {(project.pk, "pair"): 4}
    assert claimable(lea, [project.pk]) == {(project.pk, "pair"): 3}
    assert not claimable(bob, [])
