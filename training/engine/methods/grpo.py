"""GRPO: an answer's reward against its group's mean and spread, TRL's `GRPOTrainer`."""

from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine.checks import Checks
from training.engine.methods.base import Parts, check_losses
from training.engine.methods.online import OnlineMethod
from training.engine.methods.rloo import RLOO
from training.engine.rows import TrainingRow

if TYPE_CHECKING:
    from training.engine.job import Job
    from training.engine.spec import TrainSpec


class _Grpo(OnlineMethod):
    name = "grpo"
    title = "GRPO"
    about = Said("the same, against the group's mean and spread")
    label = Said("GRPO: raise what a reward model says, against the group's mean and spread")
    losses = {  # noqa: RUF012  # a constant
        "grpo": Said("GRPO (2402.03300): the mean over each answer's tokens, then over the answers"),
        "dapo": Said("DAPO (2503.14476): the mean over all tokens of the step, so long answers count as much a token"),
        "dr_grpo": Said("Dr. GRPO (2503.20783): the sum over tokens, by the longest answer; best without the spread"),
    }
    knobs = OnlineMethod.knobs | {"loss_type", "scale_rewards"}
    expert = RLOO.expert | {"beta": 0.04}  # DeepSeekMath's
    starter = RLOO.starter | {"beta": 0.04}

    by_loss = {"dr_grpo": {"scale_rewards": False}}  # noqa: RUF012  # its paper: dividing by the spread is the bias

    def check(self, spec: "TrainSpec", checks: Checks) -> None:
        check_losses(self, spec, checks)
        checks.flag("scale_rewards")
        super().check(spec, checks)

    def trainer(self, job: "Job", spec: "TrainSpec", rows: list[TrainingRow], parts: Parts) -> Any:
        from trl import GRPOConfig, GRPOTrainer

        config = GRPOConfig(
            loss_type=spec.loss_type[0],
            scale_rewards="group" if spec.scale_rewards else "none",
            **self.answering(spec, parts),
        )
        return self.ordered(GRPOTrainer(args=config, **self.against(job, spec, parts)), spec, rows)


GRPO = _Grpo()
