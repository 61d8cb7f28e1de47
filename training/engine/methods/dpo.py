"""DPO and its relatives: pairs, TRL's `DPOTrainer`, a reference."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine.checks import Checks
from training.engine.methods.base import FOR_THE_STARTER, GUARDS, Method, Parts, check_losses
from training.engine.rows import TrainingRow, pair_row

if TYPE_CHECKING:
    from training.engine.chat import Chat
    from training.engine.job import Job
    from training.engine.spec import TrainSpec

# Measured: these are the only TRL losses in which label_smoothing acts (cdpo is made of robust). `sigmoid` ignores it
# without a word.
LOSSES_THAT_SMOOTH = frozenset({"cdpo", "robust", "exo_pair", "aot", "aot_unpaired"})
# At a label smoothing of 0 the first two are the standard loss under another name, and TRL refuses the third.
LOSSES_THAT_MUST_SMOOTH = frozenset({"cdpo", "robust", "exo_pair"})
# They compare a pair's answers across a batch, so a batch of one pair is the standard loss.
LOSSES_OF_BATCHES = frozenset({"aot", "aot_unpaired"})
# Only where nothing but the difference of two rewards counts does the partition function cancel (f-DPO, 2309.16240).
LOSSES_WITH_DIVERGENCES = frozenset({"sigmoid", "cdpo", "robust", "hinge", "ipo", "exo_pair", "sigmoid_norm"})
DIVERGENCES: dict[str, Said] = {
    "reverse_kl": Said("reverse KL: DPO's own"),
    "forward_kl": Said("forward KL: covers what the reference says, lets go of the rest"),
    "js_divergence": Said("Jensen-Shannon: between the two"),
    "alpha_divergence": Said("alpha: from forward KL (0) to reverse KL (1)"),
}


# Llama 3's weight of the likelihood term (2407.21783, section 4.1.4). TRL has no switch for its mask of formatting
# tokens.
LLAMA_SFT_WEIGHT = 0.2


class Dpo(Method):
    name = "dpo"
    title = "DPO"
    about = Said("from judged pairs")
    label = Said("DPO: learn from judged pairs")
    data = "pairs"
    # TRL 1.16's losses, and two recipes made of them (`trl_losses`). `discopop` is refused on purpose.
    losses = {  # noqa: RUF012  # a constant
        "sigmoid": Said("DPO (2305.18290): the standard loss"),
        "sft_mixed": Said("Llama 3 (2407.21783): the standard loss and 0.2 × the likelihood of the chosen answer"),
        "cdpo": Said("conservative DPO: label smoothing is the share of judgments that you take to be wrong"),
        "hinge": Said("SLiC / RSO (2305.10425, 2309.06657): a margin instead of a likelihood"),
        "ipo": Said("IPO (2310.12036): length-averaged, beta is tau; resists over-fitting of clean labels"),
        "exo_pair": Said("EXO (2402.00856): reverse KL; needs label smoothing above 0"),
        "nca_pair": Said("NCA (2402.05369): also keeps the chosen answer likely"),
        "robust": Said("robust DPO (2403.00409): as conservative DPO, but its mean is that of clean labels"),
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
    knobs = frozenset(
        {
            "reference",
            "beta",
            "loss_type",
            "loss_weights",
            "label_smoothing",
            "ld_alpha",
            "f_divergence_type",
            "f_alpha_divergence_coef",
            "use_weighting",
            *GUARDS,
        }
    )
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
    starter = FOR_THE_STARTER | {"beta": 0.1, "epochs": 4.0}

    # Per token: the first two see a margin as many times smaller as the answer has tokens, so the same pull needs a
    # larger beta (IPO's target is 1 / (2 beta) a token; Tülu 3 took 5). Measured on the starter in docs/methods/dpo.md.
    by_loss = {  # noqa: RUF012
        "ipo": {"beta": 1.0},
        "sigmoid_norm": {"beta": 5.0},
        "cdpo": {"label_smoothing": 0.1},
        "robust": {"label_smoothing": 0.1},
        "exo_pair": {"label_smoothing": 0.001},
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
        checks.flag("use_weighting")
        checks.choice("f_divergence_type", tuple(DIVERGENCES))
        if spec.ld_alpha is not None:
            checks.number("ld_alpha", 0, 1)
        if sound and "label_smoothing" not in checks.problems:
            self._check_smoothing(spec, checks)
        if sound:
            self._check_variants(spec, checks)

    def _check_smoothing(self, spec: "TrainSpec", checks: Checks) -> None:
        if spec.label_smoothing > 0 and not LOSSES_THAT_SMOOTH & set(spec.loss_type):
            useless = Said(
                "has no effect on %(losses)s; set it to 0 or use %(allowed)s",
                losses=spec.loss_type,
                allowed=sorted(LOSSES_THAT_SMOOTH),
            )
            checks.add("label_smoothing", useless)
        if spec.label_smoothing == 0 and (needs := sorted(LOSSES_THAT_MUST_SMOOTH & set(spec.loss_type))):
            checks.add(
                "label_smoothing",
                Said("must be above 0 with %(losses)s; 0.1 is usual, 0.001 for exo_pair", losses=needs),
            )

    def _check_variants(self, spec: "TrainSpec", checks: Checks) -> None:
        """What TRL would ignore without a word, or refuse only when the job runs."""
        batchwise = sorted(LOSSES_OF_BATCHES & set(spec.loss_type))
        if batchwise and spec.batch_size == 1:
            checks.add("batch_size", Said("must be 2 or more with %(losses)s: they sort a batch", losses=batchwise))
        if batchwise and spec.use_weighting is True:
            checks.add("use_weighting", Said("does not go with %(losses)s: they sort a batch", losses=batchwise))
        if spec.ld_alpha is not None and spec.loss_type == ("sft",):
            checks.add("ld_alpha", Said("has no effect on %(losses)s; leave it empty", losses=spec.loss_type))
        if spec.f_divergence_type != "reverse_kl":
            unfit = sorted(set(spec.loss_type) - LOSSES_WITH_DIVERGENCES)
            if unfit:
                checks.add("f_divergence_type", Said("must be reverse_kl with %(losses)s", losses=unfit))
        if spec.f_divergence_type == "alpha_divergence":
            checks.number("f_alpha_divergence_coef", 0, 10, above=True)
            if spec.f_alpha_divergence_coef == 1:
                checks.add("f_alpha_divergence_coef", Said("must not be 1: that is reverse_kl"))
        elif spec.f_alpha_divergence_coef is not None:
            checks.add("f_alpha_divergence_coef", Said("acts with alpha_divergence only; leave it empty"))

    def row(self, chat: "Chat", row: Mapping[str, Any], max_length: int) -> TrainingRow:
        return pair_row(chat, row, max_length)

    def trainer(self, job: "Job", spec: "TrainSpec", rows: list[TrainingRow], parts: Parts) -> Any:
        from trl import DPOConfig, DPOTrainer

        terms = trl_losses(spec)
        alpha = spec.f_alpha_divergence_coef
        config = DPOConfig(
            beta=spec.beta,
            loss_type=list(terms),
            loss_weights=list(terms.values()),
            label_smoothing=spec.label_smoothing,
            ld_alpha=spec.ld_alpha,
            f_divergence_type=spec.f_divergence_type,
            **({} if alpha is None else {"f_alpha_divergence_coef": alpha}),
            use_weighting=spec.use_weighting,
            disable_dropout=False,  # ours is off already; theirs would silence the adapter's as well
            **parts.config,
        )
        return DPOTrainer(args=config, **parts.trainer)


def trl_losses(spec: "TrainSpec") -> dict[str, float]:
    """TRL's losses and their weights. Two of ours are sums of TRL's.

    cDPO (Mitchell 2023) is (1 - e) L(y_w > y_l) + e L(y_l > y_w), and rDPO's loss is R = ((1 - e) L - e L') / (1 - 2e):
    so cDPO = (2 - 2e) L - (1 - 2e) R, exactly.
    """
    smoothing = spec.label_smoothing
    made_of = {
        "cdpo": {"sigmoid": 2 - 2 * smoothing, "robust": -(1 - 2 * smoothing)},
        "sft_mixed": {"sigmoid": 1.0, "sft": LLAMA_SFT_WEIGHT},
    }
    terms: dict[str, float] = {}
    for name, weight in zip(spec.loss_type, spec.loss_weights or [1.0] * len(spec.loss_type), strict=True):
        for term, share in made_of.get(name, {name: 1.0}).items():
            terms[term] = terms.get(term, 0.0) + weight * share
    return terms


DPO = Dpo()
