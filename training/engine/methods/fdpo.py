"""Filtered DPO: DPO on the pairs whose chosen answer is better than the policy's own, as a reward model says."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine.checks import Checks
from training.engine.filtering import better_than_own
from training.engine.methods.dpo import Dpo
from training.engine.rows import TrainingRow

if TYPE_CHECKING:
    from training.engine.chat import Chat
    from training.engine.job import Job
    from training.engine.models import Device
    from training.engine.spec import TrainSpec


class _FilteredDpo(Dpo):
    name = "fdpo"
    title = "fDPO"
    about = Said("from judged pairs that beat the policy's own answers")
    label = Said("fDPO: learn from judged pairs that beat the policy's own answers")
    loss_name = Dpo.name
    knobs = Dpo.knobs | {"reward_model", "max_new_tokens"}
    expert = Dpo.expert | {"max_new_tokens": 256}  # a constant
    starter = Dpo.starter | {"max_new_tokens": 48}
    repeats = False  # its reward model would fall behind the policies

    def check(self, spec: "TrainSpec", checks: Checks) -> None:
        super().check(spec, checks)
        checks.number("max_new_tokens", 1, 32768, whole=True)

    def keep(
        self,
        job: "Job",
        spec: "TrainSpec",
        chat: "Chat",
        device: "Device",
        rows: list[TrainingRow],
        about: Callable[[], dict[str, Any]],
    ) -> list[TrainingRow]:
        return better_than_own(job, spec, chat, device, rows, about)


FDPO = _FilteredDpo()
