"""Forms of recipes. A stage's own form is ``forms.RunForm``, as for any run."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotate.models import Project
from training.models import Policy
from training.trial_forms import PolicyField


class RecipeNameForm(forms.Form):
    """What a recipe is called."""

    name = forms.CharField(
        label=_("Name"), max_length=80, help_text=_("Unique in the project, such as: SFT, then DPO with IPO.")
    )


class StartRecipeForm(forms.Form):
    """Which policy the first stage starts from."""

    start = PolicyField(
        label=_("Start from"),
        queryset=Policy.objects.none(),
        to_field_name="number",
        help_text=_("The first stage trains on top of it. The base begins anew; earlier policies stay as they are."),
    )

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        project: Project,
        usual: Policy | None,
    ) -> None:
        super().__init__(data, initial={"start": None if usual is None else usual.number})
        field = self.fields["start"]
        if isinstance(field, PolicyField):
            field.queryset = project.policies.order_by("-number")
            field.empty_label = None
