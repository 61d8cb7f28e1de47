"""What several management commands read alike: who does it, which policy, and knobs as NAME=VALUE."""

import json
from dataclasses import fields
from typing import Any

from django.core.management.base import CommandError

from annotate.models import Project, User
from training.engine.spec import TrainSpec
from training.models import Policy
from training.services.defaults import KNOBS


def actor_of(project: Project, username: str | None) -> User:
    """Who does it, for the audit log: the project's creator unless somebody is named. Raises ``CommandError``."""
    if username is None:
        return project.created_by
    user = User.objects.filter(username=username).first()
    if user is None:
        raise CommandError(f"There is nobody called {username}.")
    return user


def policy_of(project_id: int, number: int) -> Policy:
    """Raises ``CommandError``."""
    policy = Policy.objects.filter(project=project_id, number=number).select_related("project", "run").first()
    if policy is None:
        raise CommandError(f"Project {project_id} has no policy {number}.")
    return policy


def knob(text: str) -> tuple[str, Any]:
    """A knob and its value: JSON where it reads as such, else text; lists with commas. Raises ``CommandError``."""
    name, equals, raw = text.partition("=")
    if not equals or name not in KNOBS:
        raise CommandError(f"--set {text}: give NAME=VALUE with a NAME among {', '.join(KNOBS)}.")
    several = {item.name for item in fields(TrainSpec) if isinstance(item.default, tuple)}
    if name in several and not raw.startswith("["):
        return name, [_value(part.strip()) for part in raw.split(",") if part.strip()]
    return name, _value(raw)


def _value(raw: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw
