"""Forms of the trainer's pages. Ranges are the engine's own: what a spec refuses comes back beside its field."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.forms import BoundField
from django.utils.translation import gettext_lazy as _

from annotate.models import Aggregation
from annotate.telling import told
from training.engine.checks import SpecError
from training.engine.methods import METHODS, foreign_knobs
from training.engine.methods.dpo import DIVERGENCES
from training.engine.profile import MATTERS
from training.engine.spec import ADAPTATIONS, PRECISIONS, SCHEDULERS
from training.models import Loop, Reference, RewardModel, Run, method_choices
from training.paths import belongs_to_a_project
from training.queries.machines import ProfileShown
from training.queries.stock import Offer

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


def _with_accuracy(made: RewardModel) -> str:
    accuracy = made.metrics.get("heldout_accuracy")
    return str(made) if accuracy is None else f"{made} ({accuracy:.0%})"


GUARD_CHOICES = [("off", _("do not look")), ("warn", _("warn")), ("stop", _("stop and save"))]


class RunForm(forms.Form):
    """How to train: a few knobs in sight, the rest behind a summary. One instance is for one method."""

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

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        method: str,
        settings: Mapping[str, Any],
        aggregation: str = Aggregation.ADJUDICATED,
        offers: Sequence[Offer] = (),
        like: Run | None = None,
        reward_models: Sequence[RewardModel] = (),
        against: int | None = None,
        or_newest: bool = False,
    ) -> None:
        """``against`` is the reward model that is chosen at first; ``or_newest``: it may be left to the start."""
        shown = dict(settings) | {"method": method, "aggregation": aggregation, "rows": "same"}
        shown["loss_weights"] = ", ".join(f"{weight:g}" for weight in settings.get("loss_weights", ()))
        shown["usual_for"] = ",".join(settings.get("loss_type", ()))
        super().__init__(data, initial=shown)
        self.own = METHODS[method]
        self.followed: dict[str, tuple[Any, Any]] = {}
        self.offers = offers
        self.like = like
        rows = self.fields["rows"]
        assert isinstance(rows, forms.ChoiceField)  # noqa: S101  (as declared above)
        if like is None:
            del self.fields["rows"]
        else:
            same = _("the decisions of run %(number)s, from %(policy)s")
            rows.choices = [
                ("same", same % {"number": like.number, "policy": like.parent}),
                ("today", _("today's judgments, from the policy that answers come from now")),
            ]
            if like.code == "snapshot_changed":
                self.initial["rows"] = "today"
        for name in foreign_knobs(method):
            self.fields.pop(name, None)
        if self.own.data == "prompts":
            del self.fields["aggregation"]  # its reward model's decisions were made once
        self.reward_models = {str(made.number): made for made in reward_models}
        self._offer_reward_models(against, or_newest=or_newest)
        if (divergence := self.fields.get("f_divergence_type")) is not None:
            assert isinstance(divergence, forms.ChoiceField)  # noqa: S101  (as declared above)
            divergence.choices = [(name, told(about)) for name, about in DIVERGENCES.items()]
        adaptation = self.fields["adaptation"]
        assert isinstance(adaptation, forms.ChoiceField)  # noqa: S101  (likewise)
        adaptation.choices = [
            (name, told(about)) for name, about in ADAPTATIONS.items() if name not in self.own.not_adapted_by
        ]
        if (source := self.fields.get("source")) is not None:
            assert isinstance(source, forms.ChoiceField)  # noqa: S101  (likewise)
            source.choices = [(name, told(about)) for name, about in self.own.sources.items()]
        losses = [(name, f"{name}: {told(about)}") for name, about in self.own.losses.items()]
        if "loss_type" not in self.fields:
            return
        if not self.own.sums_losses:
            self.fields["loss_type"] = forms.ChoiceField(label=_("Loss"), choices=losses)
            self.initial["loss_type"] = settings["loss_type"][0]
        else:
            loss_type = self.fields["loss_type"]
            assert isinstance(loss_type, forms.MultipleChoiceField)  # noqa: S101  (as declared above)
            loss_type.choices = losses
        if data is not None and self._sent("usual_for"):
            self._follow_losses(settings)

    def _sent(self, name: str) -> Any:
        """What was sent for a field, as it stands there."""
        return self.fields[name].widget.value_from_datadict(self.data, self.files, self.add_prefix(name))

    def _follow_losses(self, usual: Mapping[str, Any]) -> None:
        """Where other losses were chosen, what stands as was usual with the old ones becomes as is with the new."""
        was, now = self._sent("usual_for").split(","), self._sent("loss_type") or []
        now = [now] if isinstance(now, str) else now
        changed = self.data.copy()  # type: ignore[attr-defined]  # a QueryDict
        for name, (before, after) in self.own.moved(was, now, usual).items():
            try:
                as_before = self.fields[name].to_python(self._sent(name)) == before
            except forms.ValidationError:
                continue  # the field says so itself
            if not as_before:
                continue
            self.followed[name] = (before, after)
            changed[name] = after
            if after is False:
                del changed[name]  # as a browser sends a box without a tick
        changed["usual_for"] = ",".join(now)
        self.data = changed

    def clean(self) -> None:
        for name, (before, after) in self.followed.items():
            values = {"name": self.fields[name].label, "before": before, "after": after}
            said = _(
                "%(name)s is %(after)s now, as is usual with this loss, and was %(before)s. Look, then press again."
            )
            self.add_error(name, said % values)

    def _offer_reward_models(self, first: int | None, *, or_newest: bool) -> None:
        field = self.fields.get("reward_model")
        if not self.reward_models:
            self.fields.pop("reward_model", None)  # the service says what to do
        elif field is not None:
            assert isinstance(field, forms.ChoiceField)  # noqa: S101  (as declared above)
            named = [(number, _with_accuracy(made)) for number, made in self.reward_models.items()]
            field.choices = [("", _("the newest, when the stage begins")), *named] if or_newest else named
            field.required = not or_newest
            if first is None and self.like is not None and self.like.reward_model is not None:
                first = self.like.reward_model.number
            self.initial["reward_model"] = str(first) if str(first) in self.reward_models else field.choices[0][0]

    @property
    def against(self) -> RewardModel | None:
        """The reward model that was chosen, where the method wants one."""
        return self.reward_models.get(self.cleaned_data.get("reward_model", ""))

    @property
    def chosen(self) -> str:
        """The method's name."""
        return self.own.name

    def clean_loss_type(self) -> list[str]:
        chosen = self.cleaned_data["loss_type"]
        return [chosen] if isinstance(chosen, str) else list(chosen)

    def clean_loss_weights(self) -> list[float]:
        raw = self.cleaned_data["loss_weights"]
        try:
            return [float(part) for part in raw.split(",") if part.strip()]
        except ValueError as error:
            raise forms.ValidationError(_("Numbers with commas, please, such as: 1, 0.2")) from error

    def clean_precision(self) -> str:
        return self.cleaned_data["precision"] or "auto"

    def values_that_matter(self) -> dict[str, Any]:
        """What stands in the form of the settings that memory depends on; what is wrong there is left out."""
        held = self.cleaned_data if self.is_bound and self.errors is not None else self.initial
        found = {name: held[name] for name in MATTERS if held.get(name) not in (None, "")}
        if isinstance(loss := found.get("loss_type"), str):
            found["loss_type"] = [loss]
        return found

    def require_room(self, shown: ProfileShown | None) -> None:
        """An error where the run will probably not fit the machine, unless the lead wants it anyway."""
        if shown is not None and not shown.fit.fits and not self.cleaned_data["anyway"]:
            self.add_error(None, _("This will probably not fit the worker's machine. Below it says what to change."))

    def settings(self) -> dict[str, Any]:
        """The chosen values, as ``services.defaults.train_spec`` takes them."""
        apart = ("method", "usual_for", "aggregation", "rows", "reward_model", "anyway")
        return {name: value for name, value in self.cleaned_data.items() if name not in apart}

    @property
    def same_rows_as(self) -> Run | None:
        """The run whose rows were chosen; None for today's judgments."""
        return self.like if self.cleaned_data.get("rows") == "same" else None

    def in_sight(self) -> list[BoundField]:
        return [self[name] for name in self.IN_SIGHT if name in self.fields]

    def sections(self) -> Iterator[tuple["_StrPromise", list[BoundField]]]:
        """The knobs behind the summary, by subject."""
        for title, names in self.SECTIONS:
            if present := [self[name] for name in names if name in self.fields]:
                yield title, present

    def hidden_errors(self) -> bool:
        """Does a knob behind the summary have an error? Then the page opens it."""
        return any(name not in (*self.IN_SIGHT, NON_FIELD_ERRORS) for name in self.errors)

    def refuse(self, error: SpecError) -> None:
        """Shows what the engine's spec refused, each beside its field."""
        for name, problem in error.problems.items():
            said = told(problem)
            if name in self.fields:
                self.add_error(name, said[:1].upper() + said[1:] + ".")
            else:
                self.add_error(None, f"{name}: {said}.")


class LoopForm(forms.ModelForm):  # type: ignore[type-arg]  # django-stubs' ModelForm is generic, Django's is not.
    """Where answers come from and when a round starts by itself."""

    class Meta:
        model = Loop
        fields = (
            "base_model",
            "base_revision",
            "responses_per_prompt",
            "pairs_per_prompt",
            "queue_target",
            "temperature",
            "top_p",
            "max_new_tokens",
            "replay_percent",
            "aggregation",
            "ranking_pairs",
            "train_after",
            "train_every_hours",
        )
        labels: ClassVar = {
            "base_model": _("Base model"),
            "base_revision": _("Revision"),
            "responses_per_prompt": _("Answers per prompt"),
            "pairs_per_prompt": _("Pairs per prompt"),
            "queue_target": _("Queue target"),
            "temperature": _("Temperature"),
            "top_p": _("Top p"),
            "max_new_tokens": _("Longest answer"),
            "replay_percent": _("Replay, percent"),
            "aggregation": _("Several judgments of one comparison"),
            "ranking_pairs": _("Rows of a ranking"),
            "train_after": _("After so many new judgments"),
            "train_every_hours": _("Every so many hours"),
        }
        help_texts: ClassVar = {
            "responses_per_prompt": _("2 to 16. Four give six possible pairs and cost little more than two."),
            "pairs_per_prompt": _("How many of the possible pairs people are asked about in a round."),
            "queue_target": _("More answers are sampled when fewer open items than this wait for the annotators."),
            "temperature": _("1 samples the model as it is. Lower gives likelier answers, and more alike."),
            "top_p": _("1 keeps every token; 0.9 leaves out the least likely tenth."),
            "max_new_tokens": _("In tokens. An answer that reaches it is cut."),
            "replay_percent": _(
                "For every hundred new judgments, so many old ones are trained on again. Some keep what was learnt; "
                "far more than 100 learn it by heart."
            ),
            "aggregation": _(
                "Which training rows they make. Where they draw, the comparison is left out until a reviewer decides."
            ),
            "ranking_pairs": _(
                "All pairs of a ranking of six would weigh as much as fifteen judgments. The best against the worst is "
                "the clearest pair, and weighs as one."
            ),
            "train_after": _("Empty: not by number. 50 to 500 are usual; small rounds keep the data fresh."),
            "train_every_hours": _("Empty: not by the clock. With too few new judgments the time passes unused."),
        }

    def __init__(self, *args: Any, base_fixed: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if base_fixed:
            for name in ("base_model", "base_revision"):
                self.fields[name].disabled = True
            self.fields["base_model"].help_text = _(
                "Fixed, because answers were sampled from it. Open a new project for another model."
            )

    def base(self) -> list[BoundField]:
        return [self["base_model"], self["base_revision"]]

    def sampling(self) -> list[BoundField]:
        names = ("responses_per_prompt", "pairs_per_prompt", "queue_target", "temperature", "top_p", "max_new_tokens")
        return [self[name] for name in names]

    def rounds(self) -> list[BoundField]:
        return [
            self["train_after"],
            self["train_every_hours"],
            self["replay_percent"],
            self["aggregation"],
            self["ranking_pairs"],
        ]

    def clean_temperature(self) -> float:
        value: float = self.cleaned_data["temperature"]
        if value > 2:
            raise forms.ValidationError(_("At most 2: above that a model only stammers."))
        return value

    def clean_base_model(self) -> str:
        name: str = self.cleaned_data["base_model"].strip()
        if any(part in name for part in ("\0", "\n")) or name.startswith("-"):
            raise forms.ValidationError(_("A folder on the worker's machine, or a hub id such as owner/name."))
        if belongs_to_a_project(name):
            raise forms.ValidationError(_("What lies there belongs to a project. Copy a model to a folder of its own."))
        return name
