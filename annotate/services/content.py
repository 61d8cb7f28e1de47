"""Responses come in, and become work: comparisons of them, and the slots in which people judge or rate them.

Everything here is one transaction, and locks the row that it adds to, so that two callers at once count right on
PostgreSQL too (SQLite's ``IMMEDIATE`` lets them in one after the other anyway).
"""

import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from django.db import transaction

from annotate import assign
from annotate.models import Author, Comparison, Project, Prompt, Response, Slot, User

# Prompts that are handled with one query each for what is there and what is new.
BATCH = 200

_T = TypeVar("_T")

_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class NewResponse:
    """One answer as it came from a model or a file. ``sampling`` is JSON: temperature, top_p, seed, ..."""

    prompt_id: int
    text: str
    sampling: dict[str, Any] = field(default_factory=dict)
    tokens: int | None = None
    finish_reason: str = ""


@dataclass(frozen=True, slots=True)
class AddedResponses:
    """What became of the answers: kept + duplicates = all of them."""

    kept: int
    duplicates: int


def clean_text(text: str) -> str:
    """``text`` with U+FFFD for what the databases disagree about: NUL and lone surrogates.

    PostgreSQL refuses both where SQLite stores the first and fails on the second, so text is cleaned once, where it
    comes in.
    """
    return _NOT_STORABLE.sub("\ufffd", text)


def text_sha256(text: str) -> str:
    """The identity of a response's text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def policy_author(*, project: Project, number: int, name: str) -> Author:
    """The author row that stands for a policy (0 is the base), made when it is not there yet."""
    author, _ = Author.objects.get_or_create(
        project=project, kind=Author.Kind.POLICY, number=number, defaults={"name": name}
    )
    return author


def person_author(*, project: Project, user: User) -> Author:
    """The author row that stands for a person, made when it is not there yet."""
    author, _ = Author.objects.get_or_create(
        project=project, kind=Author.Kind.PERSON, user=user, defaults={"name": user.pseudonym}
    )
    return author


@transaction.atomic
def add_responses(*, author: Author, round: int | None, responses: Iterable[NewResponse]) -> AddedResponses:  # noqa: A002
    """Stores the author's answers. What they have said to the same prompt before, word for word, is a duplicate.

    Calling it twice keeps nothing the second time. Raises ``ValueError``, and stores nothing, when a prompt belongs to
    another project.
    """
    Author.objects.select_for_update().get(pk=author.pk)
    kept = total = 0
    for batch in _batches(responses):
        total += len(batch)
        kept += _add_batch(author, round, batch)
    return AddedResponses(kept=kept, duplicates=total - kept)


def _add_batch(author: Author, round_number: int | None, batch: Sequence[NewResponse]) -> int:
    prompt_ids = {entry.prompt_id for entry in batch}
    ours = set(Prompt.objects.filter(pk__in=prompt_ids, project=author.project_id).values_list("pk", flat=True))
    if strangers := sorted(prompt_ids - ours):
        raise ValueError(f"prompts {strangers[:5]} are not in project {author.project_id}, whose author this is")
    known = set(Response.objects.filter(author=author, prompt__in=prompt_ids).values_list("prompt_id", "sha256"))
    rows = []
    for entry in batch:
        text = clean_text(entry.text)
        key = (entry.prompt_id, text_sha256(text))
        if key in known:
            continue
        known.add(key)
        rows.append(
            Response(
                prompt_id=entry.prompt_id,
                author=author,
                text=text,
                sha256=key[1],
                sampling=entry.sampling,
                tokens=entry.tokens,
                finish_reason=entry.finish_reason,
                round=round_number,
            )
        )
    Response.objects.bulk_create(rows, batch_size=BATCH)
    return len(rows)


@transaction.atomic
def form_comparisons(
    *,
    project: Project,
    round: int,  # noqa: A002
    prompt_ids: Iterable[int],
    per_prompt: int,
    rng: random.Random,
) -> int:
    """Makes up to ``per_prompt`` comparisons of each prompt's responses of this round, and the slots to judge them in.

    A share of ``project.overlap_percent`` of them, drawn by ``rng``, is to be judged by ``project.overlap`` people, the
    others by one. Returns how many comparisons are new; 0 when the project does not ask for pairs. A pair that was made
    before is never made again, and each new one brings a response that was in none (``assign.form_pairs``). A
    comparison is stored as (lower id, higher id); which of the two stands left is decided when it is shown.
    """
    if not project.asks_pairs:
        return 0
    Project.objects.select_for_update().get(pk=project.pk)
    made = 0
    for batch in _batches(dict.fromkeys(prompt_ids)):
        answers = defaultdict(list)
        for pk, prompt_id, sha256 in (
            Response.objects.filter(prompt__in=batch, prompt__project=project, round=round)
            .order_by("pk")
            .values_list("pk", "prompt_id", "sha256")
        ):
            answers[prompt_id].append(assign.Answer(pk, sha256))
        compared = defaultdict(list)
        for prompt_id, first, second in Comparison.objects.filter(
            prompt__in=list(answers), round=round, purpose=Comparison.Purpose.COLLECT
        ).values_list("prompt_id", "first_id", "second_id"):
            compared[prompt_id].append((min(first, second), max(first, second)))
        splits = dict(Prompt.objects.filter(pk__in=list(answers)).values_list("pk", "split"))
        comparisons = Comparison.objects.bulk_create(
            Comparison(project=project, prompt_id=pk, first_id=first, second_id=second, split=splits[pk], round=round)
            for pk, found in answers.items()
            for first, second in assign.form_pairs(found, compared=compared[pk], wanted=per_prompt, rng=rng)
        )
        Slot.objects.bulk_create(
            Slot(project=project, kind=Slot.Kind.PAIR, comparison=comparison)
            for comparison in comparisons
            for _ in range(people_wanted(project, rng))
        )
        made += len(comparisons)
    return made


def people_wanted(project: Project, rng: random.Random) -> int:
    """How many people shall decide a new item: the project's overlap for a share of them drawn by ``rng``, else one."""
    # No draw where nothing is to be decided, so that the share of a project without overlap costs no randomness.
    shared = project.overlap > 1 and rng.random() * 100 < project.overlap_percent
    return project.overlap if shared else 1


@transaction.atomic
def form_thumb_slots(
    *,
    project: Project,
    round: int,  # noqa: A002
    prompt_ids: Iterable[int],
    per_prompt: int | None = None,
    rng: random.Random | None = None,
) -> int:
    """Asks for thumbs on this round's responses to the prompts: on all, or on ``per_prompt`` of each, drawn by ``rng``.

    Returns how many slots are new (``project.overlap`` for each response); 0 when the project does not ask for thumbs.
    A response that was asked for before is left as it is, and counts towards ``per_prompt``.
    """
    if not project.asks_thumbs:
        return 0
    Project.objects.select_for_update().get(pk=project.pk)
    draw = rng or random.Random()
    made = 0
    for batch in _batches(dict.fromkeys(prompt_ids)):
        answers = defaultdict(list)
        for pk, prompt_id in (
            Response.objects.filter(prompt__in=batch, prompt__project=project, round=round)
            .order_by("pk")
            .values_list("pk", "prompt_id")
        ):
            answers[prompt_id].append(pk)
        asked = set(
            Slot.objects.filter(response__prompt__in=batch, response__round=round).values_list("response_id", flat=True)
        )
        chosen = []
        for found in answers.values():
            fresh = [pk for pk in found if pk not in asked]
            wanted = len(found) if per_prompt is None else per_prompt
            chosen += draw.sample(fresh, max(0, min(len(fresh), wanted - (len(found) - len(fresh)))))
        slots = Slot.objects.bulk_create(
            Slot(project=project, kind=Slot.Kind.THUMB, response_id=pk) for pk in chosen for _ in range(project.overlap)
        )
        made += len(slots)
    return made


def _batches(entries: Iterable[_T]) -> Iterator[list[_T]]:
    remaining = iter(entries)
    while batch := list(islice(remaining, BATCH)):
        yield batch
