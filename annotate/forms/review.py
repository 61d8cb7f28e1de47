"""Forms of the review, retraction and audit pages."""

from typing import Any, cast

from django import forms
from django.db.models import Q
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from annotate.deeds import SITE, deeds
from annotate.models import Project, PromptReport, User


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
    # A text, because a link may ask for a beginning of verbs as well (``prompts.``).
    verb = forms.CharField(label=_("What"), required=False, max_length=60, widget=forms.Select)
    actor = forms.CharField(label=_("Who"), required=False, max_length=150)
    since = forms.DateField(label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=_("Before"), required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, data: QueryDict, *, of_site: bool) -> None:
        super().__init__(data)
        known = {verb: str(text) for verb, text in deeds().items() if verb.startswith(SITE) == of_site}
        asked = data.get("verb", "")
        known |= {asked: asked} if asked and asked not in known else {}
        cast(forms.Select, self.fields["verb"].widget).choices = [
            ("", _("Everything")),
            *sorted(known.items(), key=lambda entry: entry[1].casefold()),
        ]
