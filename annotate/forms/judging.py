"""What a click on the judging pages sends."""

from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from annotate.models import Choice, Project, PromptReport, SkipReason, Thumb

CLEARLY = 2


class DecisionForm(forms.Form):
    """Which slot, under which submit id, and how long a person was at it. Each button sends one more value."""

    # A button can carry one value only, so that a skip is sent as its reason alone, and a strength as "A3".
    decision: str

    slot = forms.IntegerField(min_value=1, max_value=2**63 - 1)
    client_id = forms.UUIDField()
    skip_reason = forms.ChoiceField(choices=[("", ""), *SkipReason.choices], required=False)
    active_ms = forms.CharField(required=False)
    rationale = forms.CharField(required=False, max_length=5_000)

    def __init__(self, project: Project, data: QueryDict) -> None:
        super().__init__(data)
        self._project = project
        # A tag that a lead has just removed must not cost the decision: it is left out.
        self.tags = [tag for tag in project.reason_tags if tag in data.getlist("tags")]

    def clean_active_ms(self) -> int | None:
        """Milliseconds, or None: a measurement that went wrong must not cost the decision."""
        raw = self.cleaned_data["active_ms"]
        return int(raw) if raw.isascii() and raw.isdigit() and len(raw) <= 12 else None

    def clean(self) -> dict[str, Any]:
        values = dict(super().clean() or self.cleaned_data)
        if values.get("skip_reason") and not values.get(self.decision):
            values[self.decision] = "skip"
        if not values.get(self.decision) and self.decision not in self.errors:
            raise forms.ValidationError(_("Nothing was chosen. Press one of the buttons."))
        if (values.get(self.decision) == "skip") != bool(values.get("skip_reason")):
            raise forms.ValidationError(_("To skip, press one of the reasons."))
        needs_why = self._project.ask_rationale == Project.Asking.REQUIRED and values.get(self.decision) != "skip"
        if needs_why and "rationale" not in self.errors and not values.get("rationale"):
            raise forms.ValidationError(_("This project asks why: write a few words, then choose again."))
        return values

    def given(self) -> dict[str, Any]:
        """What was said, as the services take it."""
        asks = self._project.ask_rationale != Project.Asking.NO
        return {
            self.decision: self.cleaned_data[self.decision],
            "skip_reason": self.cleaned_data["skip_reason"],
            "rationale": self.cleaned_data["rationale"] if asks else "",
            "tags": self.tags,
        }


class JudgmentForm(DecisionForm):
    decision = "choice"
    choice = forms.ChoiceField(required=False)

    def __init__(self, project: Project, data: QueryDict) -> None:
        super().__init__(project, data)
        degrees = [(f"{side}{degree}", "") for side in "AB" for degree in (1, 3)] if project.ask_strength else []
        self.fields["choice"].choices = [*Choice.choices, *degrees]  # type: ignore[attr-defined]

    def given(self) -> dict[str, Any]:
        """``A1`` is A, slightly. Where strength is asked, the plain button says "clearly", and so does plain ``A``."""
        said = super().given()
        choice = said["choice"]
        if choice[1:].isdigit():
            return said | {"choice": choice[0], "strength": int(choice[1:])}
        asked = self._project.ask_strength and choice in (Choice.A, Choice.B)
        return said | {"strength": CLEARLY if asked else None}


class RatingForm(DecisionForm):
    decision = "value"
    value = forms.ChoiceField(choices=Thumb.choices, required=False)


class UndoForm(forms.Form):
    """Which decision the button was drawn for: a second press names the same one, and does nothing."""

    undone_id = forms.UUIDField()


class ReportForm(forms.Form):
    """What is wrong with the prompt of the slot that somebody holds."""

    reported_slot = forms.IntegerField(min_value=1, max_value=2**63 - 1)
    reported_id = forms.UUIDField()
    reason = forms.ChoiceField(choices=PromptReport.Reason.choices)
    note = forms.CharField(required=False, max_length=500)
