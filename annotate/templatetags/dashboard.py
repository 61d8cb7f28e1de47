"""Numbers of the dashboard as people read them."""

from django import template

register = template.Library()


@register.filter
def hours(seconds: float) -> str:
    """3725 seconds as "1:02 h": hours and whole minutes, rounded to the nearest."""
    whole, minutes = divmod(round(seconds / 60), 60)
    return f"{whole}:{minutes:02d} h"
