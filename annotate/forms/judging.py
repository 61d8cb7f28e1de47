"""What a click on the judging pages sends."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from annotate.assign import sides
from annotate.models import Choice, LineupAnswer, Project, PromptReport, Ranked, SkipReason, Slot, Thumb
from annotate.queries.judging import LETTERS
from annotate.services.edits import LONGEST_EDIT, tidy

CLEARLY = 2
# After A or B: with the person's own version.
EDITED = "+"
RANKS_MISSING = _("Every answer needs a rank; equal ones are a tie. Missing: %(letters)s.")


class _Shared(dict[str, forms.Field]):
    """Fields that all forms of a class have in common. A form copies its fields, so that it may change them; these
    forms change none, and copying took longer than checking what was sent (``make bench``)."""

    def __deepcopy__(self, memo: object) -> "_Shared":
        return self


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
        # The letter of the answer that a message is about, where it is about one.
        self.trouble = ""
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

    def written(self) -> list[str]:
        """What they typed, in their own words."""
        given = self.given()
        return [given["rationale"], given.get("edited", "")]


class JudgmentForm(DecisionForm):
    """``A1`` is A, slightly; ``A+`` is A with the person's own version of it, from the box below the answer.

    A box comes with the answer's own text in it, and without scripts it is always sent: what is still the answer, or
    nothing, is no version. Only the button in the box says that one was meant.
    """

    decision = "choice"
    choice = forms.CharField(required=False)
    edited_a = forms.CharField(required=False, strip=False)
    edited_b = forms.CharField(required=False, strip=False)

    def clean_choice(self) -> str:
        choice: str = self.cleaned_data["choice"]
        degrees = ("A1", "A3", "B1", "B3") if self._project.ask_strength else ()
        edits = (f"A{EDITED}", f"B{EDITED}") if self._project.allow_edits else ()
        if choice and choice not in (*Choice.values, *degrees, *edits):
            raise forms.ValidationError(forms.ChoiceField.default_error_messages["invalid_choice"], "invalid_choice",
                                        {"value": choice})  # fmt: skip
        return choice

    def clean(self) -> dict[str, Any]:
        values = super().clean()
        values["edited"] = self._edited(values) if self._project.allow_edits else ""
        return values

    def _edited(self, values: dict[str, Any]) -> str:
        """The person's version of the answer that they chose, or nothing."""
        said = values.get("choice", "")
        if said in ("", Choice.SKIP):
            return ""
        side, meant = said[:1], said.endswith(EDITED)
        answers = self._answers(values) if values.get("edited_a") or values.get("edited_b") else {}
        written = {each: tidy(values.get(f"edited_{each.lower()}") or "") for each in answers}
        versions = {each: text for each, text in written.items() if text and text != answers[each]}
        for stray in sorted(versions.keys() - {side}):
            message = _(
                "You wrote your own version of %(side)s. Choose %(side)s, or empty its box to choose otherwise."
            )
            raise self._about(stray, message % {"side": stray})
        if meant and side not in versions:
            message = _("The box is empty, or holds the answer as it was. Write your version, or choose without it.")
            raise self._about(side, message)
        version = versions.get(side, "")
        if len(version) > LONGEST_EDIT:
            message = _("Your version is too long. Shorten it to %(most)d characters.")
            raise self._about(side, message % {"most": LONGEST_EDIT})
        if version and version in answers.values():
            raise self._about(side, _("Your version is the other answer, word for word. Choose that one instead."))
        return version

    def _about(self, side: str, message: str | Promise) -> forms.ValidationError:
        self.trouble = side
        return forms.ValidationError(str(message))

    def _answers(self, values: dict[str, Any]) -> dict[str, str]:
        """What A and B say; nothing for a slot that nobody can answer anyway."""
        pairs = Slot.objects.select_related("comparison__first", "comparison__second")
        slot = pairs.filter(pk=values.get("slot") or 0, project=self._project, kind=Slot.Kind.PAIR).first()
        if slot is None or slot.comparison is None:
            return {}
        left, right = sides(slot.comparison.first.text, slot.comparison.second.text, swapped=slot.swapped)
        return {"A": tidy(left), "B": tidy(right)}

    def given(self) -> dict[str, Any]:
        """What was said. Where strength is asked, the plain button says "clearly", and so does plain ``A``."""
        said = super().given() | {"edited": self.cleaned_data["edited"]}
        choice = said["choice"].removesuffix(EDITED)
        if choice[1:].isdigit():
            return said | {"choice": choice[0], "strength": int(choice[1:])}
        asked = self._project.ask_strength and choice in (Choice.A, Choice.B)
        return said | {"choice": choice, "strength": CLEARLY if asked else None}


class RatingForm(DecisionForm):
    decision = "value"
    value = forms.ChoiceField(choices=Thumb.choices, required=False)


def ranks_sent(data: QueryDict, count: int) -> list[int | None]:
    """The ranks of the first ``count`` answers as shown; None where none was given."""
    sent = [data.get(f"rank_{number}", "") for number in range(1, count + 1)]
    return [int(raw) if len(raw) == 1 and raw in "123456" else None for raw in sent]


def ranks_missing(ranks: Sequence[int | None]) -> str:
    """The letters of the answers without a rank, as ``RANKS_MISSING`` names them; nothing when all have one."""
    return ", ".join(letter for letter, rank in zip(LETTERS, ranks, strict=False) if rank is None)


class RankingForm(DecisionForm):
    """``rank_1`` is the rank of the first answer as shown, and so on. Saving without all of them is told."""

    decision = "value"
    value = forms.ChoiceField(choices=Ranked.choices, required=False)

    def __init__(self, project: Project, data: QueryDict) -> None:
        super().__init__(project, data)
        self.ranks = ranks_sent(data, len(LETTERS))

    def clean(self) -> dict[str, Any]:
        values = super().clean()
        values["ranks"] = []
        if values.get("value") == Ranked.RANKED:
            given = self.ranks[: self._shown(values)]
            if missing := ranks_missing(given):
                self.trouble = missing[0]
                raise forms.ValidationError(RANKS_MISSING, params={"letters": missing})
            values["ranks"] = given
        return values

    def _shown(self, values: dict[str, Any]) -> int:
        """How many answers the slot shows; none for a slot that nobody can answer anyway."""
        of_slot = {"lineup__slots": values.get("slot") or 0, "lineup__project": self._project}
        return LineupAnswer.objects.filter(**of_slot).count()

    def given(self) -> dict[str, Any]:
        return super().given() | {"ranks": self.cleaned_data["ranks"]}


for _form in (JudgmentForm, RatingForm, RankingForm):
    _form.base_fields = _Shared(_form.base_fields)


class UndoForm(forms.Form):
    """Which decision the button was drawn for: a second press names the same one, and does nothing."""

    undone_id = forms.UUIDField()


class ReportForm(forms.Form):
    """What is wrong with the prompt of the slot that somebody holds."""

    reported_slot = forms.IntegerField(min_value=1, max_value=2**63 - 1)
    reported_id = forms.UUIDField()
    reason = forms.ChoiceField(choices=PromptReport.Reason.choices)
    note = forms.CharField(required=False, max_length=500)
