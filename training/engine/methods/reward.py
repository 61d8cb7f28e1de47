"""A reward model: a number for each answer, learned from pairs with TRL's `RewardTrainer`. No policy comes of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine.checks import Checks
from training.engine.methods.base import FOR_THE_STARTER, Method, Parts
from training.engine.rows import STRONGEST, TrainingRow, graded_row

if TYPE_CHECKING:
    from training.engine.chat import Chat
    from training.engine.job import Job
    from training.engine.spec import TrainSpec


class _Reward(Method):
    name = "reward"
    title = Said("Reward model")
    about = Said("gives answers a number, for fDPO, RLOO and GRPO")
    label = Said("Reward model: learn to give answers a number, for fDPO, RLOO and GRPO")
    data = "graded"
    knobs = frozenset({"margin"})
    # TRL's own rate for full fine-tuning is 1e-4 at most; a LoRA with a fresh head wants that. One epoch: reward models
    # over-fit early (InstructGPT, 2203.02155, trained one).
    expert = {  # noqa: RUF012
        "learning_rate": 1e-4,
        "epochs": 1.0,
        "batch_size": 8,
        "gradient_accumulation": 2,
    }
    starter = FOR_THE_STARTER | {"epochs": 3.0}
    has_reference = False
    repeats = False
    makes_reward_model = True
    not_adapted_by = {  # noqa: RUF012
        "qlora": Said("must be another one: the head of a reward model is not kept in 4 bits")
    }

    def check(self, spec: "TrainSpec", checks: Checks) -> None:
        checks.number("margin", 0, 10)

    def row(self, chat: "Chat", row: Mapping[str, Any], max_length: int) -> TrainingRow:
        return graded_row(chat, row, max_length)

    def arrange(self, job: "Job", spec: "TrainSpec", rows: list[TrainingRow]) -> list[TrainingRow]:
        """With the margin of each pair in place of its strength."""
        graded = sum(row.trl["strength"] is not None for row in rows)
        job.metrics["graded"] = graded
        job.events.phase(
            "margins",
            Said("Pairs of which somebody said how much better: %(graded)s of %(n)s.", graded=graded, n=len(rows)),
        )
        return [replace(row, trl=_with_margin(row.trl, spec.margin)) for row in rows]

    def trainer(self, job: "Job", spec: "TrainSpec", rows: list[TrainingRow], parts: Parts) -> Any:
        from trl import RewardConfig, RewardTrainer

        config = RewardConfig(
            disable_dropout=False,  # ours is off already; theirs would silence the adapter's as well
            **parts.config,
        )
        return RewardTrainer(args=config, **parts.trainer)


def _with_margin(trl: Mapping[str, Any], margin: float) -> dict[str, Any]:
    """Llama 2 (2307.09288, section 3.2.2): the clearer the preference, the larger the lead that is asked for."""
    kept = {name: value for name, value in trl.items() if name != "strength"}
    return kept | {"margin": margin * (trl["strength"] or 0) / STRONGEST}


REWARD = _Reward()
