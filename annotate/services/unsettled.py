"""What reviewers do about what nobody could answer."""

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from annotate.models import Closure, Comparison, Lineup, Project, Response, User
from annotate.services.audit import record_deed
from annotate.services.requeue import ask_once_more


class CannotAskError(ValueError):
    """Nobody else can be asked; the message says why."""


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
