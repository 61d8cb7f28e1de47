"""Forms that put two policies side by side: on prompts of the project, or on what a lead types."""

import re
import secrets
from collections.abc import Mapping
from typing import Any

from django import forms
from django.forms import BoundField
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from annotate.models import Project, Prompt
from annotate.telling import told
from training.engine.checks import SpecError
from training.models import Loop, Policy
from training.services.trials import MOST_PROMPTS


class PolicyField(forms.ModelChoiceField):  # type: ignore[type-arg]  # generic in django-stubs, not in Django
    """One of the project's policies, by its number, as a sentence begins with it."""

    def label_from_instance(self, obj: Policy) -> str:
        return capfirst(str(obj))


class TwoPolicies(forms.Form):
    """Which two, and with what settings they answer: the loop's, unless somebody changes them."""

    left = PolicyField(label=_("Left"), queryset=Policy.objects.none(), to_field_name="number")
    right = PolicyField(label=_("Right"), queryset=Policy.objects.none(), to_field_name="number")
    temperature = forms.FloatField(
        label=_("Temperature"),
        help_text=_("0 always takes the likeliest token."),
        widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal", "autocomplete": "off"}),
    )
    top_p = forms.FloatField(
        label=_("Top p"),
        widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal", "autocomplete": "off"}),
    )
    max_new_tokens = forms.IntegerField(
        label=_("Longest answer"), help_text=_("In tokens. An answer that reaches it is cut.")
    )
    seed = forms.IntegerField(
        label=_("Seed"),
        required=False,
        min_value=0,
        max_value=2**32 - 1,
        help_text=_("Empty: drawn, and kept. The same seed gives the same answers."),
    )

    SAMPLING = ("temperature", "top_p", "max_new_tokens", "seed")

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        project: Project,
        loop: Loop | None,
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        usual: dict[str, Any] = {}
        if loop is not None:
            usual = {"temperature": loop.temperature, "top_p": loop.top_p, "max_new_tokens": loop.max_new_tokens}
        super().__init__(data, initial=usual | dict(initial or {}))
        self.project = project
        for side in ("left", "right"):
            field = self.fields[side]
            if isinstance(field, PolicyField):
                field.queryset = project.policies.order_by("-number")

    def clean_seed(self) -> int:
        given: int | None = self.cleaned_data["seed"]
        return secrets.randbelow(2**32) if given is None else given

    def sampling_fields(self) -> list[BoundField]:
        return [self[name] for name in self.SAMPLING]

    def sampling(self) -> dict[str, Any]:
        """As ``services.trials.start_trial`` takes it."""
        return {name: self.cleaned_data[name] for name in self.SAMPLING}

    def refuse(self, error: SpecError) -> None:
        """Shows what the engine's spec refused, each beside its field."""
        for name, problem in error.problems.items():
            said = told(problem)
            known = name if name in self.fields else None
            self.add_error(known, said[:1].upper() + said[1:] + "." if known else f"{name}: {said}.")


class SideBySideForm(TwoPolicies):
    """Two policies on prompts of the project."""

    split = forms.ChoiceField(
        label=_("Prompts"),
        required=False,
        initial=Prompt.Split.RESERVED,
        choices=[
            (Prompt.Split.RESERVED, _("Reserved ones, never trained on")),
            (Prompt.Split.TRAIN, _("Ones to train on")),
            ("", _("Both")),
        ],
    )
    count = forms.IntegerField(label=_("How many"), min_value=1, max_value=MOST_PROMPTS, initial=8)
    containing = forms.CharField(
        label=_("Only those that contain"), required=False, max_length=200, help_text=_("Empty: any.")
    )
    numbers = forms.CharField(
        label=_("Or these numbers"),
        required=False,
        max_length=500,
        help_text=_("As on the Prompts page, such as 12, 17-20. Then the choices before it do not count."),
    )

    PROMPTS = ("split", "count", "containing", "numbers")

    def prompt_fields(self) -> list[BoundField]:
        return [self[name] for name in self.PROMPTS]

    def clean_numbers(self) -> list[int]:
        chosen: list[int] = []
        for part in filter(None, re.split(r"[,\s]+", self.cleaned_data["numbers"].strip())):
            match = re.fullmatch(r"(\d{1,15})(?:-(\d{1,15}))?", part)
            if match is None:
                raise forms.ValidationError(_("Numbers and ranges, please, such as 12, 17-20."))
            first = int(match[1])
            last = int(match[2] or match[1])
            if last < first or last - first >= MOST_PROMPTS:
                raise forms.ValidationError(_("At most %(most)s prompts at once.") % {"most": MOST_PROMPTS})
            chosen += range(first, last + 1)
        if len(chosen) > MOST_PROMPTS:
            raise forms.ValidationError(_("At most %(most)s prompts at once.") % {"most": MOST_PROMPTS})
        return list(dict.fromkeys(chosen))


class PlaygroundForm(TwoPolicies):
    """Two policies on what a lead types, perhaps as the next turn of a conversation."""

    system = forms.CharField(
        label=_("System message"), required=False, max_length=20_000, widget=forms.Textarea(attrs={"rows": 2})
    )
    message = forms.CharField(
        label=_("Message"),
        max_length=50_000,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 3, "autofocus": True}),
    )

    def clean_message(self) -> str:
        text: str = self.cleaned_data["message"]
        if not text.strip():
            raise forms.ValidationError(_("Type a message first."))
        return text.replace("\r\n", "\n")
