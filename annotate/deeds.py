"""What the audit log's verbs mean, for whoever reads it. Stored and exported is the verb; ``AUDIT_DEEDS`` names these
tables, so that no app imports the other's."""

from django.conf import settings
from django.utils.functional import Promise
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

# Deeds that concern no single project begin so; they are in the site's log.
SITE = "account."

DEEDS: dict[str, str | Promise] = {
    "account.address_changed": _("Account's address changed"),
    "account.changed": _("Account changed"),
    "account.connected": _("Account connected with a provider"),
    "account.created": _("Account created"),
    "account.deactivated": _("Account closed"),
    "account.disconnected": _("Account disconnected from a provider"),
    "account.mfa_added": _("Second factor added"),
    "account.mfa_removed": _("Second factor removed"),
    "account.mfa_renewed": _("Recovery codes renewed"),
    "account.password_changed": _("Password changed"),
    "account.reactivated": _("Account opened again"),
    "account.renamed": _("Account renamed"),
    "account.sessions_ended": _("Account signed out everywhere"),
    "account.sign_in_failed": _("Sign-in failed"),
    "account.signed_in": _("Signed in"),
    "comparison.adjudicated": _("Verdict given on a comparison"),
    "export.made": _("Data exported"),
    "gold.made": _("Gold question made"),
    "group.changed": _("Group changed"),
    "group.deleted": _("Group deleted"),
    "group.made": _("Group made"),
    "guideline.written": _("Guideline written"),
    "invite.accepted": _("Invite accepted"),
    "invite.created": _("Invite created"),
    "invite.revoked": _("Invite revoked"),
    "item.asked_again": _("Asked again"),
    "judgments.retracted": _("Judgments retracted"),
    "lineup.adjudicated": _("Verdict given on a lineup"),
    "member.added": _("Member added"),
    "member.paused": _("Member paused"),
    "member.quota_changed": _("Member's quota changed"),
    "member.removed": _("Member removed"),
    "member.resumed": _("Member may judge again"),
    "member.role_changed": _("Member's role changed"),
    "project.changed": _("Project's settings changed"),
    "project.created": _("Project created"),
    "prompts.imported": _("Prompts imported"),
    "queue.assigned": _("Work assigned"),
    "queue.assignment_undone": _("Assignment undone"),
    "queue.priority_changed": _("Priority changed"),
    "quiz.failed": _("Quiz failed"),
    "quiz.passed": _("Quiz passed"),
    "quiz.passed_by_hand": _("Quiz passed by a lead's word"),
    "quiz.reset": _("Quiz reset"),
    "report.resolved": _("Report of a prompt resolved"),
    "retraction.reversed": _("Retraction reversed"),
    "thumb.closed": _("Skipped thumb closed"),
    "verdict.withdrawn": _("Verdict withdrawn"),
}


def deeds() -> dict[str, str | Promise]:
    """What every verb means, of all apps."""
    return {verb: meaning for path in settings.AUDIT_DEEDS for verb, meaning in import_string(path).items()}


def meaning(verb: str) -> str | Promise:
    """What the verb means; itself where it is not known any more, because entries outlive the code."""
    return deeds().get(verb, verb)
