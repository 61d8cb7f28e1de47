"""What a machine has that training can use. The values are plain; only `look` asks, and imports torch for it."""

import contextlib
import importlib.util
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Gpu:
    """One CUDA device."""

    name: str
    memory: int  # bytes, all of it
    capability: str  # compute capability, as "8.0"
    bf16: bool  # computes in bfloat16 by itself; older ones only emulate it


@dataclass(frozen=True)
class Machine:
    """As the process sees it that would train: within its container, and with the GPUs that it may use."""

    host: str
    cores: int
    memory: int  # bytes of RAM, or what the container may take of it
    gpus: tuple[Gpu, ...] = ()
    bitsandbytes: bool = False  # is the package there that QLoRA needs?
    processes: int = 1  # that train as one, as PAIRLOOP_LAUNCH starts them

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self) | {"gpus": [asdict(gpu) for gpu in self.gpus]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The machine that `to_json` wrote. Raises KeyError or TypeError on anything else."""
        return cls(**(dict(data) | {"gpus": tuple(Gpu(**gpu) for gpu in data["gpus"])}))


def look() -> Machine:
    """This machine, as this process sees it."""
    import torch

    gpus = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(number)
        gpus.append(Gpu(about.name, about.total_memory, f"{about.major}.{about.minor}", computes_bf16(number)))
    return Machine(
        host=socket.gethostname(),
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        memory=_memory(),
        gpus=tuple(gpus),
        bitsandbytes=importlib.util.find_spec("bitsandbytes") is not None,
    )


def computes_bf16(number: int = 0) -> bool:
    """Does this GPU compute in bfloat16 by itself? Where it is emulated it is slower than float32."""
    import torch

    with torch.cuda.device(number):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _memory() -> int:
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroups 2 and 1; "max" is no number
        with contextlib.suppress(OSError, ValueError):
            found.append(int(Path("/sys/fs/cgroup", name).read_text()))
    return min(found)
