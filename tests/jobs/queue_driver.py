"""People who skip, undo and change at the same moment: ``python -m tests.jobs.queue_driver VERB JSON``.

Run with the environment of the site whose database it shall use. Each verb prints one line of JSON.
"""

import json
import math
import random
import statistics
import sys
import threading
import time
import uuid
from collections import Counter
from typing import Any

from tests.jobs.judging_driver import _in_threads, claim_plan, setup  # First: it sets Django up.

# isort: split

from django.db import connection
from django.db.models import Count
from django.utils import timezone

from annotate.models import (
    AnnotatorGroup,
    Comparison,
    Judgment,
    Membership,
    Project,
    Prompt,
    QuizAttempt,
    Response,
    Slot,
    User,
)
from annotate.queries.invariants import broken
from annotate.services.assignments import Selection, assign, save_group, set_priority, undo_assignment
from annotate.services.checks import make_gold
from annotate.services.claims import claim_slot
from annotate.services.corrections import change_judgment, last_decision, undo_last
from annotate.services.judging import Saved, record_judgment
from annotate.services.quiz import answer_question, reset_quiz, start_attempt
from annotate.services.review import NothingToRetractError, retract, reverse_retraction


def _claim(project: Project, person: User, seed: object = 0) -> Slot | None:
    return claim_slot(
        project=project, annotator=person, kind="pair", now=timezone.now(), rng=random.Random(str(seed))
    )  # fmt: skip


def _say(slot: Slot, person: User, choice: str = "A", skip_reason: str = "") -> Judgment | None:
    outcome = record_judgment(
        project=slot.project, annotator=person, slot_id=slot.pk, client_id=slot.submit_id, choice=choice,
        skip_reason=skip_reason, now=timezone.now(),
    )  # fmt: skip
    return outcome.decision if isinstance(outcome, Saved) else None


def skip_everything(project: int, people: list[int]) -> dict[str, Any]:
    """Everybody skips whatever they are given, until nobody is asked anything any more."""
    start = threading.Barrier(len(people))

    def work(person: int) -> int:
        where, who = Project.objects.get(pk=project), User.objects.get(pk=person)
        start.wait()
        skipped = 0
        while slot := _claim(where, who, (person, skipped)):
            if _say(slot, who, "skip", "expertise") is None:
                raise RuntimeError("a fresh slot was gone")
            skipped += 1
        return skipped

    return {"skipped": sum(_in_threads(work, people))}


def undo_a_skip(project: int, people: list[int], times: int) -> dict[str, Any]:
    """Somebody skips; at one moment they undo it, twice, and somebody else asks for work."""
    where = Project.objects.get(pk=project)
    first, second = (User.objects.get(pk=pk) for pk in people[:2])
    found: Counter[str] = Counter()
    for _ in range(times):
        # One comparison a time: what is left over from the last one is out of the way.
        Slot.objects.filter(project=project, state=Slot.State.LEASED).update(state=Slot.State.WITHDRAWN)
        slot = _claim(where, first)
        if slot is None:
            break
        others = Slot.objects.filter(project=project, state=Slot.State.OPEN)
        kept = list(others.values_list("pk", flat=True))
        others.update(state=Slot.State.WITHDRAWN)
        skip = _say(slot, first, "skip", "language")
        assert skip is not None
        start = threading.Barrier(3)

        def act(role: str, start: threading.Barrier = start, skip: Judgment = skip) -> str:
            start.wait()
            if role == "other":
                return "nothing" if _claim(where, second) is None else "taken"
            done = undo_last(
                project=where, annotator=first, kind="pair", client_id=skip.client_id, now=timezone.now()
            )  # fmt: skip
            return "undone" if done else "late"

        outcomes = _in_threads(act, ["other", "undo", "undo"])
        instead = Slot.objects.get(replaces=slot)
        found[f"{outcomes[0]} {instead.state} {' '.join(sorted(outcomes[1:]))}"] += 1
        Slot.objects.filter(pk__in=kept).update(state=Slot.State.OPEN)
    return {"found": found}


def undo_and_judge(project: int, people: list[int], times: int) -> dict[str, Any]:
    """In one tab the last judgment is undone, twice, while another tab of the same person judges the next pair."""
    where, who = Project.objects.get(pk=project), User.objects.get(pk=people[0])
    found: Counter[str] = Counter()
    for number in range(times):
        first = _claim(where, who, number)
        if first is None:
            break
        last = _say(first, who)
        following = _claim(where, who, number)
        if last is None or following is None:
            break
        start = threading.Barrier(3)

        def act(
            role: str, start: threading.Barrier = start, last: Judgment = last, following: Slot = following
        ) -> bool:
            start.wait()
            if role == "judge":
                return _say(following, who, "B") is not None
            return undo_last(
                project=where, annotator=who, kind="pair", client_id=last.client_id, now=timezone.now()
            )  # fmt: skip

        judged, *undone = _in_threads(act, ["judge", "undo", "undo"])
        slot = Slot.objects.get(pk=first.pk)
        standing = Judgment.objects.filter(slot=slot, superseded_at__isnull=True).count()
        found[f"judged {judged}, undone {sum(undone)}, slot {slot.state}, stands {standing}"] += 1
        if slot.state == Slot.State.LEASED:
            _say(slot, who)
    return {"found": found, "broken": list(broken())}


def change_and_retract(project: int, people: list[int], times: int) -> dict[str, Any]:
    """Somebody changes what they said while a lead retracts all of theirs: nothing of it counts afterwards."""
    where = Project.objects.get(pk=project)
    who, lead = User.objects.get(pk=people[0]), where.created_by
    slot = _claim(where, who)
    assert slot is not None
    _say(slot, who)
    found: Counter[str] = Counter()
    for _ in range(times):
        old = last_decision(project=where, annotator=who, kind="pair", now=timezone.now())
        assert isinstance(old, Judgment)
        start = threading.Barrier(2)

        def act(role: str, start: threading.Barrier = start, old: Judgment = old) -> str:
            start.wait()
            if role == "change":
                return type(change_judgment(old, client_id=uuid.uuid4(), now=timezone.now(), choice="B")).__name__
            try:
                retract(project=where, actor=lead, annotator=who, reason="spam")
            except NothingToRetractError:
                return "nothing"
            return "retracted"

        outcomes = _in_threads(act, ["change", "retract"])
        counting = Judgment.objects.filter(annotator=who, superseded_at__isnull=True, retracted_at__isnull=True)
        found[f"{' '.join(outcomes)}, counting {counting.count()}"] += 1
        reverse_retraction(retraction=where.retractions.latest("pk"), actor=lead)
    return {"found": found, "broken": list(broken())}


def fill(comparisons: int) -> tuple[Project, User, AnnotatorGroup]:
    """So many comparisons of one prompt's answers, made by the database itself: nine in ten are judged.

    Of the others most are everybody's, one in ten is for the person who is returned, one in ten for their group.
    """
    made = setup(annotators=2, prompts=1)
    project = Project.objects.get(pk=made["project"])
    person, other = (User.objects.get(pk=pk) for pk in made["people"])
    member = Membership.objects.select_related("user").get(user=person)
    group = save_group(project=project, actor=other, name="Group", members=[member])
    Project.objects.update(assigns_to_groups=True)
    Slot.objects.all().delete()
    Comparison.objects.all().delete()
    response, prompt = Response.objects.latest("pk"), Prompt.objects.get()
    # n answers make n (n - 1) / 2 pairs.
    answers = 2 + math.isqrt(2 * comparisons)
    now, uuid_sql = "CURRENT_TIMESTAMP", "gen_random_uuid()"
    if connection.vendor == "sqlite":
        uuid_sql = "lower(hex(randomblob(16)))"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s)
            INSERT INTO annotate_response
                (prompt_id, author_id, text, sha256, sampling, finish_reason, created_at)
            SELECT {prompt.pk}, {response.author_id}, 'Answer ' || i, 'n' || i, '{{}}', '', {now} FROM n""",  # noqa: S608
            [answers],
        )
        cursor.execute(
            f"""INSERT INTO annotate_comparison
                (project_id, prompt_id, first_id, second_id, purpose, split, expected, explanation, created_at)
            SELECT {project.pk}, {prompt.pk}, a.id, b.id, 'collect', 'train', '', '', {now}
            FROM annotate_response a JOIN annotate_response b ON a.id < b.id
            WHERE a.sha256 LIKE 'n%%' AND b.sha256 LIKE 'n%%' LIMIT %s""",  # noqa: S608
            [comparisons],
        )
        cursor.execute(
            f"""INSERT INTO annotate_slot
                (project_id, kind, comparison_id, state, annotator_id, only_for_id, only_for_group_id, priority,
                 swapped, order_seed, submit_id, created_at)
            SELECT {project.pk}, 'pair', id,
                CASE WHEN id %% 10 = 0 THEN 'open' ELSE 'done' END,
                CASE WHEN id %% 10 = 0 THEN NULL WHEN id %% 2 = 0 THEN {person.pk} ELSE {other.pk} END,
                CASE WHEN id %% 100 = 0 THEN {person.pk} END,
                CASE WHEN id %% 100 = 10 THEN {group.pk} END,
                id %% 3, {"false" if connection.vendor == "postgresql" else "0"}, 0, {uuid_sql}, {now}
            FROM annotate_comparison""",  # noqa: S608  (our own numbers)
            [],
        )
        cursor.execute("ANALYZE")
    return project, person, group


def plans(comparisons: int) -> dict[str, Any]:
    """How the database finds what is next among very many comparisons, in its own words; and how long claims take."""
    began = time.perf_counter()
    project, person, _ = fill(comparisons)
    filled = time.perf_counter() - began
    project.refresh_from_db()
    plan = claim_plan(project, person)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        slot = _claim(project, person)
        times.append(time.perf_counter() - began)
        assert slot is not None
        # Straight to done, so that every claim is a fresh one; all of it is undone with the database.
        Slot.objects.filter(pk=slot.pk).update(state=Slot.State.DONE)
    return {
        "plan": plan,
        "comparisons": project.comparisons.count(),
        "fill_seconds": round(filled, 1),
        "claim_ms": round(1000 * statistics.median(times), 2),
    }


def assign_many(comparisons: int) -> dict[str, Any]:
    """A lead assigns very many slots to a group and to a person, and takes it back."""
    project, person, group = fill(comparisons)
    lead, everything = project.created_by, Selection(prompts=[Prompt.objects.get().pk])
    began = time.perf_counter()
    to_group = assign(project=project, actor=lead, selection=everything, to=group, most=comparisons // 50)
    to_person = assign(project=project, actor=lead, selection=everything, to=person)
    moved = set_priority(project=project, actor=lead, selection=everything, priority=7)
    freed = [undo_assignment(assignment=made, actor=lead) for made in (to_group, to_person)]
    return {
        "group": to_group.slots,
        "person": to_person.slots,
        "moved": moved,
        "freed": freed,
        "seconds": round(time.perf_counter() - began, 1),
    }


def quiz_in_two_tabs(project: int, people: list[int], times: int) -> dict[str, Any]:
    """Two tabs start the quiz at once, and answer its two questions, the same or each one, at once."""
    where = Project.objects.get(pk=project)
    for comparison in where.comparisons.all()[:2]:
        make_gold(comparison=comparison, expected="tie", actor=where.created_by)
    Project.objects.filter(pk=project).update(quiz_questions=2, quiz_attempts=20)
    found: Counter[str] = Counter()
    for number in range(times):
        member = Membership.objects.select_related("project", "user").get(project=project, user=people[0])
        tabs = threading.Barrier(2)

        def begin(seed: int, tabs: threading.Barrier = tabs, member: Membership = member) -> int:
            tabs.wait()
            return start_attempt(membership=member, rng=random.Random(seed)).pk

        started = _in_threads(begin, [1, 2])
        # Once the two tabs answer one question each; once both answer both, in the opposite order.
        orders = [[1], [2]] if number % 2 else [[1, 2], [2, 1]]

        def work(
            positions: list[int], pk: int = started[0], tabs: threading.Barrier = tabs, member: Membership = member
        ) -> None:
            tabs.wait()
            for position in positions:
                answer_question(
                    membership=member, attempt_id=pk, position=position, choice="tie", now=timezone.now()
                )  # fmt: skip

        _in_threads(work, orders)
        attempt = QuizAttempt.objects.get(pk=started[0])
        found[f"{len(set(started))} attempt, right {attempt.right}, passed {attempt.passed}"] += 1
        reset_quiz(
            by=Membership.objects.select_related("project", "user").get(project=project, role="owner"), member=member
        )
    return {"found": found, "deeds": where.audit_entries.filter(verb="quiz.passed").count()}


def skips(project: int) -> dict[str, Any]:
    """How often each comparison was skipped, by how many people, and what is left open."""
    rows = Judgment.objects.filter(project=project, choice="skip").values("comparison").order_by("comparison")
    counted = rows.annotate(skips=Count("pk"), people=Count("annotator", distinct=True))
    return {
        "skips": sorted(row["skips"] for row in counted),
        "people": sorted(row["people"] for row in counted),
        "open": Slot.objects.filter(project=project, state__in=Slot.ACTIVE).count(),
        "broken": list(broken()),
    }


VERBS = {
    "setup": setup,
    "skip_everything": skip_everything,
    "undo_a_skip": undo_a_skip,
    "undo_and_judge": undo_and_judge,
    "change_and_retract": change_and_retract,
    "skips": skips,
    "plans": plans,
    "quiz_in_two_tabs": quiz_in_two_tabs,
    "assign_many": assign_many,
}

if __name__ == "__main__":
    print(json.dumps(VERBS[sys.argv[1]](**json.loads(sys.argv[2]))))
