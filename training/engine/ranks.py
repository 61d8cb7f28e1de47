"""Several processes that train one model as one: who am I, and do we all agree?

`accelerate launch` and `torchrun` start the engine once per device and say in the environment which process is which.
The first one, rank 0, speaks for all: it alone writes events, result, checkpoints' manifests and the adapter. Importing
this imports no torch.
"""

import ctypes
import os
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from annotate.said import Said

if TYPE_CHECKING:
    from training.engine.spec import TrainSpec

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def die_with_launcher() -> None:
    """torchrun gives each process a session of its own: whoever kills torchrun's group would leave them running."""
    if "RANK" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def any_says(*flags: bool) -> tuple[bool, ...]:
    """For each flag, whether any process says yes. All must ask at the same point, or all wait for ever."""
    if processes() == 1:
        return flags
    from accelerate.utils import gather_object

    return tuple(any(said) for said in zip(*gather_object([flags]), strict=True))


def from_first(value: Any) -> Any:
    """Rank 0's value, for all."""
    if processes() == 1:
        return value
    from accelerate.utils import broadcast_object_list

    shared = [value]
    broadcast_object_list(shared)
    return shared[0]


def wait_for_all() -> None:
    """Goes on when everybody is here."""
    any_says(False)


def share(spec: "TrainSpec") -> "TrainSpec":
    """What one process does of the spec's steps, so that a step sees as many rows as with a single one.

    Divides the accumulation, or else the batch. Raises `Failure` when neither can be divided.
    """
    from training.engine.job import Failure

    count = processes()
    if spec.gradient_accumulation % count == 0:
        return replace(spec, gradient_accumulation=spec.gradient_accumulation // count)
    if spec.batch_size % count == 0:
        return replace(spec, batch_size=spec.batch_size // count)
    raise Failure(
        "bad_spec",
        Said(
            "%(processes)s processes cannot share a step of %(batch)s rows, %(times)s times. Make the accumulation "
            "or the batch size a multiple of the processes.",
            processes=count,
            batch=spec.batch_size,
            times=spec.gradient_accumulation,
        ),
    )
