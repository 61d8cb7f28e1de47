"""How fast judging is served, beside a bare Django app on the same machine in the same minute. ``make bench``.

Sixteen people judge without a pause against gunicorn with two workers on PostgreSQL. The site answers each submit with
the next pair; the bare app does one insert and one select: as ``startproject`` sets Django up, the same with kept
connections, and stripped of all that can be taken off. They take turns, so that a machine that slows down slows all.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.bench.people import BarePerson, Person, SitePerson, Tally, judge_without_pause
from tests.bench.servers import gunicorn
from tests.bench.weight import page_weight
from tests.live_site import ROOT

PEOPLE = 16
MOST_REQUESTS, MOST_BYTES, LEAST_RATIO = 8, 250_000, 0.6
PERCENTILES = (50, 95, 99)
# What the bare app is called, and its settings.
BARE = {
    "bare Django": "tests.bench.bare.settings",
    "kept connections": "tests.bench.bare.kept",
    "stripped Django": "tests.bench.bare.stripped",
}
SITE = "Pairloop"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=5, help="Turns that each of them gets.")
    parser.add_argument("--seconds", type=float, default=5.0, help="Length of a turn.")
    parser.add_argument("--threads", type=int, default=1, help="gunicorn's --threads, for all. 1: sync workers.")
    parser.add_argument("--comparisons", type=int, default=20_000, help="Length of the queue; the site works it off.")
    options = parser.parse_args()

    from tests.jobs.postgres import postgres_server  # noqa: PLC0415  (says what to install where there is none)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pairloop-bench-")))
        postgres = stack.enter_context(postgres_server())
        print(f"- Filling four databases with {options.comparisons} comparisons", flush=True)
        bare_envs = []
        for settings in BARE.values():
            env = {"DJANGO_SETTINGS_MODULE": settings, "BENCH_BARE_DATABASE_URL": postgres.new_database()}
            _run_python(f"from tests.bench.bare.fill import fill; fill(items={options.comparisons})", env)
            bare_envs.append(env)
        site_env = {"DJANGO_SETTINGS_MODULE": "config.settings", "PAIRLOOP_LOG_LEVEL": "WARNING"}
        site_env |= {"PAIRLOOP_HOME": str(folder / "home"), "PAIRLOOP_DATABASE_URL": postgres.new_database()}
        _manage(["migrate", "--verbosity", "0"], site_env)
        _manage(["collectstatic", "--verbosity", "0", "--no-input"], site_env)
        fill_site = f"fill(people={PEOPLE}, comparisons={options.comparisons})"
        found = json.loads(_run_python(f"from tests.bench.fill_site import fill; {fill_site}", site_env))

        serve = partial(gunicorn, threads=options.threads)
        bare = [
            stack.enter_context(serve("django.core.wsgi:get_wsgi_application()", env=env, log=folder / f"bare{n}.log"))
            for n, env in enumerate(bare_envs)
        ]
        site = stack.enter_context(serve("config.wsgi:application", env=site_env, log=folder / "site.log"))
        requests, weight = page_weight(site, f"/projects/{found['project']}/judge/", found["sessions"][0])
        crowds: dict[str, Sequence[Person]] = {
            name: [BarePerson(port, number, options.comparisons) for number in range(PEOPLE)]
            for name, port in zip(BARE, bare, strict=True)
        }
        crowds[SITE] = [SitePerson(site, found["project"], session) for session in found["sessions"]]
        for people in crowds.values():
            judge_without_pause(people, 1)
        turns: dict[str, list[Tally]] = {name: [] for name in crowds}
        for turn in range(1, options.turns + 1):
            for name, people in crowds.items():
                turns[name].append(judge_without_pause(people, options.seconds))
            rates = ", ".join(f"{name} {tallies[-1].rate:.0f}/s" for name, tallies in turns.items())
            print(f"- turn {turn}: {rates}", flush=True)
    return _report(turns, requests, weight)


def _manage(command: Sequence[str], env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "django", *command],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _run_python(code: str, env: dict[str, str]) -> str:
    return _manage(["shell", "--verbosity", "0", "--command", code], env)


def _report(turns: Mapping[str, Sequence[Tally]], requests: int, weight: int) -> int:
    print(f"\n{'':18}{'judgments/s':>12}{'p50':>9}{'p95':>9}{'p99':>9}   (times in ms; medians over the turns)")
    for name, tallies in turns.items():
        rate = statistics.median(turn.rate for turn in tallies)
        times = [statistics.median(turn.percentile(percent) for turn in tallies) * 1000 for percent in PERCENTILES]
        print(f"{name:18}{rate:>12.0f}" + "".join(f"{time:>9.1f}" for time in times))
    ratios = {
        name: statistics.median(ours.rate / theirs.rate for ours, theirs in zip(turns[SITE], turns[name], strict=True))
        for name in BARE
    }
    met = {f"ratio {r:.2f} to {name}, at least {LEAST_RATIO}": r >= LEAST_RATIO for name, r in ratios.items()} | {
        f"{requests} requests for the judge page, at most {MOST_REQUESTS}": requests <= MOST_REQUESTS,
        f"{weight / 1000:.0f} kB for the judge page, at most {MOST_BYTES / 1000:.0f} kB": weight <= MOST_BYTES,
    }
    for sentence, fine in met.items():
        print(f"{'met    ' if fine else 'NOT MET'}  {sentence}")
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
