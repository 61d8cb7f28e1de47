"""After a failed form the focus is in the first field that is wrong, without a script: the browser's own autofocus."""

from typing import Any

from django import forms
from django.forms.renderers import DjangoTemplates


class BoundField(forms.BoundField):
    """A field that takes the focus when it is the first with an error, or the first of a form that has one as a whole.

    Not one of several boxes to tick: each of them would ask for the focus.
    """

    def build_widget_attrs(self, attrs: dict[str, Any], widget: forms.Widget | None = None) -> dict[str, Any]:
        built: dict[str, Any] = super().build_widget_attrs(attrs, widget)
        several = self.field.widget.use_fieldset
        if self.form.is_bound and self.form.errors and not several and self.name == self._first_wrong():
            built["autofocus"] = True
        return built

    def _first_wrong(self) -> str | None:
        shown = [name for name, field in self.form.fields.items() if not field.widget.is_hidden]
        wrong = [name for name in shown if name in self.form.errors]
        return next(iter(wrong or shown), None)


class Renderer(DjangoTemplates):
    bound_field_class = BoundField
