"""What the engine says of the machine it ran on and of a base model's size is kept for the pages that ask."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

from django.conf import settings
from django.utils import timezone

from training.models import BaseFacts, Job, Worker

# A container has another name each time it starts.
FORGOTTEN_AFTER = timedelta(days=30)


def note_surroundings(*, job: Job, result: Mapping[str, Any]) -> None:
    """Keeps what a job's result says of its machine and base; one that says nothing of them changes nothing.

    Called by the worker, so ``settings.LAUNCH`` is that of the machine.
    """
    about = result.get("about", {})
    now = timezone.now()
    if machine := about.get("machine"):
        processes = processes_of(settings.LAUNCH, gpus=len(machine["gpus"]))
        Worker.objects.update_or_create(
            host=machine["host"], defaults={"facts": machine | {"processes": processes}, "seen_at": now}
        )
        Worker.objects.filter(seen_at__lt=now - FORGOTTEN_AFTER).delete()
    if base := about.get("base"):
        name = job.project.loop.base_model
        BaseFacts.objects.update_or_create(model=name, defaults={"facts": base, "seen_at": now})


def processes_of(launch: Sequence[str], *, gpus: int) -> int:
    """How many processes ``PAIRLOOP_LAUNCH`` starts: as it says, else torchrun's 1 and accelerate's one a GPU."""
    words = [word.lstrip("-").replace("-", "_") for part in launch for word in part.split("=", 1)]
    for name, value in pairwise(words):
        if name in ("nproc_per_node", "num_processes"):
            return int(value) if value.isdecimal() and int(value) else max(1, gpus)
    return max(1, gpus) if "accelerate" in " ".join(words) else 1
