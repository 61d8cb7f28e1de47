"""How fast judging is served, beside a bare Django app on the same machine in the same minute. ``make bench``.

Sixteen people judge without a pause against gunicorn with two workers on PostgreSQL. The site answers each submit with
the next pair; the bare app does one insert and one select. The two take turns, so that a machine that slows down slows
both.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench.people import BarePerson, SitePerson, Tally, judge_without_pause
from tests.bench.servers import gunicorn
from tests.bench.weight import page_weight
from tests.live_site import ROOT

PEOPLE = 16
MOST_REQUESTS, MOST_BYTES, LEAST_RATIO = 8, 250_000, 0.6
PERCENTILES = (50, 95, 99)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=5, help="Turns that each of the two gets.")
    parser.add_argument("--seconds", type=float, default=5.0, help="Length of a turn.")
    parser.add_argument("--threads", type=int, default=1, help="gunicorn's --threads, for both. 1: sync workers.")
    parser.add_argument("--comparisons", type=int, default=20_000, help="Length of the queue; the site works it off.")
    options = parser.parse_args()

    from tests.jobs.postgres import postgres_server  # noqa: PLC0415  (says what to install where there is none)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pairloop-bench-")))
        postgres = stack.enter_context(postgres_server())
        print(f"- Filling two databases with {options.comparisons} comparisons", flush=True)
        bare_env = {"DJANGO_SETTINGS_MODULE": "tests.bench.bare.settings"}
        bare_env["BENCH_BARE_DATABASE_URL"] = postgres.new_database()
        _run_python(f"from tests.bench.bare.fill import fill; fill(items={options.comparisons})", bare_env)
        site_env = {"DJANGO_SETTINGS_MODULE": "config.settings", "PAIRLOOP_LOG_LEVEL": "WARNING"}
        site_env |= {"PAIRLOOP_HOME": str(folder / "home"), "PAIRLOOP_DATABASE_URL": postgres.new_database()}
        _manage(["migrate", "--verbosity", "0"], site_env)
        _manage(["collectstatic", "--verbosity", "0", "--no-input"], site_env)
        fill_site = f"fill(people={PEOPLE}, comparisons={options.comparisons})"
        found = json.loads(_run_python(f"from tests.bench.fill_site import fill; {fill_site}", site_env))

        bare = stack.enter_context(
            gunicorn(
                "django.core.wsgi:get_wsgi_application()",
                env=bare_env,
                threads=options.threads,
                log=folder / "bare.log",
            )
        )
        site = stack.enter_context(
            gunicorn("config.wsgi:application", env=site_env, threads=options.threads, log=folder / "site.log")
        )
        requests, weight = page_weight(site, f"/projects/{found['project']}/judge/", found["sessions"][0])
        bare_people = [BarePerson(bare, number, options.comparisons) for number in range(PEOPLE)]
        site_people = [SitePerson(site, found["project"], session) for session in found["sessions"]]
        judge_without_pause(bare_people, 1)
        judge_without_pause(site_people, 1)
        bare_turns: list[Tally] = []
        site_turns: list[Tally] = []
        for turn in range(1, options.turns + 1):
            bare_turns.append(judge_without_pause(bare_people, options.seconds))
            site_turns.append(judge_without_pause(site_people, options.seconds))
            print(f"- turn {turn}: bare {bare_turns[-1].rate:.0f}/s, Pairloop {site_turns[-1].rate:.0f}/s", flush=True)
    return _report(bare_turns, site_turns, requests, weight)


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


def _report(bare: Sequence[Tally], site: Sequence[Tally], requests: int, weight: int) -> int:
    print(f"\n{'':11}{'judgments/s':>12}{'p50':>9}{'p95':>9}{'p99':>9}   (times in ms; medians over the turns)")
    for name, turns in (("bare Django", bare), ("Pairloop", site)):
        rate = statistics.median(turn.rate for turn in turns)
        times = [statistics.median(turn.percentile(percent) for turn in turns) * 1000 for percent in PERCENTILES]
        print(f"{name:11}{rate:>12.0f}" + "".join(f"{time:>9.1f}" for time in times))
    ratio = statistics.median(ours.rate / theirs.rate for ours, theirs in zip(site, bare, strict=True))
    met = {
        f"ratio {ratio:.2f}, at least {LEAST_RATIO}": ratio >= LEAST_RATIO,
        f"{requests} requests for the judge page, at most {MOST_REQUESTS}": requests <= MOST_REQUESTS,
        f"{weight / 1000:.0f} kB for the judge page, at most {MOST_BYTES / 1000:.0f} kB": weight <= MOST_BYTES,
    }
    for sentence, fine in met.items():
        print(f"{'met    ' if fine else 'NOT MET'}  {sentence}")
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
