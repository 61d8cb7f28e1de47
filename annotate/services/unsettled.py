"""What reviewers do about lineups that people order differently, and about what nobody could answer."""

from collections.abc import Sequence

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate import assign
from annotate.models import Closure, Comparison, Lineup, OrderVerdict, Project, Response, User
from annotate.services.audit import record_deed
from annotate.services.content import clean_text
from annotate.services.requeue import ask_once_more


class CannotAskError(ValueError):
    """Nobody else can be asked; the message says why."""


@transaction.atomic
def adjudicate_lineup(*, lineup: Lineup, ranks: Sequence[int], note: str, reviewer: User) -> OrderVerdict:
    """The reviewer's order stands for the lineup from now on; an earlier one is kept as superseded.

    ``ranks`` has one from 1 (best) for each response in order of id, equal ranks are ties; none excludes the lineup
    from training. Raises ``ValueError`` when they are not as many as the responses.
    """
    size = lineup.responses.count()
    if (ranks and len(ranks) != size) or any(rank < 1 for rank in ranks):
        raise ValueError(f"a verdict has one rank from 1 for each of the {size} answers, or none to exclude them")
    standing = OrderVerdict.objects.filter(lineup=lineup, superseded_at__isnull=True)
    standing.update(superseded_at=timezone.now())
    made = OrderVerdict.objects.create(
        lineup=lineup, ranks=assign.dense_ranks(ranks), note=clean_text(note)[:1000], reviewer=reviewer
    )
    record_deed(project=lineup.project, actor=reviewer, verb="lineup.adjudicated", subject=f"lineup {lineup.pk}",
                ranks=made.ranks or "excluded")  # fmt: skip
    return made


@transaction.atomic
def withdraw_order_verdict(*, lineup: Lineup, reviewer: User) -> bool:
    """No verdict stands any more: the rankings speak for themselves again. False when none stood."""
    standing = OrderVerdict.objects.filter(lineup=lineup, superseded_at__isnull=True)
    if standing.update(superseded_at=timezone.now()) != 1:
        return False
    record_deed(project=lineup.project, actor=reviewer, verb="verdict.withdrawn", subject=f"lineup {lineup.pk}")
    return True


def close_thumb(*, project: Project, response: Response, reviewer: User) -> bool:
    """Nobody is asked for a thumb on the answer any more. False when somebody had closed it already."""
    try:
        with transaction.atomic():
            Closure.objects.create(response=response, reviewer=reviewer)
            record_deed(project=project, actor=reviewer, verb="thumb.closed", subject=f"response {response.pk}")
    except IntegrityError:
        return False
    return True


@transaction.atomic
def ask_somebody_else(*, project: Project, subject: Comparison | Lineup | Response, reviewer: User) -> None:
    """One more person is asked what others skipped, whatever the project's limit. Raises ``CannotAskError``."""
    problem = ask_once_more(project, subject)
    if problem == "over":
        raise CannotAskError(_("A newer round has begun, or its prompt stands reported: nobody is asked about it now."))
    if problem == "nobody":
        raise CannotAskError(_("Every member was asked already. Decide it yourself, or invite somebody else."))
    if problem == "waiting":
        raise CannotAskError(_("Somebody else is being asked already."))
    record_deed(project=project, actor=reviewer, verb="item.asked_again",
                subject=f"{type(subject).__name__.lower()} {subject.pk}")  # fmt: skip
