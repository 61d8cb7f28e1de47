"""What watches TRL's trainer from a callback: events, a stop at NaN, a cancel, sound checkpoints."""

import math
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotate.said import Said
from training.engine import checkpoints, ranks
from training.engine.job import Failure, Job
from training.engine.looks import Looks

# The set that is ever reported; TRL logs more, and its set changes with the release.
METRICS = (
    "loss",
    "grad_norm",
    "learning_rate",
    "epoch",
    "entropy",
    "rewards/accuracies",
    "rewards/margins",
    "rewards/chosen",
    "rewards/rejected",
    "logps/chosen",
    "logps/rejected",
    "kl",
    "reward",
    "reward_std",
    "completions/mean_length",
    "completions/clipped_ratio",
)
# What TRL's reward trainer calls the same.
ALSO_CALLED = {"rewards/accuracies": "accuracy", "rewards/margins": "margin"}
MUST_BE_FINITE = ("loss", "grad_norm")


def reported(logs: Mapping[str, Any]) -> dict[str, float]:
    """Those of the trainer's numbers that are reported."""
    logs = {name: logs[other] for name, other in ALSO_CALLED.items() if other in logs} | dict(logs)
    return {name: float(logs[name]) for name in METRICS if logs.get(name) is not None}


def most_memory() -> int:
    """Bytes: the most that the process has held on its GPU, else the most that it has held at all."""
    import torch

    if torch.cuda.is_available() and (held := torch.cuda.max_memory_reserved()):
        return int(held)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # kilobytes elsewhere


class Watch:
    """The deeds of the callback, apart from transformers, which is imported late."""

    def __init__(self, job: Job, root: Path, about: Mapping[str, Any], limit: int, looks: Looks) -> None:
        self.job = job
        self.looks = looks
        self.root = root
        self.about = about
        self.limit = limit
        # Where the last step ended: (seconds, tokens so far). The pace of a step is against it.
        self.before: tuple[float, float] | None = None

    def logged(self, step: int, logs: Mapping[str, Any]) -> None:
        """One optimizer step's numbers. Raises Failure `not_finite` at the first NaN or infinity that matters."""
        if "loss" not in logs:
            return  # the summary at the end
        values = reported(logs)
        for name in MUST_BE_FINITE:
            if name in values and not math.isfinite(values[name]):
                raise Failure(
                    "not_finite",
                    Said(
                        "Training diverged: %(measure)s is %(value)s at step %(step)s. There is no policy. Lower the "
                        "learning rate, or check the model's weights.",
                        measure=name,
                        value=str(values[name]),
                        step=step,
                    ),
                )
        values |= self._pace(logs)
        self.job.events.measured(
            "metric", step, {name: value for name, value in values.items() if math.isfinite(value)}
        )

    def _pace(self, logs: Mapping[str, Any]) -> dict[str, float]:
        """Tokens a second since the step before (none for the first), and the most memory so far in MiB."""
        found = {"memory_mib": round(most_memory() / 2**20, 1)}
        if (tokens := logs.get("num_tokens")) is not None:
            now = time.monotonic()
            if self.before is not None and now > self.before[0]:
                found["tokens_per_second"] = round((float(tokens) - self.before[1]) / (now - self.before[0]), 1)
            self.before = now, float(tokens)
        return found

    def step_ended(self, step: int, total: int, model: Any) -> bool:
        """Progress, and whether training ends here: cancelled, or early with what has been learnt."""
        self.job.events.progress(step, total)
        # All stop at the same step, or those that go on would wait for the others for ever.
        stop, finish = ranks.any_says(self.job.stop_asked, self.job.finish_asked)
        if stop:
            return True
        why = None
        if self.looks.due(step, total):
            why = ranks.from_first(self.looks.look(model, step))
        if why is None and finish:
            why = Said("a lead stopped it and kept what it had learnt")
        if why is not None and step < total:
            self.looks.end(step, total, why, model)
        return self.looks.ended is not None

    def saved(self, step: int, folder: Path) -> None:
        """The trainer has written a checkpoint into its work folder: publish it."""
        ranks.wait_for_all()  # each process writes its random state into the folder
        if self.job.rank:
            return
        self.looks.save(folder)
        place = checkpoints.keep(folder, self.root, about=self.about, limit=self.limit)
        self.job.events.write("checkpoint", step=step, path=place.relative_to(self.job.path).as_posix())

    def callback(self) -> Any:
        """A `transformers.TrainerCallback` that calls the above."""
        from transformers import TrainerCallback

        watch = self

        class Callback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
            def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                watch.job.events.progress(state.global_step, state.max_steps)

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if watch.step_ended(state.global_step, state.max_steps, kwargs["model"]):
                    control.should_training_stop = True
                    control.should_save = True  # stopping alone does not save

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
                watch.logged(state.global_step, logs or {})

            def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                watch.saved(state.global_step, Path(args.output_dir) / f"checkpoint-{state.global_step}")

        return Callback()
