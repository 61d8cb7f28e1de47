"""The catalogues are whole, what is compiled is what was translated, and readers get the language they asked for."""

import gettext
import re
from collections import Counter
from datetime import UTC, datetime

import pytest
from babel.messages.catalog import Message
from django.test import Client
from django.urls import reverse
from django.utils import translation

from annotate.models import Membership, Project, User
from annotate.said import Clock, Said, counted, packed
from annotate.telling import told
from tests import messages

CATALOGUES = {language: messages.read(language) for language in messages.LANGUAGES}
TRANSLATIONS = [(language, entry) for language, catalogue in CATALOGUES.items() for entry in catalogue if entry.id]


def both(text: str | tuple[str, ...]) -> tuple[str, ...]:
    return text if isinstance(text, tuple) else (text,)


def placeholders(text: str) -> Counter[str]:
    """What is filled in, and markup, which a translation must keep as it is."""
    return Counter(re.findall(r"%\(\w+\)[a-z]|%%[a-z]|</?\w[^>]*>|`[^`]+`", text))


# --- The catalogues ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_every_text_of_the_interface_is_translated_and_no_other(language: str) -> None:
    """For a new or changed text: `make messages`, fill in its empty `msgstr` in `locale/`, `make messages` again."""
    wanted = {(entry.id, entry.context) for entry in messages.collect()}
    there = {(entry.id, entry.context) for entry in CATALOGUES[language]}
    assert wanted - there == set(), "`make messages` adds these to the catalogue"
    assert there - wanted == set(), "`make messages` drops these from the catalogue"
    untranslated = [entry.id for entry in messages.missing(CATALOGUES[language])]
    assert untranslated == [], f"fill these in, in {messages.catalogue_path(language)}, then `make messages`"


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_what_is_compiled_is_what_was_translated(language: str) -> None:
    with messages.catalogue_path(language, compiled=True).open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for entry in CATALOGUES[language]:
        if not entry.id or entry in messages.missing(CATALOGUES[language]):
            continue
        one, *many = both(entry.id)
        context = [entry.context] if entry.context else []
        if many:
            found = tuple(
                (compiled.npgettext if context else compiled.ngettext)(*context, one, *many, n) for n in (1, 2)
            )
        else:
            found = ((compiled.pgettext if context else compiled.gettext)(*context, one),)
        assert found == both(entry.string), "`make messages` compiles the catalogue"


def test_every_translation_keeps_what_is_filled_in() -> None:
    wrong = []
    for language, entry in TRANSLATIONS:
        wanted = [placeholders(text) for text in both(entry.id)]
        wrong += [(language, said) for said in both(entry.string) if said and placeholders(said) not in wanted]
    assert wrong == []


def test_nothing_is_fuzzy_and_plurals_have_both_forms() -> None:
    assert [entry.id for _, entry in TRANSLATIONS if entry.fuzzy] == []
    for language, entry in TRANSLATIONS:
        if isinstance(entry.id, tuple):
            assert len(both(entry.string)) == CATALOGUES[language].num_plurals, entry.id


def test_what_is_kept_to_be_said_later_has_placeholders_for_strings_only() -> None:
    """``Said`` turns every value into a string as people write it there, and so do the pages."""
    found: list[Message] = [entry for entry in messages.collect(only=("Said", "counted")) if entry.id]
    assert len(found) > 150
    assert [entry.id for entry in found if re.search(r"%\(\w+\)[^s]", "".join(both(entry.id)))] == []


# --- Saying -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "german"),
    [
        (Said("queue low: %(open)s of %(target)s open items", open=12, target=60), "Warteschlange knapp: 12 von 60"),
        (Said("waiting: %(why)s", why=Said("there is no model in %(folder)s", folder="/m")), "wartet: in /m liegt"),
        (Said("every %(hours)s hours", hours=1.5), "alle 1,5 Stunden"),
        (counted("%(n)s new judgment", "%(n)s new judgments", n=1), "1 neues Urteil"),
        (counted("%(n)s new judgment", "%(n)s new judgments", n=12_345), "12.345 neue Urteile"),
        (Said("waiting: next round at %(time)s", time=datetime(2026, 11, 21, 15, 7, tzinfo=UTC)), "21. November 2026"),
        (Said("neu um %(time)s", time=Clock(datetime(2026, 11, 21, 15, 7, tzinfo=UTC))), "neu um 15:07"),
        ("Please read section 2.", "Please read section 2."),
        ([Said("it was never scored"), "and more"], "sie wurde nie gemessen, and more"),
    ],
)
def test_what_was_kept_is_said_in_the_readers_language(sentence: object, german: str) -> None:
    with translation.override("de"):
        assert german in told(sentence)
        assert german in told(packed(sentence))


def test_a_sentence_of_another_release_is_said_in_english_rather_than_not_at_all() -> None:
    with translation.override("de"):
        assert told({"text": "queue low: %(open)s of %(target)s open items", "values": {"open": 3}}).startswith("queue")
        assert told(Said("a sentence that nobody translated, %(n)s times", n=2)) == (
            "a sentence that nobody translated, 2 times"
        )


def test_what_a_limit_said_is_read_by_everybody_in_their_own_language(
    client: Client, project: Project, bob: User
) -> None:
    reason = Said(
        "%(hits)s of %(n)s gold questions right (%(low)s–%(high)s%%); the limit is %(limit)s%%.",
        hits=1, n=10, low=2, high=40, limit=70,
    )  # fmt: skip
    Membership.objects.filter(user=bob).update(paused_at=datetime(2026, 11, 21, tzinfo=UTC), paused_reason=reason)
    client.force_login(bob)
    judging = reverse("annotate:judge", args=[project.pk])
    assert "1 of 10 gold questions right (2–40%); the limit is 70%." in client.get(judging).content.decode()
    page = client.get(judging, headers={"Accept-Language": "de"}).content.decode()
    assert "1 von 10 Goldfragen richtig (2–40 %); die Grenze ist 70 %." in page


# --- Choosing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "lang"),
    [("", "en"), ("de", "de"), ("de-AT,de;q=0.9,en;q=0.8", "de"), ("fr", "en"), ("fr;q=0.9,de;q=0.5", "de")],
)
def test_the_browsers_wish_decides_until_somebody_chooses(client: Client, db: None, wish: str, lang: str) -> None:
    answer = client.get(reverse("account_login"), headers={"Accept-Language": wish})
    assert f'<html lang="{lang}" dir="ltr">' in answer.content.decode()
    assert "Accept-Language" in answer["Vary"]
    assert ("Anmelden" if lang == "de" else "Sign in") in answer.content.decode()


def test_a_choice_outlives_the_session_and_leads_back_to_the_page(client: Client, project: Project, bob: User) -> None:
    client.force_login(bob)
    here = reverse("annotate:history", args=[project.pk]) + "?kind=thumb"
    page = client.get(here).content.decode()
    assert f'<input type="hidden" name="next" value="{here}">' in page
    assert '<button class="button quiet small" name="language" value="de" lang="de">Deutsch</button>' in page
    answer = client.post(reverse("set_language"), {"language": "de", "next": here})
    assert (answer.status_code, answer["Location"]) == (302, here)
    assert answer.cookies["django_language"]["max-age"] > 300 * 24 * 3600
    assert answer.cookies["django_language"]["httponly"]
    page = client.get(here).content.decode()
    assert '<html lang="de"' in page
    assert 'lang="en">English</button>' in page
    client.post(reverse("account_logout"))
    assert "Anmelden" in client.get(reverse("account_login")).content.decode()


def test_a_choice_needs_a_token_and_leads_nowhere_else(bob: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    assert client.post(reverse("set_language"), {"language": "de"}).status_code == 403
    answer = Client().post(reverse("set_language"), {"language": "de", "next": "https://example.org/"})
    assert answer["Location"] == "/"


def test_a_language_that_is_not_there_changes_nothing(client: Client, db: None) -> None:
    assert "django_language" not in client.post(reverse("set_language"), {"language": "xx"}).cookies


def test_a_page_that_came_by_post_leads_home_because_nobody_can_ask_for_it_again(
    client: Client, project: Project, lea: User
) -> None:
    client.force_login(lea)
    page = client.post(reverse("annotate:new_invite", args=[project.pk]), {"role": "nobody"}).content.decode()
    assert f'name="next" value="{reverse("annotate:home")}"' in page


def test_pages_of_errors_are_in_the_readers_language_too(client: Client, project: Project, bob: User) -> None:
    client.force_login(bob)
    german = {"Accept-Language": "de"}
    missing = client.get("/projects/999999/", headers=german)
    assert (missing.status_code, "Hier ist nichts" in missing.content.decode()) == (404, True)
    refused = client.get(reverse("annotate:people", args=[project.pk]), headers=german)
    assert "Diese Seite ist für die Leitung des Projekts." in refused.content.decode()


def test_even_the_page_that_comes_when_everything_is_broken(client: Client) -> None:
    client.raise_request_exception = False
    # Without a database here, the session of whoever asks cannot be read.
    client.cookies["sessionid"] = "x" * 32
    answer = client.get("/", headers={"Accept-Language": "de"})
    assert answer.status_code == 500
    page = answer.content.decode()
    assert '<html lang="de">' in page
    assert "Bei uns ist etwas kaputtgegangen" in page
