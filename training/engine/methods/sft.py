"""SFT: imitate good answers with TRL's `SFTTrainer`. No reference; what it learned is merged into the model itself."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine.checks import Checks
from training.engine.methods.base import FOR_THE_STARTER, GUARDS, Method, Parts
from training.engine.rows import TrainingRow, demonstration_row

if TYPE_CHECKING:
    from training.engine.chat import Chat
    from training.engine.job import Job
    from training.engine.spec import TrainSpec


class _Sft(Method):
    name = "sft"
    title = "SFT"
    about = Said("imitates good answers")
    label = Said("SFT: imitate improved or preferred answers")
    data = "demonstrations"
    sources = {  # noqa: RUF012  # a constant
        "demonstrations": Said("answers that people improved"),
        "chosen": Said("answers that people improved, preferred or rated up"),
    }
    knobs = frozenset({"source", *GUARDS})
    # LoRA wants ten times the rate of full fine-tuning, whose usual value is 2e-5 (TRL's default).
    expert = {  # noqa: RUF012
        "learning_rate": 2e-4,
        "epochs": 2.0,
        "batch_size": 4,
        "gradient_accumulation": 4,
    }
    starter = FOR_THE_STARTER | {"epochs": 3.0}
    has_reference = False
    merges = True
    repeats = False

    def check(self, spec: "TrainSpec", checks: Checks) -> None:
        if spec.adaptation == "qlora" and spec.start_adapter:
            checks.add("adaptation", Said("must be another one: weights of 4 bits cannot take in an adapter"))

    def row(self, chat: "Chat", row: Mapping[str, Any], max_length: int) -> TrainingRow:
        return demonstration_row(chat, row, max_length)

    def trainer(self, job: "Job", spec: "TrainSpec", rows: list[TrainingRow], parts: Parts) -> Any:
        from trl import SFTConfig, SFTTrainer

        # Only the answer is learned: what the user wrote is none of the model's doing.
        config = SFTConfig(completion_only_loss=True, packing=False, **parts.config)
        return SFTTrainer(args=config, **parts.trainer)


SFT = _Sft()
