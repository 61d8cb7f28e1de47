"""Forms in which a reviewer decides on a comparison or a lineup, and says what is known to be right of it."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotate.known_orders import most_steps
from annotate.models import Verdict


class _Noted(forms.Form):
    note = forms.CharField(
        label=_("Note"), required=False, max_length=1000, widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("Kept with the verdict, for the next reviewer."),
    )  # fmt: skip


class _Ranks(forms.Form):
    """A choice of a rank, or of none, for each response of a lineup, in order of the responses' ids."""

    def __init__(self, *args: Any, size: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.names = [f"rank_{number}" for number in range(1, size + 1)]
        # Ranks, and numbers of responses too: there are as many.
        self.numbers = [("", "–"), *((str(number), str(number)) for number in range(1, size + 1))]
        for number, name in enumerate(self.names, start=1):
            label = _("Rank of response %(number)s") % {"number": number}
            self.fields[name] = forms.ChoiceField(label=label, choices=self.numbers, required=False)
        # The first of them is what a form that is wrong as a whole wants looked at.
        self.order_fields(self.names)

    def ranks_wanted(self) -> list[forms.BoundField]:
        """The fields of the ranks."""
        return [self[name] for name in self.names]

    def ranks_given(self) -> list[int | None]:
        """What was chosen of each."""
        return [int(rank) if rank else None for rank in (self.cleaned_data.get(name) for name in self.names)]


class VerdictForm(_Noted):
    verdict = forms.ChoiceField(
        label=_("Verdict"),
        choices=Verdict.choices,
        widget=forms.RadioSelect,
        error_messages={"required": _("Choose a verdict.")},
    )


class OrderVerdictForm(_Ranks, _Noted):
    """A rank for each response of a lineup, equal ones are ties; or that the lineup is excluded."""

    exclude = forms.BooleanField(label=_("Exclude from training instead"), required=False)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        given = self.ranks_given()
        if not cleaned.get("exclude") and not all(given):
            raise forms.ValidationError(_("Give every response a rank, or exclude them."))
        return {"ranks": [] if cleaned.get("exclude") else given, "note": cleaned.get("note", "")}


class _Explained(forms.Form):
    explanation = forms.CharField(
        label=_("Why this is right"),
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_(
            "Shown after the answer where the question is part of the onboarding quiz, and nowhere else. Markdown."
        ),
    )


class GoldForm(_Explained):
    """The answer to a comparison that is known to be right."""

    expected = forms.CharField(max_length=10, widget=forms.HiddenInput)


class GoldOrderForm(_Ranks, _Explained):
    """Which orders of a lineup's responses are known to be right: by ranks, two by two, or both."""

    def __init__(self, *args: Any, size: int, **kwargs: Any) -> None:
        super().__init__(*args, size=size, **kwargs)
        self.pairs = [(f"better_{number}", f"worse_{number}") for number in range(1, most_steps(size) + 1)]
        for number, (better, worse) in enumerate(self.pairs, start=1):
            for name, label in (
                (better, _("Order %(number)s: the better response")),
                (worse, _("Order %(number)s: the worse response")),
            ):
                self.fields[name] = forms.ChoiceField(
                    label=label % {"number": number}, choices=self.numbers, required=False
                )

    def orders_wanted(self) -> list[tuple[forms.BoundField, forms.BoundField]]:
        """The fields of the orders of two."""
        return [(self[better], self[worse]) for better, worse in self.pairs]

    def says_orders(self) -> bool:
        """Was any order of two sent, so that its fields must be seen?"""
        return any(field.data for pair in self.orders_wanted() for field in pair)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        orders = []
        for better, worse in self.pairs:
            above, below = cleaned.get(better), cleaned.get(worse)
            if not above and not below:
                continue
            if not above or not below:
                self.add_error(worse if above else better, _("Choose the other response too, or none."))
            elif above == below:
                self.add_error(worse, _("A response is not above itself. Choose another one."))
            else:
                orders.append((int(above), int(below)))
        return {"ranks": self.ranks_given(), "orders": orders, "explanation": cleaned.get("explanation", "")}
