"""Forms in which a reviewer decides on a comparison or a lineup, and says what is known to be right of it."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotate.models import Verdict


class _Noted(forms.Form):
    note = forms.CharField(
        label=_("Note"), required=False, max_length=1000, widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("Kept with the verdict, for the next reviewer."),
    )  # fmt: skip


class _Ranks(forms.Form):
    """A choice of a rank, or of none, for each response of a lineup, in order of the responses' ids."""

    def __init__(self, *args: Any, size: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.names = [f"rank_{number}" for number in range(1, size + 1)]
        choices = [("", "–"), *((str(rank), str(rank)) for rank in range(1, size + 1))]
        for number, name in enumerate(self.names, start=1):
            label = _("Rank of response %(number)s") % {"number": number}
            self.fields[name] = forms.ChoiceField(label=label, choices=choices, required=False)

    def ranks_wanted(self) -> list[forms.BoundField]:
        """The fields of the ranks."""
        return [self[name] for name in self.names]

    def ranks_given(self) -> list[int | None]:
        """What was chosen of each."""
        return [int(rank) if rank else None for rank in (self.cleaned_data.get(name) for name in self.names)]


class VerdictForm(_Noted):
    verdict = forms.ChoiceField(
        label=_("Verdict"),
        choices=Verdict.choices,
        widget=forms.RadioSelect,
        error_messages={"required": _("Choose a verdict.")},
    )


class OrderVerdictForm(_Ranks, _Noted):
    """A rank for each response of a lineup, equal ones are ties; or that the lineup is excluded."""

    exclude = forms.BooleanField(label=_("Exclude from training instead"), required=False)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        given = self.ranks_given()
        if not cleaned.get("exclude") and not all(given):
            raise forms.ValidationError(_("Give every response a rank, or exclude them."))
        return {"ranks": [] if cleaned.get("exclude") else given, "note": cleaned.get("note", "")}


class _Explained(forms.Form):
    explanation = forms.CharField(
        label=_("Why this is right"),
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_(
            "Shown after the answer where the question is part of the onboarding quiz, and nowhere else. Markdown."
        ),
    )


class GoldForm(_Explained):
    """The answer to a comparison that is known to be right."""

    expected = forms.CharField(max_length=10, widget=forms.HiddenInput)


class GoldOrderForm(_Ranks, _Explained):
    """Which orders of a lineup's responses are known to be right, perhaps of two of them alone."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        return {"ranks": self.ranks_given(), "explanation": cleaned.get("explanation", "")}
