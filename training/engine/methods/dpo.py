"""DPO and its relatives: pairs, TRL's `DPOTrainer`, a reference."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine.checks import Checks
from training.engine.methods.base import Method, Parts, check_losses
from training.engine.rows import TrainingRow, pair_row

if TYPE_CHECKING:
    from training.engine.chat import Chat
    from training.engine.job import Job
    from training.engine.spec import TrainSpec

# Measured: these are the only TRL losses in which label_smoothing acts. `sigmoid` ignores it without a word.
LOSSES_THAT_SMOOTH = frozenset({"robust", "exo_pair", "aot", "aot_unpaired"})


class _Dpo(Method):
    name = "dpo"
    title = "DPO"
    about = Said("from judged pairs")
    label = Said("DPO: learn from judged pairs")
    data = "pairs"
    # TRL 1.16's losses. `discopop` is refused on purpose.
    losses = {  # noqa: RUF012  # a constant
        "sigmoid": Said("DPO (2305.18290): the standard loss"),
        "hinge": Said("SLiC / RSO (2305.10425, 2309.06657): a margin instead of a likelihood"),
        "ipo": Said("IPO (2310.12036): length-averaged, beta is tau; resists over-fitting of clean labels"),
        "exo_pair": Said("EXO (2402.00856): reverse KL; needs label smoothing above 0"),
        "nca_pair": Said("NCA (2402.05369): also keeps the chosen answer likely"),
        "robust": Said("robust DPO (2403.00409): label smoothing is the share of flipped labels"),
        "bco_pair": Said("BCO (2404.04656): binary classifier with a moving baseline"),
        "sppo_hard": Said("SPPO (2405.00675): self-play, pushes each answer to a fixed win rate"),
        "aot": Said("AOT (2406.05882): distributional, compares sorted batches"),
        "aot_unpaired": Said("AOT unpaired (2406.05882)"),
        "apo_zero": Said("APO-zero (2408.06266): for answers better than the model's own"),
        "apo_down": Said("APO-down (2408.06266): for answers worse than the model's own"),
        "sft": Said("likelihood of the chosen answer; add it to another loss with a small weight"),
        "sigmoid_norm": Said("length-normalised DPO: against answers that only grow longer"),
    }
    sums_losses = True
    knobs = frozenset({"reference", "beta", "loss_type", "loss_weights", "label_smoothing"})
    # TRL's LoRA guidance is ten times the full fine-tuning rate: 1e-5 at beta 0.1; Zephyr QLoRA used 5e-6. One epoch,
    # batch 16.
    expert = {  # noqa: RUF012
        "learning_rate": 1e-5,
        "beta": 0.1,
        "epochs": 1.0,
        "batch_size": 4,
        "gradient_accumulation": 4,
    }
    # Tiny models (0.9 M parameters) want a hundred times the learning rate of real ones, and several epochs. Measured
    # with 10 % flipped labels on 160 unseen prompts, interval +-0.04, three label seeds: mean true reward 0.36 before;
    # 100 new pairs a round 0.43 to 0.46, 0.55, 0.60, at a KL of 0.1 to 0.9, 1.5 to 2.0, 1.8 to 2.2 nats a response.
    starter = {  # noqa: RUF012
        "learning_rate": 1e-3,
        "beta": 0.1,
        "epochs": 4.0,
        "batch_size": 8,
        "gradient_accumulation": 1,
        "max_length": 256,
        "lr_scheduler": "linear",
        "gradient_checkpointing": False,
    }

    def check(self, spec: "TrainSpec", checks: Checks) -> None:
        sound = check_losses(self, spec, checks)
        weights = spec.loss_weights
        numbers = isinstance(weights, tuple) and all(
            isinstance(item, (int, float)) and not isinstance(item, bool) and math.isfinite(item) for item in weights
        )
        if not numbers:
            checks.add("loss_weights", Said("must be a list of finite numbers, not %(value)s", value=repr(weights)))
        elif weights and len(weights) != len(spec.loss_type):
            checks.add("loss_weights", Said("must have one number per loss type"))
        elif weights and not any(weights):
            checks.add("loss_weights", Said("must not all be 0"))
        checks.number("label_smoothing", 0, 0.499)
        if not sound or "label_smoothing" in checks.problems:
            return
        if spec.label_smoothing > 0 and not LOSSES_THAT_SMOOTH & set(spec.loss_type):
            useless = Said(
                "has no effect on %(losses)s; set it to 0 or use %(allowed)s",
                losses=spec.loss_type,
                allowed=sorted(LOSSES_THAT_SMOOTH),
            )
            checks.add("label_smoothing", useless)
        if "exo_pair" in spec.loss_type and spec.label_smoothing == 0:
            checks.add("label_smoothing", Said("must be above 0 with exo_pair; the paper recommends 0.001"))

    def row(self, chat: "Chat", row: Mapping[str, Any], max_length: int) -> TrainingRow:
        return pair_row(chat, row, max_length)

    def trainer(self, job: "Job", spec: "TrainSpec", rows: list[TrainingRow], parts: Parts) -> Any:
        from trl import DPOConfig, DPOTrainer

        config = DPOConfig(
            beta=spec.beta,
            loss_type=list(spec.loss_type),
            loss_weights=list(spec.loss_weights) or None,
            label_smoothing=spec.label_smoothing,
            disable_dropout=False,  # ours is off already; theirs would silence the adapter's as well
            **parts.config,
        )
        return DPOTrainer(args=config, **parts.trainer)


DPO = _Dpo()
