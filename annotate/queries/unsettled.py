"""What waits for a reviewer besides comparisons: lineups that people rank differently, and what nobody could answer.

``review`` asks where people judge a comparison differently.
"""

from dataclasses import dataclass

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from annotate.known_orders import steps
from annotate.models import (
    COUNTS,
    STANDS,
    Adjudication,
    Choice,
    Closure,
    Comparison,
    Judgment,
    Lineup,
    OrderVerdict,
    Project,
    PromptReport,
    Ranking,
    Rating,
    Response,
    Slot,
    Thumb,
)
from annotate.orders import lowest_tau
from annotate.queries import ranked


@dataclass(frozen=True, slots=True)
class Place:
    """A response of a lineup as a reviewer sees it: its number on the page, and itself."""

    number: int
    response: Response


@dataclass(frozen=True, slots=True)
class Order:
    """One person's ranking as a reviewer sees it: by pseudonym, the ranks in order of the responses' ids."""

    annotator: str
    ranks: list[int]
    rationale: str
    tags: list[str]
    skip_reason: str


@dataclass(frozen=True, slots=True)
class LineupDispute:
    """A lineup with everyone's order, how alike the two that differ most are, and the verdict that stands, if any."""

    lineup: Lineup
    places: list[Place]
    orders: list[Order]
    # Kendall's tau-b; None where no two orders can be compared.
    lowest_tau: float | None
    verdict: OrderVerdict | None
    # The gold question that these answers are, if any; and what is known, as places: (1, 3) says that 1 is above 3.
    # What follows from others is left out.
    gold: Lineup | None
    known: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class SkippedThumb:
    """An answer that people skipped, with the skips."""

    response: Response
    skips: list[Rating]


def disputed_lineups(project: Project) -> list[int]:
    """The lineups without a verdict that two people order too differently for this project, in order of id.

    Too differently: Kendall's tau-b of some two of them is ``project.dispute_tau`` or less. Few orders of five answers
    are equal, so that any difference would fill the queue with what needs no reviewer: the rule decides pair by pair.
    """
    settled = OrderVerdict.objects.filter(STANDS, lineup=OuterRef("pk"))
    several = (
        Lineup.objects.filter(~Exists(settled), project=project, purpose=Comparison.Purpose.COLLECT)
        .annotate(
            said=Count(
                "rankings",
                filter=Q(
                    rankings__value="ranked",
                    rankings__superseded_at__isnull=True,
                    rankings__retracted_at__isnull=True,
                ),
            )
        )
        .filter(said__gte=2)
    )
    rows = ranked.counting(project).filter(lineup__in=several.values("pk"), value="ranked").order_by("lineup_id")
    orders: dict[int, list[dict[int, int]]] = {}
    for lineup, shown, ranks in rows.values_list("lineup_id", "shown", "ranks").iterator(chunk_size=2000):
        orders.setdefault(lineup, []).append(dict(zip(shown, ranks, strict=True)))
    lowest = {lineup: lowest_tau(said) for lineup, said in orders.items()}
    return [lineup for lineup, tau in lowest.items() if tau is not None and tau <= project.dispute_tau]


def skipped_comparisons(project: Project) -> QuerySet[Comparison]:
    """Ordinary comparisons that were skipped, that nobody else is asked about, and that have no verdict yet."""
    skips = Judgment.objects.filter(COUNTS, project=project, choice=Choice.SKIP)
    settled = Adjudication.objects.filter(STANDS, comparison=OuterRef("pk"))
    waiting = Comparison.objects.filter(
        ~Exists(settled),
        project=project,
        purpose=Comparison.Purpose.COLLECT,
        pk__in=_unanswered(skips).values("comparison"),
    )
    return waiting.filter(~Exists(_reported())).select_related("prompt", "first", "second").order_by("id")


def skipped_lineups(project: Project) -> QuerySet[Lineup]:
    """The same of lineups."""
    skips = Ranking.objects.filter(COUNTS, project=project, value="skip")
    settled = OrderVerdict.objects.filter(STANDS, lineup=OuterRef("pk"))
    waiting = Lineup.objects.filter(
        ~Exists(settled),
        project=project,
        purpose=Comparison.Purpose.COLLECT,
        pk__in=_unanswered(skips).values("lineup"),
    )
    return waiting.filter(~Exists(_reported())).order_by("id")


def skipped_thumbs(project: Project) -> QuerySet[Response]:
    """Answers whose thumb was skipped, that nobody else is asked about, and that no reviewer closed."""
    skips = Rating.objects.filter(COUNTS, project=project, value=Thumb.SKIP)
    closed = Closure.objects.filter(response=OuterRef("pk"))
    waiting = Response.objects.filter(~Exists(closed), pk__in=_unanswered(skips).values("response"))
    return waiting.filter(~Exists(_reported())).select_related("prompt").order_by("id")


def _unanswered(skips: QuerySet) -> QuerySet:  # type: ignore[type-arg]  # of any decisions
    """Those of the skips that put nothing back into the queue."""
    return skips.filter(~Exists(Slot.objects.filter(replaces=OuterRef("slot"))))


def _reported() -> QuerySet[PromptReport]:
    """Reports that stand: what they are about waits for them, and is asked again when the prompt is kept."""
    stands = Q(resolved_at__isnull=True) | Q(resolution=PromptReport.Resolution.WITHDRAWN)
    return PromptReport.objects.filter(stands, prompt=OuterRef("prompt"))


def dispute_of_lineup(lineup: Lineup) -> LineupDispute:
    """The lineup with what everyone said of it."""
    responses = sorted(lineup.responses.all(), key=lambda response: response.pk)
    rankings = Ranking.objects.filter(COUNTS, lineup=lineup).select_related("annotator").order_by("id")
    orders = [
        Order(
            annotator=ranking.annotator.pseudonym,
            ranks=[ranks[response.pk] for response in responses] if ranks else [],
            rationale=ranking.rationale,
            tags=list(ranking.tags),
            skip_reason=ranking.get_skip_reason_display() if ranking.skip_reason else "",
        )
        for ranking, ranks in ((entry, dict(zip(entry.shown, entry.ranks, strict=False))) for entry in rankings)
    ]
    verdict = lineup.verdicts.filter(STANDS).select_related("reviewer").first()
    places = [Place(number, response) for number, response in enumerate(responses, start=1)]
    lowest = lowest_tau(dict(enumerate(order.ranks)) for order in orders if order.ranks)
    number_of = {place.response.pk: place.number for place in places}
    gold = Lineup.objects.filter(same_as=lineup.same_as_id or lineup.pk, purpose=Comparison.Purpose.GOLD).first()
    known = [(number_of[better], number_of[worse]) for better, worse in steps(gold.expected if gold else [])]
    return LineupDispute(lineup, places, orders, lowest, verdict, gold, known)


def skips_of(response: Response) -> SkippedThumb:
    """The answer with the skips that stand."""
    skips = Rating.objects.filter(COUNTS, response=response, value=Thumb.SKIP).select_related("annotator")
    return SkippedThumb(response, list(skips.order_by("id")))


def order_verdicts(project: Project) -> QuerySet[OrderVerdict]:
    """The verdicts on lineups that stand, newest first."""
    standing = OrderVerdict.objects.filter(STANDS, lineup__project=project)
    return standing.select_related("reviewer").order_by("-id")
