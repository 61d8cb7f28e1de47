"""Forms of one's own account page, and of the pages on which the site's owners look after accounts."""

from typing import ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from annotate.models import User


class NameForm(forms.ModelForm):  # type: ignore[type-arg]  # As ModelForm in forms.projects.
    class Meta:
        model = User
        fields: ClassVar = ["first_name", "last_name"]
        labels: ClassVar = {"first_name": _("First name"), "last_name": _("Last name")}


class FindForm(forms.Form):
    name = forms.CharField(label=_("Name or address"), required=False, max_length=150)


class DeactivateForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        required=False,
        max_length=200,
        help_text=_("For the site's log. The person does not see it."),
    )


class AddressForm(forms.Form):
    address = forms.EmailField(
        label=_("E-mail address"),
        required=False,
        max_length=254,
        help_text=_("Whoever the sign-in provider knows by this verified address is let in as this person."),
    )
