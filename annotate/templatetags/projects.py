"""The tabs above a project's pages."""

from typing import Any

from django import template
from django.conf import settings
from django.urls import reverse
from django.utils.module_loading import import_string

from annotate.access import may
from annotate.models import Membership

register = template.Library()


@register.inclusion_tag("annotate/project_tabs.html", takes_context=True)
def project_tabs(context: dict[str, Any], membership: Membership) -> dict[str, Any]:
    """Links to the pages this member may see, of all apps. The current one is that of which the
    page says that it belongs to it (``tab``, a url's name), else the one that the request is below.
    """
    tabs = [tab for path in settings.PROJECT_TABS for tab in import_string(path) if may(membership, tab.role)]
    links = [(tab, reverse(tab.url_name, args=[membership.project_id])) for tab in tabs]
    # The first tab's address is the beginning of all others, so the longest fit wins.
    # A page without a tab of its own names the one it belongs to: it is reached from there.
    address = reverse(context["tab"], args=[membership.project_id]) if "tab" in context else context["request"].path
    fitting = [url for _, url in links if address.startswith(url)]
    current = max(fitting, key=len, default="")
    shown = [(tab.label, url, url == current, tab.more) for tab, url in links]
    return {
        "links": [entry for entry in shown if not entry[3]],
        "more": [entry for entry in shown if entry[3]],
        # The page is one of those behind "More": its name stands there then.
        "inside": next((label for label, _, here, more in shown if here and more), ""),
    }
