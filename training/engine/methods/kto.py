"""KTO: single answers with a thumb, TRL's `KTOTrainer`, a reference."""

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine.checks import Checks
from training.engine.job import Failure
from training.engine.methods.base import FOR_THE_STARTER, GUARDS, Method, Parts, check_losses
from training.engine.order import grouped_by_length
from training.engine.rows import TrainingRow, single_row

if TYPE_CHECKING:
    from training.engine.chat import Chat
    from training.engine.job import Job
    from training.engine.spec import TrainSpec

# Why good rows are left out as well. A fixed phrase, as in training.engine.chat.
ALL_ALIKE = Said("all ratings are alike")

# TRL recommends desirable_weight * desirable / (undesirable_weight * undesirable) in [1, 1.33] (KTO paper, eq. 8).
BALANCE = 1.15


class _Kto(Method):
    name = "kto"
    title = "KTO"
    about = Said("from thumbs, and pairs taken apart")
    label = Said("KTO: learn from thumbs, or from pairs taken apart")
    data = "unpaired"
    sources = {  # noqa: RUF012  # a constant
        "all": Said("thumbs, and judged pairs taken apart"),
        "ratings": Said("thumbs only"),
        "judgments": Said("judged pairs taken apart only"),
    }
    losses = {  # noqa: RUF012  # a constant
        "kto": Said("KTO (2402.01306): thumbs up and down, against a moving KL baseline"),
        "apo_zero_unpaired": Said("APO-zero (2408.06266) for single answers: no KL baseline"),
    }
    knobs = frozenset({"source", "reference", "beta", "loss_type", "desirable_weight", "undesirable_weight", *GUARDS})
    # KTO's authors train at 5e-7 to 5e-6, and want at least 4 rows a step for the KL baseline; more are better.
    expert = {  # noqa: RUF012
        "learning_rate": 5e-6,
        "beta": 0.1,
        "epochs": 1.0,
        "batch_size": 8,
        "gradient_accumulation": 2,
    }
    # Measured as DPO's, with 200 new thumbs a round: mean true reward 0.53, 0.59, 0.59 at a KL of 0.9, 1.9, 6.0 (one
    # seed).
    starter = FOR_THE_STARTER | {"beta": 0.1, "epochs": 3.0}

    def check(self, spec: "TrainSpec", checks: Checks) -> None:
        check_losses(self, spec, checks)
        checks.number("batch_size", 2, 1024, whole=True)
        for name in ("desirable_weight", "undesirable_weight"):
            if checks.value(name) is not None:
                checks.number(name, 0, 1000, above=True)

    def row(self, chat: "Chat", row: Mapping[str, Any], max_length: int) -> TrainingRow:
        return single_row(chat, row, max_length)

    def arrange(self, job: "Job", spec: "TrainSpec", rows: list[TrainingRow]) -> list[TrainingRow]:
        up = sum(row.trl["label"] for row in rows)
        if up in {0, len(rows)}:
            job.used = []
            job.skipped += [{"id": row.id, "reason": ALL_ALIKE} for row in rows]
            raise Failure(
                "one_sided",
                Said("All %(rows)s ratings are thumbs up. KTO needs both; collect more ratings.", rows=len(rows))
                if up
                else Said(
                    "All %(rows)s ratings are thumbs down. KTO needs both; collect more ratings.", rows=len(rows)
                ),
            )
        if min(up, len(rows) - up) < len(rows) / 10:
            job.events.warning(
                Said(
                    "Only %(rarer)s of %(rows)s ratings are of the rarer kind.",
                    rarer=min(up, len(rows) - up),
                    rows=len(rows),
                )
            )
        # TRL takes KTO rows in the order it gets them; sorted by label or by prompt, they would train badly.
        arranged = list(rows)
        random.Random(f"kto rows {spec.seed}").shuffle(arranged)  # not for secrets
        if not spec.group_by_length:
            return arranged
        # In that order TRL also pairs prompts with other answers of the batch, so batches are made here, once for all
        # epochs.
        lengths = [row.tokens(spec.max_length) for row in arranged]
        rows_a_batch = self.batch_size(spec, len(arranged))
        order = grouped_by_length(lengths, step_rows=rows_a_batch, seed=spec.seed, epoch=0)
        return [arranged[index] for index in order]

    def batch_size(self, spec: "TrainSpec", rows: int) -> int:
        return kto_batch_size(spec.batch_size, rows)

    def trainer(self, job: "Job", spec: "TrainSpec", rows: list[TrainingRow], parts: Parts) -> Any:
        from trl import KTOConfig, KTOTrainer

        up = sum(bool(row.trl["label"]) for row in rows)
        down = len(rows) - up
        desirable, undesirable = kto_weights(spec.desirable_weight, spec.undesirable_weight, up, down)
        job.events.phase("balance", balance(up, down, desirable, undesirable))
        job.metrics |= {"desirable": up, "undesirable": down}
        job.metrics |= {"desirable_weight": round(desirable, 4), "undesirable_weight": round(undesirable, 4)}
        config = KTOConfig(
            beta=spec.beta,
            loss_type=spec.loss_type[0],
            desirable_weight=round(desirable, 4),
            undesirable_weight=round(undesirable, 4),
            disable_dropout=False,  # ours is off already; theirs would silence the adapter's as well
            **parts.config,
        )
        return KTOTrainer(args=config, **parts.trainer)


def kto_weights(desirable: float | None, undesirable: float | None, up: int, down: int) -> tuple[float, float]:
    """(desirable, undesirable) weights: as given, else so that the classes balance by changing one of them.

    ``up`` and ``down`` are the rows of either kind, neither 0.
    """
    if desirable is None and undesirable is None:
        if up == down:
            return 1.0, 1.0
        return (BALANCE * down / up, 1.0) if up < down else (1.0, up / (BALANCE * down))
    if desirable is None:
        return BALANCE * down * (undesirable or 1.0) / up, undesirable or 1.0
    return desirable, up * desirable / (BALANCE * down) if undesirable is None else undesirable


def balance(up: int, down: int, desirable: float, undesirable: float) -> Said:
    """The ratio of good to bad rows before and after the weights."""
    return Said(
        "%(up)s good and %(down)s bad answers, a ratio of %(before)s. Weights of %(good)s and %(bad)s make it "
        "%(after)s (1 to 1.33 is recommended).",
        up=up,
        down=down,
        before=f"{up / down:.2f}",
        good=f"{desirable:.2f}",
        bad=f"{undesirable:.2f}",
        after=f"{desirable * up / (undesirable * down):.2f}",
    )


def kto_batch_size(batch_size: int, rows: int) -> int:
    """The largest batch size up to the wanted one that leaves no batch of a single row.

    KTO estimates its KL from mismatched answers inside a batch; alone, a row would be compared with itself.
    """
    return next((size for size in range(min(batch_size, rows), 2, -1) if rows % size != 1), 2)


KTO = _Kto()
