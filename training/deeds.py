"""What the trainer's verbs in the audit log mean (``annotate.deeds``)."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

DEEDS: dict[str, str | Promise] = {
    "loop.changed": _("Loop's settings changed"),
    "loop.paused": _("Loop paused"),
    "loop.resumed": _("Loop resumed"),
    "policy.released": _("Policy handed out"),
    "recipe.archived": _("Recipe archived"),
    "recipe.cancelled": _("Recipe's run cancelled"),
    "recipe.changed": _("Recipe changed"),
    "recipe.continued": _("Recipe's run continued"),
    "recipe.deleted": _("Recipe deleted"),
    "recipe.made": _("Recipe made"),
    "recipe.restored": _("Recipe restored"),
    "recipe.started": _("Recipe started"),
    "run.cancelled": _("Run cancelled"),
    "run.resumed": _("Run resumed"),
    "run.scored_again": _("Policy scored again"),
    "run.started": _("Run started"),
    "run.stopped": _("Run asked to stop and save"),
    "sampler.chosen": _("Policy chosen for the next answers"),
    "simulation.joined": _("Simulated annotators joined"),
}
