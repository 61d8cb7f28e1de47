"""Lineups of answers are formed, and the orders that people give them are saved, exactly once (see ``judging``)."""

import random
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from annotate import assign
from annotate.models import Lineup, LineupAnswer, Project, Prompt, Ranked, Ranking, Response, Slot, User
from annotate.queries.judging import ShownSlot, shown_slot
from annotate.services.claims import Take
from annotate.services.content import BATCH, clean_text, people_wanted
from annotate.services.judging import Conflict, Gone, Saved, Why, check_decision, record_decision


@transaction.atomic
def form_lineups(
    *,
    project: Project,
    round: int,  # noqa: A002
    prompt_ids: Iterable[int],
    rng: random.Random,
) -> int:
    """Makes a lineup of up to ``project.ranking_size`` responses of this round to each prompt, and its slots.

    Returns how many lineups are new; 0 when the project does not ask for rankings. Asking again without new responses
    makes nothing: a response is in one lineup. A prompt with fewer than three different answers makes none.
    """
    if not project.asks_rankings:
        return 0
    Project.objects.select_for_update().get(pk=project.pk)
    ids = list(dict.fromkeys(prompt_ids))
    made = 0
    for start in range(0, len(ids), BATCH):
        made += _form_batch(project, round, ids[start : start + BATCH], rng)
    return made


def _form_batch(project: Project, round_number: int, prompt_ids: Sequence[int], rng: random.Random) -> int:
    answers = defaultdict(list)
    for pk, prompt_id, sha256 in (
        Response.objects.filter(prompt__in=prompt_ids, prompt__project=project, round=round_number)
        .order_by("pk")
        .values_list("pk", "prompt_id", "sha256")
    ):
        answers[prompt_id].append(assign.Answer(pk, sha256))
    there = Lineup.objects.filter(prompt__in=list(answers), round=round_number, same_as__isnull=True)
    ranked = set(there.values_list("responses", flat=True))
    splits = dict(Prompt.objects.filter(pk__in=list(answers)).values_list("pk", "split"))
    chosen: dict[int, list[int]] = {}
    for prompt_id, found in answers.items():
        lineup = assign.form_lineup(found, ranked=ranked, size=project.ranking_size, rng=rng)
        if lineup is not None:
            chosen[prompt_id] = lineup
    lineups = Lineup.objects.bulk_create(
        Lineup(project=project, prompt_id=pk, split=splits[pk], round=round_number) for pk in chosen
    )
    LineupAnswer.objects.bulk_create(
        LineupAnswer(lineup=lineup, response_id=pk) for lineup in lineups for pk in chosen[lineup.prompt_id]
    )
    Slot.objects.bulk_create(
        Slot(project=project, kind=Slot.Kind.RANKING, lineup=lineup)
        for lineup in lineups
        for _ in range(people_wanted(project, rng))
    )
    return len(lineups)


def record_ranking(
    *,
    project: Project,
    annotator: User,
    slot_id: int,
    client_id: uuid.UUID,
    value: str,
    ranks: Sequence[int] = (),
    skip_reason: str = "",
    rationale: str = "",
    tags: Sequence[str] = (),
    active_ms: int | None = None,
    now: datetime,
    shown: ShownSlot | None = None,
    then: Take | None = None,
) -> Saved[Ranking] | Conflict[Ranking] | Gone:
    """Saves the order that the annotator gave the lineup in the slot, exactly once; all else as ``record_judgment``.

    ``ranks`` has a rank from 1 (best) for each answer in the order shown; equal ranks are ties, none for a skip. Raises
    ``ValueError`` when they are not as many as the answers.
    """
    held = shown or shown_slot(project=project, kind=Slot.Kind.RANKING, slot_id=slot_id, now=now)
    if held is None:
        return Gone(Why.UNKNOWN)
    slot = held.slot
    order = shown_in(slot)
    content = ranking_values(
        shown=order, value=value, ranks=ranks, skip_reason=skip_reason, rationale=rationale, tags=tags
    )
    return record_decision(
        Ranking,
        slot=slot,
        guideline_id=held.guideline_id,
        annotator=annotator,
        client_id=client_id,
        subject={"lineup_id": slot.lineup_id},
        content=content,
        facts={"shown": order},
        active_ms=active_ms,
        now=now,
        then=then,
    )


def shown_in(slot: Slot) -> list[int]:
    """The ids of the lineup's responses in the order that the slot's lease has drawn."""
    if slot.lineup is None:
        raise ValueError(f"slot {slot.pk} is for no lineup")
    return assign.shown_order([response.pk for response in slot.lineup.responses.all()], slot.order_seed)


def ranking_values(
    *,
    shown: Sequence[int],
    value: str,
    ranks: Sequence[int] = (),
    skip_reason: str = "",
    rationale: str = "",
    tags: Sequence[str] = (),
) -> Mapping[str, Any]:
    """The columns of what was said of the answers as shown. Raises ``ValueError`` as ``record_ranking``."""
    check_decision(value, Ranked.values, skip_reason)
    if len(ranks) != (len(shown) if value == Ranked.RANKED else 0) or any(rank < 1 for rank in ranks):
        raise ValueError(f"a ranking has one rank from 1 for each of the {len(shown)} answers, and a skip has none")
    dense = assign.dense_ranks(ranks)
    return {
        "value": value,
        "skip_reason": skip_reason,
        "rationale": clean_text(rationale),
        "tags": [clean_text(tag) for tag in tags],
        "ranks": dense,
        "pairs": len(assign.strict_pairs(dense)),
    }
