"""What is done to projects: open one, change its settings, write a new version of its guideline."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from django.db import IntegrityError, transaction

from annotate.models import STANDS, Comparison, Guideline, Membership, Project, Role, User, WorkedExample
from annotate.services.audit import record_deed


@transaction.atomic
def create_project(
    *,
    name: str,
    created_by: User,
    guideline_text: str,
    judging: str = Project.Judging.PAIRS,
    overlap: int = 1,
    lease_minutes: int = 30,
    reserved_percent: int = 15,
) -> Project:
    """A new project, owned by its creator, with version 1 of its guideline. Raises ``ValidationError`` on nonsense."""
    project = Project(
        name=name,
        judging=judging,
        overlap=overlap,
        lease_minutes=lease_minutes,
        reserved_percent=reserved_percent,
        created_by=created_by,
    )
    project.full_clean()
    project.save()
    Membership.objects.create(project=project, user=created_by, role=Role.OWNER)
    Guideline.objects.create(project=project, version=1, text=guideline_text, created_by=created_by)
    record_deed(project=project, actor=created_by, verb="project.created", subject=name)
    return project


@transaction.atomic
def change_settings(*, project: Project, changed: list[str], actor: User) -> Project:
    """Saves the named fields of ``project``, which the caller has set and validated, and no others."""
    if changed:
        project.save(update_fields=changed)
        values = {field: getattr(project, field) for field in changed}
        record_deed(project=project, actor=actor, verb="project.changed", subject=project.name, **values)
    return project


class GuidelineMovedError(Exception):
    """Someone else saved a new version since this one was opened: what they wrote must be read first."""


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example as it is written: ``answer`` is a ``WorkedExample.Answer``, the texts are Markdown."""

    prompt: str
    a: str
    b: str
    answer: str
    why: str


def example_of(comparison: Comparison) -> Example:
    """The beginning of an example: the comparison's first response as A, its second as B, and what is known of it."""
    standing = comparison.verdicts.filter(STANDS).first()
    known = comparison.expected or (standing.verdict if standing else "")
    turns = comparison.prompt.messages
    prompt = turns[-1]["content"]
    if len(turns) > 1:
        prompt = "\n\n".join(f"**{turn['role'].capitalize()}:** {turn['content']}" for turn in turns)
    return Example(
        prompt=prompt,
        a=comparison.first.text,
        b=comparison.second.text,
        answer={"first": "A", "second": "B", "tie": "tie", "both_bad": "both_bad"}.get(known, ""),
        why=comparison.explanation or (standing.note if standing else ""),
    )


def write_guideline(
    *, project: Project, text: str, based_on: int, created_by: User, examples: Sequence[Example] | None = None
) -> Guideline:
    """A new version of the guideline; judgments keep the version they were made under.

    ``based_on`` is the version that the writer had in front of them. Raises ``GuidelineMovedError`` when it is not the
    newest any more, so that two writers cannot overwrite each other unseen. ``examples`` are the worked examples of the
    new version in order; None keeps those of the version before.
    """
    try:
        with transaction.atomic():
            newest = project.guidelines.order_by("-version").values_list("version", flat=True).first() or 0
            if newest != based_on:
                raise GuidelineMovedError
            guideline = Guideline.objects.create(project=project, version=newest + 1, text=text, created_by=created_by)
            shown = _examples_of(project, newest) if examples is None else examples
            WorkedExample.objects.bulk_create(
                WorkedExample(guideline=guideline, position=position, **asdict(example))
                for position, example in enumerate(shown, start=1)
            )
            record_deed(project=project, actor=created_by, verb="guideline.written", subject=f"version {newest + 1}",
                        examples=len(shown))  # fmt: skip
            return guideline
    except IntegrityError as error:
        # Two writers at the same instant: the unique version number let only one of them through.
        raise GuidelineMovedError from error


def _examples_of(project: Project, version: int) -> list[Example]:
    kept = WorkedExample.objects.filter(guideline__project=project, guideline__version=version).order_by("position")
    return [Example(row.prompt, row.a, row.b, row.answer, row.why) for row in kept]
