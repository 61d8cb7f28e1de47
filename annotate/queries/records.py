"""Judgments and ratings as plain records, for exports, snapshots and statistics: streamed, one query a chunk."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from django.db.models import QuerySet

from annotate.models import COUNTS, Author, Judgment, Project, Ranking, Rating, Response
from annotate.records import Answer, JudgmentRecord, RankingRecord, RatingRecord

# A page of judgments holds its prompts and answers too, so this bounds memory as well as the time a read lock is held:
# SQLite's rollback journal keeps writers out for as long as one SELECT is being read.
CHUNK = 200

_Decision = TypeVar("_Decision", Judgment, Rating, Ranking)


def judgment_records(
    project: Project,
    *,
    judgment_ids: Iterable[int] | None = None,
    since_id: int | None = None,
    splits: Iterable[str] | None = None,
    purposes: Iterable[str] | None = None,
    rounds: Iterable[int] | None = None,
    include_skips: bool = True,
    include_inactive: bool = False,
) -> Iterator[JudgmentRecord]:
    """The project's judgments in order of id, as many as fit all that is given.

    ``since_id`` leaves out that id and all before it. ``include_inactive`` adds those that were superseded by an edit
    or retracted. Memory is bounded by ``CHUNK``; ids that belong to other projects are quietly not there.
    """
    rows = Judgment.objects.filter(project=project).select_related(
        "annotator",
        "guideline",
        "retraction",
        "comparison__prompt",
        "comparison__first__author__user",
        "comparison__second__author__user",
        "edited__author__user",
    )
    if splits is not None:
        rows = rows.filter(comparison__split__in=list(splits))
    if purposes is not None:
        rows = rows.filter(comparison__purpose__in=list(purposes))
    if rounds is not None:
        rows = rows.filter(comparison__round__in=list(rounds))
    if not include_skips:
        rows = rows.exclude(choice="skip")
    for judgment in _in_chunks(_active(rows, include_inactive), ids=judgment_ids, since_id=since_id):
        yield _judgment_record(judgment)


def rating_records(
    project: Project,
    *,
    rating_ids: Iterable[int] | None = None,
    since_id: int | None = None,
    splits: Iterable[str] | None = None,
    rounds: Iterable[int] | None = None,
    include_skips: bool = True,
    include_inactive: bool = False,
) -> Iterator[RatingRecord]:
    """The project's ratings in order of id; arguments as in ``judgment_records``."""
    rows = Rating.objects.filter(project=project).select_related(
        "annotator", "guideline", "retraction", "response__prompt", "response__author__user"
    )
    if splits is not None:
        rows = rows.filter(response__prompt__split__in=list(splits))
    if rounds is not None:
        rows = rows.filter(response__round__in=list(rounds))
    if not include_skips:
        rows = rows.exclude(value="skip")
    for rating in _in_chunks(_active(rows, include_inactive), ids=rating_ids, since_id=since_id):
        yield _rating_record(rating)


def ranking_records(
    project: Project,
    *,
    ranking_ids: Iterable[int] | None = None,
    since_id: int | None = None,
    splits: Iterable[str] | None = None,
    rounds: Iterable[int] | None = None,
    include_skips: bool = True,
    include_inactive: bool = False,
) -> Iterator[RankingRecord]:
    """The project's rankings in order of id; arguments as in ``judgment_records``."""
    rows = (
        Ranking.objects.filter(project=project)
        .select_related("annotator", "guideline", "retraction", "lineup__prompt")
        .prefetch_related("lineup__responses__author__user")
    )
    if splits is not None:
        rows = rows.filter(lineup__split__in=list(splits))
    if rounds is not None:
        rows = rows.filter(lineup__round__in=list(rounds))
    if not include_skips:
        rows = rows.exclude(value="skip")
    for ranking in _in_chunks(_active(rows, include_inactive), ids=ranking_ids, since_id=since_id):
        yield _ranking_record(ranking)


def _active(rows: QuerySet[_Decision], include_inactive: bool) -> QuerySet[_Decision]:
    return rows if include_inactive else rows.filter(COUNTS)


def _in_chunks(rows: QuerySet[_Decision], *, ids: Iterable[int] | None, since_id: int | None) -> Iterator[_Decision]:
    last = since_id or 0
    if ids is not None:
        wanted = sorted({pk for pk in ids if pk > last})
        for start in range(0, len(wanted), CHUNK):
            yield from rows.filter(pk__in=wanted[start : start + CHUNK]).order_by("pk")
        return
    while True:
        page = list(rows.filter(pk__gt=last).order_by("pk")[:CHUNK])
        yield from page
        if len(page) < CHUNK:
            return
        last = page[-1].pk


def answer_of(response: Response) -> Answer:
    author = response.author
    # A person's name must not leave through an export: they go by their pseudonym there, as annotators do.
    name = author.user.pseudonym if author.kind == Author.Kind.PERSON and author.user else author.name
    return Answer(
        id=response.pk,
        text=response.text,
        author=name,
        author_kind=author.kind,
        policy=author.number,
        sampling=response.sampling,
        edited_from=response.edited_from_id,
    )


def _judgment_record(judgment: Judgment) -> JudgmentRecord:
    comparison = judgment.comparison
    prompt = comparison.prompt
    first, second = answer_of(comparison.first), answer_of(comparison.second)
    return JudgmentRecord(
        id=judgment.pk,
        client_id=str(judgment.client_id),
        project=judgment.project_id,
        comparison=comparison.pk,
        purpose=comparison.purpose,
        prompt=prompt.pk,
        prompt_sha256=prompt.sha256,
        split=comparison.split,
        messages=prompt.messages,
        a=second if judgment.swapped else first,
        b=first if judgment.swapped else second,
        choice=judgment.choice,
        strength=judgment.strength,
        skip_reason=judgment.skip_reason,
        rationale=judgment.rationale,
        tags=judgment.tags,
        swapped=judgment.swapped,
        annotator=judgment.annotator.pseudonym,
        guideline_version=judgment.guideline.version if judgment.guideline else None,
        round=comparison.round,
        active_seconds=None if judgment.active_ms is None else judgment.active_ms / 1000,
        shown_at=judgment.shown_at,
        created_at=judgment.created_at,
        superseded_at=judgment.superseded_at,
        retracted_at=judgment.retracted_at,
        retraction=judgment.retraction_id,
        retraction_reason=judgment.retraction.reason if judgment.retraction else "",
        edited=None if judgment.edited is None else answer_of(judgment.edited),
    )


def _rating_record(rating: Rating) -> RatingRecord:
    response = rating.response
    return RatingRecord(
        id=rating.pk,
        client_id=str(rating.client_id),
        project=rating.project_id,
        prompt=response.prompt_id,
        prompt_sha256=response.prompt.sha256,
        split=response.prompt.split,
        messages=response.prompt.messages,
        answer=answer_of(response),
        value=rating.value,
        skip_reason=rating.skip_reason,
        rationale=rating.rationale,
        tags=rating.tags,
        annotator=rating.annotator.pseudonym,
        guideline_version=rating.guideline.version if rating.guideline else None,
        round=response.round,
        active_seconds=None if rating.active_ms is None else rating.active_ms / 1000,
        shown_at=rating.shown_at,
        created_at=rating.created_at,
        superseded_at=rating.superseded_at,
        retracted_at=rating.retracted_at,
        retraction=rating.retraction_id,
        retraction_reason=rating.retraction.reason if rating.retraction else "",
    )


def _ranking_record(ranking: Ranking) -> RankingRecord:
    lineup = ranking.lineup
    answers = {response.pk: response for response in lineup.responses.all()}
    return RankingRecord(
        id=ranking.pk,
        client_id=str(ranking.client_id),
        project=ranking.project_id,
        lineup=lineup.pk,
        purpose=lineup.purpose,
        prompt=lineup.prompt_id,
        prompt_sha256=lineup.prompt.sha256,
        split=lineup.split,
        messages=lineup.prompt.messages,
        answers=[answer_of(answers[pk]) for pk in ranking.shown],
        ranks=ranking.ranks,
        value=ranking.value,
        skip_reason=ranking.skip_reason,
        rationale=ranking.rationale,
        tags=ranking.tags,
        annotator=ranking.annotator.pseudonym,
        guideline_version=ranking.guideline.version if ranking.guideline else None,
        round=lineup.round,
        active_seconds=None if ranking.active_ms is None else ranking.active_ms / 1000,
        shown_at=ranking.shown_at,
        created_at=ranking.created_at,
        superseded_at=ranking.superseded_at,
        retracted_at=ranking.retracted_at,
        retraction=ranking.retraction_id,
        retraction_reason=ranking.retraction.reason if ranking.retraction else "",
    )
