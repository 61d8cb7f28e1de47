"""What a training method says of itself. Pure to import: only `trainer` imports torch, when it is called.

`training.engine.train` does for every method alike what is not the method's own: loading, the row gate, the check of
the reference, checkpoints, the watch, publishing. The pages ask the same objects what to offer.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from annotate.said import Said
from training.engine.checks import Checks

if TYPE_CHECKING:
    from training.engine.chat import Chat
    from training.engine.job import Job
    from training.engine.models import Device
    from training.engine.rows import TrainingRow
    from training.engine.spec import TrainSpec

# Shapes of training rows, see `training.engine.rows`.
Data = Literal["pairs", "graded", "unpaired", "demonstrations", "prompts"]
# Fields of TrainSpec about looks at a policy's own answers. What makes no policy has none.
GUARDS = frozenset(
    {
        "kl_guard",
        "kl_budget",
        "chosen_guard",
        "chosen_drop",
        "length_guard",
        "length_ratio",
        "fresh_answers",
        "fresh_tokens",
    }
)
# What the starter model wants, whatever the method. Each adds its own, or says what it wants otherwise.
FOR_THE_STARTER: dict[str, Any] = {
    "learning_rate": 1e-3,
    "batch_size": 8,
    "gradient_accumulation": 1,
    "max_length": 256,
    "lr_scheduler": "linear",
    "gradient_checkpointing": False,
}


@dataclass(frozen=True)
class Parts:
    """What `trainer` makes TRL's trainer from, ready when it is called."""

    config: dict[str, Any]  # keyword arguments of TRL's config that every method shares
    trainer: dict[str, Any]  # of TRL's trainer: model, train_dataset, processing_class, peft_config
    device: "Device"


class Method(ABC):
    """One method. A subclass and its one instance make up a module of this package."""

    name: ClassVar[str]  # as specs, addresses and the database name it
    title: ClassVar[str]  # as people write it
    about: ClassVar[Said]  # what it learns from, in a few words beside the title
    label: ClassVar[Said]  # title and about in one line, for lists
    data: ClassVar[Data]  # the rows it trains on
    sources: ClassVar[Mapping[str, Said]] = {}  # which decisions its rows are made of, where that can be chosen
    losses: ClassVar[Mapping[str, Said]] = {}  # the losses it offers, the usual first, a line each; none: there is one
    loss_name: ClassVar[str] = ""  # whose loss it is, where another method has the same one
    knobs: ClassVar[frozenset[str]]  # fields of TrainSpec that only some methods have, and this one has
    expert: ClassVar[Mapping[str, Any]]  # values of TrainSpec's fields to start from, for models of 0.5 to 8 B
    starter: ClassVar[Mapping[str, Any]]  # likewise for the starter model, as measured
    by_loss: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # what a loss wants otherwise than these two
    has_reference: ClassVar[bool] = True  # is the policy held close to another model?
    # Is what it learned merged into the model? Then the policy is a whole model, and the base of all that follow it:
    # "without the adapter" is this policy, which is what they are held close to.
    merges: ClassVar[bool] = False
    sums_losses: ClassVar[bool] = False  # may several losses be summed?
    repeats: ClassVar[bool] = True  # may rounds that start by themselves use it?
    makes_reward_model: ClassVar[bool] = False  # else a policy
    not_adapted_by: ClassVar[Mapping[str, Said]] = {}  # ways to train weights that it cannot use, and why

    @property
    def imitates(self) -> bool:
        """Does it learn answers as such, rather than which are better? What one kind learned is new to the other."""
        return self.data == "demonstrations"

    @property
    def needs_reward_model(self) -> bool:
        """Does it train against a reward model, or with the help of one?"""
        return "reward_model" in self.knobs

    def usual_with(self, losses: Sequence[str], usual: Mapping[str, Any]) -> dict[str, Any]:
        """``usual`` as these losses want it. Of several, one counts beside an added likelihood, else none."""
        main = [loss for loss in losses if loss != "sft"]
        return dict(usual) | dict(self.by_loss.get(str(main[0]), {}) if len(main) == 1 else {})

    def moved(self, was: Sequence[str], now: Sequence[str], usual: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Settings that other losses want otherwise: (usual with the losses ``was``, with ``now``), by name."""
        before, after = self.usual_with(was, usual), self.usual_with(now, usual)
        return {name: (before[name], value) for name, value in after.items() if before[name] != value}

    @abstractmethod
    def check(self, spec: "TrainSpec", checks: Checks) -> None:
        """Adds the problems of the method's own fields."""

    def longest(self, spec: "TrainSpec") -> int:
        """Tokens of prompt and answer that a row may have, as `row` is told."""
        return spec.max_length

    @abstractmethod
    def row(self, chat: "Chat", row: Mapping[str, Any], max_length: int) -> "TrainingRow":
        """A row of the job as TRL wants it. Raises `RowProblem` for one that cannot be used."""

    def arrange(self, job: "Job", spec: "TrainSpec", rows: "list[TrainingRow]") -> "list[TrainingRow]":
        """The usable rows in the order of training. Raises `Failure` when together they cannot be trained on."""
        return rows

    def keep(
        self,
        job: "Job",
        spec: "TrainSpec",
        chat: "Chat",
        device: "Device",
        rows: "list[TrainingRow]",
        about: Callable[[], dict[str, Any]],
    ) -> "list[TrainingRow]":
        """Those of the usable rows that are trained on, where models must be asked. The steps stay those of all rows.

        `about` says what the choice belongs to. Raises `Failure` where too few are left.
        """
        return rows

    def batch_size(self, spec: "TrainSpec", rows: int) -> int:
        """Rows per device and forward pass."""
        return spec.batch_size

    @abstractmethod
    def trainer(self, job: "Job", spec: "TrainSpec", rows: "list[TrainingRow]", parts: Parts) -> Any:
        """TRL's trainer on these rows. Here torch may be imported."""


def check_losses(method: Method, spec: "TrainSpec", checks: Checks) -> bool:
    """Adds problems of `loss_type` and `loss_weights`. True when the losses can be looked at further."""
    checks.texts("loss_type")
    if "loss_type" in checks.problems:
        return False
    for loss in spec.loss_type:
        if loss in REFUSED_LOSSES:
            checks.add("loss_type", Said("%(loss)s is refused: %(why)s", loss=loss, why=REFUSED_LOSSES[loss]))
        elif loss not in method.losses:
            among = Said(
                "must be among %(losses)s for %(method)s, not %(value)s",
                losses=list(method.losses),
                method=method.name,
                value=repr(loss),
            )
            checks.add("loss_type", among)
    if len(set(spec.loss_type)) != len(spec.loss_type):
        checks.add("loss_type", Said("names a loss twice; give it one larger weight instead"))
    if not method.sums_losses and len(spec.loss_type) != 1:
        checks.add("loss_type", Said("%(method)s takes exactly one loss", method=method.title))
    return "loss_type" not in checks.problems


REFUSED_LOSSES = {
    "discopop": Said(
        "its gradient at margin 0 has the wrong sign, so a policy that starts at its reference moves away from the "
        "preferred answers; choose sigmoid"
    ),
}
