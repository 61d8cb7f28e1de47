"""Comparisons and lineups with what was said of them came to, as plain records: streamed, a few queries a page."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from django.db.models import Exists, OuterRef, QuerySet

from annotate.aggregation import EXCLUDED, Decision, Ruling, Vote, agreed_strength, decide, learn_reliability
from annotate.models import (
    STANDS,
    Adjudication,
    Aggregation,
    Comparison,
    Judgment,
    Lineup,
    OrderVerdict,
    Project,
    Prompt,
    Ranking,
    Verdict,
)
from annotate.orders import OrderDecision, OrderRuling, OrderVote, decide_order, learn_from_orders
from annotate.queries import ranked
from annotate.queries.quality import counting
from annotate.queries.records import CHUNK, answer_of
from annotate.records import LineupRecord, Pair, PairRecord
from annotate.stats.dawid_skene import Reliability

_Row = TypeVar("_Row", Comparison, Lineup)


def pair_records(
    project: Project,
    *,
    rule: str,
    comparison_ids: Iterable[int] | None = None,
    splits: Iterable[str] | None = None,
    rounds: Iterable[int] | None = None,
) -> Iterator[PairRecord]:
    """The project's comparisons that anybody's counting judgment is about, in order of id, decided by ``rule``.

    All counting judgments of a comparison go into its decision, and under Dawid-Skene those of the whole project tell
    how reliable each annotator is, whatever is selected here. Raises ``ValueError`` for ``single``.
    """
    reliability = reliability_in(project) if rule == Aggregation.DAWID_SKENE else None
    judged = _comparisons(project).filter(Exists(counting(project).filter(comparison=OuterRef("pk"))))
    if splits is not None:
        judged = judged.filter(split__in=list(splits))
    if rounds is not None:
        judged = judged.filter(round__in=list(rounds))
    for page in _pages(judged, comparison_ids):
        votes, rulings = _votes(project, page), rulings_on([comparison.pk for comparison in page])
        decisions = {
            pk: decide(cast, rulings.get(pk), rule=rule, reliability=reliability) for pk, cast in votes.items()
        }
        yield from _records([comparison for comparison in page if comparison.pk in decisions], decisions)


def decided_records(project: Project, decisions: Mapping[int, Decision]) -> Iterator[PairRecord]:
    """The comparisons that ``decisions`` names, in order of id, with those decisions: as they were frozen once."""
    for page in _pages(_comparisons(project), decisions):
        yield from _records(page, decisions)


def reliability_in(project: Project) -> Reliability | None:
    """How reliable each annotator is, from what several people judged; reserved prompts teach nothing here either."""
    rows = counting(project).filter(comparison__split=Prompt.Split.TRAIN).exclude(choice="skip")
    columns = rows.order_by("id").values_list(
        "comparison_id", "annotator_id", "choice", "preferred_id", "comparison__first_id"
    )
    return learn_reliability(
        (comparison, annotator, _label(choice, preferred, first))
        for comparison, annotator, choice, preferred, first in columns.iterator(chunk_size=5000)
    )


def rulings_on(comparison_ids: Sequence[int]) -> dict[int, Ruling]:
    """The verdicts that stand on these comparisons."""
    standing = Adjudication.objects.filter(STANDS, comparison__in=comparison_ids)
    return {
        comparison: Ruling(pk, EXCLUDED if verdict == Verdict.EXCLUDE else verdict)
        for pk, comparison, verdict in standing.values_list("pk", "comparison_id", "verdict")
    }


def excluded_judgments(project: Project) -> set[int]:
    """Judgments on comparisons that a reviewer excluded from training: no rule takes them."""
    excluded = Judgment.objects.filter(
        project=project,
        comparison__verdicts__verdict=Verdict.EXCLUDE,
        comparison__verdicts__superseded_at__isnull=True,
    )
    return set(excluded.values_list("pk", flat=True))


def _comparisons(project: Project) -> QuerySet[Comparison]:
    return Comparison.objects.filter(project=project).select_related(
        "prompt", "first__author__user", "second__author__user"
    )


def _pages(rows: QuerySet[_Row], ids: Iterable[int] | None) -> Iterator[list[_Row]]:
    """Pages of at most ``CHUNK`` in order of id, each a query of its own: no read lock outlives its page."""
    if ids is not None:
        wanted = sorted(set(ids))
        for start in range(0, len(wanted), CHUNK):
            yield list(rows.filter(pk__in=wanted[start : start + CHUNK]).order_by("pk"))
        return
    last = 0
    while page := list(rows.filter(pk__gt=last).order_by("pk")[:CHUNK]):
        yield page
        last = page[-1].pk


def _votes(project: Project, page: Sequence[Comparison]) -> dict[int, list[Vote]]:
    first = {comparison.pk: comparison.first_id for comparison in page}
    found: dict[int, list[Vote]] = defaultdict(list)
    rows = counting(project).filter(comparison__in=list(first)).order_by("id")
    for pk, comparison, annotator, choice, preferred in rows.values_list(
        "pk", "comparison_id", "annotator_id", "choice", "preferred_id"
    ):
        found[comparison].append(Vote(pk, annotator, _label(choice, preferred, first[comparison])))
    return found


def _label(choice: str, preferred: int | None, first: int) -> str:
    if preferred is None:
        return choice
    return "first" if preferred == first else "second"


def _records(page: Sequence[Comparison], decisions: Mapping[int, Decision]) -> Iterator[PairRecord]:
    votes = [pk for comparison in page for pk in decisions[comparison.pk].votes]
    edits, strengths = _edits(votes), _strengths(votes)
    for comparison in page:
        yield _record(comparison, decisions[comparison.pk], edits[comparison.pk], strengths[comparison.pk])


def _strengths(votes: Sequence[int]) -> dict[int, list[tuple[int | None, int | None]]]:
    """By comparison: which answer each of these votes preferred, and how strongly."""
    found: dict[int, list[tuple[int | None, int | None]]] = defaultdict(list)
    rows = Judgment.objects.filter(pk__in=votes).order_by("pk")
    for comparison, *said in rows.values_list("comparison_id", "preferred_id", "strength"):
        found[comparison].append((said[0], said[1]))
    return found


def _edits(votes: Sequence[int]) -> dict[int, list[Pair]]:
    """By comparison: what those who cast these votes wrote of the answer they preferred."""
    found: dict[int, list[Pair]] = defaultdict(list)
    rows = Judgment.objects.filter(pk__in=votes, edited__isnull=False).order_by("pk")
    for judgment in rows.select_related("edited__author__user", "preferred__author__user"):
        if judgment.edited is not None and judgment.preferred is not None:
            better, worse = answer_of(judgment.edited), answer_of(judgment.preferred)
            found[judgment.comparison_id].append(Pair("edit", better, worse, judgment.pk))
    return found


def _record(
    comparison: Comparison,
    decision: Decision,
    edits: Sequence[Pair],
    strengths: Sequence[tuple[int | None, int | None]],
) -> PairRecord:
    prompt = comparison.prompt
    preferred = {"first": comparison.first_id, "second": comparison.second_id}.get(decision.label)
    return PairRecord(
        id=comparison.pk,
        project=comparison.project_id,
        purpose=comparison.purpose,
        prompt=prompt.pk,
        prompt_sha256=prompt.sha256,
        split=comparison.split,
        messages=prompt.messages,
        a=answer_of(comparison.first),
        b=answer_of(comparison.second),
        round=comparison.round,
        decision=decision,
        strength=agreed_strength(strengths, preferred),
        edits=tuple(edits),
    )


# --- Lineups ----------------------------------------------------------------------------------------------------------


def lineup_records(
    project: Project,
    *,
    rule: str,
    lineup_ids: Iterable[int] | None = None,
    splits: Iterable[str] | None = None,
    rounds: Iterable[int] | None = None,
) -> Iterator[LineupRecord]:
    """The project's lineups with any counting ranking, decided by ``rule``; all else as ``pair_records``."""
    reliability = _reliability_in_rankings(project) if rule == Aggregation.DAWID_SKENE else None
    ranked_ones = _lineups(project).filter(Exists(ranked.counting(project).filter(lineup=OuterRef("pk"))))
    if splits is not None:
        ranked_ones = ranked_ones.filter(split__in=list(splits))
    if rounds is not None:
        ranked_ones = ranked_ones.filter(round__in=list(rounds))
    for page in _pages(ranked_ones, lineup_ids):
        ids = [lineup.pk for lineup in page]
        votes, rulings = _orders(project, ids), order_rulings_on(ids)
        for lineup in page:
            if lineup.pk in votes:
                responses = [response.pk for response in lineup.responses.all()]
                ruling = rulings.get(lineup.pk)
                decision = decide_order(responses, votes[lineup.pk], ruling, rule=rule, reliability=reliability)
                yield _lineup_record(lineup, decision)


def decided_lineups(project: Project, decisions: Mapping[int, OrderDecision]) -> Iterator[LineupRecord]:
    """The lineups that ``decisions`` names, in order of id, with those decisions: as they were frozen once."""
    for page in _pages(_lineups(project), decisions):
        for lineup in page:
            yield _lineup_record(lineup, decisions[lineup.pk])


def order_rulings_on(lineup_ids: Sequence[int]) -> dict[int, OrderRuling]:
    """The reviewers' orders that stand for these lineups."""
    standing = OrderVerdict.objects.filter(STANDS, lineup__in=lineup_ids)
    found = {}
    for verdict in standing.prefetch_related("lineup__responses"):
        responses = sorted(response.pk for response in verdict.lineup.responses.all())
        ranks = dict(zip(responses, verdict.ranks, strict=True)) if verdict.ranks else {}
        found[verdict.lineup_id] = OrderRuling(verdict.pk, ranks)
    return found


def excluded_rankings(project: Project) -> set[int]:
    """Rankings of lineups that a reviewer excluded from training: no rule takes them."""
    excluded = Ranking.objects.filter(
        project=project, lineup__verdicts__ranks=[], lineup__verdicts__superseded_at__isnull=True
    )
    return set(excluded.values_list("pk", flat=True))


def _reliability_in_rankings(project: Project) -> Reliability | None:
    rows = ranked.counting(project).filter(lineup__split=Prompt.Split.TRAIN, value="ranked").order_by("id")
    columns = rows.values_list("lineup_id", "annotator_id", "shown", "ranks")
    return learn_from_orders(
        (lineup, annotator, dict(zip(shown, ranks, strict=True)))
        for lineup, annotator, shown, ranks in columns.iterator(chunk_size=2000)
    )


def _lineups(project: Project) -> QuerySet[Lineup]:
    return Lineup.objects.filter(project=project).select_related("prompt").prefetch_related("responses__author__user")


def _orders(project: Project, lineup_ids: Sequence[int]) -> dict[int, list[OrderVote]]:
    found: dict[int, list[OrderVote]] = defaultdict(list)
    rows = ranked.counting(project).filter(lineup__in=lineup_ids).order_by("id")
    for pk, lineup, annotator, shown, ranks in rows.values_list("pk", "lineup_id", "annotator_id", "shown", "ranks"):
        found[lineup].append(OrderVote(pk, annotator, dict(zip(shown, ranks, strict=True)) if ranks else {}))
    return found


def _lineup_record(lineup: Lineup, decision: OrderDecision) -> LineupRecord:
    prompt = lineup.prompt
    return LineupRecord(
        id=lineup.pk,
        project=lineup.project_id,
        purpose=lineup.purpose,
        prompt=prompt.pk,
        prompt_sha256=prompt.sha256,
        split=lineup.split,
        messages=prompt.messages,
        answers=[answer_of(response) for response in sorted(lineup.responses.all(), key=lambda entry: entry.pk)],
        round=lineup.round,
        decision=decision,
    )
