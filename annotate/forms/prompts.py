from typing import Any

from django import forms
from django.conf import settings
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _

from annotate.models import Prompt
from annotate.prompt_files import Format, format_of


class ImportForm(forms.Form):
    file = forms.FileField(
        label=_("File"),
        help_text=_("JSON lines (.jsonl) or CSV (.csv), UTF-8."),
        error_messages={"required": _("Choose a file.")},
        widget=forms.FileInput(attrs={"accept": ".jsonl,.ndjson,.json,.csv,.txt"}),
    )
    format = forms.ChoiceField(
        label=_("Format"),
        required=False,
        choices=[("", _("As its name says")), ("jsonl", _("JSON lines")), ("csv", _("CSV"))],
    )

    def __init__(self, *args: Any, too_large: bool = False, **kwargs: Any) -> None:
        """``too_large``: the request came with a file that ``annotate.uploads.SizeCap`` dropped."""
        super().__init__(*args, **kwargs)
        if too_large:
            limit = filesizeformat(settings.PROMPT_FILE_MAX_BYTES)
            self.fields["file"].error_messages["required"] = _("The file is larger than %(limit)s. Split it.") % {
                "limit": limit
            }

    def chosen_format(self) -> Format:
        chosen = self.cleaned_data["format"] or format_of(self.cleaned_data["file"].name)
        return "csv" if chosen == "csv" else "jsonl"


class FilterForm(forms.Form):
    """What the list of prompts is narrowed down to."""

    search = forms.CharField(
        label=_("Search"), required=False, max_length=200, widget=forms.TextInput(attrs={"type": "search"})
    )
    split = forms.ChoiceField(
        label=_("Split"), required=False, choices=[("", _("Train and reserved")), *Prompt.Split.choices]
    )

    def chosen(self) -> dict[str, Any]:
        """Arguments for ``queries.prompts.prompts_of``; nonsense in the address narrows nothing."""
        self.is_valid()
        return {name: self.cleaned_data.get(name, "") for name in self.fields}
