"""What is known of the machines that train, and how a project's next run would use them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from annotate.said import Said
from training.engine.machine import Machine
from training.engine.profile import CHOSEN, Fit, Profile, choose, described, judge, said_memory
from training.engine.sizes import ModelFacts
from training.models import BaseFacts, Worker

# A worker that was not heard of for longer is not spoken of beside the newest one.
ALSO_HERE = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The machine that was heard of last, and the size of a base model."""

    machine: Machine
    model: ModelFacts
    seen_at: datetime
    others: tuple[Machine, ...]  # heard of lately; a run goes to whichever is free


def surroundings(base_model: str) -> Surroundings | None:
    """None while no worker has told of itself, or none of this base."""
    workers = list(Worker.objects.order_by("-seen_at", "pk")[:5])
    base = BaseFacts.objects.filter(model=base_model).first()
    if not workers or base is None:
        return None
    newest = workers[0].seen_at
    lately = [worker for worker in workers[1:] if newest - worker.seen_at < ALSO_HERE]
    try:
        return Surroundings(
            machine=Machine.from_json(workers[0].facts),
            model=ModelFacts(**base.facts),
            seen_at=newest,
            others=tuple(Machine.from_json(worker.facts) for worker in lately),
        )
    except (KeyError, TypeError):
        return None  # another release wrote it; the next job says it anew


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not as the profile has it."""

    name: str
    chosen: Any
    profile: Any

    @property
    def said(self) -> Said:
        return Said(
            "%(name)s: %(chosen)s instead of %(profile)s",
            name=self.name,
            chosen=str(self.chosen),
            profile=str(self.profile),
        )


@dataclass(frozen=True, slots=True)
class ProfileShown:
    """How the next run would use the machine, and what it takes with the settings that are now in the form."""

    where: Surroundings
    profile: Profile
    fit: Fit
    differences: list[Difference]

    @property
    def machine_said(self) -> Said:
        return described(self.where.machine)

    @property
    def memory_said(self) -> Said:
        return said_memory(self.fit)

    @property
    def other_hosts(self) -> str:
        return ", ".join(machine.host for machine in self.where.others)

    @property
    def percent(self) -> int:
        """Of the memory that a run may take."""
        return round(100 * self.fit.memory.total / self.fit.limit)


def profile_shown(
    *, base_model: str, method: str, usual: Mapping[str, Any], chosen: Mapping[str, Any]
) -> ProfileShown | None:
    """``usual``: the method's settings on any machine; ``chosen``: those to be judged. None: nothing is known."""
    where = surroundings(base_model)
    if where is None:
        return None
    profile = choose(where.machine, where.model, method, usual)
    wanted = profile.settings | dict(chosen)
    return ProfileShown(
        where=where,
        profile=profile,
        fit=judge(where.machine, where.model, method, wanted),
        differences=[
            Difference(name, wanted[name], profile.settings[name])
            for name in CHOSEN
            if wanted[name] != profile.settings[name]
        ],
    )
