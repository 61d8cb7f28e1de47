"""How kept texts and values are shown: ``{{ text|markdown }}`` makes untrusted Markdown of a chat safe HTML."""

from django import template
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from annotate.records import Message
from annotate.rendering import render_markdown

register = template.Library()


@register.filter
def markdown(text: str) -> SafeString:
    """See ``annotate.rendering``. Put it into an element of the class ``prose``."""
    return render_markdown(text, breaks=True)


@register.filter
def speaker(role: str) -> str:
    """Who speaks, in the reader's language."""
    return {"system": _("system"), "user": _("user"), "assistant": _("assistant")}.get(role, role)


@register.filter
def last_message(messages: list[Message]) -> str:
    """What the conversation ends with: the message that wants an answer."""
    return messages[-1]["content"]


@register.filter
def listed(value: object) -> str:
    """A value of an audit entry: a list as its parts."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
