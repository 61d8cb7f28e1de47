"""Preferences out: which decisions go into which export, into a file that the caller opened; each one is audited."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from annotate.aggregation import EXCLUDED
from annotate.exports.files import FileFormat, shuffled, write_rows
from annotate.exports.shapes import Row, What, dpo_rows, judgment_row, kto_rows, ranking_row, rating_row, sft_row
from annotate.models import Aggregation, Project, Prompt, RankingPairs, User
from annotate.queries.aggregated import excluded_judgments, excluded_rankings, lineup_records, pair_records
from annotate.queries.records import judgment_records, ranking_records, rating_records
from annotate.records import JudgmentRecord, LineupRecord, PairRecord, RankingRecord
from annotate.services.audit import record_deed

_SHUFFLE_SEED = 0
# What a rule for several judgments of one comparison makes a difference to.
AGGREGATED: tuple[What, ...] = ("dpo", "kto")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which decisions are exported."""

    # None is all of them.
    rounds: list[int] | None = None
    # None leaves reserved prompts out of training rows, because they measure the policies, and in the other exports.
    splits: list[str] | None = None
    # Decisions that an edit replaced or a lead took back; only the lossless shapes can hold them.
    include_inactive: bool = False
    # KTO's rows are made of ratings, and of judged pairs taken apart unless this is set.
    ratings_only: bool = False
    # How several judgments of one comparison become training rows.
    aggregation: str = Aggregation.SINGLE
    # Which pairs of a ranking become rows.
    ranking_pairs: str = RankingPairs.ALL


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote, and how many decisions made no row, by reason."""

    rows: int
    left_out: dict[str, int]


def export(
    *,
    project: Project,
    what: What,
    format: FileFormat,  # noqa: A002  (the word that the command line and the form use)
    file: BinaryIO,
    selection: Selection,
    actor: User | None,
) -> Exported:
    """Writes the export into ``file`` with bounded memory. The caller owns the file and its place."""
    left_out: Counter[str] = Counter()
    rows = write_rows(_rows(project, what, selection, left_out), file, what=what, format=format)
    record_deed(
        project=project,
        actor=actor,
        verb="export.made",
        subject=f"{what}.{format}",
        rows=rows,
        rounds=selection.rounds,
        splits=selection.splits,
        aggregation=selection.aggregation if what in AGGREGATED else None,
        ranking_pairs=selection.ranking_pairs if what == "dpo" else None,
        left_out=dict(left_out),
    )
    return Exported(rows=rows, left_out=dict(left_out))


def _rows(project: Project, what: What, selection: Selection, left_out: Counter[str]) -> Iterator[Row]:
    splits = selection.splits
    if splits is None and what in ("dpo", "kto", "sft"):
        splits = [Prompt.Split.TRAIN]
    judgments = judgment_records(
        project,
        splits=splits,
        rounds=selection.rounds,
        include_inactive=selection.include_inactive and what == "judgments",
    )
    ratings = rating_records(
        project,
        splits=splits,
        rounds=selection.rounds,
        include_inactive=selection.include_inactive and what == "ratings",
    )
    if what == "judgments":
        return map(judgment_row, judgments)
    if what == "ratings":
        return map(rating_row, ratings)
    rankings = ranking_records(
        project,
        splits=splits,
        rounds=selection.rounds,
        include_inactive=selection.include_inactive and what == "rankings",
    )
    if what == "rankings":
        return map(ranking_row, rankings)
    excluded = excluded_judgments(project)
    if what == "sft":
        return _rows_of((EXCLUDED if record.id in excluded else sft_row(record) for record in judgments), left_out)
    judged: Iterable[JudgmentRecord | PairRecord] = judgments
    ordered: Iterable[RankingRecord | LineupRecord] = rankings
    if selection.aggregation != Aggregation.SINGLE:
        judged = pair_records(project, rule=selection.aggregation, splits=splits, rounds=selection.rounds)
        ordered = lineup_records(project, rule=selection.aggregation, splits=splits, rounds=selection.rounds)
        excluded = set()
    make = dpo_rows if what == "dpo" else kto_rows
    made = (EXCLUDED if record.id in excluded else make(record) for record in judged)
    if what == "dpo":
        taken_out = excluded_rankings(project) if selection.aggregation == Aggregation.SINGLE else set()
        pairs = (
            EXCLUDED if record.id in taken_out else dpo_rows(record, ranking_pairs=selection.ranking_pairs)
            for record in ordered
        )
        return _rows_of(chain(made, pairs), left_out)
    singles = chain(map(kto_rows, ratings), () if selection.ratings_only else made)
    return shuffled(_rows_of(singles, left_out), seed=_SHUFFLE_SEED)


def _rows_of(made: Iterable[list[Row] | Row | str], left_out: Counter[str]) -> Iterator[Row]:
    """The rows of each decision; one that has none is counted by its reason."""
    for entry in made:
        if isinstance(entry, str):
            left_out[entry] += 1
        elif isinstance(entry, list):
            yield from entry
        else:
            yield entry
