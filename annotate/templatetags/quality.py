"""Numbers of the quality pages as people read them."""

from django import template
from django.utils.formats import number_format
from django.utils.translation import gettext

from annotate.models import Choice
from annotate.stats.intervals import Share

register = template.Library()


@register.filter
def percent(value: float | None) -> str:
    """0.1234 as "12"; nothing as a dash."""
    return "–" if value is None else f"{100 * value:.0f}"


@register.filter
def percent_sign(number: float | str) -> str:
    """Whole percent with the sign, as people write it: "12%", and "12 %" in other languages."""
    return gettext("%(number)s%%") % {"number": number}


@register.filter
def interval_width(share: Share) -> str:
    """The width of a share's interval in percent, never so narrow that it cannot be seen."""
    if share.low is None or share.high is None:
        return "0"
    return f"{max(100 * (share.high - share.low), 1):.1f}"


@register.filter
def mark(share: float | bool) -> str:
    """Where a share's bar has its line: at a share, or (True) at one half."""
    return f"{100 * (0.5 if share is True else share) - 0.4:.1f}"


@register.filter
def two_digits(value: float | None) -> str:
    """Alpha and its bounds: "0.67"; nothing as a dash."""
    # Adding 0 takes the sign from what rounds to minus zero.
    return "–" if value is None else number_format(round(value, 2) + 0.0, 2)


@register.filter
def choice(label: str) -> str:
    """A choice (or one told by the comparison's responses) in words."""
    return str(Choice(label).label) if label in Choice.values else label


@register.filter
def off_centre(share: Share) -> bool:
    """Does the interval leave one half out: is it more than chance?"""
    return share.excludes(0.5)
