"""What others said changes nothing that an annotator can see: not a word, not a figure, before their own judgment."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from annotate.models import Adjudication, Comparison, Guideline, Judgment, Project, Rating, Slot, User
from tests.cast import join, make_comparison, make_judgment, make_prompt, make_rating, make_response, make_user
from tests.web.test_access import FOR_ALL, OPEN, TABLE, address
from tests.web.test_access import world as world  # noqa: PLC0414  (a fixture)

BOB = 2
# Pages about the account and not about a project, and the one that a project's address has none of.
READ_BY_BOB = [
    name for name, page in TABLE.items()
    if page.get and page.get[BOB] == OPEN and page.get != FOR_ALL and name.startswith(("annotate:", "training:"))
]  # fmt: skip


@pytest.fixture
def asked(project: Project) -> list[Comparison]:
    """What bob is asked, judged by two others already, and a single answer that they rated."""
    Slot.objects.filter(project=project, state="open").update(state="withdrawn")
    project.ask_rationale = Project.Asking.OPTIONAL
    project.save()
    # "3 seconds ago" is another text a second later.
    Guideline.objects.update(created_at=timezone.now() - timedelta(days=400))
    people = [make_user("quagga"), make_user("okapi")]
    for person in people:
        join(project, person)
    comparisons = [make_comparison(make_prompt(project), slots=3, round=1) for _ in range(3)]
    response = make_response(make_prompt(project))
    Slot.objects.create(project=project, kind="thumb", response=response)
    for person in people:
        for comparison in comparisons:
            make_judgment(comparison, person)
        make_rating(response, person)
    return comparisons


def they_said(choice: str, why: str) -> None:
    """The others' judgments and ratings, rewritten."""
    others = Judgment.objects.exclude(annotator__username="bob").select_related("comparison")
    for judgment in others:
        pair = judgment.comparison
        preferred = {"A": pair.first_id, "B": pair.second_id}.get(choice)
        skip = "language" if choice == "skip" else ""
        Judgment.objects.filter(pk=judgment.pk).update(
            choice=choice, preferred=preferred, skip_reason=skip, rationale=why, tags=[why], active_ms=len(why) * 100
        )
    thumb = {"A": "up", "B": "down"}.get(choice, "skip")
    Rating.objects.exclude(annotator__username="bob").update(
        value=thumb, rationale=why, tags=[why], skip_reason="language" if thumb == "skip" else ""
    )


def everything_bob_sees(client: Client, world: dict[str, Any]) -> dict[str, str]:
    seen = {}
    for name in READ_BY_BOB:
        for headers in ({}, {"HX-Request": "true"}):
            answer = client.get(address(name, world), headers=headers)
            body = answer.content.decode()
            # What is drawn anew for every page.
            body = re.sub(r'(name="(?:csrfmiddlewaretoken|client_id)" value|data-started|nonce)="[^"]*"', "·", body)
            seen[f"{name} {headers}"] = f"{answer.status_code} {body}"
    return seen


@pytest.mark.parametrize("otherwise", ["B", "tie", "both_bad", "skip"])
def test_no_page_of_an_annotator_differs_by_what_others_said(
    client: Client, world: dict[str, Any], asked: list[Comparison], bob: User, otherwise: str
) -> None:
    client.force_login(bob)
    they_said("A", "zebra")
    # Leases are taken at the first look; all later ones show the same.
    everything_bob_sees(client, world)
    before = everything_bob_sees(client, world)
    they_said(otherwise, "a much longer giraffe")
    after = everything_bob_sees(client, world)
    assert [page for page, body in after.items() if body != before[page]] == []
    told = ("zebra", "giraffe", "quagga", "okapi", *User.objects.exclude(pk=bob.pk).values_list("pseudonym", flat=True))
    for page, body in after.items():
        assert not [word for word in told if word in body], page
    # And it is really the judged ones that bob is looking at.
    assert Slot.objects.get(annotator=bob, kind="pair", state="leased").comparison in asked
    assert Slot.objects.filter(annotator=bob, kind="thumb", state="leased").exists()


def test_no_page_of_an_annotator_tells_a_verdict_or_that_there_is_one(
    client: Client, world: dict[str, Any], asked: list[Comparison], bob: User, lea: User
) -> None:
    client.force_login(bob)
    everything_bob_sees(client, world)
    before = everything_bob_sees(client, world)
    for comparison in asked:
        Adjudication.objects.create(comparison=comparison, reviewer=lea, verdict="second", note="giraffe")
    after = everything_bob_sees(client, world)
    assert [page for page, body in after.items() if body != before[page]] == []


def test_the_pages_that_tell_more_are_closed_to_annotators(client: Client, world: dict[str, Any], bob: User) -> None:
    client.force_login(bob)
    closed = ["comparison", "review", "dashboard", "dashboard_table", "quality", "annotators_csv", "export", "audit"]
    for name in [*closed, "people", "member", "queue"]:
        assert client.get(address(f"annotate:{name}", world)).status_code == 403, name
    assert f"quality/annotators/{bob.pk}/" in address("annotate:annotator", world)
    other = address("annotate:annotator", world | {"bob": User.objects.get(username="lea").pk})
    assert client.get(other).status_code == 403
