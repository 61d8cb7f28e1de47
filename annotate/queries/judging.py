"""Questions about the queue: how much is open, what a slot shows, how much somebody did."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from django.db.models import Count, QuerySet
from django.utils import timezone

from annotate import assign
from annotate.models import Comparison, Judgment, Membership, Project, Ranking, Rating, Slot, User
from annotate.queries.columns import Columns, loaded, this_connection
from annotate.queries.projects import midnight
from annotate.queries.waiting import everybodys_slots
from annotate.records import Message

LETTERS = "ABCDEF"

# What a slot of each kind is about, and what it is decided by.
SUBJECTS: dict[str, str] = {Slot.Kind.PAIR: "comparison", Slot.Kind.THUMB: "response", Slot.Kind.RANKING: "lineup"}
DECISIONS: dict[str, type[Judgment] | type[Rating] | type[Ranking]] = {
    Slot.Kind.PAIR: Judgment,
    Slot.Kind.THUMB: Rating,
    Slot.Kind.RANKING: Ranking,
}


def open_slots(project: Project, kind: str, *, round_number: int | None = None) -> int:
    """How many open slots of the kind the member who can still be asked least could be given.

    With one judgment per comparison that is the number of open slots. With more it is what keeps the queue from looking
    full while somebody starves: the second slots of comparisons that they have judged already are not for them.
    ``round_number`` counts only what was sampled in that round.
    """
    rows = everybodys_slots().filter(project=project, kind=kind, state=Slot.State.OPEN)
    if round_number is not None:
        rows = rows.filter(**{f"{SUBJECTS[kind]}__round": round_number})
    total = rows.count()
    siblings = f"{SUBJECTS[kind]}__slots__annotator"
    refused = (
        rows.filter(**{f"{siblings}__isnull": False})
        .order_by()
        .values(siblings)
        .annotate(count=Count("pk", distinct=True))
        .order_by("-count")
        .values_list("count", flat=True)
        .first()
    )
    return total - (refused or 0)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt as a page shows it: what the system was told, the turns before, and the message that wants an answer."""

    system: str
    earlier: list[Message]
    last: Message


@dataclass(frozen=True, slots=True)
class PairToJudge:
    """What an annotator sees of a slot: no author, no purpose, nothing that tells the two answers' origins apart."""

    slot: Slot
    conversation: Conversation
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class AnswerToRate:
    """What an annotator sees of a slot for a thumb."""

    slot: Slot
    conversation: Conversation
    answer: str


@dataclass(frozen=True, slots=True)
class Place:
    """One answer of a ranking: the letter it goes by, and the rank that it has so far."""

    letter: str
    number: int
    text: str
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class LineupToRank:
    """What an annotator sees of a slot for a ranking: the answers by letter, in the order that its lease has drawn."""

    slot: Slot
    conversation: Conversation
    places: list[Place]

    @property
    def ranks(self) -> range:
        return range(1, len(self.places) + 1)


def conversation(messages: list[Message]) -> Conversation:
    """Splits a prompt's messages (perhaps a system message, then turns that end with the user's) for display."""
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    turns = messages[1:] if system else messages
    return Conversation(system=system, earlier=turns[:-1], last=turns[-1])


def pair_to_judge(slot: Slot) -> PairToJudge:
    """The pair in the order of sides that the slot's lease has drawn."""
    comparison = slot.comparison
    if comparison is None:
        raise ValueError(f"slot {slot.pk} is for a thumb")
    left, right = assign.sides(comparison.first, comparison.second, swapped=slot.swapped)
    return PairToJudge(slot, conversation(comparison.prompt.messages), left.text, right.text)


def answer_to_rate(slot: Slot) -> AnswerToRate:
    """The answer that the slot wants a thumb on."""
    response = slot.response
    if response is None:
        raise ValueError(f"slot {slot.pk} is for a pair")
    return AnswerToRate(slot, conversation(response.prompt.messages), response.text)


def lineup_to_rank(slot: Slot) -> LineupToRank:
    """The answers of the lineup as the slot shows them."""
    if slot.lineup is None:
        raise ValueError(f"slot {slot.pk} is for no lineup")
    texts = {response.pk: response.text for response in slot.lineup.responses.all()}
    shown = assign.shown_order(texts, slot.order_seed)
    places = [Place(LETTERS[number], number + 1, texts[pk]) for number, pk in enumerate(shown)]
    return LineupToRank(slot, conversation(slot.lineup.prompt.messages), places)


@dataclass(frozen=True, slots=True)
class ShownSlot:
    """A slot as it was shown, and the guideline that stood then: it is judged under that one."""

    slot: Slot
    guideline_id: int | None


_SHOWN = """slot.id, slot.comparison_id, slot.response_id, slot.lineup_id, slot.swapped, slot.order_seed, slot.shown_at,
    pair.first_id, pair.second_id,
    (SELECT guideline.id FROM annotate_guideline guideline
     WHERE guideline.project_id = slot.project_id AND guideline.created_at <= COALESCE(slot.shown_at, %s)
     ORDER BY guideline.version DESC LIMIT 1)"""
_OF_PAIR = "LEFT JOIN annotate_comparison pair ON pair.id = slot.comparison_id"
_SHOWN_ALONE = f"""
SELECT {_SHOWN} FROM annotate_slot slot {_OF_PAIR} WHERE slot.id = %s AND slot.kind = %s AND slot.project_id = %s
"""  # noqa: S608  (text of this module)


def shown_slot(*, project: Project, kind: str, slot_id: int, now: datetime) -> ShownSlot | None:
    """The slot as it was shown; None when the project has no such slot."""
    with this_connection().cursor() as cursor:
        cursor.execute(_SHOWN_ALONE, [_moment(now), slot_id, kind, project.pk])
        row = cursor.fetchone()
    return None if row is None else _shown(iter(row), project, kind)


def _shown(values: Iterator[Any], project: Project, kind: str) -> ShownSlot | None:
    pk, comparison_id, response_id, lineup_id, swapped, order_seed, shown_at, first_id, second_id, guideline_id = values
    if pk is None:
        return None
    # A moment as a plain cursor reads it from SQLite has lost its zone, which is UTC.
    shown_at = shown_at.replace(tzinfo=UTC) if shown_at is not None and shown_at.tzinfo is None else shown_at
    slot = loaded(
        Slot,
        id=pk,
        project_id=project.pk,
        kind=kind,
        comparison_id=comparison_id,
        response_id=response_id,
        lineup_id=lineup_id,
        swapped=bool(swapped),
        order_seed=order_seed,
        shown_at=shown_at,
    )
    if comparison_id is not None:
        slot.comparison = loaded(Comparison, id=comparison_id, first_id=first_id, second_id=second_id)
        slot.comparison.project = project
    return ShownSlot(slot, guideline_id)


def _moment(value: datetime) -> Any:
    return Slot._meta.get_field("shown_at").get_db_prep_value(value, this_connection())


@dataclass(frozen=True, slots=True)
class Seat:
    """Whom a judging page is for, and what they were asked.

    ``membership`` has its person and project at hand. ``unread_id`` is the newest guideline when the person has neither
    written nor acknowledged it; a guideline of old does not matter. ``session`` is what their session holds, as it is
    kept, where the seat was looked up by it.
    """

    membership: Membership
    unread_id: int | None
    shown: ShownSlot | None
    session: str | None


_MEMBERSHIP, _PROJECT, _USER = Columns(Membership, "member"), Columns(Project, "project"), Columns(User, "person")

# In SQL and in one statement, because every judgment asks it (see `annotate.services.claims`).
_SEAT = f"""
SELECT {{session}}, {_MEMBERSHIP.sql}, {_PROJECT.sql}, {_USER.sql},
    (SELECT guideline.id FROM annotate_guideline guideline
     WHERE project.acknowledge_guideline AND guideline.project_id = project.id
     AND guideline.created_by_id <> member.user_id
     AND guideline.version = (SELECT MAX(version) FROM annotate_guideline WHERE project_id = project.id)
     AND NOT EXISTS (SELECT 1 FROM annotate_guidelineacknowledgement given
                     WHERE given.guideline_id = guideline.id AND given.user_id = member.user_id)), {_SHOWN}
FROM {{whom}} JOIN annotate_membership member ON member.user_id = person.id
JOIN annotate_project project ON project.id = member.project_id
LEFT JOIN annotate_slot slot ON slot.id = %s AND slot.kind = %s AND slot.project_id = project.id {_OF_PAIR}
WHERE member.project_id = %s AND {{condition}}
"""  # noqa: S608  (names of columns)
_SEAT_OF_SESSION = _SEAT.format(
    session="session.session_data",
    whom="annotate_session session JOIN annotate_user person ON person.id = session.user_id",
    condition="session.session_key = %s AND session.expire_date > %s",
)
_SEAT_OF_USER = _SEAT.format(session="NULL", whom="annotate_user person", condition="person.id = %s")


def seat_of_session(*, session_key: str, project_id: int, kind: str, slot_id: int | None) -> Seat | None:
    """The seat at the pages of this kind in the project of whoever the session is for; None where it is of no member.

    With a ``slot_id`` also that slot as it was shown, if it is one of the project and of this kind. Whether session and
    account are good is for the caller to say (``annotate.access``).
    """
    now = _moment(timezone.now())
    return _seat(_SEAT_OF_SESSION, [now, slot_id, kind, project_id, session_key, now], kind)


def seat_of(membership: Membership, kind: str, *, slot_id: int | None = None) -> Seat:
    """The member's seat at the pages of this kind; the rest as ``seat_of_session``."""
    now = _moment(timezone.now())
    asked = [now, slot_id, kind, membership.project_id, membership.user_id]
    return _seat(_SEAT_OF_USER, asked, kind) or Seat(membership, None, None, None)


def _seat(sql: str, asked: list[Any], kind: str) -> Seat | None:
    with this_connection().cursor() as cursor:
        cursor.execute(sql, asked)
        row = cursor.fetchone()
    if row is None:
        return None
    values = iter(row)
    session = next(values)
    membership, project, person = _MEMBERSHIP.read(values), _PROJECT.read(values), _USER.read(values)
    membership.project, membership.user = project, person
    return Seat(membership, next(values), _shown(values, project, kind), session)


def made_today(*, annotator: User, project: Project, kind: str) -> int:
    """The annotator's decisions of the kind since midnight, in the site's time zone."""
    return _today(annotator, project, kind).count()


def _today(annotator: User, project: Project, kind: str) -> "QuerySet[Judgment] | QuerySet[Rating] | QuerySet[Ranking]":
    return DECISIONS[kind]._default_manager.filter(
        annotator=annotator, project=project, created_at__gte=midnight(), superseded_at__isnull=True
    )


@dataclass(frozen=True, slots=True)
class Pace:
    """One's own day: decisions, the minutes at work, and the seconds that half of the decisions stayed within.

    Times are None where browsers without scripts sent none.
    """

    decided: int
    minutes: int | None
    median_seconds: int | None


def pace_today(*, annotator: User, project: Project, kind: str) -> Pace:
    """Of the annotator's decisions since midnight that stand. For their own eyes: nobody is compared."""
    times = list(_today(annotator, project, kind).values_list("active_ms", flat=True))
    known = [time for time in times if time is not None]
    if not known:
        return Pace(len(times), None, None)
    return Pace(len(times), round(sum(known) / 60_000), round(median(known) / 1000))


def own_decisions(
    *, annotator: User, project: Project, kind: str, superseded: bool = False
) -> "QuerySet[Judgment] | QuerySet[Rating] | QuerySet[Ranking]":
    """What the annotator said in the project, newest first, with what was asked; perhaps also what they changed."""
    if kind == Slot.Kind.RANKING:
        ranked = Ranking.objects.select_related("slot", "lineup__prompt").prefetch_related("lineup__responses")
        ordered = ranked.filter(annotator=annotator, project=project).order_by("-id")
        return ordered if superseded else ordered.filter(superseded_at__isnull=True)
    if kind == Slot.Kind.PAIR:
        decisions = Judgment.objects.select_related(
            "slot", "comparison__prompt", "comparison__first", "comparison__second", "edited"
        )
        mine = decisions.filter(annotator=annotator, project=project).order_by("-id")
        return mine if superseded else mine.filter(superseded_at__isnull=True)
    ratings = Rating.objects.select_related("slot", "response__prompt")
    rated = ratings.filter(annotator=annotator, project=project).order_by("-id")
    return rated if superseded else rated.filter(superseded_at__isnull=True)
