"""The loop's settings: the base model, how answers are sampled, when a round starts by itself."""

from typing import Any, ClassVar

from django import forms
from django.forms import BoundField
from django.utils.translation import gettext_lazy as _

from training.models import Loop
from training.paths import belongs_to_a_project


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
