"""Annotators that race each other in a process of their own: ``python -m tests.jobs.judging_driver VERB JSON``.

Run with the environment of the site whose database it shall use. Each verb prints one line of JSON.
"""

import json
import os
import random
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.db import connection, connections, transaction  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

from annotate.models import Choice, Judgment, Project, Ranking, Response, SkipReason, Slot, User  # noqa: E402
from annotate.queries.invariants import broken  # noqa: E402
from annotate.services.claims import claim_slot, draw_take, take_next, take_statement  # noqa: E402
from annotate.services.content import NewResponse, add_responses, form_comparisons, policy_author  # noqa: E402
from annotate.services.guidelines import acknowledge_guideline  # noqa: E402
from annotate.services.judging import Conflict, Gone, Saved, record_judgment  # noqa: E402
from annotate.services.projects import create_project  # noqa: E402
from annotate.services.rankings import form_lineups, record_ranking  # noqa: E402
from tests.cast import join, make_prompt, make_user  # noqa: E402


def setup(annotators: int, prompts: int, overlap: int = 1) -> dict[str, Any]:
    """A project with one comparison of each prompt."""
    project = create_project(
        name="Race", created_by=make_user("alice"), guideline_text="Be fast.", overlap=overlap, lease_minutes=30
    )
    people = [make_user(f"annotator{number}") for number in range(annotators)]
    for person in people:
        join(project, person)
    ids = [make_prompt(project).pk for _ in range(prompts)]
    author = policy_author(project=project, number=0, name="base")
    add_responses(
        author=author, round=1, responses=[NewResponse(pk, f"{side} answer") for pk in ids for side in ("one", "other")]
    )
    made = form_comparisons(project=project, round=1, prompt_ids=ids, per_prompt=1, rng=random.Random(1))
    return {"project": project.pk, "people": [person.pk for person in people], "comparisons": made}


def judge_all(project: int, people: list[int], seed: int, gate: str, crews: int = 4) -> dict[str, Any]:
    """Each person in a thread, until there is nothing left for them: how many judgments each one saved.

    As the page does it: what comes next is taken with the decision where the database can. They begin when all
    ``crews`` processes have left their mark in the folder ``gate``.
    """
    start = threading.Barrier(len(people))

    def work(person: int) -> int:
        where, who = Project.objects.get(pk=project), User.objects.get(pk=person)
        rng = random.Random(f"{seed} {person}")
        saved = 0
        start.wait()
        slot = claim_slot(project=where, annotator=who, kind="pair", now=timezone.now(), rng=rng)
        while slot:
            about: Any = {"project": where, "annotator": who, "kind": "pair", "now": timezone.now(), "rng": rng}
            outcome = record_judgment(
                project=where,
                annotator=who,
                slot_id=slot.pk,
                client_id=slot.submit_id,
                choice=rng.choice([Choice.A, Choice.B, Choice.TIE]),
                now=timezone.now(),
                then=draw_take(**about),
            )
            if not isinstance(outcome, Saved) or outcome.repeated:
                raise RuntimeError(f"a fresh slot answered {outcome}")
            saved += 1
            slot = take_next(**about, taken=outcome.taken)
        return saved

    (Path(gate) / str(seed)).touch()
    while len(list(Path(gate).iterdir())) < crews:
        time.sleep(0.01)
    return {"saved": _in_threads(work, people)}


def same_submit(project: int, people: list[int], times: int) -> dict[str, Any]:
    """The first person's every submit comes from four threads at once; with every third, one thread says otherwise."""
    where, who = Project.objects.get(pk=project), User.objects.get(pk=people[0])
    rounds = []
    for number in range(times):
        slot = claim_slot(project=where, annotator=who, kind="pair", now=timezone.now(), rng=random.Random(number))
        if slot is None:
            break
        choices = ["A", "A", "A", "B" if number % 3 == 0 else "A"]
        start = threading.Barrier(len(choices))

        def submit(choice: str, slot: Slot = slot, start: threading.Barrier = start) -> str:
            start.wait()
            outcome = record_judgment(
                project=where, annotator=who, slot_id=slot.pk, client_id=slot.submit_id, choice=choice,
                now=timezone.now(),
            )  # fmt: skip
            if isinstance(outcome, Saved):
                return "repeated" if outcome.repeated else "saved"
            return "conflict" if isinstance(outcome, Conflict) else "gone"

        rounds.append({"choices": choices, "outcomes": _in_threads(submit, choices)})
    return {"rounds": rounds}


def same_edit(project: int, people: list[int], times: int) -> dict[str, Any]:
    """As ``same_submit``, with an improved answer: two threads wrote the same, and with every third, one otherwise."""
    where, who = Project.objects.get(pk=project), User.objects.get(pk=people[0])
    rounds = []
    for number in range(times):
        slot = claim_slot(project=where, annotator=who, kind="pair", now=timezone.now(), rng=random.Random(number))
        if slot is None:
            break
        texts = ["Mine.", "Mine.", "Other." if number % 3 == 0 else "Mine."]
        start = threading.Barrier(len(texts))

        def submit(text: str, slot: Slot = slot, start: threading.Barrier = start) -> str:
            start.wait()
            outcome = record_judgment(
                project=where, annotator=who, slot_id=slot.pk, client_id=slot.submit_id, choice="A", edited=text,
                now=timezone.now(),
            )  # fmt: skip
            if isinstance(outcome, Saved):
                return "repeated" if outcome.repeated else "saved"
            return "conflict" if isinstance(outcome, Conflict) else "gone"

        rounds.append({"texts": texts, "outcomes": _in_threads(submit, texts)})
    written = Response.objects.filter(author__kind="person", prompt__project=where)
    edits = Judgment.objects.filter(project=where).values_list("edited_id", flat=True)
    return {
        "rounds": rounds,
        "written": sorted(written.values_list("pk", flat=True)),
        "edits": sorted(edits),
        "authors": written.values("author").distinct().count(),
    }


def setup_rankings(annotators: int, prompts: int, overlap: int = 1) -> dict[str, Any]:
    """A project with one lineup of four answers to each prompt."""
    project = create_project(
        name="Rank", created_by=make_user("alice"), guideline_text="Be fast.", judging="ranking", overlap=overlap
    )
    people = [make_user(f"annotator{number}") for number in range(annotators)]
    for person in people:
        join(project, person)
    ids = [make_prompt(project).pk for _ in range(prompts)]
    author = policy_author(project=project, number=0, name="base")
    texts = ("one", "two", "three", "four")
    add_responses(author=author, round=1, responses=[NewResponse(pk, text) for pk in ids for text in texts])
    made = form_lineups(project=project, round=1, prompt_ids=ids, rng=random.Random(1))
    return {"project": project.pk, "people": [person.pk for person in people], "lineups": made}


def rank_all(project: int, people: list[int], seed: int) -> dict[str, Any]:
    """Each person in two threads, until nothing is left for them; a submit may find that the other thread was first."""
    start = threading.Barrier(2 * len(people))

    def work(person: int) -> int:
        where, who = Project.objects.get(pk=project), User.objects.get(pk=person)
        rng = random.Random(f"{seed} {person} {threading.get_ident()}")
        saved = 0
        start.wait()
        about: Any = {"project": where, "annotator": who, "kind": "ranking", "rng": rng}
        slot = claim_slot(**about, now=timezone.now())
        while slot:
            ranks = [rng.randrange(1, 5) for _ in range(4)]
            outcome = record_ranking(
                project=where, annotator=who, slot_id=slot.pk, client_id=slot.submit_id, value="ranked", ranks=ranks,
                now=timezone.now(), then=draw_take(**about, now=timezone.now()),
            )  # fmt: skip
            if isinstance(outcome, Gone):
                raise RuntimeError(f"a fresh slot answered {outcome}")
            saved += isinstance(outcome, Saved) and not outcome.repeated
            taken = outcome.taken if isinstance(outcome, Saved) else None
            slot = taken or claim_slot(**about, now=timezone.now())
        return saved

    return {"saved": _in_threads(work, [*people, *people])}


def report_rankings(project: int) -> dict[str, Any]:
    """What is in the tables in the end."""
    slots = Slot.objects.filter(project=project)
    rankings = Ranking.objects.filter(project=project)
    orders = rankings.values_list("shown", flat=True)
    return {
        "states": sorted(slots.values_list("state", flat=True)),
        "slots": sorted(slots.values_list("pk", flat=True)),
        "ranked_slots": sorted(rankings.values_list("slot_id", flat=True)),
        "who_what": sorted(rankings.values_list("lineup_id", "annotator_id")),
        "broken": list(broken()),
        "orders": len({tuple(place - min(shown) for place in shown) for shown in orders}),
    }


def late_holders(project: int, people: list[int], times: int) -> dict[str, Any]:
    """A lease runs out: at one moment its holder submits, and somebody else asks for work."""
    where = Project.objects.get(pk=project)
    holder, other = User.objects.get(pk=people[0]), User.objects.get(pk=people[1])
    outcomes = []
    for number in range(times):
        now = timezone.now()
        slot = claim_slot(project=where, annotator=holder, kind="pair", now=now, rng=random.Random(number))
        if slot is None:
            break
        # The only one left for the other person.
        Slot.objects.filter(project=project, state=Slot.State.OPEN).update(state=Slot.State.WITHDRAWN)
        later = now + timedelta(hours=1)
        start = threading.Barrier(2)

        def act(role: str, slot: Slot = slot, later: Any = later, start: threading.Barrier = start) -> str:
            start.wait()
            if role == "holder":
                outcome = record_judgment(
                    project=where, annotator=holder, slot_id=slot.pk, client_id=slot.submit_id, choice="A", now=later
                )
                return type(outcome).__name__
            taken = claim_slot(project=where, annotator=other, kind="pair", now=later, rng=random.Random(1))
            return "nothing" if taken is None else "taken"

        outcomes.append(_in_threads(act, ["holder", "other"]))
        Slot.objects.filter(pk=slot.pk, state=Slot.State.LEASED).update(state=Slot.State.WITHDRAWN)
        Slot.objects.filter(project=project, state=Slot.State.WITHDRAWN, annotator=None).update(state=Slot.State.OPEN)
    return {"outcomes": outcomes}


def report(project: int) -> dict[str, Any]:
    """What is in the tables in the end."""
    slots = Slot.objects.filter(project=project)
    return {
        "states": sorted(slots.values_list("state", flat=True)),
        "judged_slots": sorted(Judgment.objects.filter(project=project).values_list("slot_id", flat=True)),
        "slots": sorted(slots.values_list("pk", flat=True)),
        "pairs": sorted(Judgment.objects.filter(project=project).values_list("comparison_id", "annotator_id")),
        "swapped": Judgment.objects.filter(project=project, swapped=True).count(),
        "wrong_sides": sum(
            judgment.preferred_id
            != {
                "A": judgment.comparison.second_id if judgment.swapped else judgment.comparison.first_id,
                "B": judgment.comparison.first_id if judgment.swapped else judgment.comparison.second_id,
            }.get(judgment.choice)
            for judgment in Judgment.objects.filter(project=project).select_related("comparison")
        ),
    }


def plan(slots: int) -> dict[str, Any]:
    """How the database finds the next slots when nearly all of very many are done: its plan, in its own words."""
    made = setup(annotators=1, prompts=300)
    project, person = Project.objects.get(pk=made["project"]), User.objects.get(pk=made["people"][0])
    comparisons = list(project.comparisons.all())
    Slot.objects.bulk_create(
        (
            Slot(
                project=project,
                kind=Slot.Kind.PAIR,
                comparison=comparisons[number % len(comparisons)],
                state=Slot.State.OPEN if number % 100 == 0 else Slot.State.WITHDRAWN,
                submit_id=uuid.uuid4(),
            )
            for number in range(slots)
        ),
        batch_size=2000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return {"plan": claim_plan(project, person)}


def claim_plan(project: Project, person: User) -> str:
    """How the database finds and takes the slot that this person is asked next, in its own words."""
    take = draw_take(project=project, annotator=person, kind="pair", now=timezone.now(), rng=random.Random(1))
    sql, values = take_statement(take)
    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{explain} {sql}", values)
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def pages(project: int, people: list[int]) -> dict[str, Any]:
    """One person at the page, as its script asks: what each submit took of statements, and what they hold after it."""
    where, who = Project.objects.get(pk=project), User.objects.get(pk=people[0])
    acknowledge_guideline(project=where, user=who, version=1)
    client = Client(headers={"host": "localhost"})
    client.force_login(who)
    path = f"/projects/{project}/judge/"
    page = client.get(path).content.decode()
    shell = re.search(r'data-shell="(\w+)"', page)
    headers = {"HX-Request": "true", "Pairloop-Shell": shell.group(1) if shell else ""}
    held = Slot.objects.filter(project=where, annotator=who, state=Slot.State.LEASED)
    submits = []
    while (slot := held.all().first()) and len(submits) < 20:
        sent = {"slot": slot.pk, "client_id": slot.submit_id}
        # The second is a skip, which puts the pair back for others.
        said = {"skip_reason": SkipReason.EXPERTISE} if len(submits) == 1 else {"choice": "A"}
        with CaptureQueriesContext(connection) as asked:
            answer = client.post(path, sent | said, headers=headers)
        submits.append(
            {
                "status": answer.status_code,
                "alone": answer.headers.get("Pairloop-Item", ""),
                "statements": len(asked),
                "shows": [one.pk for one in held.all() if f'"{one.submit_id}"' in answer.content.decode()],
                "held": [one.pk for one in held.all()],
            }
        )
    return {"submits": submits}


def other_tab(project: int, people: list[int]) -> dict[str, Any]:
    """Somebody decides while their other tab takes the only comparison that is left: one of them must do without."""
    where, who = Project.objects.get(pk=project), User.objects.get(pk=people[0])
    now = timezone.now()
    slot = claim_slot(project=where, annotator=who, kind="pair", now=now, rng=random.Random(1))
    if slot is None:
        raise RuntimeError("there is nothing to judge")
    left = Slot.objects.filter(project=where, state=Slot.State.OPEN).exclude(comparison=slot.comparison)
    first, second = left.order_by("pk")
    taken = threading.Event()

    def act(role: str) -> str:
        if role == "other tab":
            with transaction.atomic():
                lease = {"state": Slot.State.LEASED, "lease_until": now + timedelta(hours=1)}
                Slot.objects.filter(pk=first.pk).update(annotator=who, **lease)
                taken.set()
                # Until the decision waits for this transaction, whose comparison it may not take as well.
                while not _somebody_waits():
                    time.sleep(0.01)
            return "taken"
        taken.wait()
        outcome = record_judgment(
            project=where, annotator=who, slot_id=slot.pk, client_id=slot.submit_id, choice="A", now=now,
            then=draw_take(project=where, annotator=who, kind="pair", now=now, rng=random.Random(1)),
        )  # fmt: skip
        return f"{type(outcome).__name__} {outcome.taken if isinstance(outcome, Saved) else ''}"

    outcomes = _in_threads(act, ["other tab", "this tab"])
    states = {one.pk: one.state for one in Slot.objects.filter(pk__in=[slot.pk, first.pk, second.pk])}
    return {
        "outcomes": outcomes,
        "states": [states[slot.pk], states[first.pk], states[second.pk]],
        "judgments": Judgment.objects.filter(project=where).count(),
    }


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


def _in_threads(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    def closing(item: Any) -> Any:
        try:
            return work(item)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(closing, items))


VERBS = {
    "setup": setup,
    "judge_all": judge_all,
    "pages": pages,
    "other_tab": other_tab,
    "same_submit": same_submit,
    "same_edit": same_edit,
    "setup_rankings": setup_rankings,
    "rank_all": rank_all,
    "report_rankings": report_rankings,
    "late_holders": late_holders,
    "report": report,
    "plan": plan,
}

if __name__ == "__main__":
    print(json.dumps(VERBS[sys.argv[1]](**json.loads(sys.argv[2]))))
