"""PURE: the stages of a recipe, as they are stored and as people read them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from annotate.said import Said
from training.engine.methods import METHODS
from training.engine.methods.base import Method

# More is a loop, and that is what rounds are for.
MOST_STAGES = 12


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: what ``services.runs.plan_run`` wants to know of it. An empty ``aggregation`` is the loop's.

    ``reward_model`` is the number of the project's that it trains against; None: the newest when the stage begins.
    """

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    aggregation: str = ""
    reward_model: int | None = None

    @property
    def own(self) -> Method:
        """The method, with all that it says of itself."""
        return METHODS[self.method]

    def to_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "settings": dict(self.settings),
            "aggregation": self.aggregation,
            "reward_model": self.reward_model,
        }


def stages_from(kept: Iterable[Mapping[str, Any]]) -> list[Stage]:
    """As ``to_json`` wrote them."""
    return [Stage(row["method"], row["settings"], row.get("aggregation", ""), row.get("reward_model")) for row in kept]


def moved(stages: list[Stage], place: int, *, by: int) -> list[Stage]:
    """With the stage at ``place`` (from 1) so many places later. Beyond either end it stays."""
    to = place + by
    if not (1 <= place <= len(stages) and 1 <= to <= len(stages)):
        return stages
    left = stages[: place - 1] + stages[place:]
    return [*left[: to - 1], stages[place - 1], *left[to - 1 :]]


def makes_more_policies(stages: Sequence[Stage], place: int) -> bool:
    """Does a stage after that at ``place`` make a policy? One that makes a reward model passes its own start on."""
    return any(not stage.own.makes_reward_model for stage in stages[place:])


def path_of(stages: Iterable[Stage]) -> str:
    """The methods in a line, such as SFT → DPO → KTO."""
    return " → ".join(stage.own.title for stage in stages)


def stage_said(stages: Sequence[Stage], place: int) -> Said:
    """Which stage, in words."""
    method = stages[place - 1].own.title
    return Said("Stage %(place)s of %(stages)s (%(method)s)", place=place, stages=len(stages), method=method)


def refused(stages: Sequence[Stage], place: int, why: str) -> Said:
    """Why a stage cannot begin, in words that name it."""
    return Said("%(stage)s cannot begin: %(why)s", stage=stage_said(stages, place), why=why)
