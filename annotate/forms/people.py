from typing import Any, ClassVar

from django import forms
from django.contrib.auth.forms import BaseUserCreationForm
from django.utils.translation import gettext_lazy as _

from annotate.models import Membership, Role, User


class InviteForm(forms.Form):
    role = forms.ChoiceField(label=_("Role"), initial=Role.ANNOTATOR)
    note = forms.CharField(
        label=_("Whom it is for"), required=False, max_length=120, help_text=_("A note for you; only leads see it.")
    )
    days = forms.IntegerField(label=_("Days until it expires"), initial=7, min_value=1, max_value=90)

    def __init__(self, *args: Any, roles: list[Role], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(role.value, role.label) for role in reversed(roles)]
        self.fields["role"].choices = choices  # type: ignore[attr-defined]


class RoleForm(forms.Form):
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices)


class PauseForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"), max_length=200, help_text=_("The person sees it. Their judgments stay as they are.")
    )


class QuotaForm(forms.ModelForm):  # type: ignore[type-arg]  # As ModelForm in forms.projects.
    class Meta:
        model = Membership
        fields: ClassVar = ["daily_quota"]
        labels: ClassVar = {"daily_quota": _("Most judgments and ratings a day")}
        help_texts: ClassVar = {"daily_quota": _("Days begin at midnight of the site. Empty: as many as they like.")}


class JoinForm(BaseUserCreationForm):  # type: ignore[type-arg]  # As ModelForm in forms.projects.
    """A new account for whoever holds an invite."""

    class Meta:
        model = User
        fields: ClassVar = ["username"]
        labels: ClassVar = {"username": _("User name")}
        help_texts: ClassVar = {"username": _("What you will sign in with. Letters, digits and @ . + - _ only.")}
