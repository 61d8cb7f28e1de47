"""Questions about the queue: how much is open, what a slot shows, how much somebody did."""

from dataclasses import dataclass
from statistics import median

from django.db import connection
from django.db.models import Count, QuerySet

from annotate import assign
from annotate.models import Judgment, Project, Ranking, Rating, Slot, User
from annotate.queries.projects import midnight
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
    rows = Slot.objects.filter(project=project, kind=kind, state=Slot.State.OPEN, only_for__isnull=True)
    rows = rows.filter(only_for_group__isnull=True)
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
class Desk:
    """What a judging page says beside its item: decisions of the kind since midnight, in the site's time zone, and the
    newest guideline when the person has neither written nor acknowledged it; a guideline of old does not matter."""

    today: int
    unread_id: int | None


# In SQL and in one statement, because every judgment asks it (see `annotate.services.claims`).
_DESK = """
SELECT
    (SELECT COUNT(*) FROM {table} made WHERE made.annotator_id = %(user)s AND made.project_id = %(project)s
     AND made.created_at >= %(midnight)s AND made.superseded_at IS NULL),
    (SELECT guideline.id FROM annotate_guideline guideline
     WHERE guideline.project_id = %(project)s AND guideline.created_by_id <> %(user)s
     AND guideline.version = (SELECT MAX(version) FROM annotate_guideline WHERE project_id = %(project)s)
     AND NOT EXISTS (SELECT 1 FROM annotate_guidelineacknowledgement given
                     WHERE given.guideline_id = guideline.id AND given.user_id = %(user)s))
"""


def desk_of(*, annotator: User, project: Project, kind: str) -> Desk:
    """The annotator's desk in the project, for the pages of this kind."""
    made = DECISIONS[kind]._meta
    begin = made.get_field("created_at").get_db_prep_value(midnight(), connection)
    values = {"user": annotator.pk, "project": project.pk, "midnight": begin}
    with connection.cursor() as cursor:
        cursor.execute(_DESK.format(table=made.db_table), values)
        today, unread_id = cursor.fetchone()
    return Desk(today=today, unread_id=unread_id if project.acknowledge_guideline else None)


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
    today = DECISIONS[kind]._default_manager.filter(
        annotator=annotator, project=project, created_at__gte=midnight(), superseded_at__isnull=True
    )
    times = list(today.values_list("active_ms", flat=True))
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
