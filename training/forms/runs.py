"""How to train: one method's knobs, filled in and checked. What a spec refuses comes back beside its field."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from training.engine.spec import ADAPTATIONS
from training.forms.knobs import Knobs
from training.models import RewardModel, Run
from training.queries.machines import ProfileShown
from training.queries.stock import Offer

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


class RunForm(Knobs):
    """How to train: a few knobs in sight, the rest behind a summary. One instance is for one method."""

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


def _with_accuracy(made: RewardModel) -> str:
    accuracy = made.metrics.get("heldout_accuracy")
    return str(made) if accuracy is None else f"{made} ({accuracy:.0%})"
