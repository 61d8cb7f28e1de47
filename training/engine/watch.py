"""What watches TRL's trainer from a callback: events, a stop at NaN, a cancel, sound checkpoints."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotate.said import Said
from training.engine import checkpoints
from training.engine.job import Failure, Job

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
)
MUST_BE_FINITE = ("loss", "grad_norm")


class Watch:
    """The deeds of the callback, apart from transformers, which is imported late."""

    def __init__(self, job: Job, root: Path, about: Mapping[str, Any], limit: int) -> None:
        self.job = job
        self.root = root
        self.about = about
        self.limit = limit

    def logged(self, step: int, logs: Mapping[str, Any]) -> None:
        """One optimizer step's numbers. Raises Failure `not_finite` at the first NaN or infinity that matters."""
        if "loss" not in logs:
            return  # the summary at the end
        values = {name: float(logs[name]) for name in METRICS if name in logs}
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
        self.job.events.write(
            "metric", step=step, values={name: value for name, value in values.items() if math.isfinite(value)}
        )

    def saved(self, step: int, folder: Path) -> None:
        """The trainer has written a checkpoint into its work folder: publish it."""
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
                watch.job.events.progress(state.global_step, state.max_steps)
                if watch.job.stop_asked:
                    control.should_training_stop = True
                    control.should_save = True  # stopping alone does not save

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
                watch.logged(state.global_step, logs or {})

            def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                watch.saved(state.global_step, Path(args.output_dir) / f"checkpoint-{state.global_step}")

        return Callback()
