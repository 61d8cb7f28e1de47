"""An annotator improves the answer they prefer: saved once with the judgment, gone with it, and what it becomes."""

import random
import re
import uuid
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from annotate.models import Author, Comparison, Judgment, Project, Response, Slot, User
from annotate.queries.invariants import broken
from annotate.queries.records import judgment_records
from annotate.services.claims import claim_slot
from annotate.services.corrections import undo_last
from annotate.services.judging import Conflict, Gone, Saved, record_judgment
from annotate.services.review import retract
from tests.cast import make_judgment
from training.queries.facts import new_decisions
from training.services.loops import ensure_loop
from training.services.snapshots import freeze, frozen_rows, select_rows, settle

HTMX = {"HX-Request": "true"}


@pytest.fixture
def bobs(client: Client, bob: User, project: Project) -> Client:
    Project.objects.filter(pk=project.pk).update(allow_edits=True)
    project.refresh_from_db()
    client.force_login(bob)
    return client


def page(project: Project) -> str:
    return f"/projects/{project.pk}/judge/"


def form_of(body: str) -> dict[str, str]:
    """What a browser without scripts sends: hidden fields, and both boxes with whatever is in them."""
    found = dict(re.findall(r'<input type="hidden" name="(slot|client_id)" value="([^"]*)"', body))
    # A browser leaves out the first line end of a textarea, and sends the others as two characters.
    boxes = re.findall(r'<textarea name="(edited_[ab])"[^>]*>\n(.*?)</textarea>', body, re.DOTALL)
    return found | {name: text.replace("\n", "\r\n") for name, text in boxes}


def opened(client: Client, project: Project) -> dict[str, str]:
    return form_of(client.get(page(project)).content.decode())


def held(project: Project) -> tuple[Response, Response]:
    """The answers of the pair that is on, as A and B."""
    slot = Slot.objects.select_related("comparison__first", "comparison__second").get(project=project, state="leased")
    assert slot.comparison is not None
    both = (slot.comparison.first, slot.comparison.second)
    return both[::-1] if slot.swapped else both


@pytest.mark.parametrize("choice", ["A", "A+"])
def test_an_improved_answer_is_saved_with_the_judgment_in_one_form_without_scripts(
    bobs: Client, bob: User, project: Project, choice: str
) -> None:
    sent = opened(bobs, project)
    better, worse = held(project)
    assert (sent["edited_a"], sent["edited_b"]) == (better.text, worse.text)
    answer = bobs.post(page(project), {**sent, "choice": choice, "edited_a": "Sorry.\r\nIt comes today.\n"})
    assert answer.status_code == 303
    judgment = Judgment.objects.get()
    assert (judgment.choice, judgment.preferred) == ("A", better)
    assert judgment.edited is not None
    assert judgment.edited.text == "Sorry.\nIt comes today."
    assert (judgment.edited.edited_from, judgment.edited.prompt) == (better, better.prompt)
    assert (judgment.edited.author.kind, judgment.edited.author.user) == ("person", bob)
    assert list(broken()) == []
    [record] = judgment_records(project)
    assert [(pair.source, pair.better.text, pair.worse.text) for pair in record.pairs] == [
        ("judgment", better.text, worse.text),
        ("edit", "Sorry.\nIt comes today.", better.text),
    ]


def test_boxes_that_nobody_touched_are_no_edit_and_a_project_that_does_not_ask_has_none(
    bobs: Client, project: Project
) -> None:
    bobs.post(page(project), {**opened(bobs, project), "choice": "B"})
    Project.objects.update(allow_edits=False)
    sent = opened(bobs, project)
    assert "edited_a" not in sent
    bobs.post(page(project), {**sent, "choice": "A", "edited_a": "Sneaked in."})
    assert list(Judgment.objects.values_list("edited", flat=True)) == [None, None]
    assert not Author.objects.filter(kind="person").exists()


@pytest.mark.parametrize(
    ("choice", "written", "words"),
    [
        ("A+", {}, "holds the answer as it was"),
        ("A+", {"edited_a": " "}, "The box is empty"),
        ("A+", {"edited_a": "other"}, "the other answer, word for word"),
        ("A", {"edited_a": "other"}, "the other answer, word for word"),
        ("B", {"edited_a": "Sorry."}, "own version of A"),
        ("tie", {"edited_b": "Sorry."}, "own version of B"),
        ("A", {"edited_a": "x" * 100_001}, "too long"),
    ],
)
def test_what_is_no_version_of_the_chosen_answer_is_said_and_nothing_typed_is_lost(
    bobs: Client, project: Project, choice: str, written: dict[str, str], words: str
) -> None:
    sent = opened(bobs, project)
    written = {name: sent["edited_b"] if text == "other" else text for name, text in written.items()}
    answer = bobs.post(page(project), {**sent, **written, "choice": choice}, headers=HTMX)
    body = answer.content.decode()
    assert answer.status_code == 422
    assert words in body
    for name, text in written.items():
        assert form_of(body)[name] == text
    assert re.search(r"<textarea name=.edited_[ab].[^>]*autofocus", body)
    assert not Judgment.objects.exists()
    assert not Response.objects.filter(author__kind="person").exists()


def test_a_skip_is_not_held_up_by_what_was_begun(bobs: Client, project: Project) -> None:
    bobs.post(page(project), {**opened(bobs, project), "edited_a": "Sor", "skip_reason": "unclear"})
    assert Judgment.objects.get().edited is None


def test_strength_and_an_improved_answer_go_together(bobs: Client, project: Project) -> None:
    Project.objects.update(ask_strength=True)
    for choice in ("B3", "B+"):
        bobs.post(page(project), {**opened(bobs, project), "choice": choice, "edited_b": f"Sorry {choice}."})
    assert list(Judgment.objects.order_by("id").values_list("choice", "strength", "edited__text")) == [
        ("B", 3, "Sorry B3."),
        ("B", 2, "Sorry B+."),
    ]


def test_an_undone_edit_comes_back_into_its_box_and_counts_no_more(bobs: Client, bob: User, project: Project) -> None:
    bobs.post(page(project), {**opened(bobs, project), "choice": "A", "edited_a": "Sorry."})
    first = Judgment.objects.get()
    undo_last(project=project, annotator=bob, kind="pair", client_id=first.client_id, now=timezone.now())
    assert list(judgment_records(project)) == []
    again = opened(bobs, project)
    assert again["edited_a"] == "Sorry."
    bobs.post(page(project), {**again, "choice": "A"})
    [record] = judgment_records(project)
    assert record.edited is not None
    # The same words of the same person are the same response.
    assert record.edited.id == first.edited_id
    assert list(broken()) == []


def test_a_change_and_a_retraction_take_the_edit_with_them(
    bobs: Client, bob: User, lea: User, project: Project
) -> None:
    bobs.post(page(project), {**opened(bobs, project), "choice": "A", "edited_a": "Sorry."})
    change = f"/projects/{project.pk}/history/pair/{Judgment.objects.get().pk}/"
    body = bobs.get(change).content.decode()
    sent = form_of(body)
    assert sent["edited_a"] == "Sorry."
    assert bobs.post(change, {**sent, "choice": "B"}).status_code == 422
    better = {**sent, "choice": "A", "edited_a": "So sorry."}
    assert bobs.post(change, better).status_code == bobs.post(change, better).status_code == 302
    [record] = judgment_records(project)
    assert record.edited is not None
    assert record.edited.text == "So sorry."
    assert "So sorry." in bobs.get(f"/projects/{project.pk}/history/").content.decode()
    retract(project=project, actor=lea, annotator=bob, reason="Wrong guideline.")
    assert list(judgment_records(project)) == []
    assert list(broken()) == []


def submit(project: Project, who: User, slot: Slot, edited: str, choice: str = "A", **other: Any) -> Any:
    sent = {"slot_id": slot.pk, "client_id": slot.submit_id, "now": timezone.now(), **other}
    return record_judgment(project=project, annotator=who, choice=choice, edited=edited, **sent)


def claimed(project: Project, who: User) -> Slot:
    slot = claim_slot(project=project, annotator=who, kind="pair", now=timezone.now(), rng=random.Random(1))
    assert slot is not None
    return slot


def test_the_same_submit_twice_is_one_edit_and_another_text_is_a_conflict(project: Project, bob: User) -> None:
    slot = claimed(project, bob)
    first, second = submit(project, bob, slot, "Sorry."), submit(project, bob, slot, "Sorry.")
    assert isinstance(first, Saved)
    assert (second.decision, second.repeated) == (first.decision, True)
    assert isinstance(submit(project, bob, slot, "Very sorry."), Conflict)
    assert isinstance(submit(project, bob, slot, ""), Conflict)
    assert [response.text for response in Response.objects.filter(author__kind="person")] == ["Sorry."]


def test_a_refused_judgment_leaves_no_written_answer_behind(project: Project, bob: User) -> None:
    slot = claimed(project, bob)
    assert isinstance(submit(project, bob, slot, "Sorry.", client_id=uuid.uuid4()), Gone)
    assert not Response.objects.filter(author__kind="person").exists()
    assert not Author.objects.filter(kind="person").exists()


@pytest.mark.parametrize(("choice", "edited"), [("tie", "Sorry."), ("A", "   "), ("A", "original")])
def test_the_service_refuses_an_edit_that_is_none(project: Project, bob: User, choice: str, edited: str) -> None:
    slot = claimed(project, bob)
    assert slot.comparison is not None
    text = slot.comparison.first.text if edited == "original" else edited
    with pytest.raises(ValueError, match="edit"):
        submit(project, bob, slot, text, choice=choice)
    assert not Judgment.objects.exists()


def test_the_database_refuses_an_edit_beside_a_tie(comparisons: list[Comparison], bob: User) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make_judgment(comparisons[0], bob, "tie", edited=comparisons[0].first)


def test_a_run_freezes_both_pairs_of_a_judgment_and_counts_it_once(project: Project, bob: User) -> None:
    loop = ensure_loop(project=project, base_model="some/model")
    assert loop.sampler is not None
    saved = submit(project, bob, claimed(project, bob), "Better.")
    assert new_decisions(project, method="dpo") == 1
    selection = select_rows(
        project=project, method="dpo", parent=loop.sampler, replay_percent=25, min_rows=2, rng=random.Random(1)
    )
    snapshot = freeze(project=project, selection=selection)
    assert [item.judgment for item in snapshot.items.all()] == [saved.decision]
    ids = [f"j{saved.decision.pk}", f"j{saved.decision.pk}e"]
    assert [row["id"] for row in selection.made.rows] == ids
    # A change afterwards leaves what was frozen as it was.
    Judgment.objects.update(superseded_at=timezone.now())
    made = frozen_rows(snapshot, "dpo")
    settle(snapshot=snapshot, made=made, used=ids[1:], skipped=[{"id": ids[0], "reason": "too long"}])
    assert snapshot.items.get().outcome == "used"
    assert new_decisions(project, method="dpo") == 0
