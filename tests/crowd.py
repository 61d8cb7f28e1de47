"""Tens of thousands of judgments in some seconds, for tests of how pages grow."""

import json
import random
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Max, Model

from annotate.models import (
    Choice,
    Comparison,
    Judgment,
    Lineup,
    LineupAnswer,
    Project,
    Prompt,
    Ranking,
    Response,
    Role,
    Slot,
    User,
)
from annotate.services.content import policy_author
from tests.cast import join, make_user


def fill(project: Project, *, judgments: int, now: datetime, people: int = 8, rounds: int = 10, seed: int = 0) -> None:
    """``judgments`` by ``people`` over the 29 days before ``now``; 15% of the comparisons are judged by three."""
    rng = random.Random(seed)
    crowd, author = _people(project, people, seed), policy_author(project=project, number=1, name="policy 1")
    asked = _asked(judgments, rng)
    pairs = asked[-1] + 1
    prompts, responses, comparisons, slots = (_next_id(model) for model in (Prompt, Response, Comparison, Slot))

    some_prompt = Prompt(project=project, messages=[{"role": "user", "content": "Where is it?"}], split="train")
    _insert(some_prompt, ({"id": prompts + n, "sha256": f"{prompts + n:064x}"} for n in range(pairs)), now)
    some_response = Response(author=author)
    _insert(
        some_response,
        ({"id": responses + n, "prompt_id": prompts + n // 2, "text": _text(n, rng), "sha256": f"{n:064x}"}
         for n in range(2 * pairs)),
        now,
    )  # fmt: skip
    some_comparison = Comparison(project=project, split="train")
    _insert(
        some_comparison,
        ({"id": comparisons + n, "prompt_id": prompts + n, "first_id": responses + 2 * n,
          "second_id": responses + 2 * n + 1, "round": 1 + n * rounds // pairs} for n in range(pairs)),
        now,
    )  # fmt: skip
    # The judgments of one comparison lie side by side, so that turns give it different people.
    turns = [(n, comparisons + pair, crowd[n % people].pk) for n, pair in enumerate(asked)]
    some_slot = Slot(project=project, kind=Slot.Kind.PAIR, state=Slot.State.DONE)
    _insert(
        some_slot,
        ({"id": slots + n, "comparison_id": pair, "annotator_id": who, "submit_id": _uuid(rng)}
         for n, pair, who in turns),
        now,
    )  # fmt: skip
    some_judgment = Judgment(project=project)
    _insert(
        some_judgment,
        (
            {
                "comparison_id": pair,
                "annotator_id": who,
                "slot_id": slots + n,
                "client_id": _uuid(rng),
                "created_at": _stored(now - timedelta(days=29 - 29 * n // judgments)),
                "active_ms": rng.randrange(1500, 90_000),
                **_choice(responses + 2 * (pair - comparisons), rng),
            }
            for n, pair, who in turns
        ),
        now,
    )
    _look_at_the_rows()


def fill_rankings(project: Project, *, rankings: int, now: datetime, people: int = 8, seed: int = 0) -> None:
    """``rankings`` of four answers, of which every eighth is shown first and preferred for it; all else as ``fill``."""
    rng = random.Random(seed)
    crowd, author = _people(project, people, seed), policy_author(project=project, number=1, name="policy 1")
    asked = _asked(rankings, rng)
    sets = asked[-1] + 1
    prompts, responses, lineups, slots = (_next_id(model) for model in (Prompt, Response, Lineup, Slot))
    some_prompt = Prompt(project=project, messages=[{"role": "user", "content": "Where is it?"}], split="train")
    _insert(some_prompt, ({"id": prompts + n, "sha256": f"{prompts + n:064x}"} for n in range(sets)), now)
    _insert(
        Response(author=author, text="It is on its way."),
        ({"id": responses + n, "prompt_id": prompts + n // 4, "sha256": f"{n:064x}"} for n in range(4 * sets)),
        now,
    )
    _insert(
        Lineup(project=project, split="train"),
        ({"id": lineups + n, "prompt_id": prompts + n, "round": 1 + n * 10 // sets} for n in range(sets)),
        now,
    )
    _insert(
        LineupAnswer(),
        ({"id": responses + n, "lineup_id": lineups + n // 4, "response_id": responses + n} for n in range(4 * sets)),
        now,
    )
    turns = [(n, one, crowd[n % people].pk) for n, one in enumerate(asked)]
    _insert(
        Slot(project=project, kind=Slot.Kind.RANKING, state=Slot.State.DONE),
        ({"id": slots + n, "lineup_id": lineups + one, "annotator_id": who, "submit_id": _uuid(rng)}
         for n, one, who in turns),
        now,
    )  # fmt: skip
    _insert(
        Ranking(project=project, value="ranked", pairs=6),
        (
            {
                "lineup_id": lineups + one,
                "annotator_id": who,
                "slot_id": slots + n,
                "client_id": _uuid(rng),
                "created_at": _stored(now - timedelta(days=29 - 29 * n // rankings)),
                "active_ms": rng.randrange(1500, 90_000),
                "shown": json.dumps(rng.sample(range(responses + 4 * one, responses + 4 * one + 4), 4)),
                "ranks": json.dumps([1, *rng.sample((2, 3, 4), 3)] if n % 8 == 0 else rng.sample((1, 2, 3, 4), 4)),
            }
            for n, one, who in turns
        ),
        now,
    )
    _look_at_the_rows()


def fill_waiting(project: Project, *, comparisons: int, now: datetime) -> None:
    """So many comparisons that nobody has judged, each with one open slot: the pairs of four answers to each prompt."""
    author = policy_author(project=project, number=1, name="policy 1")
    prompts, responses, pairs = (_next_id(model) for model in (Prompt, Response, Comparison))
    asked = -(-comparisons // 6)
    some_prompt = Prompt(project=project, messages=[{"role": "user", "content": "Where is it?"}], split="train")
    _insert_made(some_prompt, asked, {"id": f"{prompts} + i", "sha256": "'w' || i"}, now)
    _insert_made(
        Response(author=author, text="It is on its way."),
        4 * asked,
        {"id": f"{responses} + i", "prompt_id": f"{prompts} + i / 4", "sha256": "'w' || i"},
        now,
    )
    # The six pairs of four: 0-1, 0-2, 0-3, 1-2, 1-3, 2-3.
    answer = f"{responses} + i / 6 * 4"
    _insert_made(
        Comparison(project=project, split="train", round=11),
        comparisons,
        {
            "id": f"{pairs} + i",
            "prompt_id": f"{prompts} + i / 6",
            "first_id": f"{answer} + CASE WHEN i %% 6 < 3 THEN 0 WHEN i %% 6 < 5 THEN 1 ELSE 2 END",
            "second_id": f"{answer} + CASE WHEN i %% 6 = 0 THEN 1 WHEN i %% 6 IN (1, 3) THEN 2 ELSE 3 END",
        },
        now,
    )
    some_slot = Slot(project=project, kind=Slot.Kind.PAIR)
    _insert_made(some_slot, comparisons, {"id": f"{_next_id(Slot)} + i", "comparison_id": f"{pairs} + i"}, now)
    _look_at_the_rows()


def _look_at_the_rows() -> None:
    """PostgreSQL plans for empty tables until it has looked, which it does by itself with what is committed alone."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _people(project: Project, count: int, seed: int) -> list[User]:
    crowd = [make_user(f"annotator{seed}.{number}") for number in range(count)]
    for person in crowd:
        join(project, person, Role.ANNOTATOR)
    return crowd


def _asked(decisions: int, rng: random.Random) -> list[int]:
    """Which item, counted from 0, each decision is about."""
    return [item for item in range(decisions) for _ in range(3 if rng.random() < 0.15 else 1)][:decisions]


def _choice(first: int, rng: random.Random) -> dict[str, Any]:
    choice = rng.choices([Choice.A, Choice.B, Choice.TIE, Choice.BOTH_BAD], [45, 35, 12, 8])[0]
    swapped = rng.random() < 0.5
    left, right = (first + 1, first) if swapped else (first, first + 1)
    preferred = {Choice.A: left, Choice.B: right}.get(choice)
    tags = rng.choices(["[]", '["tone"]', '["accuracy", "tone"]'], [6, 3, 1])[0]
    return {"choice": choice.value, "swapped": swapped, "preferred_id": preferred, "tags": tags}


def _text(number: int, rng: random.Random) -> str:
    text = f"Answer {number}. " + "It is on its way. " * rng.randrange(2, 25)
    return f"- {text}" if rng.random() < 0.2 else text


def _uuid(rng: random.Random) -> str:
    return uuid.UUID(int=rng.getrandbits(128)).hex


def _stored(when: datetime) -> str:
    return str(connection.ops.adapt_datetimefield_value(when))


def _next_id(model: type[Model]) -> int:
    return (model._default_manager.aggregate(Max("pk"))["pk__max"] or 0) + 1


def _insert(like: Model, rows: Iterable[dict[str, Any]], now: datetime) -> None:
    """Rows that equal ``like`` but for some columns, whose values are given as SQLite stores them.

    ``bulk_create`` prepares every value of every row by itself, which takes half a minute for so many.
    """
    common = _common(like, now)
    columns = [column for column in common if column != "id" or not isinstance(like, Judgment | Ranking)]
    sql = f"INSERT INTO {like._meta.db_table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})"  # noqa: S608
    values = ([(common | row)[column] for column in columns] for row in rows)
    with connection.cursor() as cursor:
        cursor.executemany(sql, list(values))


def _insert_made(like: Model, count: int, made: dict[str, str], now: datetime) -> None:
    """``count`` rows that equal ``like`` but for the columns of ``made``, which the database makes of a row number i,
    from 0, by these expressions: a million take seconds."""
    common = {column: value for column, value in _common(like, now).items() if column not in made}
    columns = ", ".join([*made, *common])
    values = ", ".join([*made.values(), *["%s"] * len(common)])
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1}) "  # noqa: S608
            f"INSERT INTO {like._meta.db_table} ({columns}) SELECT {values} FROM n",
            list(common.values()),
        )


def _common(like: Model, now: datetime) -> dict[str, Any]:
    """The columns of ``like`` as the database stores them."""
    common = {
        str(field.column): field.get_db_prep_save(field.value_from_object(like), connection)
        for field in like._meta.concrete_fields
    }
    return common | ({"created_at": _stored(now)} if "created_at" in common else {})
