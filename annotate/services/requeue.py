"""A skipped item is put back for somebody else; after some skips it goes to the review queue instead.

What is put back is a new slot that ``replaces`` the skipped one. Nobody who was asked before is asked again, because
their own slot stays theirs. The unique constraint on ``replaces`` makes one skip one new slot, whoever races.
"""

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from annotate.models import (
    COUNTS,
    Choice,
    Comparison,
    Judgment,
    Lineup,
    Membership,
    Project,
    Prompt,
    PromptReport,
    Ranked,
    Ranking,
    Rating,
    Response,
    SkipReason,
    Slot,
    Thumb,
)
from annotate.queries.judging import SUBJECTS

# What another person may well be able to answer. The other reasons are about the item: nobody else is asked to look at
# something broken or upsetting before a reviewer has.
ASK_ANOTHER = frozenset({SkipReason.UNCLEAR, SkipReason.EXPERTISE, SkipReason.LANGUAGE, SkipReason.OTHER})

# Gold questions and rechecks are one person's alone.
_SHARED = (Comparison.Purpose.COLLECT, Comparison.Purpose.DUEL)


def is_skip(decision: Judgment | Rating | Ranking) -> bool:
    """Did the person pass, rather than decide?"""
    return decision.choice == Choice.SKIP if isinstance(decision, Judgment) else decision.value == "skip"


@transaction.atomic
def put_back(decision: Judgment | Rating | Ranking) -> Slot | None:
    """Asks somebody else instead of who skipped; call it in the transaction that saves the skip.

    None when nobody else is asked: a check, a reason that another person does not help with, or as many skips as
    ``project.skips_before_review``. The new slot is withdrawn from the start where its time is over: a newer round has
    begun, or the prompt stands reported. A skip that was undone and is made again opens the slot that it had.
    """
    slot = decision.slot
    # What follows is asked of the database only for skips, which are rare.
    if slot is None or decision.skip_reason not in ASK_ANOTHER:
        return None
    subject = _locked_subject(decision)
    if not isinstance(subject, Response) and subject.purpose not in _SHARED:
        return None
    project = Project.objects.only("skips_before_review").get(pk=decision.project_id)
    if _standing_skips(decision) >= project.skips_before_review:
        return None
    state = Slot.State.WITHDRAWN if _is_over(subject) else Slot.State.OPEN
    instead, made = Slot.objects.get_or_create(
        replaces=slot,
        defaults={
            "project_id": slot.project_id,
            "kind": slot.kind,
            "comparison_id": slot.comparison_id,
            "response_id": slot.response_id,
            "lineup_id": slot.lineup_id,
            "priority": slot.priority,
            **_still_assigned(slot),
            "state": state,
        },
    )
    if not made and state == Slot.State.OPEN:
        Slot.objects.filter(pk=instead.pk, state=Slot.State.WITHDRAWN).update(state=state)
    return instead


def take_back(slot_id: int | None) -> bool:
    """The skip of this slot counts no more: whoever would have been asked instead is not, unless they already are."""
    instead = Slot.objects.filter(replaces=slot_id, state=Slot.State.OPEN)
    return slot_id is not None and instead.update(state=Slot.State.WITHDRAWN) == 1


@transaction.atomic
def ask_again(prompt: Prompt) -> int:
    """Opens what waited for a reviewer to say that the prompt is fit to be judged; returns how many slots."""
    waiting = Slot.objects.filter(
        Q(comparison__prompt=prompt) | Q(response__prompt=prompt) | Q(lineup__prompt=prompt),
        state=Slot.State.WITHDRAWN,
        replaces__state=Slot.State.DONE,
    ).select_related("comparison", "response__prompt", "lineup", "replaces")
    opened = [
        slot.pk
        for slot in waiting
        if _still_skipped(slot) and not _is_over(slot.comparison or slot.response or slot.lineup)
    ]
    return Slot.objects.filter(pk__in=opened, state=Slot.State.WITHDRAWN).update(state=Slot.State.OPEN)


@transaction.atomic
def ask_once_more(project: Project, subject: Comparison | Response | Lineup) -> str:
    """Asks one more person what was skipped, because a reviewer wants it; or says why not.

    "" when it is done, else ``over`` (a newer round has begun, or the prompt stands reported), ``nobody`` (every member
    was asked) or ``waiting`` (somebody is asked already).
    """
    if _is_over(subject):
        return "over"
    name = {Comparison: "comparison", Response: "response", Lineup: "lineup"}[type(subject)]
    slots = Slot.objects.filter(project=project, **{name: subject})
    if slots.filter(state__in=Slot.ACTIVE).exists():
        return "waiting"
    asked = slots.filter(annotator__isnull=False)
    if not Membership.objects.filter(project=project).exclude(user__in=asked.values("annotator")).exists():
        return "nobody"
    skipped = asked.filter(state=Slot.State.DONE).filter(~Exists(Slot.objects.filter(replaces=OuterRef("pk"))))
    last = next((slot for slot in skipped.order_by("-id") if _skipped_in(slot.pk)), None)
    if last is None:
        return "waiting"
    # Of two reviewers at once the unique constraint lets one through.
    _slot, made = Slot.objects.get_or_create(
        replaces=last, defaults={"project": project, "kind": last.kind, name: subject, "priority": last.priority}
    )
    return "" if made else "waiting"


def _still_assigned(slot: Slot) -> dict[str, int | None]:
    """A group's item stays the group's while there is a member who was not asked; else, and a person's, everybody's."""
    if slot.only_for_group_id is None:
        return {}
    subject = f"{SUBJECTS[slot.kind]}_id"
    asked = Slot.objects.filter(**{subject: getattr(slot, subject)}, annotator__isnull=False).values("annotator")
    if not Membership.objects.filter(group=slot.only_for_group_id).exclude(user__in=asked).exists():
        return {}
    return {"only_for_group_id": slot.only_for_group_id, "assignment_id": slot.assignment_id}


def _still_skipped(slot: Slot) -> bool:
    return _skipped_in(slot.replaces_id)


def _skipped_in(slot_id: int | None) -> bool:
    skipped = {"slot": slot_id, "superseded_at__isnull": True}
    return (
        Judgment.objects.filter(**skipped, choice=Choice.SKIP).exists()
        or Rating.objects.filter(**skipped, value=Thumb.SKIP).exists()
        or Ranking.objects.filter(**skipped, value=Ranked.SKIP).exists()
    )


def _locked_subject(decision: Judgment | Rating | Ranking) -> Comparison | Response | Lineup:
    # Two people who skip the same comparison at once count each other's skip. `no_key` lets judgments pass by.
    if isinstance(decision, Judgment):
        return Comparison.objects.select_for_update(no_key=True).get(pk=decision.comparison_id)
    if isinstance(decision, Ranking):
        return Lineup.objects.select_for_update(no_key=True).get(pk=decision.lineup_id)
    return Response.objects.select_for_update(no_key=True).get(pk=decision.response_id)


def _standing_skips(decision: Judgment | Rating | Ranking) -> int:
    if isinstance(decision, Judgment):
        return Judgment.objects.filter(COUNTS, comparison=decision.comparison_id, choice=Choice.SKIP).count()
    if isinstance(decision, Ranking):
        return Ranking.objects.filter(COUNTS, lineup=decision.lineup_id, value=Ranked.SKIP).count()
    return Rating.objects.filter(COUNTS, response=decision.response_id, value=Thumb.SKIP).count()


def _is_over(subject: Comparison | Response | Lineup | None) -> bool:
    """Is it asked no more: has a newer round begun, or does the prompt stand reported or withdrawn?"""
    if subject is None:
        return True
    stands = Q(resolved_at__isnull=True) | Q(resolution=PromptReport.Resolution.WITHDRAWN)
    if PromptReport.objects.filter(stands, prompt=subject.prompt_id).exists():
        return True
    if subject.round is None:
        return False
    if not isinstance(subject, Response):
        collected = {"project": subject.project_id, "purpose": Comparison.Purpose.COLLECT}
        newer = type(subject)._default_manager.filter(round__gt=subject.round, **collected)
        return subject.purpose == Comparison.Purpose.COLLECT and newer.exists()
    rounds = Response.objects.filter(author__project=subject.author.project_id, round__isnull=False)
    return (rounds.order_by("-pk").values_list("round", flat=True).first() or 0) > subject.round
