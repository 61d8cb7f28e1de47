"""Undo, the history, strength, reasons, reports and the guideline's acknowledgement, as a browser meets them."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from annotate.exports.shapes import rating_row
from annotate.models import GuidelineAcknowledgement, Judgment, Membership, Project, PromptReport, Rating, Slot, User
from annotate.queries.invariants import broken
from annotate.queries.projects import midnight
from annotate.queries.records import rating_records
from annotate.services.projects import write_guideline
from tests.cast import make_comparison, make_judgment, make_prompt, make_rating, make_response

HTMX = {"HX-Request": "true"}


def page(project: Project, name: str = "judge") -> str:
    return f"/projects/{project.pk}/{name}/"


def fields(body: str) -> dict[str, str]:
    """What the form of the choices would send."""
    form = body[body.index('id="decision"') :]
    form = form[: form.index("</form>")]
    return dict(re.findall(r'<input type="hidden" name="(slot|client_id|again)" value="([^"]*)"', form))


def opened(client: Client, path: str) -> dict[str, str]:
    return fields(client.get(path).content.decode())


@pytest.fixture
def bobs(client: Client, bob: User, project: Project) -> Client:
    client.force_login(bob)
    return client


def undo_of(body: str) -> str:
    found = re.search(r'name="undone_id" value="([^"]+)"', body)
    assert found is not None
    return found[1]


def judge(client: Client, project: Project, choice: str = "A", **said: str) -> str:
    """Judges one, and returns the next page."""
    sent = opened(client, page(project))
    answer = client.post(page(project), {**sent, "choice": choice, **said}, headers=HTMX)
    assert answer.status_code == 200
    return answer.content.decode()


# --- Undo ---


def test_undo_shows_the_pair_again_as_it_was_with_the_old_choice_marked(bobs: Client, project: Project) -> None:
    before = bobs.get(page(project)).content.decode()
    bobs.post(page(project), {**fields(before), "choice": "B"})
    body = bobs.get(page(project)).content.decode()
    again = bobs.post(page(project, "undo"), {"kind": "pair", "undone_id": undo_of(body)}, headers=HTMX)
    shown = again.content.decode()
    assert fields(shown)["slot"] == fields(before)["slot"]
    assert fields(shown)["client_id"] != fields(before)["client_id"]
    assert "You had said: <strong>B is better</strong>" in shown
    answers = re.compile(r'data-hook="[ab]">(.*?)</div>', re.DOTALL)
    assert answers.findall(shown) == answers.findall(before)
    assert Judgment.objects.get().superseded_at is not None
    bobs.post(page(project), {**fields(shown), "choice": "A"}, headers=HTMX)
    assert list(Judgment.objects.values_list("choice", "superseded_at").filter(superseded_at__isnull=True)) == [
        ("A", None)
    ]
    assert list(broken()) == []


def test_what_was_on_the_page_before_an_undo_comes_next_as_it_was(bobs: Client, project: Project) -> None:
    judge(bobs, project)
    body = judge(bobs, project, "B")
    waiting = fields(body)
    for _ in range(2):
        pressed = {"kind": "pair", "undone_id": undo_of(body)}
        body = bobs.post(page(project, "undo"), pressed, headers=HTMX).content.decode()
    for _ in range(2):
        body = bobs.post(page(project), {**fields(body), "choice": "A"}, headers=HTMX).content.decode()
    assert {name: fields(body)[name] for name in ("slot", "client_id")} == {
        name: waiting[name] for name in ("slot", "client_id")
    }
    assert Slot.objects.filter(state="leased").count() == 1


def test_a_press_on_undo_that_comes_twice_undoes_one_decision(bobs: Client, project: Project) -> None:
    judge(bobs, project)
    pressed = {"kind": "pair", "undone_id": undo_of(judge(bobs, project, "B"))}
    pages = [bobs.post(page(project, "undo"), pressed, headers=HTMX).content.decode() for _ in range(2)]
    assert fields(pages[0]) == fields(pages[1])
    assert list(Judgment.objects.values_list("choice", "superseded_at").filter(superseded_at__isnull=True)) == [
        ("A", None)
    ]


def test_the_old_submit_sent_again_after_an_undo_changes_nothing(bobs: Client, project: Project) -> None:
    sent = {**opened(bobs, page(project)), "choice": "A"}
    body = bobs.post(page(project), sent, headers=HTMX).content.decode()
    bobs.post(page(project, "undo"), {"kind": "pair", "undone_id": undo_of(body)}, headers=HTMX)
    bobs.post(page(project), sent, headers=HTMX)
    assert Judgment.objects.get().superseded_at is not None
    assert Slot.objects.get(pk=sent["slot"]).state == "leased"


def test_what_is_older_than_a_day_or_somebody_elses_is_not_undone(bobs: Client, project: Project, lea: User) -> None:
    comparison = make_comparison(make_prompt(project))
    leas = make_judgment(comparison, lea)
    judge(bobs, project)
    Judgment.objects.exclude(pk=leas.pk).update(created_at=timezone.now() - timedelta(hours=25))
    assert "undone_id" not in bobs.get(page(project)).content.decode()
    for judgment in Judgment.objects.all():
        bobs.post(page(project, "undo"), {"kind": "pair", "undone_id": str(judgment.client_id)})
    assert not Judgment.objects.filter(superseded_at__isnull=False).exists()


def test_an_undone_pair_that_somebody_else_took_breaks_no_rule(bobs: Client, project: Project, lea: User) -> None:
    Slot.objects.exclude(pk=Slot.objects.earliest("pk").pk).delete()
    body = judge(bobs, project)
    bobs.post(page(project, "undo"), {"kind": "pair", "undone_id": undo_of(body)})
    bobs.post(page(project, "stop"))
    leas = Client()
    leas.force_login(lea)
    assert "You had said" not in leas.get(page(project)).content.decode()
    judge(leas, project, "B")
    assert list(broken()) == []


def test_a_thumb_is_undone_too(bobs: Client, project: Project) -> None:
    Slot.objects.create(project=project, kind="thumb", response=make_response(make_prompt(project)))
    path = page(project, "thumbs")
    body = bobs.post(path, {**opened(bobs, path), "value": "up"}, headers=HTMX).content.decode()
    again = bobs.post(page(project, "undo"), {"kind": "thumb", "undone_id": undo_of(body)}, headers=HTMX)
    assert "You had said: <strong>Good</strong>" in again.content.decode()
    assert Rating.objects.get().superseded_at is not None


@pytest.mark.parametrize("words", ["optional", "no"])
def test_a_thumb_carries_its_tags_to_the_undo_the_history_and_the_export(
    bobs: Client, project: Project, words: str
) -> None:
    Project.objects.update(reason_tags=["Tone", "Made up"], ask_rationale=words)
    Slot.objects.create(project=project, kind="thumb", response=make_response(make_prompt(project)))
    path = page(project, "thumbs")
    body = bobs.get(path).content.decode()
    assert body.count('type="checkbox" name="tags"') == 2
    # Tags can be asked for without words.
    assert ('name="rationale"' in body) == (words == "optional")
    sent = {**fields(body), "value": "down", "tags": ["Made up", "Never offered"]}
    after = bobs.post(path, sent, headers=HTMX).content.decode()
    assert bobs.post(path, sent, headers=HTMX).status_code == 200
    assert Rating.objects.get().tags == ["Made up"]
    [record] = rating_records(project)
    assert (rating_row(record)["value"], rating_row(record)["tags"]) == ("down", ["Made up"])
    listed = bobs.get(f"{page(project, 'history')}?kind=thumb").content.decode()
    assert '<span class="badge">Made up</span>' in listed
    again = bobs.post(page(project, "undo"), {"kind": "thumb", "undone_id": undo_of(after)}, headers=HTMX)
    assert re.findall(r'value="([^"]+)" form="decision" checked', again.content.decode()) == ["Made up"]


# --- History ---


def test_the_history_lists_ones_own_decisions_with_as_many_queries_for_many_as_for_few(
    bobs: Client, project: Project, bob: User, lea: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    make_judgment(make_comparison(make_prompt(project, "What lea was asked")), lea)
    counts = []
    for _ in range(2):
        for _ in range(10):
            make_judgment(make_comparison(make_prompt(project)), bob)
        with django_assert_max_num_queries(8) as queries:
            body = bobs.get(page(project, "history")).content.decode()
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert "What lea was asked" not in body
    assert body.count("A is better") == 20


def test_the_history_shows_ones_own_pace_of_today_and_nobody_elses(
    bobs: Client, project: Project, bob: User, lea: User
) -> None:
    def judged(person: User, seconds: float | None, **fields: Any) -> Judgment:
        active_ms = None if seconds is None else round(seconds * 1000)
        return make_judgment(make_comparison(make_prompt(project)), person, active_ms=active_ms, **fields)

    def pace() -> str:
        found = re.search(r'<dl class="pace.*?</dl>', bobs.get(page(project, "history")).content.decode(), re.DOTALL)
        return " ".join(re.sub("<[^>]+>", " ", found[0]).split()) if found else ""

    assert pace() == ""
    judged(bob, None)
    assert pace() == "Done today 1"
    for seconds in (10, 20, 300):
        judged(bob, seconds)
    judged(lea, 1)
    judged(bob, 1, superseded_at=timezone.now())
    Judgment.objects.filter(pk=judged(bob, 1).pk).update(created_at=midnight() - timedelta(seconds=1))
    assert pace() == "Done today 4 Time at work 6 min Half of them took at most 20 s"
    Membership.objects.filter(user=bob).update(daily_quota=10)
    assert "Left of what is planned for your day 6" in pace()


def test_a_change_keeps_the_old_decision_as_superseded_and_counts_once(
    bobs: Client, project: Project, bob: User
) -> None:
    old = make_judgment(make_comparison(make_prompt(project)), bob, "A", swapped=True)
    path = f"/projects/{project.pk}/history/pair/{old.pk}/"
    sent = {**opened(bobs, path), "choice": "B"}
    for _ in range(2):
        assert bobs.post(path, sent).status_code == 302
    old.refresh_from_db()
    new = Judgment.objects.get(superseded_at__isnull=True)
    assert old.superseded_at is not None
    assert (new.choice, new.swapped, new.preferred, new.slot) == ("B", True, old.comparison.first, old.slot)
    assert list(broken()) == []
    assert bobs.post(path, {**sent, "client_id": "6f0a4a4e-4c1d-4d43-8f3a-0d5d3b1f2a10"}).status_code == 409
    assert Judgment.objects.count() == 2


def test_a_rating_is_changed_too_and_a_strangers_or_retracted_decision_is_not(
    bobs: Client, project: Project, bob: User, lea: User
) -> None:
    rating = make_rating(make_response(make_prompt(project)), bob)
    path = f"/projects/{project.pk}/history/thumb/{rating.pk}/"
    bobs.post(path, {**opened(bobs, path), "value": "down"})
    assert Rating.objects.get(superseded_at__isnull=True).value == "down"
    leas = make_judgment(make_comparison(make_prompt(project)), lea)
    gone = make_judgment(make_comparison(make_prompt(project)), bob, retracted_at=timezone.now())
    for judgment in (leas, gone):
        assert bobs.get(f"/projects/{project.pk}/history/pair/{judgment.pk}/").status_code == 404


# --- Strength and reasons ---


@pytest.mark.parametrize(
    ("sent", "kept"), [("A", ("A", 2)), ("A1", ("A", 1)), ("B3", ("B", 3)), ("B", ("B", 2)), ("tie", ("tie", None))]
)
def test_one_press_says_the_side_and_how_much(
    bobs: Client, project: Project, sent: str, kept: tuple[str, int | None]
) -> None:
    Project.objects.update(ask_strength=True)
    assert f'value="{sent}"' in bobs.get(page(project)).content.decode()
    judge(bobs, project, sent)
    assert Judgment.objects.values_list("choice", "strength").get() == kept


def test_without_strength_a_plain_choice_says_nothing_of_it_and_there_is_no_such_button(
    bobs: Client, project: Project
) -> None:
    sent = opened(bobs, page(project))
    assert bobs.post(page(project), {**sent, "choice": "A3"}).status_code == 422
    judge(bobs, project)
    assert Judgment.objects.get().strength is None


def test_a_required_reason_is_asked_for_with_what_was_ticked_kept_and_a_skip_needs_none(
    bobs: Client, project: Project
) -> None:
    Project.objects.update(ask_rationale="required", reason_tags=["Tone", "Accuracy"])
    sent = opened(bobs, page(project))
    answer = bobs.post(page(project), {**sent, "choice": "A", "tags": ["Tone", "Gone"]}, headers=HTMX)
    body = answer.content.decode()
    assert answer.status_code == 422
    assert 'value="Tone" form="decision" checked' in body
    assert fields(body) == sent
    bobs.post(page(project), {**sent, "choice": "A", "tags": ["Tone", "Gone"], "rationale": "Kind."})
    kept = Judgment.objects.get()
    assert (kept.tags, kept.rationale) == (["Tone"], "Kind.")
    bobs.post(page(project), {**opened(bobs, page(project)), "skip_reason": "other"})
    assert Judgment.objects.count() == 2


# --- Reports ---


@pytest.mark.parametrize(("reason", "skip"), [("broken", "broken"), ("harmful", "harmful"), ("private", "other")])
def test_a_report_skips_the_pair_and_reaches_the_reviewers_once(
    bobs: Client, project: Project, reason: str, skip: str
) -> None:
    held = opened(bobs, page(project))
    sent = {"kind": "pair", "reported_slot": held["slot"], "reported_id": held["client_id"], "reason": reason}
    for _ in range(2):
        answer = bobs.post(page(project, "report"), {**sent, "note": "See line 2."}, headers=HTMX)
        assert answer.status_code == 200
    assert fields(answer.content.decode())["slot"] != held["slot"]
    assert Judgment.objects.values_list("choice", "skip_reason").get() == ("skip", skip)
    made = PromptReport.objects.get()
    assert (made.reason, made.note) == (reason, "See line 2.")


def test_nobody_reports_through_a_slot_of_somebody_else(bobs: Client, project: Project, lea: User) -> None:
    leas = Client()
    leas.force_login(lea)
    held = opened(leas, page(project))
    sent = {"kind": "pair", "reported_slot": held["slot"], "reported_id": held["client_id"], "reason": "other"}
    assert bobs.post(page(project, "report"), sent, headers=HTMX).status_code == 409
    assert not PromptReport.objects.exists()


# --- The guideline ---


def test_a_guideline_is_read_once_per_version_before_anything_is_judged(
    bobs: Client, project: Project, alice: User
) -> None:
    sent = opened(bobs, page(project))
    write_guideline(project=project, text="Now **short** wins.", based_on=1, created_by=alice)
    # What was on the screen when it changed is saved all the same.
    body = bobs.post(page(project), {**sent, "choice": "A"}, headers=HTMX).content.decode()
    assert Judgment.objects.count() == 1
    assert "<strong>short</strong>" in body
    assert 'name="choice"' not in body
    read = {"kind": "pair", "version": "2"}
    for _ in range(2):
        assert 'name="choice"' in bobs.post(page(project, "guideline/read"), read, headers=HTMX).content.decode()
    assert GuidelineAcknowledgement.objects.filter(user__username="bob", guideline__version=2).count() == 1


def test_what_was_on_the_screen_before_is_judged_under_the_version_that_was_read_since(
    bobs: Client, project: Project, alice: User
) -> None:
    slot = opened(bobs, page(project))["slot"]
    write_guideline(project=project, text="Now **short** wins.", based_on=1, created_by=alice)
    assert 'name="choice"' not in bobs.get(page(project)).content.decode()
    bobs.post(page(project, "guideline/read"), {"kind": "pair", "version": "2"})
    sent = opened(bobs, page(project))
    assert sent["slot"] == slot
    bobs.post(page(project), {**sent, "choice": "A"}, headers=HTMX)
    assert Judgment.objects.get().guideline == project.guidelines.get(version=2)


def test_nobody_changes_an_answer_under_a_version_that_they_have_not_read(
    bobs: Client, project: Project, alice: User, bob: User
) -> None:
    old = make_judgment(make_comparison(make_prompt(project)), bob, "A")
    path = f"/projects/{project.pk}/history/pair/{old.pk}/"
    sent = {**opened(bobs, path), "choice": "B"}
    write_guideline(project=project, text="Now **short** wins.", based_on=1, created_by=alice)
    assert "has changed" in bobs.get(path, follow=True).content.decode()
    # What was on the screen when it changed is saved all the same, under the version that was read.
    bobs.post(path, sent)
    assert Judgment.objects.get(superseded_at__isnull=True).guideline == project.guidelines.get(version=1)


def test_who_wrote_it_has_read_it_and_a_project_may_not_ask(client: Client, project: Project, bob: User) -> None:
    GuidelineAcknowledgement.objects.all().delete()
    client.force_login(project.created_by)
    assert 'name="choice"' in client.get(page(project)).content.decode()
    client.force_login(bob)
    assert "Before you start" in client.get(page(project)).content.decode()
    assert client.post(page(project, "guideline/read"), {"version": "77"}).status_code == 303
    Project.objects.update(acknowledge_guideline=False)
    assert 'name="choice"' in client.get(page(project)).content.decode()


# --- Limits ---


def test_a_reached_quota_is_a_calm_page_and_costs_no_judgment(bobs: Client, project: Project, bob: User) -> None:
    Membership.objects.filter(user=bob).update(daily_quota=1)
    body = judge(bobs, project)
    assert "That is enough for today" in body
    assert Judgment.objects.count() == 1


def test_a_limit_pauses_after_a_saved_judgment(bobs: Client, project: Project, bob: User) -> None:
    Project.objects.update(pause_above_fast_percent=10, pause_after=5, fast_seconds=600)
    for _ in range(10):
        make_judgment(make_comparison(make_prompt(project)), bob, active_ms=3)
    body = judge(bobs, project, active_ms="1")
    assert "Your judging is paused" in body
    assert Judgment.objects.count() == 11
