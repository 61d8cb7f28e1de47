from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from annotate.models import Guideline, Project, WorkedExample
from annotate.queries.quiz import quiz_questions_in

# More than these on a judging page are read by nobody.
MOST_TAGS = 20
LONGEST_TAG = 40
# Of what somebody is asked; beyond it the checks would crowd out the work that they check.
MOST_CHECKS = 50


class LinesField(forms.Field):
    """A list of short texts, written one a line."""

    widget = forms.Textarea(attrs={"rows": 5})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:
        lines = [" ".join(line.split()) for line in str(value or "").splitlines()]
        return list(dict.fromkeys(line for line in lines if line))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.to_python(data) != (initial or [])


class ProjectForm(forms.ModelForm):  # type: ignore[type-arg]  # django-stubs' ModelForm is generic, Django's is not.
    """What a project cannot begin without."""

    class Meta:
        model = Project
        fields: ClassVar = ["name", "judging", "overlap", "lease_minutes", "reserved_percent"]
        labels: ClassVar = {
            "name": _("Name"),
            "judging": _("What people are asked"),
            "overlap": _("Judgments per comparison"),
            "lease_minutes": _("Minutes to answer"),
            "reserved_percent": _("Reserved prompts, percent"),
        }
        widgets: ClassVar = {"name": forms.TextInput(attrs={"autocomplete": "off"})}


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that are read together."""

    title: str | Promise
    about: str | Promise
    fields: list[forms.BoundField]


_GROUPS: list[tuple[str | Promise, str | Promise, list[str]]] = [
    (_("Project"), "", ["name", "lease_minutes", "reserved_percent"]),
    (
        _("What is asked"),
        _("Beside the choice itself. Everything here costs annotators time, so ask for what you will read."),
        [
            "judging",
            "ranking_size",
            "ask_strength",
            "ask_rationale",
            "reason_tags",
            "allow_edits",
            "acknowledge_guideline",
        ],
    ),
    (
        _("Overlap"),
        _("Several judgments of one comparison show how far people agree. Counts for comparisons made from now on."),
        ["overlap", "overlap_percent"],
    ),
    (
        _("Onboarding quiz"),
        _(
            "Annotators pass it before they judge; leads and owners need not. It asks gold questions, shows the right "
            "answer after each, and its answers are no judgments. What somebody met in the quiz is no check for them."
        ),
        ["quiz_questions", "quiz_pass_percent", "quiz_attempts"],
    ),
    (
        _("Review"),
        _(
            "What somebody could not judge is asked of somebody else, never of the same person again. What people "
            "disagree on waits for a reviewer: every pair that two people judged differently, and sets of answers that "
            "they rank too differently."
        ),
        ["skips_before_review", "dispute_tau"],
    ),
    (
        _("Checks"),
        _("Shares of what each annotator is asked, mixed unmarked into their queue. They never become training data."),
        ["gold_percent", "recheck_percent", "recheck_after_hours"],
    ),
    (
        _("Limits"),
        _(
            "Whoever is beyond a limit is paused, with the reason shown to them and to you, until a lead lets them "
            "judge again. It takes enough judgments that the interval (95%) lies wholly on the wrong side."
        ),
        ["pause_below_gold_percent", "pause_above_fast_percent", "fast_seconds", "pause_after"],
    ),
]


class SettingsForm(ProjectForm):
    """All of a project's settings, in groups."""

    reason_tags = LinesField(
        label=_("Reason tags"),
        required=False,
        help_text=_("One a line, such as accuracy, safety, tone. Annotators may pick some. Empty: none are offered."),
    )

    class Meta(ProjectForm.Meta):
        fields: ClassVar = [name for _title, _about, names in _GROUPS for name in names]
        labels: ClassVar = ProjectForm.Meta.labels | {
            "overlap_percent": _("Share of comparisons that get that many, percent"),
            "ranking_size": _("Answers in a ranking"),
            "ask_strength": _("Ask how much better the better answer is"),
            "ask_rationale": _("Reason in words"),
            "allow_edits": _("Let annotators improve the better answer"),
            "acknowledge_guideline": _("Ask annotators to confirm that they read a changed guideline"),
            "gold_percent": _("Gold questions, percent"),
            "recheck_percent": _("Rechecks, percent"),
            "recheck_after_hours": _("Hours before a recheck"),
            "pause_below_gold_percent": _("Pause below this share of gold questions right, percent"),
            "pause_above_fast_percent": _("Pause above this share of too fast judgments, percent"),
            "fast_seconds": _("Too fast is under, seconds"),
            "pause_after": _("Judgments before a limit counts"),
            "skips_before_review": _("Skips before review"),
            "dispute_tau": _("Rankings are reviewed at this tau or less"),
            "quiz_questions": _("Questions"),
            "quiz_pass_percent": _("Right answers needed, percent"),
            "quiz_attempts": _("Attempts"),
        }
        help_texts: ClassVar = {
            "ask_strength": _("Slightly, clearly or much better."),
            "allow_edits": _(
                "Beside a preference they may write their own version of the answer. It becomes a demonstration, and "
                "is preferred to the original."
            ),
            "acknowledge_guideline": _("Once for each version, before they go on."),
            "gold_percent": _("Comparisons whose right answer, or sets of answers whose order, a reviewer has marked."),
            "recheck_percent": _(
                "What the same person judged or ranked before, with the sides swapped or the places shuffled."
            ),
            "recheck_after_hours": _("So that people do not just remember."),
            "pause_below_gold_percent": _(
                "Of rankings it is the share of known orders. Empty: nobody is paused for it."
            ),
            "pause_above_fast_percent": _("Empty: nobody is paused for it."),
            "fast_seconds": _("Active time on the page, as the browser measures it."),
            "quiz_questions": _("0: there is no quiz. Whoever judges already is asked to pass it too."),
            "quiz_attempts": _("After so many that failed, a lead must let the person try again."),
            "skips_before_review": _(
                "After so many it goes to the review queue. What is broken or upsetting goes there at once."
            ),
            "dispute_tau": _(
                "Kendall's tau-b of any two people who ranked the same answers, -1 to 0.99: 1 is the same order, 0 "
                "turns round as many pairs as it agrees on, -1 is the opposite order."
            ),
            "pause_after": _("Gold questions for the one limit, timed judgments for the other; at least 5."),
        }

    def groups(self) -> Iterator[Group]:
        """The fields in the order and the groups that the page shows."""
        for title, about, names in _GROUPS:
            yield Group(title, about, [self[name] for name in names])

    def clean_reason_tags(self) -> list[str]:
        tags: list[str] = self.cleaned_data["reason_tags"]
        if len(tags) > MOST_TAGS:
            raise forms.ValidationError(_("Keep it to %(most)d tags or fewer."), params={"most": MOST_TAGS})
        if too_long := [tag for tag in tags if len(tag) > LONGEST_TAG]:
            raise forms.ValidationError(
                _("Shorten “%(tag)s” to %(most)d characters."), params={"tag": too_long[0], "most": LONGEST_TAG}
            )
        return tags

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        gold, rechecks = values.get("gold_percent"), values.get("recheck_percent")
        if gold is not None and rechecks is not None and gold + rechecks > MOST_CHECKS:
            self.add_error(
                "recheck_percent",
                forms.ValidationError(
                    _("Gold questions and rechecks together may be %(most)d percent at most, not %(sum)d."),
                    params={"most": MOST_CHECKS, "sum": gold + rechecks},
                ),
            )
        # As the project will be: what it asks may be changed by the same form.
        asks = Project(pk=self.instance.pk, judging=values.get("judging", self.instance.judging))
        there = quiz_questions_in(asks)
        if (values.get("quiz_questions") or 0) > there:
            self.add_error(
                "quiz_questions",
                forms.ValidationError(
                    ngettext_lazy(
                        "There is %(there)d gold question of the kind that is asked here, so that the quiz can ask no "
                        "more. Make gold questions on the pages of comparisons, or of sets of answers for rankings.",
                        "There are %(there)d gold questions of the kind that is asked here, so that the quiz can ask "
                        "no more. Make gold questions on the pages of comparisons, or of sets of answers for rankings.",
                        there,
                    ),
                    params={"there": there},
                ),
            )
        if gold == 0 and values.get("pause_below_gold_percent") is not None:
            self.add_error(
                "pause_below_gold_percent",
                _("Nobody is asked gold questions. Set their share above, or leave this empty."),
            )
        return values


class NewProjectForm(ProjectForm):
    """The same, and the first version of the guideline."""

    guideline_text = forms.CharField(
        label=_("Guideline"),
        widget=forms.Textarea(attrs={"rows": 10}),
        max_length=Guideline._meta.get_field("text").max_length,
        initial=_(
            "Prefer the answer that helps more, is true, and is kind.\n\n"
            "- Judge what is written, not its length.\n"
            "- If both are equally good, say tie. If neither could be sent, say both bad."
        ),
        help_text=_(
            "What annotators shall prefer, in Markdown. You can change it later; each change is a new version."
        ),
    )


class GuidelineForm(forms.Form):
    """A new version of the guideline, and the version that the writer started from."""

    text = forms.CharField(
        label=_("Guideline"),
        widget=forms.Textarea(attrs={"rows": 20}),
        max_length=Guideline._meta.get_field("text").max_length,
        strip=False,
        help_text=_("Markdown. Judgments keep the version they were made under."),
    )
    based_on = forms.IntegerField(widget=forms.HiddenInput, min_value=0)

    def clean_text(self) -> str:
        # Browsers send line ends as CR LF.
        text: str = self.cleaned_data["text"].replace("\r\n", "\n")
        if not text.strip():
            raise forms.ValidationError(_("Write what annotators shall prefer."))
        return text


class ExampleForm(forms.ModelForm):  # type: ignore[type-arg]  # As ModelForm above.
    """A worked example of the guideline."""

    class Meta:
        model = WorkedExample
        fields: ClassVar = ["prompt", "a", "b", "answer", "why"]
        labels: ClassVar = {
            "prompt": _("Prompt"),
            "a": _("Answer A"),
            "b": _("Answer B"),
            "answer": _("Right is"),
            "why": _("Why"),
        }
        widgets: ClassVar = {name: forms.Textarea(attrs={"rows": rows}) for name, rows in
                             (("prompt", 2), ("a", 4), ("b", 4), ("why", 3))}  # fmt: skip


# More than these are read by nobody.
MOST_EXAMPLES = 20
ExampleFormSet = forms.formset_factory(
    ExampleForm, extra=0, can_delete=True, max_num=MOST_EXAMPLES, absolute_max=2 * MOST_EXAMPLES, validate_max=True
)
