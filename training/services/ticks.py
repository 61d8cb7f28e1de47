"""Proof that a periodic thing was done in its slot of time."""

from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from training.models import TickSlot

KEEP = timedelta(days=1)


def take_slot(*, name: str, slot: int) -> bool:
    """True for one caller in each slot: the row is unique, so the second insert loses."""
    try:
        with transaction.atomic():
            taken = TickSlot.objects.create(name=name, slot=slot)
    except IntegrityError:
        return False
    if taken.pk % 100 == 0:
        TickSlot.objects.filter(created_at__lt=timezone.now() - KEEP).delete()
    return True
