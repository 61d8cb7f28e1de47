"""How long our engine trains, beside a plain TRL script on the same rows and settings. ``make bench-train``.

First one run of DPO and one of KTO, with nothing on disk that could help; then three rounds as the loop makes them:
each trains on new rows and on a replayed quarter of the old ones, and goes on from the last adapter, with the base as
its reference. Both sides are fresh processes that take turns, so that a machine that slows down slows both. CPU time is
the one to look at where other work shares the machine.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.live_site import ROOT
from training.engine import rundir
from training.engine.domain import make_corpus
from training.engine.spec import StarterSpec, TrainSpec

# Large enough that steps and not imports are measured, small enough to wait for: 6 M parameters.
MODEL = StarterSpec(examples=600, lesson_steps=30, steps=30, hidden_size=256, layers=6, heads=4)
ONE_RUN, THREE_ROUNDS, LOSS_WITHIN = 1.05, 0.9, 0.02
ROUNDS, REPLAY = 3, 0.25


@dataclass(frozen=True)
class Cost:
    """Of one or more processes: seconds, and the most memory that one of them held, in bytes."""

    wall: float
    cpu: float
    memory: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.cpu + other.cpu, max(self.memory, other.memory))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.train", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=3, help="How often everything is measured.")
    parser.add_argument("--rows", type=int, default=192, help="New pairs in a run or round.")
    parser.add_argument("--epochs", type=float, default=2.0, help="Passes over the rows.")
    parser.add_argument("--keep", type=Path, help="A folder for the model and the runs, kept afterwards.")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="pairloop-bench-"))
    try:
        return _measure(folder, options)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)


def _measure(folder: Path, options: argparse.Namespace) -> int:
    starter = folder / "starter"
    starter.mkdir(parents=True, exist_ok=True)
    rundir.write_atomically(starter / rundir.SPEC, json.dumps(MODEL.to_json()))
    print("- Building a model", flush=True)
    run(["-m", "training.engine", "starter", str(starter)], starter / "log")
    spec = TrainSpec(
        method="dpo",
        model=str(starter / "model"),
        epochs=options.epochs,
        learning_rate=2e-4,
        batch_size=4,
        gradient_accumulation=2,
        max_length=512,
        gradient_checkpointing=False,
        save_every=25,
        device="cpu",
    )
    one: list[tuple[Cost, Cost]] = []
    thumbs: list[tuple[Cost, Cost]] = []
    three: list[tuple[Cost, Cost]] = []
    losses: list[tuple[float, float]] = []
    for turn in range(options.turns):
        rounds = [_rows(options.rows, seed=10 * turn + number) for number in range(ROUNDS)]
        here = folder / f"turn-{turn}"
        shutil.rmtree(here, ignore_errors=True)
        plain = _train("tests.bench.plain_trl", here / "one-plain", spec, rounds[0])
        ours = _train("training.engine", here / "one-ours", _cached(spec, here / "cache-one"), rounds[0])
        one.append((plain, ours))
        losses.append((_loss(here / "one-plain"), _loss(here / "one-ours")))
        print(f"- turn {turn + 1}, one run: {_said(one[-1])}; final loss {_losses(losses[-1])}", flush=True)
        kto = replace(spec, method="kto", loss_type=())
        single = _unpaired(rounds[0])
        plain = _train("tests.bench.plain_trl", here / "kto-plain", kto, single)
        ours = _train("training.engine", here / "kto-ours", _cached(kto, here / "cache-kto"), single)
        thumbs.append((plain, ours))
        losses.append((_loss(here / "kto-plain"), _loss(here / "kto-ours")))
        print(f"- turn {turn + 1}, KTO: {_said(thumbs[-1])}; final loss {_losses(losses[-1])}", flush=True)
        total, adapters = [Cost(0, 0), Cost(0, 0)], ["", ""]
        old: list[dict[str, Any]] = []
        for number, new in enumerate(rounds):
            replayed = random.Random(number).sample(old, int(REPLAY * len(new))) if old else []
            for side, (module, name) in enumerate((("tests.bench.plain_trl", "plain"), ("training.engine", "ours"))):
                place = here / f"round-{number}-{name}"
                this = replace(spec, start_adapter=adapters[side])
                this = _cached(this, here / "cache") if name == "ours" else this
                total[side] += _train(module, place, this, [*new, *replayed])
                adapters[side] = str(place / "adapter")
            old += new
        three.append((total[0], total[1]))
        losses.append((_loss(here / "round-2-plain"), _loss(here / "round-2-ours")))
        print(f"- turn {turn + 1}, {ROUNDS} rounds: {_said(three[-1])}; final loss {_losses(losses[-1])}", flush=True)
    return _report(one, thumbs, three, losses)


def _rows(n: int, *, seed: int) -> list[dict[str, Any]]:
    """Pairs whose answers are one to eight replies long, so that lengths differ as those of chat answers do."""
    dice = random.Random(f"bench {seed}")
    corpus = make_corpus(20 * n, seed)
    rows: list[dict[str, Any]] = []
    for number in range(n):
        texts = [" ".join(one.reply for one in dice.sample(corpus, dice.choice((1, 1, 2, 3, 5, 8)))) for _ in range(2)]
        rejected, chosen = sorted(texts, key=len)
        message = [{"role": "user", "content": corpus[number].message}]
        rows.append({"id": f"{seed}-{number}", "messages": message, "chosen": chosen, "rejected": rejected})
    return [row for row in rows if row["chosen"] != row["rejected"]]


def _unpaired(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many answers, every other one the chosen one of its pair."""
    return [
        {"id": row["id"], "messages": row["messages"], "completion": row[side], "label": side == "chosen"}
        for row, side in zip(rows, itertools.cycle(("chosen", "rejected")), strict=False)
    ]


def _cached(spec: TrainSpec, cache: Path) -> TrainSpec:
    return replace(spec, reference_cache=str(cache))


def _train(module: str, place: Path, spec: TrainSpec, rows: Sequence[dict[str, Any]]) -> Cost:
    rundir.write_run_dir(place, spec, rows)
    command = ["-m", module, "train", str(place)] if module == "training.engine" else ["-m", module, str(place)]
    return run(command, place / "log")


def run(command: Sequence[str], log: Path) -> Cost:
    """Runs Python to the end, and says what it cost: the process's own CPU time, whatever else the machine does."""
    # The same threads and no hub for both.
    cores = str(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)
    env = {"OMP_NUM_THREADS": cores, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    started = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=os.environ | env, stdout=file, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text(errors='replace')[-3000:]}")
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Cost(time.monotonic() - started, usage.ru_utime + usage.ru_stime, memory)


def _loss(place: Path) -> float:
    """The DPO loss of the run's adapter over all its rows, computed by neither side."""
    out = place / "loss"
    run(["-m", "tests.bench.plain_trl", str(place), "loss"], out)
    return float(out.read_text().split()[-1])


def _said(pair: tuple[Cost, Cost]) -> str:
    plain, ours = pair
    return f"plain {plain.wall:.1f} s ({plain.cpu:.1f} CPU), ours {ours.wall:.1f} s ({ours.cpu:.1f} CPU)"


def _losses(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.4f} and {pair[1]:.4f}"


def _report(
    one: Sequence[tuple[Cost, Cost]],
    thumbs: Sequence[tuple[Cost, Cost]],
    three: Sequence[tuple[Cost, Cost]],
    losses: Sequence[tuple[float, float]],
) -> int:
    met: dict[str, bool] = {}
    for name, pairs, most in (
        ("one run", one, ONE_RUN),
        ("one run of KTO", thumbs, ONE_RUN),
        (f"{ROUNDS} rounds with replay", three, THREE_ROUNDS),
    ):
        wall = statistics.median(ours.wall / plain.wall for plain, ours in pairs)
        cpu = statistics.median(ours.cpu / plain.cpu for plain, ours in pairs)
        met[f"{name}: {wall:.2f} of the plain script's wall time, {cpu:.2f} of its CPU time; at most {most}"] = (
            wall <= most
        )
    apart = max(abs(plain - ours) for plain, ours in losses)
    met[f"final losses at most {apart:.4f} apart; within {LOSS_WITHIN}"] = apart <= LOSS_WITHIN
    for sentence, fine in met.items():
        print(f"{'met    ' if fine else 'NOT MET'}  {sentence}")
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
