"""The knobs of a run as people read them: labels, hints, kinds of field. Ranges are the engine's own."""

from typing import TYPE_CHECKING

from django import forms
from django.utils.translation import gettext_lazy as _

from annotate.models import Aggregation
from training.engine.spec import PRECISIONS, SCHEDULERS
from training.models import Reference, method_choices

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


class _Number(forms.NumberInput):
    """Any number of digits; the spec checks the range."""

    def __init__(self) -> None:
        super().__init__(attrs={"step": "any", "inputmode": "decimal", "autocomplete": "off"})


def _decimal(label: "_StrPromise", hint: "_StrPromise", *, required: bool = True) -> forms.FloatField:
    return forms.FloatField(label=label, help_text=hint, required=required, widget=_Number())


def _whole(label: "_StrPromise", hint: "_StrPromise") -> forms.IntegerField:
    return forms.IntegerField(
        label=label, help_text=hint, widget=forms.NumberInput(attrs={"inputmode": "numeric", "autocomplete": "off"})
    )


GUARD_CHOICES = [("off", _("do not look")), ("warn", _("warn")), ("stop", _("stop and save"))]


class Knobs(forms.Form):
    """Every method's, with those in sight and the others by subject."""

    method = forms.ChoiceField(choices=method_choices, widget=forms.HiddenInput)
    # The losses whose usual values the form was filled in with.
    usual_for = forms.CharField(required=False, widget=forms.HiddenInput)

    rows = forms.ChoiceField(
        label=_("Trains on"),
        widget=forms.RadioSelect,
        help_text=_(
            "The same decisions from the same policy, so that only the settings differ: the result is measured and can "
            "be compared, and rounds that start by themselves keep their settings."
        ),
    )

    aggregation = forms.ChoiceField(
        label=_("Several judgments of one comparison"),
        choices=Aggregation.choices,
        # What a script leaves out is as the loop has it.
        required=False,
        help_text=_(
            "Where they draw, the comparison is left out until a reviewer decides. Dawid-Skene needs some comparisons "
            "that several people judged."
        ),
    )

    source = forms.ChoiceField(label=_("Learns from"), required=False)

    reward_model = forms.ChoiceField(
        label=_("Reward model"), help_text=_("What gives the answers their numbers. Held-out accuracy in brackets.")
    )
    learning_rate = _decimal(
        _("Learning rate"),
        _("How far a step moves. LoRA DPO on real models: 5e-6 to 5e-5; KTO: 5e-7 to 5e-6; tiny models far more."),
    )
    beta = _decimal(
        _("Beta"),
        _(
            "How strongly the policy is held close to its reference. 0.1 is usual; 0.01 lets go, 0.5 holds tight. "
            "Losses that count per token want more: ipo 1, sigmoid_norm 5."
        ),
    )
    epochs = _decimal(
        _("Epochs"), _("Passes over the judgments. 1 to 2: preference data over-fits early, at times before one pass.")
    )
    batch_size = _whole(
        _("Batch size"), _("Rows in memory at once. Halve it when memory runs out, and double the accumulation.")
    )

    reference = forms.ChoiceField(
        label=_("Reference"),
        choices=Reference.choices,
        help_text=_(
            "The base keeps all rounds together close to where they began. The previous policy lets KL add up."
        ),
    )
    loss_type = forms.MultipleChoiceField(
        label=_("Loss"),
        widget=forms.CheckboxSelectMultiple,
        help_text=_(
            "Several are summed. Losses of different types cannot be compared by their numbers. Some want another beta "
            "or label smoothing: you are shown that before anything starts."
        ),
    )
    loss_weights = forms.CharField(
        label=_("Loss weights"),
        required=False,
        max_length=200,
        help_text=_("One number for each loss, with commas; empty: all 1. Llama 3 used sigmoid and sft with 1, 0.2."),
    )
    label_smoothing = _decimal(
        _("Label smoothing"),
        _("Share of judgments that you take to be wrong, 0 to 0.49. Acts in cdpo, robust, exo_pair and aot only."),
    )
    ld_alpha = _decimal(
        _("Weight of the longer tail"),
        _("LD-DPO (2409.06411), 0 to 1: what the tokens count by which one answer is longer. Empty: 1."),
        required=False,
    )
    use_weighting = forms.BooleanField(
        label=_("Weigh pairs by the policy (WPO)"),
        required=False,
        help_text=_(
            "WPO (2406.11827): pairs that the policy would hardly say count less. For answers that were imported."
        ),
    )
    f_divergence_type = forms.ChoiceField(
        label=_("Divergence"),
        help_text=_("f-DPO (2309.16240): what holds the policy to its reference."),
    )
    f_alpha_divergence_coef = _decimal(
        _("Alpha of the divergence"), _("With the alpha divergence only: above 0, and not 1."), required=False
    )
    margin = _decimal(
        _("Margin"),
        _("By how much a “much better” answer must lead; a third of it for “slightly”. 1 is usual, 0 asks for none."),
    )
    num_generations = _whole(
        _("Answers a prompt"),
        _("Drawn and compared with each other. Must divide the answers of a step (batch size × accumulation)."),
    )
    max_new_tokens = _whole(_("Longest answer"), _("In tokens; longer ones are cut there, and judged as they are."))
    scale_rewards = forms.BooleanField(
        label=_("Divide by the spread"),
        required=False,
        help_text=_("Of the group's rewards. Without it (Dr. GRPO), prompts whose answers differ little weigh less."),
    )
    desirable_weight = _decimal(
        _("Weight of good answers"),
        _("Empty: computed, so that good and bad answers weigh alike."),
        required=False,
    )
    undesirable_weight = _decimal(
        _("Weight of bad answers"), _("Empty: 1. The ratio of both sides should be 1 to 1.5."), required=False
    )

    adaptation = forms.ChoiceField(
        label=_("What is trained"),
        help_text=_("An adapter that is continued stays what it is. DoRA cannot be served as an adapter by vLLM."),
    )
    lora_r = _whole(_("LoRA rank"), _("Size of the adapter: 8 to 64. An adapter that is continued keeps its rank."))
    lora_alpha = _whole(_("LoRA alpha"), _("Scale of the adapter; twice the rank is usual."))
    lora_dropout = _decimal(_("LoRA dropout"), _("0 to 0.1; 0 gives the steadiest rewards."))
    target_modules = forms.CharField(
        label=_("Target modules"),
        max_length=500,
        help_text=_("all-linear, or names with commas such as q_proj, v_proj. Never lm_head."),
    )

    gradient_accumulation = _whole(
        _("Gradient accumulation"), _("Batches added up to one step. Rows a step = batch size × this; 16 is usual.")
    )
    max_length = _whole(
        _("Maximal length"), _("Tokens of prompt and answer. Longer answers are cut, longer prompts are skipped.")
    )
    lr_scheduler = forms.ChoiceField(
        label=_("Schedule"),
        choices=[(name, name.replace("_", " ")) for name in SCHEDULERS],
        help_text=_("How the learning rate falls after the warm-up."),
    )
    warmup_ratio = _decimal(_("Warm-up"), _("Share of the steps in which the rate rises: 0 to 0.2."))
    weight_decay = _decimal(_("Weight decay"), _("Pull of the weights to zero: 0 to 0.1."))
    max_grad_norm = _decimal(_("Gradient clipping"), _("Largest gradient norm; 1 is usual."))
    gradient_checkpointing = forms.BooleanField(
        label=_("Gradient checkpointing"),
        required=False,
        help_text=_("A lot less memory for a fifth more time. Off for tiny models."),
    )

    precision = forms.ChoiceField(
        label=_("Precision"),
        choices=[(name, name) for name in PRECISIONS],
        required=False,  # what a script leaves out is as the worker can
        help_text=_("auto: bfloat16 on a GPU that computes it by itself, else float32."),
    )
    anyway = forms.BooleanField(label=_("Start although it may not fit"), required=False)

    min_rows = _whole(_("Fewest rows"), _("With fewer usable rows than this no run starts."))
    save_every = _whole(_("Checkpoint every"), _("Steps between checkpoints: what a crash can cost at most."))
    seed = _whole(_("Seed"), _("Of the adapter's first weights and the order of rows. The same seed repeats a run."))

    look_every = _whole(
        _("Look every"),
        _("Steps between two looks at held-out judgments and guards; 0 for none. Looking does not change the result."),
    )
    patience = _whole(
        _("Patience"),
        _("Looks without a better held-out accuracy before the run ends with the best weights; 0: it never does."),
    )
    chosen_guard = forms.ChoiceField(
        label=_("Preferred answers grow unlikely"),
        choices=GUARD_CHOICES,
        help_text=_("Likelihood displacement: the margin may grow while both answers grow less likely."),
    )
    chosen_drop = _decimal(_("Fall allowed, nats"), _("Mean fall of their log-probability since the start."))
    kl_guard = forms.ChoiceField(
        label=_("KL to the base"),
        choices=GUARD_CHOICES,
        help_text=_("Estimated at each look from fresh answers, which takes time."),
    )
    kl_budget = _decimal(_("KL budget, nats an answer"), _("Good rounds of the starter stay below 10."))
    length_guard = forms.ChoiceField(
        label=_("Length of fresh answers"),
        choices=GUARD_CHOICES,
        help_text=_("Against the length before the first step. Takes fresh answers too."),
    )
    length_ratio = _decimal(_("Length allowed, times"), _("2: neither twice as long nor half as long."))
    fresh_answers = _whole(_("Fresh answers"), _("Sampled at a look, for KL and length. More say it more exactly."))
    fresh_tokens = _whole(_("Longest fresh answer"), _("In tokens. The KL is of answers cut there."))

    IN_SIGHT = ("reward_model", "learning_rate", "beta", "epochs", "batch_size")
    SECTIONS: tuple[tuple["_StrPromise", tuple[str, ...]], ...] = (
        (_("Judgments"), ("source", "aggregation")),
        (_("Loss and reference"), ("reference", "loss_type", "loss_weights", "label_smoothing")),
        (
            _("Variants of the loss"),
            ("ld_alpha", "use_weighting", "f_divergence_type", "f_alpha_divergence_coef"),
        ),
        (_("Strength of preferences"), ("margin",)),
        (_("Own answers"), ("num_generations", "max_new_tokens", "scale_rewards")),
        (_("Balance of good and bad"), ("desirable_weight", "undesirable_weight")),
        (_("Adapter"), ("adaptation", "lora_r", "lora_alpha", "lora_dropout", "target_modules")),
        (
            _("Optimiser"),
            (
                "gradient_accumulation",
                "max_length",
                "lr_scheduler",
                "warmup_ratio",
                "weight_decay",
                "max_grad_norm",
                "gradient_checkpointing",
                "precision",
            ),
        ),
        (_("Safety and repetition"), ("min_rows", "save_every", "seed")),
        (
            _("Looks while it trains"),
            (
                "look_every",
                "patience",
                "chosen_guard",
                "chosen_drop",
                "kl_guard",
                "kl_budget",
                "length_guard",
                "length_ratio",
                "fresh_answers",
                "fresh_tokens",
            ),
        ),
    )
