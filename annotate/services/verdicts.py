"""What reviewers decide about comparisons and lineups that people disagree on."""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from annotate import assign
from annotate.models import STANDS, Adjudication, Comparison, Lineup, OrderVerdict, User, Verdict
from annotate.services.audit import record_deed
from annotate.services.content import clean_text


@transaction.atomic
def adjudicate(*, comparison: Comparison, verdict: str, note: str, reviewer: User) -> Adjudication:
    """The reviewer's verdict stands for the comparison from now on; an earlier one is kept as superseded."""
    if verdict not in Verdict.values:
        raise ValueError(f"{verdict!r} is no verdict; give one of {', '.join(Verdict.values)}")
    _standing(comparison).update(superseded_at=timezone.now())
    made = Adjudication.objects.create(
        comparison=comparison, verdict=verdict, note=clean_text(note)[:1000], reviewer=reviewer
    )
    record_deed(project=comparison.project, actor=reviewer, verb="comparison.adjudicated", subject=named(comparison),
                verdict=verdict)  # fmt: skip
    return made


@transaction.atomic
def adjudicate_lineup(*, lineup: Lineup, ranks: Sequence[int], note: str, reviewer: User) -> OrderVerdict:
    """The same of a lineup, with an order.

    ``ranks`` has one from 1 (best) for each response in order of id, equal ranks are ties; none excludes the lineup
    from training. Raises ``ValueError`` when they are not as many as the responses.
    """
    size = lineup.responses.count()
    if (ranks and len(ranks) != size) or any(rank < 1 for rank in ranks):
        raise ValueError(f"a verdict has one rank from 1 for each of the {size} answers, or none to exclude them")
    _standing(lineup).update(superseded_at=timezone.now())
    made = OrderVerdict.objects.create(
        lineup=lineup, ranks=assign.dense_ranks(ranks), note=clean_text(note)[:1000], reviewer=reviewer
    )
    record_deed(project=lineup.project, actor=reviewer, verb="lineup.adjudicated", subject=named(lineup),
                ranks=made.ranks or "excluded")  # fmt: skip
    return made


@transaction.atomic
def withdraw_verdict(*, subject: Comparison | Lineup, reviewer: User) -> bool:
    """No verdict stands any more: what people said speaks for itself again. False when none stood."""
    if _standing(subject).update(superseded_at=timezone.now()) != 1:
        return False
    record_deed(project=subject.project, actor=reviewer, verb="verdict.withdrawn", subject=named(subject))
    return True


def named(subject: Comparison | Lineup) -> str:
    """What the audit log calls it."""
    return f"{type(subject).__name__.lower()} {subject.pk}"


def _standing(subject: Comparison | Lineup) -> "QuerySet[Adjudication] | QuerySet[OrderVerdict]":
    return subject.verdicts.filter(STANDS)
