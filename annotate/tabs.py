"""The tabs above a project's pages. ``PROJECT_TABS`` names these lists, so that no app imports the other's."""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from annotate.models import Role


@dataclass(frozen=True, slots=True)
class Tab:
    """A link to the page ``url_name`` (reversed with ``project_id``), shown to members who may do what ``role`` may."""

    label: str | Promise
    url_name: str
    role: Role = Role.ANNOTATOR
    # Behind "More": what is not opened every day, so that the others fit one line in every language.
    more: bool = False


TABS = [
    Tab(_("Overview"), "annotate:project"),
    Tab(_("Dashboard"), "annotate:dashboard", Role.LEAD),
    Tab(_("Guideline"), "annotate:guideline"),
    Tab(_("Prompts"), "annotate:prompts", Role.LEAD),
    Tab(_("People"), "annotate:people", Role.LEAD),
    Tab(_("Queue"), "annotate:queue", Role.LEAD),
    Tab(_("Quality"), "annotate:quality", Role.LEAD),
    Tab(_("Review"), "annotate:review", Role.LEAD),
    Tab(_("Export"), "annotate:export", Role.LEAD, more=True),
    Tab(_("Audit log"), "annotate:audit", Role.LEAD, more=True),
    Tab(_("Settings"), "annotate:settings", Role.LEAD, more=True),
]
