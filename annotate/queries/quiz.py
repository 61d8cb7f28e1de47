"""Questions about the onboarding quiz: who passed, and what an attempt asks."""

from dataclasses import dataclass

from django.db.models import QuerySet

from annotate.models import Comparison, Lineup, Membership, Project, QuizAnswer, QuizAttempt, Role, Slot


def quiz_due(membership: Membership) -> bool:
    """Must this member pass the quiz before they judge? Leads and owners need not. Asks the database nothing."""
    return (
        membership.project.quiz_questions > 0
        and membership.role == Role.ANNOTATOR
        and membership.quiz_passed_at is None
    )


def quiz_pool(project: Project) -> "dict[str, QuerySet[Comparison] | QuerySet[Lineup]]":
    """The gold questions to ask from, by kind: those that the project asks for. Where only thumbs are, pairs."""
    gold = {"project": project, "purpose": Comparison.Purpose.GOLD}
    pool: dict[str, QuerySet[Comparison] | QuerySet[Lineup]] = {}
    if project.asks_rankings:
        pool[Slot.Kind.RANKING] = Lineup.objects.filter(**gold)
    if project.asks_pairs or not pool:
        pool[Slot.Kind.PAIR] = Comparison.objects.filter(**gold)
    return pool


def quiz_questions_in(project: Project) -> int:
    """How many gold questions there are to ask from."""
    return sum(questions.count() for questions in quiz_pool(project).values())


def attempts_left(membership: Membership) -> int:
    """How many attempts the member may still begin; those before a lead let them try again do not count."""
    ended = QuizAttempt.objects.filter(project=membership.project_id, user=membership.user_id, ended_at__isnull=False)
    if membership.quiz_reset_at is not None:
        ended = ended.filter(ended_at__gt=membership.quiz_reset_at)
    return max(0, membership.project.quiz_attempts - ended.count())


@dataclass(frozen=True, slots=True)
class QuizState:
    """Where a member stands. ``failed``: no attempt is left, and only a lead can let them try again."""

    due: bool
    failed: bool
    left: int
    attempts: list[QuizAttempt]


def quiz_of(project: Project, members: list[Membership]) -> dict[int, QuizState]:
    """As ``quiz_states``, and nothing in a project that has no quiz and never had one."""
    if not project.quiz_questions and not QuizAttempt.objects.filter(project=project).exists():
        return {}
    return quiz_states(project, members)


def quiz_states(project: Project, members: list[Membership]) -> dict[int, QuizState]:
    """Where each of these members of the project stands, by their id; one query for all."""
    attempts: dict[int, list[QuizAttempt]] = {}
    for attempt in QuizAttempt.objects.filter(project=project, user__in=[member.user_id for member in members]):
        attempts.setdefault(attempt.user_id, []).append(attempt)
    return {member.pk: _state(project, member, attempts.get(member.user_id, [])) for member in members}


def _state(project: Project, member: Membership, attempts: list[QuizAttempt]) -> QuizState:
    member.project = project
    since = member.quiz_reset_at
    used = sum(attempt.ended_at is not None and (since is None or attempt.ended_at > since) for attempt in attempts)
    under_way = any(attempt.ended_at is None for attempt in attempts)
    left = max(0, project.quiz_attempts - used)
    due = quiz_due(member)
    return QuizState(due=due, failed=due and not left and not under_way, left=left, attempts=attempts)


def answers_of(attempt: QuizAttempt) -> QuerySet[QuizAnswer]:
    """The attempt's questions in order, with all that their page shows."""
    return _with_texts(attempt.answers.all())


def question_of(membership: Membership, *, attempt_id: int, position: int) -> QuizAnswer | None:
    """That question, with all that its page shows, if it is the member's."""
    mine = {"attempt__project": membership.project_id, "attempt__user": membership.user_id}
    return _with_texts(QuizAnswer.objects.filter(attempt=attempt_id, position=position, **mine)).first()


def _with_texts(questions: QuerySet[QuizAnswer]) -> QuerySet[QuizAnswer]:
    shown = questions.select_related(
        "attempt", "comparison__prompt", "comparison__first", "comparison__second", "lineup__prompt"
    )
    return shown.prefetch_related("lineup__responses").order_by("position")
