"""`python -m training.engine profile MODEL`: how this machine would train a model, in words; nothing is started."""

import argparse
from collections.abc import Iterator

from training.engine.job import Failure
from training.engine.machine import Machine, look
from training.engine.methods import METHODS
from training.engine.profile import CHOSEN, Profile, choose, described, said_fit
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
