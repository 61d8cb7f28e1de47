"""What RLOO and GRPO have in common: the policy answers prompts, and a reward model says how good each answer is.

Each step draws fresh answers from the policy, a group for each prompt; an answer is learned as far as it beats its
group. TRL's trainers do both. Closed around them here: prompts that their sampler would leave out, and an order of
prompts that a resumed run would not repeat (`training.engine.order.group_prompts`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine.checks import Checks
from training.engine.job import Failure
from training.engine.methods.base import GUARDS, Method, Parts
from training.engine.order import group_prompts
from training.engine.reward_model import load_reward_model
from training.engine.rows import TrainingRow, prompt_row

if TYPE_CHECKING:
    from training.engine.chat import Chat
    from training.engine.job import Job
    from training.engine.spec import TrainSpec

OWN = frozenset({"reference", "beta", "reward_model", "num_generations", "max_new_tokens"})


class OnlineMethod(Method):
    """A method whose rows are prompts. Preferred answers are not followed: there are none in its rows."""

    data = "prompts"
    knobs = OWN | GUARDS - {"chosen_guard", "chosen_drop"}
    repeats = False
    not_adapted_by = {  # noqa: RUF012  # a constant
        "full": Said("must be an adapter: the reference is the model with the adapter off")
    }

    def check(self, spec: "TrainSpec", checks: Checks) -> None:
        checks.number("num_generations", 2, 256, whole=True)
        checks.number("max_new_tokens", 1, 32768, whole=True)
        if spec.reference_model:
            checks.add(
                "reference", Said("must be the previous policy: this one was trained in full, and its base is another")
            )
        if checks.problems:
            return
        if spec.max_new_tokens >= spec.max_length:
            checks.add("max_new_tokens", Said("must be below the maximal length, which counts the prompt too"))
        if (answers := spec.batch_size * spec.gradient_accumulation) % spec.num_generations:
            group = Said("must divide the answers of a step (batch size × accumulation = %(answers)s)", answers=answers)
            checks.add("num_generations", group)

    def longest(self, spec: "TrainSpec") -> int:
        """Prompts leave room for the answer."""
        return spec.max_length - spec.max_new_tokens + 1

    def row(self, chat: "Chat", row: Mapping[str, Any], max_length: int) -> TrainingRow:
        return prompt_row(chat, row, max_length)

    def against(self, job: "Job", spec: "TrainSpec", parts: Parts) -> dict[str, Any]:
        """What both trainers take beside their config. Raises Failure `no_reward_model`, or what loading one raises."""
        if spec.reward_model is None:
            raise Failure("no_reward_model", Said("There is no reward model. Train one first, and name it."))
        tokenizer = parts.trainer["processing_class"]
        model = load_reward_model(spec.reward_model, parts.device)
        return parts.trainer | {"reward_funcs": model, "reward_processing_classes": tokenizer}

    def answering(self, spec: "TrainSpec", parts: Parts) -> dict[str, Any]:
        """What both configs take."""
        config = {name: value for name, value in parts.config.items() if name != "max_length"}
        return config | {
            "beta": spec.beta,
            "num_generations": spec.num_generations,
            "max_completion_length": spec.max_new_tokens,
            "temperature": 1.0,
            "num_iterations": 1,
            "disable_dropout": False,  # ours is off already; theirs would silence the adapter's as well
        }

    def ordered(self, trainer: Any, spec: "TrainSpec", rows: list[TrainingRow]) -> Any:
        """The trainer, with our order of prompts."""
        group_prompts(trainer, len(rows), seed=spec.seed)
        return trainer
