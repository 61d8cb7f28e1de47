"""The annotation app's tables: people, content, and work. Fields, constraints and small derived values only.

Verbs live in ``annotate.services``, questions in ``annotate.queries``.
"""

from annotate.models.audit import AppendOnlyError, AuditEntry
from annotate.models.content import Author, Comparison, Prompt, PromptImport, Response
from annotate.models.people import AnnotatorGroup, Guideline, Invite, Membership, Project, Role, User, WorkedExample
from annotate.models.quality import (
    STANDS,
    Adjudication,
    Aggregation,
    Closure,
    GuidelineAcknowledgement,
    OrderVerdict,
    PromptReport,
    RankingPairs,
    Retraction,
    Verdict,
)
from annotate.models.queue import Assignment
from annotate.models.quiz import QuizAnswer, QuizAttempt
from annotate.models.ranking import Lineup, LineupAnswer, Ranked, Ranking
from annotate.models.session import Session
from annotate.models.work import COUNTS, Choice, Judgment, Rating, SkipReason, Slot, Thumb

__all__ = [
    "COUNTS",
    "STANDS",
    "Adjudication",
    "Aggregation",
    "AnnotatorGroup",
    "AppendOnlyError",
    "Assignment",
    "AuditEntry",
    "Author",
    "Choice",
    "Closure",
    "Comparison",
    "Guideline",
    "GuidelineAcknowledgement",
    "Invite",
    "Judgment",
    "Lineup",
    "LineupAnswer",
    "Membership",
    "OrderVerdict",
    "Project",
    "Prompt",
    "PromptImport",
    "PromptReport",
    "QuizAnswer",
    "QuizAttempt",
    "Ranked",
    "Ranking",
    "RankingPairs",
    "Rating",
    "Response",
    "Retraction",
    "Role",
    "Session",
    "SkipReason",
    "Slot",
    "Thumb",
    "User",
    "Verdict",
    "WorkedExample",
]
