"""Forms of the review, retraction and audit pages."""

from typing import Any

from django import forms
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotate.models import Project, PromptReport, User, Verdict


class VerdictForm(forms.Form):
    verdict = forms.ChoiceField(
        label=_("Verdict"),
        choices=Verdict.choices,
        widget=forms.RadioSelect,
        error_messages={"required": _("Choose a verdict.")},
    )
    note = forms.CharField(
        label=_("Note"), required=False, max_length=1000, widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("Kept with the verdict, for the next reviewer."),
    )  # fmt: skip


class OrderVerdictForm(forms.Form):
    """A rank for each response of a lineup, equal ones are ties; or that the lineup is excluded."""

    exclude = forms.BooleanField(label=_("Exclude from training instead"), required=False)
    note = forms.CharField(
        label=_("Note"), required=False, max_length=1000, widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("Kept with the verdict, for the next reviewer."),
    )  # fmt: skip

    def __init__(self, *args: Any, size: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.names = [f"rank_{number}" for number in range(1, size + 1)]
        choices = [("", "–"), *((str(rank), str(rank)) for rank in range(1, size + 1))]
        for number, name in enumerate(self.names, start=1):
            label = _("Rank of response %(number)s") % {"number": number}
            self.fields[name] = forms.ChoiceField(label=label, choices=choices, required=False)

    def ranks_wanted(self) -> list[forms.BoundField]:
        """The fields of the ranks, in order of the responses."""
        return [self[name] for name in self.names]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        given = [cleaned.get(name) for name in self.names]
        if not cleaned.get("exclude") and not all(given):
            raise forms.ValidationError(_("Give every response a rank, or exclude them."))
        cleaned["ranks"] = [] if cleaned.get("exclude") else [int(rank) for rank in given if rank]
        return cleaned


class ResolutionForm(forms.Form):
    resolution = forms.ChoiceField(choices=PromptReport.Resolution.choices)


class RetractionForm(forms.Form):
    """Whose judgments, of which time, and why."""

    annotator = forms.ModelChoiceField(
        label=_("Person"), queryset=User.objects.none(), required=False, empty_label=_("Everybody")
    )
    since = forms.DateTimeField(
        label=_("From"), required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"})
    )
    until = forms.DateTimeField(
        label=_("Until"), required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text=_("Leave both empty for all time."),
    )  # fmt: skip
    reason = forms.CharField(label=_("Reason"), max_length=300, help_text=_("Both you and later readers will want it."))

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        people = self.fields["annotator"]
        assert isinstance(people, forms.ModelChoiceField)  # noqa: S101  (tells the type checker what stands above)
        people.queryset = User.objects.filter(
            Q(pk__in=project.judgments.values("annotator"))
            | Q(pk__in=project.ratings.values("annotator"))
            | Q(pk__in=project.rankings.values("annotator"))
        ).order_by("username")

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and since >= until:
            self.add_error("until", _("The end must be after the beginning."))
        if not (cleaned.get("annotator") or since or until):
            self.add_error("annotator", _("Choose a person, a period, or both: nobody retracts everything at once."))
        return cleaned


class AuditFilterForm(forms.Form):
    verb = forms.CharField(label=_("What"), required=False, max_length=60)
    actor = forms.CharField(label=_("Who"), required=False, max_length=150)
    since = forms.DateField(label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=_("Before"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
