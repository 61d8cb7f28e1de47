"""Leads steer the queue: open slots are given to one person or one group, or asked sooner or later than others.

Only open slots move. What somebody holds stays theirs, and checks (gold questions, rechecks) are never touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count, F, IntegerField, Min, OuterRef, Q, QuerySet, Subquery, Value, Window
from django.db.models.expressions import Exists
from django.db.models.functions import Coalesce, RowNumber
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.models import (
    AnnotatorGroup,
    Assignment,
    Comparison,
    LineupAnswer,
    Membership,
    Project,
    PromptImport,
    Response,
    Slot,
    User,
)
from annotate.queries.judging import SUBJECTS
from annotate.services.audit import record_deed

# Beyond it the numbers mean nothing more, and a column of two bytes holds them.
HIGHEST_PRIORITY = 1000

_ORDINARY = (
    Q(kind=Slot.Kind.THUMB)
    | Q(comparison__purpose__in=[Comparison.Purpose.COLLECT, Comparison.Purpose.DUEL])
    | Q(lineup__purpose=Comparison.Purpose.COLLECT)
)


class NothingToAssignError(ValueError):
    """No open slot fits; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which items: all that is given must fit. ``category`` is what the prompt file said under that name."""

    kind: str = Slot.Kind.PAIR
    round: int | None = None
    prompt_import: PromptImport | None = None
    category: str = ""
    prompts: Sequence[int] = ()
    comparisons: Sequence[int] = ()

    def in_words(self) -> str:
        """For the list of assignments and the audit log."""
        parts = [str(Slot.Kind(self.kind).label)]
        parts += [_("round %d") % self.round] if self.round is not None else []
        parts += [str(self.prompt_import.name)] if self.prompt_import else []
        parts += [_("category %s") % self.category] if self.category else []
        parts += [_("prompts %s") % _listed(self.prompts)] if self.prompts else []
        parts += [_("comparisons %s") % _listed(self.comparisons)] if self.comparisons else []
        return ", ".join(parts)[:500]


def _listed(numbers: Sequence[int]) -> str:
    """Numbers with runs as ranges: 1-20, 31."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    shown = ", ".join("-".join(map(str, run)) for run in runs[:20])
    return shown + (" …" if len(runs) > 20 else "")


def selected(project: Project, selection: Selection) -> QuerySet[Slot]:
    """The project's slots of the selection, checks left out, in any state."""
    about = SUBJECTS[selection.kind]
    slots = Slot.objects.filter(_ORDINARY, project=project, kind=selection.kind)
    wanted: dict[str, Any] = {
        f"{about}__round": selection.round,
        f"{about}__prompt__prompt_import": selection.prompt_import,
        f"{about}__prompt__meta__category": selection.category or None,
        f"{about}__prompt__in": selection.prompts or None,
    }
    if selection.kind == Slot.Kind.PAIR:
        wanted["comparison__in"] = selection.comparisons or None
    return slots.filter(**{name: value for name, value in wanted.items() if value is not None})


@transaction.atomic
def assign(
    *, project: Project, actor: User, selection: Selection, to: User | AnnotatorGroup, most: int | None = None
) -> Assignment:
    """Gives open slots of the selection that are everybody's to one person or one group, at most ``most`` of them.

    A person gets one slot of each item, and nothing that they were asked before or wrote; a group gets no more slots of
    an item than it has members who were not asked. Raises ``NothingToAssignError`` when nothing is left to give.
    """
    if isinstance(to, User):
        target: dict[str, Any] = {"only_for": to}
        chosen = _for_person(project, selection, to)
    else:
        target = {"only_for_group": to}
        chosen = _for_group(project, selection, to)
        Project.objects.filter(pk=project.pk, assigns_to_groups=False).update(assigns_to_groups=True)
    made = Assignment.objects.create(
        project=project,
        user=to if isinstance(to, User) else None,
        group=to if isinstance(to, AnnotatorGroup) else None,
        to=str(to)[:200],
        what=selection.in_words(),
        created_by=actor,
    )
    free = Slot.objects.filter(_everybodys(), state=Slot.State.OPEN)
    made.slots = free.filter(pk__in=chosen[:most] if most else chosen).update(assignment=made, **target)
    if not made.slots:
        raise NothingToAssignError(_("Nothing was assigned: nothing that fits is open to everybody."))
    made.save(update_fields=["slots"])
    record_deed(project=project, actor=actor, verb="queue.assigned", subject=f"assignment {made.pk}", to=made.to,
                what=made.what, slots=made.slots)  # fmt: skip
    return made


@transaction.atomic
def undo_assignment(*, assignment: Assignment, actor: User) -> int | None:
    """What of it is not decided yet is everybody's again, after whoever holds it now; how many slots that are.

    None when it was undone before.
    """
    won = Assignment.objects.filter(pk=assignment.pk, undone_at__isnull=True).update(
        undone_at=timezone.now(), undone_by=actor
    )
    if won != 1:
        return None
    slots = _open_to_everybody(Slot.objects.filter(assignment=assignment))
    record_deed(project=assignment.project, actor=actor, verb="queue.assignment_undone",
                subject=f"assignment {assignment.pk}", to=assignment.to, slots=slots)  # fmt: skip
    return slots


@transaction.atomic
def set_priority(*, project: Project, actor: User, selection: Selection, priority: int) -> int:
    """Higher is asked sooner; 0 is where everything begins. Returns how many slots, open or held, were moved."""
    if abs(priority) > HIGHEST_PRIORITY:
        raise ValueError(f"A priority lies between -{HIGHEST_PRIORITY} and {HIGHEST_PRIORITY}.")
    waiting = selected(project, selection).filter(state__in=Slot.ACTIVE).exclude(priority=priority)
    moved = Slot.objects.filter(pk__in=waiting.order_by().values("pk")).update(priority=priority)
    if moved:
        record_deed(project=project, actor=actor, verb="queue.priority_changed", subject=f"priority {priority}",
                    what=selection.in_words(), slots=moved)  # fmt: skip
    return moved


def release_assigned(*, project: Project, user: User) -> int:
    """What was assigned to somebody who leaves the project is everybody's again; how many slots."""
    return _open_to_everybody(Slot.objects.filter(project=project, only_for=user, assignment__isnull=False))


@transaction.atomic
def save_group(
    *, project: Project, actor: User, name: str, members: Sequence[Membership], group: AnnotatorGroup | None = None
) -> AnnotatorGroup:
    """Makes a group, or renames it, and puts exactly these members into it, out of the groups that they were in."""
    verb = "group.changed" if group else "group.made"
    group = group or AnnotatorGroup(project=project)
    group.name = name
    group.save()
    Membership.objects.filter(group=group).exclude(pk__in=[member.pk for member in members]).update(group=None)
    Membership.objects.filter(project=project, pk__in=[member.pk for member in members]).update(group=group)
    record_deed(project=project, actor=actor, verb=verb, subject=name,
                members=[member.user.username for member in members])  # fmt: skip
    return group


@transaction.atomic
def delete_group(*, group: AnnotatorGroup, actor: User) -> int:
    """The group's open work is everybody's again, and its members are in none; how many slots."""
    slots = _open_to_everybody(Slot.objects.filter(only_for_group=group))
    record_deed(project=group.project, actor=actor, verb="group.deleted", subject=group.name, slots=slots)
    group.delete()
    return slots


def _everybodys() -> Q:
    return Q(only_for__isnull=True, only_for_group__isnull=True)


def _open_to_everybody(slots: QuerySet[Slot]) -> int:
    return slots.filter(state__in=Slot.ACTIVE).update(only_for=None, only_for_group=None, assignment=None)


def _open(project: Project, selection: Selection) -> QuerySet[Slot]:
    return selected(project, selection).filter(_everybodys(), state=Slot.State.OPEN)


def _for_person(project: Project, selection: Selection, person: User) -> QuerySet[Slot, Any]:
    about = SUBJECTS[selection.kind]
    asked = Slot.objects.filter(Q(annotator=person) | Q(only_for=person), **{about: OuterRef(about)})
    written = Response.objects.filter(author__user=person)
    own = {
        Slot.Kind.PAIR: written.filter(Q(pk=OuterRef("comparison__first")) | Q(pk=OuterRef("comparison__second"))),
        Slot.Kind.THUMB: written.filter(pk=OuterRef("response")),
        Slot.Kind.RANKING: LineupAnswer.objects.filter(lineup=OuterRef("lineup"), response__author__user=person),
    }[Slot.Kind(selection.kind)]
    free = _open(project, selection).filter(~Exists(asked), ~Exists(own))
    picked: QuerySet[Slot, Any] = free.order_by().values(about).annotate(pick=Min("pk")).order_by("pick").values("pick")
    return picked


def _for_group(project: Project, selection: Selection, group: AnnotatorGroup) -> QuerySet[Slot, Any]:
    about = SUBJECTS[selection.kind]
    members = Membership.objects.filter(group=group)
    asked = (
        Slot.objects.filter(
            Q(annotator__in=members.values("user")) | Q(only_for_group=group, state__in=Slot.ACTIVE),
            **{about: OuterRef(about)},
        )
        .order_by()
        .values(about)
        .annotate(number=Count("pk"))
        .values("number")
    )
    numbered = _open(project, selection).annotate(
        nth=Window(RowNumber(), partition_by=[F(f"{about}_id")], order_by="pk"),
        room=Value(members.count()) - Coalesce(Subquery(asked, output_field=IntegerField()), 0),
    )
    within_room: QuerySet[Slot, Any] = numbered.filter(nth__lte=F("room")).order_by("pk").values("pk")
    return within_room
