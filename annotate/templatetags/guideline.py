"""The worked examples beside a version of the guideline."""

from typing import Any

from django import template

from annotate.models import Guideline

register = template.Library()


@register.inclusion_tag("annotate/examples.html")
def worked_examples(guideline: Guideline | None, folded: bool = False) -> dict[str, Any]:
    """Pairs with the right answer and why; nothing where there are none. ``folded``: each opens on its own."""
    return {"examples": list(guideline.examples.all()) if guideline else [], "folded": folded}
