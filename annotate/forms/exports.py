import re

from django import forms
from django.utils.translation import gettext_lazy as _

from annotate.models import Aggregation, Prompt, RankingPairs
from annotate.services.exports import Selection

WHATS = [
    ("dpo", _("Training pairs for DPO (TRL)")),
    ("kto", _("Training rows for KTO (TRL)")),
    ("sft", _("Demonstrations for SFT (TRL)")),
    ("judgments", _("Judgments, everything recorded")),
    ("ratings", _("Ratings, everything recorded")),
    ("rankings", _("Rankings, everything recorded")),
]


def parse_rounds(raw: str) -> list[int] | None:
    """Rounds as people write them: "1, 3-5" is [1, 3, 4, 5], nothing is None (all). Raises ``ValueError``."""
    rounds: set[int] = set()
    for part in filter(None, re.split(r"[,\s]+", raw)):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part)
        if match is None:
            raise ValueError(part)
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 <= last - first <= 1000:
            raise ValueError(part)
        rounds |= set(range(first, last + 1))
    return sorted(rounds) or None


def splits_of(choice: str) -> list[str] | None:
    """``train``, ``reserved``, ``all``, or nothing for what is usual."""
    if choice == "all":
        return list(Prompt.Split.values)
    return [choice] if choice else None


class ExportForm(forms.Form):
    what = forms.ChoiceField(label=_("What"), choices=WHATS, initial="dpo", widget=forms.RadioSelect)
    format = forms.ChoiceField(
        label=_("Format"), choices=[("jsonl", _("JSON lines")), ("parquet", _("Parquet"))], initial="jsonl"
    )
    split = forms.ChoiceField(
        label=_("Prompts"),
        required=False,
        choices=[
            ("", _("Usual: training rows without reserved prompts, the rest with all")),
            (Prompt.Split.TRAIN, _("Train only")),
            (Prompt.Split.RESERVED, _("Reserved only")),
            ("all", _("Train and reserved")),
        ],
        help_text=_("Reserved prompts measure the policies. A model that trains on them cannot be measured any more."),
    )
    rounds = forms.CharField(
        label=_("Rounds"),
        required=False,
        max_length=100,
        help_text=_("For example 1, 3-5. Empty means all."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    ratings_only = forms.BooleanField(
        label=_("KTO: from ratings only"),
        required=False,
        help_text=_(
            "Otherwise judged pairs are taken apart too: the better answer becomes a good example, the other a bad "
            "one, and both bad makes two bad ones."
        ),
    )
    aggregation = forms.ChoiceField(
        label=_("DPO and KTO: several judgments of one comparison"),
        required=False,
        choices=Aggregation.choices,
        initial=Aggregation.ADJUDICATED,
        help_text=_("As in a run. Where they draw, there is no row; what a reviewer excluded is out in any case."),
    )
    ranking_pairs = forms.ChoiceField(
        label=_("DPO: rows of a ranking"),
        required=False,
        choices=RankingPairs.choices,
        initial=RankingPairs.ALL,
        help_text=_("Every two of six answers are fifteen rows that hang together: weigh them, or take fewer."),
    )
    include_inactive = forms.BooleanField(
        label=_("Everything recorded: with superseded and retracted ones"), required=False
    )

    def clean_rounds(self) -> list[int] | None:
        try:
            return parse_rounds(self.cleaned_data["rounds"])
        except ValueError as error:
            raise forms.ValidationError(_("Write rounds as numbers and ranges, for example 1, 3-5.")) from error

    def selection(self) -> Selection:
        return Selection(
            rounds=self.cleaned_data["rounds"],
            splits=splits_of(self.cleaned_data["split"]),
            include_inactive=self.cleaned_data["include_inactive"],
            ratings_only=self.cleaned_data["ratings_only"],
            aggregation=self.cleaned_data["aggregation"] or Aggregation.ADJUDICATED,
            ranking_pairs=self.cleaned_data["ranking_pairs"] or RankingPairs.ALL,
        )
