"""The judging pages as a browser without JavaScript, and as htmx, meets them."""

import random
import re
import uuid
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from annotate.models import Comparison, Judgment, Membership, Project, Rating, Session, Slot, User
from annotate.services.claims import claim_slot
from tests.cast import make_comparison, make_prompt, make_response

HTMX = {"HX-Request": "true"}


@pytest.fixture
def thumb(project: Project) -> Slot:
    response = make_response(make_prompt(project), "A single answer.")
    return Slot.objects.create(project=project, kind="thumb", response=response)


@pytest.fixture
def bobs(client: Client, bob: User, project: Project) -> Client:
    client.force_login(bob)
    return client


def page(project: Project, kind: str = "judge") -> str:
    return f"/projects/{project.pk}/{kind}/"


def fields(body: str) -> dict[str, str]:
    """The hidden fields of the form that decides."""
    form = body[body.index('id="decision"') :]
    form = form[: form.index("</form>")]
    return {
        name: value
        for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
        if name != "csrfmiddlewaretoken"
    }


def make_comparisons(project: Project, count: int) -> None:
    for number in range(count):
        prompt = make_prompt(project, f"Question {number}")
        make_comparison(prompt, make_response(prompt, f"Yes, {number}."), make_response(prompt, f"No, {number}."))


def opened(client: Client, path: str) -> dict[str, str]:
    answer = client.get(path)
    assert answer.status_code == 200
    return fields(answer.content.decode())


def test_the_page_shows_the_conversation_two_answers_and_every_choice(bobs: Client, project: Project) -> None:
    body = bobs.get(page(project)).content.decode()
    slot = Slot.objects.get(state="leased")
    assert slot.comparison is not None
    for text in (slot.comparison.first.text, slot.comparison.second.text, "What now?"):
        assert text in body
    for value in ("A", "B", "tie", "both_bad"):
        assert f'name="choice" value="{value}"' in body
    assert body.count('name="skip_reason"') == 6
    assert "Prefer the answer that is kind and helps." in body


def test_nothing_on_the_page_tells_who_wrote_the_answers_or_why_they_are_asked(bobs: Client, project: Project) -> None:
    Comparison.objects.update(purpose="duel", split="reserved")
    body = bobs.get(page(project), headers=HTMX).content.decode().lower()
    for word in ("base", "policy", "duel", "reserved", "author", "temperature", "round"):
        assert not re.search(rf"\b{word}\b", body), word


@pytest.mark.parametrize("choice", ["A", "B", "tie", "both_bad"])
def test_without_javascript_a_choice_is_saved_and_leads_back_to_the_next_pair(
    bobs: Client, project: Project, choice: str
) -> None:
    sent = opened(bobs, page(project))
    answer = bobs.post(page(project), {**sent, "choice": choice})
    assert (answer.status_code, answer["Location"]) == (303, page(project))
    assert Judgment.objects.get().choice == choice
    assert opened(bobs, page(project))["client_id"] != sent["client_id"]


def test_htmx_gets_the_next_pair_in_the_answer_to_the_submit(bobs: Client, project: Project) -> None:
    sent = opened(bobs, page(project))
    answer = bobs.post(page(project), {**sent, "choice": "A", "active_ms": "12"}, headers=HTMX)
    body = answer.content.decode()
    assert answer.status_code == 200
    assert "<html" not in body
    assert fields(body)["client_id"] != sent["client_id"]
    assert "1 today" in body


def test_a_skip_is_one_button_with_its_reason(bobs: Client, project: Project) -> None:
    bobs.post(page(project), {**opened(bobs, page(project)), "skip_reason": "expertise"})
    judgment = Judgment.objects.get()
    assert (judgment.choice, judgment.skip_reason) == ("skip", "expertise")


def test_a_reload_shows_the_same_pair_on_the_same_sides(bobs: Client, project: Project) -> None:
    first, second = bobs.get(page(project)).content.decode(), bobs.get(page(project)).content.decode()
    assert fields(first) == fields(second)
    answers = re.compile(r'data-hook="[ab]">(.*?)</div>', re.DOTALL)
    assert answers.findall(first) == answers.findall(second)
    assert len(answers.findall(first)) == 2


def test_the_page_is_never_kept_so_that_the_back_button_asks_again(bobs: Client, project: Project) -> None:
    assert "no-store" in bobs.get(page(project))["Cache-Control"]


def test_the_same_submit_twice_is_one_judgment_and_looks_like_one(bobs: Client, project: Project) -> None:
    sent = {**opened(bobs, page(project)), "choice": "B"}
    for headers, status in (({}, 303), (HTMX, 200), (HTMX, 200)):
        assert bobs.post(page(project), sent, headers=headers).status_code == status
    assert Judgment.objects.count() == 1


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_another_choice_for_the_same_pair_is_told_what_was_saved(
    bobs: Client, project: Project, headers: dict[str, str]
) -> None:
    sent = opened(bobs, page(project))
    bobs.post(page(project), {**sent, "choice": "B"})
    answer = bobs.post(page(project), {**sent, "choice": "A"}, headers=headers)
    body = answer.content.decode()
    assert answer.status_code == 409
    assert "<strong>B is better</strong>" in body
    assert ("<html" in body) == (not headers)
    assert Judgment.objects.get().choice == "B"
    assert opened(bobs, page(project))["client_id"] != sent["client_id"]


def test_an_answer_that_comes_after_somebody_else_was_asked_is_told_so(
    bobs: Client, project: Project, lea: User
) -> None:
    Slot.objects.exclude(pk=Slot.objects.earliest("pk").pk).delete()
    sent = opened(bobs, page(project))
    Slot.objects.update(lease_until=timezone.now() - timedelta(minutes=1))
    assert claim_slot(project=project, annotator=lea, kind="pair", now=timezone.now(), rng=random.Random(1)) is not None
    answer = bobs.post(page(project), {**sent, "choice": "A"}, headers=HTMX)
    assert answer.status_code == 409
    assert "somebody else was asked" in answer.content.decode()
    assert not Judgment.objects.exists()


def test_what_was_written_for_an_answer_that_is_refused_is_shown_once_more(
    bobs: Client, project: Project, bob: User
) -> None:
    Project.objects.update(ask_rationale="optional", allow_edits=True)
    sent = opened(bobs, page(project))
    bobs.post(page(project), {**sent, "choice": "B"})
    late = {**sent, "choice": "A+", "rationale": "Kind <b>words</b>.", "edited_a": "I am very sorry."}
    body = bobs.post(page(project), late, headers=HTMX).content.decode()
    assert "Kind &lt;b&gt;words&lt;/b&gt;." in body
    assert "I am very sorry." in body
    # Likewise where a pause came between, and nothing was saved that a page may take for saved.
    sent = opened(bobs, page(project))
    Membership.objects.filter(user=bob).update(paused_at=timezone.now())
    answer = bobs.post(page(project), {**sent, "choice": "A", "rationale": "Short."}, headers=HTMX)
    assert answer.status_code == 409
    assert "Your judging is paused" in answer.content.decode()
    assert "Short.</textarea>" in answer.content.decode()
    assert Judgment.objects.count() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"choice": "C"},
        {"choice": ""},
        {"choice": "skip"},
        {"choice": "A", "skip_reason": "other"},
        {"skip_reason": "boredom"},
        {"choice": "A", "client_id": "x"},
        {"choice": "A", "slot": "1; drop"},
        {"choice": "A", "slot": str(2**70)},
    ],
)
def test_a_form_that_no_button_sends_is_answered_with_the_same_pair(
    bobs: Client, project: Project, wrong: dict[str, str]
) -> None:
    sent = opened(bobs, page(project))
    answer = bobs.post(page(project), sent | wrong)
    assert answer.status_code == 422
    assert fields(answer.content.decode()) == sent
    assert not Judgment.objects.exists()


@pytest.mark.parametrize("measured", ["", "soon", "-3", "1e9", "9" * 400, "٣"])
def test_a_measurement_that_went_wrong_does_not_cost_the_judgment(
    bobs: Client, project: Project, measured: str
) -> None:
    bobs.post(page(project), {**opened(bobs, page(project)), "choice": "A", "active_ms": measured})
    assert Judgment.objects.get().active_ms is None


def test_an_invented_slot_or_somebody_elses_changes_nothing(bobs: Client, project: Project, lea: User) -> None:
    held = claim_slot(project=project, annotator=lea, kind="pair", now=timezone.now(), rng=random.Random(1))
    assert held is not None
    for slot, client_id in ((held.pk, held.submit_id), (held.pk, uuid.uuid4()), (999_999, uuid.uuid4())):
        sent = {"slot": slot, "client_id": client_id, "choice": "A"}
        assert bobs.post(page(project), sent).status_code == 409
    assert not Judgment.objects.exists()
    assert Slot.objects.get(pk=held.pk).state == "leased"


def test_two_annotators_never_see_the_same_comparison(bobs: Client, project: Project, lea: User) -> None:
    leas = Client()
    leas.force_login(lea)
    seen = [opened(person, page(project))["slot"] for person in (bobs, leas)]
    assert len(set(seen)) == 2


@pytest.mark.parametrize("kind", ["judge", "thumbs"])
def test_an_empty_queue_is_a_calm_page_that_looks_again_by_itself(bobs: Client, project: Project, kind: str) -> None:
    Slot.objects.all().delete()
    body = bobs.get(page(project, kind)).content.decode()
    assert "New answers are being prepared" in body
    assert f'hx-get="{page(project, kind)}?poll=1"' in body
    assert bobs.get(page(project, kind) + "?poll=1", headers=HTMX).status_code == 204
    prompt = make_prompt(project)
    make_comparison(prompt)
    Slot.objects.create(project=project, kind="thumb", response=make_response(prompt))
    found = bobs.get(page(project, kind) + "?poll=1", headers=HTMX)
    assert found.status_code == 200
    assert "hx-trigger" not in found.content.decode()


@pytest.mark.parametrize("kind", ["judge", "thumbs", "stop"])
def test_a_stranger_finds_no_such_page(client: Client, project: Project, charlie: User, thumb: Slot, kind: str) -> None:
    client.force_login(charlie)
    assert client.post(page(project, kind), {"choice": "A"}).status_code == 404
    if kind != "stop":
        assert client.get(page(project, kind)).status_code == 404
    assert not Slot.objects.exclude(state="open").exists()


def test_whoever_was_signed_out_is_sent_to_sign_in_and_htmx_is_told_plainly(client: Client, project: Project) -> None:
    assert client.get(page(project))["Location"].startswith("/accounts/login/?next=")
    assert client.post(page(project), headers=HTMX).status_code == 401


def test_a_paused_annotator_is_told_why_and_gets_nothing(bobs: Client, project: Project, bob: User) -> None:
    sent = opened(bobs, page(project))
    Membership.objects.filter(user=bob).update(paused_at=timezone.now(), paused_reason="Let us talk first.")
    for answer in (bobs.get(page(project)), bobs.post(page(project), {**sent, "choice": "A"})):
        assert "Let us talk first." in answer.content.decode()
    assert not Judgment.objects.exists()


def test_stopping_hands_the_pair_back_at_once(bobs: Client, project: Project) -> None:
    opened(bobs, page(project))
    answer = bobs.post(page(project, "stop"))
    assert (answer.status_code, answer["Location"]) == (303, f"/projects/{project.pk}/")
    assert not Slot.objects.exclude(state="open").exists()
    assert bobs.get(page(project, "stop")).status_code == 405


def test_a_thumb_is_saved_once_and_the_next_answer_follows(bobs: Client, project: Project, thumb: Slot) -> None:
    path = page(project, "thumbs")
    sent = {**opened(bobs, path), "value": "down"}
    for _ in range(2):
        assert "New answers are being prepared" in bobs.post(path, sent, headers=HTMX).content.decode()
    assert Rating.objects.get().value == "down"
    conflict = bobs.post(path, {**sent, "value": "up"})
    assert conflict.status_code == 409
    assert "<strong>Bad</strong>" in conflict.content.decode()


def test_a_thumb_is_skipped_with_a_reason(bobs: Client, project: Project, thumb: Slot) -> None:
    path = page(project, "thumbs")
    bobs.post(path, {**opened(bobs, path), "skip_reason": "broken"})
    assert Rating.objects.get().skip_reason == "broken"


def test_a_page_that_the_project_does_not_use_leads_to_the_one_it_does(bobs: Client, project: Project) -> None:
    Project.objects.update(judging="thumbs")
    assert bobs.get(page(project))["Location"] == page(project, "thumbs")
    Project.objects.update(judging="pairs")
    assert bobs.get(page(project, "thumbs"))["Location"] == page(project)


def test_hostile_answers_stay_text(bobs: Client, project: Project) -> None:
    Slot.objects.all().delete()
    prompt = make_prompt(project, '<script>alert("prompt")</script>')
    hostile = '<button name="choice" value="A" hx-post="/x">Press me</button>'
    make_comparison(prompt, make_response(prompt, hostile), make_response(prompt, "  \n"))
    body = bobs.get(page(project)).content.decode()
    assert '<script>alert("prompt")' not in body
    assert '<button name="choice"' not in body
    assert "Press me" in body
    assert "This answer is empty." in body


def test_a_judgment_costs_the_same_few_queries_however_many_slots_wait(
    bobs: Client, project: Project, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    counts = []
    for _ in range(2):
        for _ in range(20):
            make_comparison(make_prompt(project))
        sent = opened(bobs, page(project))
        with django_assert_max_num_queries(25) as queries:
            bobs.post(page(project), {**sent, "choice": "A"}, headers=HTMX)
        counts.append(len(queries))
    assert counts[0] == counts[1]


# --- The next pair alone, for a page that has the rest ----------------------------------------------------------------


def mark(body: str) -> str:
    found = re.search(r'data-shell="(\w+)"', body)
    return found.group(1) if found else ""


def judged(client: Client, path: str, body: str, shell: str, choice: str = "A", **more: str) -> HttpResponse:
    """Decides the item in ``body`` as htmx does, on a page with this shell."""
    headers = HTMX | {"Pairloop-Shell": shell}
    return client.post(path, fields(body) | {"choice": choice} | more, headers=headers)


def test_a_page_that_has_the_rest_is_sent_the_next_pair_alone(bobs: Client, project: Project) -> None:
    make_comparisons(project, 3)
    body = bobs.get(page(project)).content.decode()
    answer = judged(bobs, page(project), body, mark(body))
    assert answer.headers["Pairloop-Item"] == "alone"
    slot = Slot.objects.get(state="leased")
    alone = answer.content.decode()
    assert f'data-slot="{slot.pk}" data-id="{slot.submit_id}"' in alone
    assert f'data-undo="{Judgment.objects.get().client_id}"' in alone
    assert "<form" not in alone
    # What a reload shows of it is the same, word for word.
    whole = bobs.get(page(project)).content.decode()
    parts = re.findall(r'(?s)<div class="prose".*?</div>', alone)
    assert len(parts) == 3
    assert all(part in whole for part in parts)


def test_a_page_of_other_settings_or_another_language_is_sent_all_of_it(bobs: Client, project: Project) -> None:
    make_comparisons(project, 5)
    body = bobs.get(page(project)).content.decode()
    shell = mark(body)
    bobs.cookies["django_language"] = "de"
    german = judged(bobs, page(project), body, shell)
    assert "Pairloop-Item" not in german.headers
    assert mark(german.content.decode()) not in ("", shell)
    bobs.cookies["django_language"] = "en"
    Project.objects.update(ask_strength=True)
    strong = judged(bobs, page(project), german.content.decode(), shell)
    assert "Pairloop-Item" not in strong.headers
    assert 'value="A3"' in strong.content.decode()
    # Where answers may be improved, the boxes differ from pair to pair.
    Project.objects.update(allow_edits=True)
    assert mark(bobs.get(page(project)).content.decode()) == ""


def test_after_an_undo_and_after_a_mistake_all_of_it_is_sent(bobs: Client, project: Project) -> None:
    make_comparisons(project, 3)
    body = bobs.get(page(project)).content.decode()
    shell = mark(body)
    wrong = judged(bobs, page(project), body, shell, choice="")
    assert wrong.status_code == 422
    assert mark(wrong.content.decode()) == ""
    judged(bobs, page(project), body, shell)
    undone_id = str(Judgment.objects.get().client_id)
    headers = HTMX | {"Pairloop-Shell": shell}
    back = bobs.post(f"/projects/{project.pk}/undo/", {"kind": "pair", "undone_id": undone_id}, headers=headers)
    assert "Taken back" in back.content.decode()
    assert mark(back.content.decode()) == ""


# --- Whose session it is ----------------------------------------------------------------------------------------------


def test_a_session_is_checked_although_one_statement_reads_it_with_the_seat(bobs: Client, project: Project) -> None:
    bob, lea = User.objects.get(username="bob"), User.objects.get(username="lea")
    path = page(project)
    assert bobs.get(path).status_code == 200
    session = Session.objects.get()
    assert session.user == bob
    # The row's own copy of who it is for convinces nobody.
    Session.objects.update(user=lea)
    answer = bobs.get(path)
    assert answer.wsgi_request.user == bob
    Session.objects.update(user=bob)
    for change, back in (
        ({"is_active": False}, {"is_active": True}),
        ({"session_epoch": 7}, {"session_epoch": bob.session_epoch}),
        ({"password": "other"}, {"password": bob.password}),
    ):
        User.objects.filter(pk=bob.pk).update(**change)
        assert bobs.get(path, headers=HTMX).status_code == 401
        User.objects.filter(pk=bob.pk).update(**back)
        bobs.force_login(bob)
        assert bobs.get(path, headers=HTMX).status_code == 200
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert bobs.get(path, headers=HTMX).status_code == 401
    bobs.force_login(bob)
    Session.objects.update(session_data="nonsense")
    assert bobs.get(path, headers=HTMX).status_code == 401


def test_a_secret_key_that_was_changed_signs_nobody_out_while_the_old_one_is_known(
    bobs: Client, project: Project, settings: LazySettings
) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret key, long enough for a test of what happens"
    assert bobs.get(page(project)).status_code == 200
