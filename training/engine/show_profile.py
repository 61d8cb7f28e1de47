"""`python -m training.engine profile MODEL`: how this machine would train a model, in words; nothing is started."""

import argparse
from collections.abc import Iterator

from annotate.said import Said
from training.engine.job import Failure
from training.engine.machine import Machine, look
from training.engine.methods import METHODS
from training.engine.profile import CHOSEN, Fit, Profile, choose, gib
from training.engine.sizes import model_facts
from training.engine.spec import ModelRef, TrainSpec


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.engine profile", description=__doc__)
    parser.add_argument("model", help="a folder, or a hub id (only its config is read)")
    parser.add_argument("--revision", default="", help="commit or tag of a hub id")
    parser.add_argument("--method", choices=sorted(METHODS), default="dpo")
    options = parser.parse_args(arguments)
    try:
        model = model_facts(ModelRef(options.model, options.revision))
    except Failure as failure:
        parser.error(failure.message)
    usual = TrainSpec(**(dict(METHODS[options.method].expert) | {"method": options.method, "model": options.model}))
    machine = look()
    profile = choose(machine, model, options.method, usual.to_json())
    print(f"{options.model}: {model.parameters / 1e6:,.1f} million parameters")  # noqa: T201
    for line in lines(machine, profile):
        print(line)  # noqa: T201
    return 0 if profile.fit.fits else 1


def lines(machine: Machine, profile: Profile) -> Iterator[str]:
    """The machine, the chosen values, why, and what they take."""
    yield described(machine)
    yield "  ".join(f"{name}={profile.settings[name]}" for name in CHOSEN)
    yield from (f"- {reason}" for reason in profile.because)
    yield from said_fit(profile.fit)


def described(machine: Machine) -> Said:
    """A machine in one line."""
    gpus = [Said("%(name)s (%(size)s GiB)", name=gpu.name, size=gib(gpu.memory)) for gpu in machine.gpus]
    return Said(
        "%(host)s: %(cores)s cores, %(size)s GiB of memory, GPUs: %(gpus)s",
        host=machine.host,
        cores=machine.cores,
        size=gib(machine.memory),
        gpus=gpus or Said("none"),
    )


def said_fit(fit: Fit) -> Iterator[Said]:
    """What the settings take, and where they do not fit what to change."""
    memory = fit.memory
    yield Said(
        "Memory: about %(total)s of %(limit)s GiB (base %(weights)s, what is trained %(trained)s, rows %(rows)s, "
        "libraries %(process)s).",
        total=gib(memory.total),
        limit=gib(fit.limit),
        weights=gib(memory.weights),
        trained=gib(memory.trained),
        rows=gib(memory.rows),
        process=gib(memory.process),
    )
    if not fit.fits:
        yield Said("This will probably not fit. %(changes)s", changes=" ".join(fit.changes))
