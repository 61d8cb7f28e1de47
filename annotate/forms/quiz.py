"""What an answer to a question of the onboarding quiz sends."""

from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from annotate.assign import dense_ranks
from annotate.forms.judging import RANKS_MISSING, ranks_missing, ranks_sent
from annotate.models import QuizAnswer, Ranked


class QuizAnswerForm(forms.Form):
    """A choice of a pair, or ``ranked`` and ``rank_1``, ... of a lineup; as ``answer_question`` takes it."""

    choice = forms.CharField(required=False)

    def __init__(self, question: QuizAnswer, data: QueryDict) -> None:
        super().__init__(data)
        self._choices = QuizAnswer.OF_A_PAIR if question.comparison_id else [Ranked.RANKED]
        # As they were sent, so that the page shows them again.
        self.ranks = ranks_sent(data, len(question.shown))

    def clean(self) -> dict[str, Any]:
        choice = self.cleaned_data.get("choice")
        if choice not in self._choices:
            raise forms.ValidationError(_("Nothing was chosen. Press one of the buttons."))
        if missing := ranks_missing(self.ranks):
            raise forms.ValidationError(RANKS_MISSING, params={"letters": missing})
        return {"choice": choice, "ranks": dense_ranks([rank for rank in self.ranks if rank is not None])}
