"""How numbers of training read on a page."""

import math
from typing import Any

from django import template
from django.utils.formats import get_format
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotate.stats.intervals import wilson
from training.models import Run

register = template.Library()

MISSING = "–"


@register.filter
def figure(value: Any) -> str:
    """A measurement to about four digits: 0.6931, 1.431, 12.44, 1.2e-05; a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return MISSING
    if value == 0 or isinstance(value, int):
        return _local(f"{value:g}")
    if 0.001 <= abs(value) < 10:  # As many decimals every time, so that a live number does not jump about.
        return _local(f"{value:.4f}" if abs(value) < 1 else f"{value:.3f}")
    return _local(f"{value:.4g}")


def _local(number: str) -> str:
    return number.replace(".", str(get_format("DECIMAL_SEPARATOR")))


@register.filter
def percent(value: Any) -> str:
    """A share as whole percent; a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return MISSING
    return _("%(number)s%%") % {"number": f"{100 * value:.0f}"}


@register.simple_tag
def share(value: float | None, n: int | None) -> str:
    """A share of n answers as whole percent with its 95% Wilson interval; a dash where there is none."""
    if value is None or not n:
        return percent(value)
    found = wilson(round(value * n), n)
    low, high = percent_number(found.low or 0.0), percent_number(found.high or 0.0)
    return format_html('{} <span class="muted small">{}–{}</span>', percent(value), low, high)


@register.filter
def percent_number(value: float) -> str:
    """A share as whole percent without the sign, for the ends of an interval."""
    return f"{100 * value:.0f}"


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds as people say them: 45 s, 3 min, 2 h 5 min; a dash where there are none."""
    if seconds is None:
        return MISSING
    if seconds < 90:
        return _("%(seconds)d s") % {"seconds": round(seconds)}
    minutes = round(seconds / 60)
    if minutes < 90:
        return ngettext("%(minutes)d min", "%(minutes)d min", minutes) % {"minutes": minutes}
    return _("%(hours)d h %(minutes)d min") % {"hours": minutes // 60, "minutes": minutes % 60}


@register.filter
def state(value: str) -> str:
    """A run's state in words."""
    return str(Run.State(value).label) if value in Run.State.values else value


@register.filter
def badge(value: str) -> str:
    """The colour of a state's badge."""
    return {
        "running": "live",
        "queued": "live",
        "training": "live",
        "scoring": "live",
        "finished": "ok",
        "failed": "bad",
        "cancelled": "warn",
        "stopped": "warn",
    }.get(value, "")
