"""The trainer's tabs above a project's pages."""

from django.utils.translation import gettext_lazy as _

from annotate.models import Role
from annotate.tabs import Tab

TABS = [
    Tab(_("Runs"), "training:runs", Role.LEAD),
    Tab(_("Policies"), "training:policies", Role.LEAD),
    Tab(_("Recipes"), "training:recipes", Role.LEAD, more=True),
    Tab(_("Loop"), "training:loop", Role.LEAD, more=True),
]
