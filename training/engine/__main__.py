"""`python -m training.engine {starter,train,sample,score,trial,merge,push} RUN_DIR`: one process, one job.

`python -m training.engine profile MODEL` says how this machine would train a model, and starts nothing.
Exit code 0: finished or cancelled; 3: a foreseen failure; each with a `result.json`. Anything else is a crash.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

# Set before any import of torch or a tokenizer. The caller's own values win.
# Threads that wait by spinning make two processes on two cores ten times slower than one after the other (measured).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # forked data workers would only warn about it
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products on CUDA


COMMANDS = ("starter", "train", "sample", "score", "trial", "merge", "push")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.engine", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("run_dir", type=Path, help="folder with spec.json and rows.jsonl (starter: may be new)")
    if arguments[:1] == ["profile"]:
        from training.engine.show_profile import main as show_profile

        return show_profile(arguments[1:])
    options = parser.parse_args(arguments)
    from training.engine import ranks

    ranks.die_with_launcher()
    path = options.run_dir.resolve()
    if options.command == "starter":
        from training.engine.starter import main as build_starter

        return build_starter(path)
    if not path.is_dir():
        parser.error(f"{path} is not a folder; write spec.json and rows.jsonl into one first")

    from training.engine import job as jobs

    return jobs.run(path, lambda job: _work(options.command, job))


def _work(command: str, job: Any) -> str:
    """Reads spec and rows, then does the work. Imports only what the command needs: each import costs seconds."""
    from training.engine import rundir
    from training.engine.checks import SpecError
    from training.engine.job import Failure
    from training.engine.spec import MergeSpec, PushSpec, SampleSpec, ScoreSpec, TrainSpec, TrialSpec

    try:
        data = rundir.read_spec_json(job.path)
        rows = list(rundir.iter_rows(job.path / rundir.ROWS))
    except (OSError, ValueError) as error:
        raise Failure("bad_spec", f"The run directory cannot be read: {error}") from error
    kinds = (TrainSpec, SampleSpec, ScoreSpec, TrialSpec, MergeSpec, PushSpec)
    kind = next(kind for kind in kinds if kind.kind == command)
    try:
        spec: Any = kind.from_json(data)
    except SpecError as error:
        raise Failure("bad_spec", f"The settings cannot be run. {error}") from error
    match command:
        case "train":
            from training.engine.train import train

            return train(job, spec, rows)
        case "sample":
            from training.engine.sample import sample

            return sample(job, spec, rows)
        case "score":
            from training.engine.score import score

            return score(job, spec, rows)
        case "trial":
            from training.engine.trial import trial

            return trial(job, spec, rows)
        case "merge":
            from training.engine.merge import merge

            return merge(job, spec)
        case _:
            from training.engine.push import push

            return push(job, spec)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
