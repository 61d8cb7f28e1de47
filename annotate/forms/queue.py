"""Forms of the queue page."""

import re
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotate.models import AnnotatorGroup, Membership, Project, PromptImport, Slot, User
from annotate.services.assignments import HIGHEST_PRIORITY, Selection

# More numbers than these are a round or a file, for which there are filters.
MOST_NUMBERS = 5_000


KINDS = [(Slot.Kind.PAIR, _("Pairs")), (Slot.Kind.THUMB, _("Answers")), (Slot.Kind.RANKING, _("Rankings"))]


class NumbersField(forms.CharField):
    """Numbers and ranges of numbers: ``12, 15-20 31``."""

    def to_python(self, value: Any) -> Any:
        found: list[int] = []
        for part in re.split(r"[\s,;]+", str(value or "").strip()):
            fits = re.fullmatch(r"([0-9]{1,9})(?:[-\u2013]([0-9]{1,9}))?", part)
            if part and not fits:
                raise forms.ValidationError(_("“%(part)s” is neither a number nor a range."), params={"part": part})
            if fits:
                first, last = int(fits[1]), int(fits[2] or fits[1])
                if last - first >= MOST_NUMBERS or len(found) + last - first >= MOST_NUMBERS:
                    raise forms.ValidationError(_("Name at most %(most)d."), params={"most": MOST_NUMBERS})
                found += range(first, last + 1)
        return list(dict.fromkeys(found))

    def prepare_value(self, value: Any) -> Any:
        return " ".join(map(str, value)) if isinstance(value, list) else value


class SteerForm(forms.Form):
    """Which items, and what becomes of them: an assignment or a priority, as the pressed button says."""

    kind = forms.ChoiceField(label=_("What"), choices=KINDS)
    round = forms.IntegerField(label=_("Round"), required=False, min_value=1, max_value=10**6)
    prompt_import = forms.ModelChoiceField(
        label=_("Prompts from the file"), required=False, queryset=PromptImport.objects.none(), empty_label=_("Any")
    )
    category = forms.CharField(
        label=_("Category"), required=False, max_length=200, help_text=_("As the file has it under “category”.")
    )
    prompts = NumbersField(label=_("Prompt numbers"), required=False, help_text=_("Such as 12, 15-20."))
    comparisons = NumbersField(
        label=_("Comparison numbers"), required=False, help_text=_("As exports and review have them.")
    )
    to = forms.ChoiceField(label=_("To"), required=False)
    most = forms.IntegerField(
        label=_("At most"), required=False, min_value=1, max_value=10**6, help_text=_("Empty: all that fit.")
    )
    priority = forms.IntegerField(
        label=_("Priority"), required=False, min_value=-HIGHEST_PRIORITY, max_value=HIGHEST_PRIORITY,
        help_text=_("Higher is asked sooner; everything begins at 0."),
    )  # fmt: skip

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["prompt_import"].queryset = project.prompt_imports.all()  # type: ignore[attr-defined]
        self._users = {
            f"person {member.user_id}": member.user
            for member in project.memberships.select_related("user").order_by("user__username")
        }
        self._groups = {f"group {group.pk}": group for group in project.groups.all()}
        people = (_("People"), [(key, str(user)) for key, user in self._users.items()])
        groups = (_("Groups"), [(key, str(group)) for key, group in self._groups.items()])
        choices = [("", _("Choose")), people, *([groups] if self._groups else [])]
        self.fields["to"].choices = choices  # type: ignore[attr-defined]
        if not project.asks_thumbs:
            self.fields["kind"].widget = forms.HiddenInput()
        self.fields["kind"].initial = project.kinds[0]

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return given
        if not any(
            given[name] not in (None, "", [])
            for name in ("round", "prompt_import", "category", "prompts", "comparisons")
        ):
            raise forms.ValidationError(_("Say which: a round, a file, a category, or numbers."))
        if given["comparisons"] and given["kind"] != Slot.Kind.PAIR:
            self.add_error("comparisons", _("Single answers have no comparison number; name their prompts."))
        if self.wants_priority and given["priority"] is None:
            self.add_error("priority", _("Say which priority."))
        if not self.wants_priority and not given["to"]:
            self.add_error("to", _("Choose a person or a group."))
        return given

    @property
    def wants_priority(self) -> bool:
        return bool(self.data.get("action") == "priority")

    def selection(self) -> Selection:
        names = ("kind", "round", "prompt_import", "category", "prompts", "comparisons")
        return Selection(**{name: self.cleaned_data[name] for name in names})

    def target(self) -> User | AnnotatorGroup:
        chosen: str = self.cleaned_data["to"]
        return self._users[chosen] if chosen in self._users else self._groups[chosen]


class GroupForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=60)
    members = forms.ModelMultipleChoiceField(
        label=_("Members"), required=False, queryset=Membership.objects.none(), widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, project: Project, group: AnnotatorGroup | None = None, **kwargs: Any) -> None:
        self._project, self._group = project, group
        if group is not None:
            own = [member.pk for member in group.memberships.all()]
            kwargs["initial"] = {"name": group.name, "members": own}
        kwargs["auto_id"] = f"group-{group.pk if group else 'new'}-%s"
        super().__init__(*args, **kwargs)
        members = self.fields["members"]
        everybody = project.memberships.select_related("user", "group").order_by("user__username")
        members.queryset = everybody  # type: ignore[attr-defined]
        members.label_from_instance = self._label  # type: ignore[attr-defined]

    def _label(self, member: Membership) -> str:
        elsewhere = member.group if member.group != self._group else None
        return _("%(person)s (now in %(group)s)") % {"person": member.user, "group": elsewhere} if elsewhere else str(
            member.user
        )  # fmt: skip

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        same = self._project.groups.filter(name=name).first()
        if same is not None and same != self._group:
            raise forms.ValidationError(_("There is a group of this name."))
        return name
