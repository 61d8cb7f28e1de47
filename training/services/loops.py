"""What is done to a project's loop: set it up, change its settings, move its sampler to a new policy."""

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext

from annotate.models import Project, Response, User
from annotate.said import Said
from annotate.services.audit import record_deed
from annotate.services.content import clean_text, policy_author
from training.models import Job, Loop, Policy, Round
from training.queries.sampler import why_not_sampled_from

LONGEST_REASON = 500


class CannotSampleError(Exception):
    """The next answers cannot come from this policy; the message says why."""


class BaseModelFixedError(Exception):
    """The base model cannot change any more: answers were sampled from it, or are being sampled."""


@transaction.atomic
def ensure_loop(*, project: Project, base_model: str, base_revision: str = "", **defaults: Any) -> Loop:
    """The project's loop, made with its base policy (number 0) and round 1 where there is none yet.

    ``defaults`` are fields of ``Loop``. An existing loop is returned as it is, whatever the arguments.
    """
    existing = Loop.objects.select_related("sampler").filter(project=project).first()
    if existing is not None:
        return existing
    try:
        with transaction.atomic():
            loop = Loop(project=project, base_model=base_model, base_revision=base_revision, **defaults)
            loop.full_clean(exclude=["project"])
            loop.save(force_insert=True)
    except IntegrityError:
        return Loop.objects.select_related("sampler").get(project=project)  # Someone else was first.
    base = Policy.objects.create(
        project=project,
        number=0,
        author=policy_author(project=project, number=0, name="base"),
        base_model=base_model,
        base_revision=base_revision,
    )
    Round.objects.create(project=project, number=1, policy=base)
    loop.sampler = loop.champion = base
    loop.save(update_fields=["sampler", "champion"])
    return loop


def base_model_is_fixed(project: Project) -> bool:
    """Once answers of the base exist, or are on their way, another base would make them someone else's words."""
    return (
        Response.objects.filter(prompt__project=project, author__kind="policy").exists()
        or Job.objects.filter(project=project, kind=Job.Kind.SAMPLE, state__in=["queued", "running"]).exists()
    )


@transaction.atomic
def change_loop(*, loop: Loop, changed: list[str], actor: User) -> Loop:
    """Saves the named fields, which the caller has set and validated. Raises ``BaseModelFixedError``."""
    if {"base_model", "base_revision"} & set(changed):
        if base_model_is_fixed(loop.project):
            raise BaseModelFixedError(
                gettext("Answers were already sampled from this base model. Open a new project for another one.")
            )
        Policy.objects.filter(project=loop.project, number=0).update(
            base_model=loop.base_model, base_revision=loop.base_revision
        )
    if changed:
        loop.save(update_fields=changed)
        values = {field: _plain(getattr(loop, field)) for field in changed}
        record_deed(project=loop.project, actor=actor, verb="loop.changed", subject=loop.project.name, **values)
    return loop


def _plain(value: object) -> object:
    return value if isinstance(value, (str, int, float, bool, dict, list, type(None))) else str(value)


def set_paused(*, loop: Loop, paused: bool, actor: User) -> None:
    """Pausing starts nothing new by itself; what runs goes on, and a lead may still press Start."""
    wanted = timezone.now() if paused else None
    moved = Loop.objects.filter(pk=loop.pk, paused_at__isnull=paused).update(paused_at=wanted)
    if moved:
        verb = "loop.paused" if paused else "loop.resumed"
        record_deed(project=loop.project, actor=actor, verb=verb, subject=loop.project.name)


def locked_loop(project_id: int) -> Loop:
    """The loop, whose sampler nobody else moves until the transaction ends. It and the lead's choice take turns."""
    return Loop.objects.select_related("project").select_for_update(of=("self",)).get(pk=project_id)


def choose_sampler(*, policy: Policy, actor: User, reason: str) -> Round:
    """A lead's override: the next answers come from ``policy``, though it is not the newest that passed the guards.

    The open round closes and the next one opens; what waits to be judged stays. ``reason`` is theirs, for the audit log
    (1 to 500 characters). The champion is not touched. Raises ``CannotSampleError``.
    """
    said = clean_text(reason).strip()
    if not 0 < len(said) <= LONGEST_REASON:
        raise CannotSampleError(Said("Say why, in at most %(most)s characters.", most=LONGEST_REASON))
    with transaction.atomic():
        loop = locked_loop(policy.project_id)
        policy = Policy.objects.select_related("run__recipe_run").get(pk=policy.pk)
        if (why := why_not_sampled_from(policy, loop)) is not None:
            raise CannotSampleError(why)
        before = loop.sampler
        opened = adopt_policy(policy=policy)
        record_deed(
            project=loop.project,
            actor=actor,
            verb="sampler.chosen",
            subject=f"policy {policy.number}",
            before=None if before is None else before.number,
            round=opened.number,
            reason=said,
        )
    return opened


def adopt_policy(*, policy: Policy) -> Round:
    """The next round samples from ``policy``: one transaction closes the open round, opens the next, moves the sampler.

    To be called inside a transaction that has locked the loop, by whoever ended the policy's scoring job or a lead.
    """
    project_id = policy.project_id
    last = Round.objects.filter(project_id=project_id).order_by("-number").first()
    Round.objects.filter(project_id=project_id, closed_at__isnull=True).update(closed_at=timezone.now())
    opened = Round.objects.create(project_id=project_id, number=last.number + 1 if last else 1, policy=policy)
    Loop.objects.filter(pk=project_id).update(sampler=policy)
    return opened
