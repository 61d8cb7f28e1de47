"""What a run may train with: the engine's methods, and what training stays close to."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from annotate.telling import told
from training.engine.methods import METHODS


def method_choices() -> list[tuple[str, str]]:
    """The methods that the engine knows. A callable, so that another one costs no migration."""
    return [(method.name, told(method.label)) for method in METHODS.values()]


class Reference(models.TextChoices):
    BASE = "base", _("The base model")
    PREVIOUS = "previous", _("The policy the run starts from")
