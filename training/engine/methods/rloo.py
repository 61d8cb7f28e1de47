"""RLOO: reinforcement learning with the other answers to a prompt as the baseline, TRL's `RLOOTrainer`."""

from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine.methods.base import FOR_THE_STARTER, Parts
from training.engine.methods.online import OnlineMethod
from training.engine.rows import TrainingRow

if TYPE_CHECKING:
    from training.engine.job import Job
    from training.engine.spec import TrainSpec


class _Rloo(OnlineMethod):
    name = "rloo"
    title = "RLOO"
    about = Said("raises what a reward model says of fresh answers")
    label = Said("RLOO: raise what a reward model says of fresh answers")
    # TRL's LoRA guidance: ten times its 1e-6 for full fine-tuning. 16 answers a step, 4 prompts.
    expert = {  # noqa: RUF012
        "learning_rate": 1e-5,
        "beta": 0.05,
        "epochs": 1.0,
        "batch_size": 8,
        "gradient_accumulation": 2,
        "num_generations": 4,
        "max_new_tokens": 256,
    }
    starter = FOR_THE_STARTER | {
        "beta": 0.05,
        "epochs": 2.0,
        "batch_size": 16,
        "num_generations": 4,
        "max_new_tokens": 48,
    }

    def trainer(self, job: "Job", spec: "TrainSpec", rows: list[TrainingRow], parts: Parts) -> Any:
        from trl import RLOOConfig, RLOOTrainer

        config = RLOOConfig(**self.answering(spec, parts))
        return self.ordered(RLOOTrainer(args=config, **self.against(job, spec, parts)), spec, rows)


RLOO = _Rloo()
