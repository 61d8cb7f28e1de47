"""Every page as owner, lead and annotator in a made-up language: what is not marked, nobody sent to the translators.

The made-up catalogue wraps every text of ours in brackets. What stands outside of brackets on a page must be somebody's
words (the cast's names, prompts and answers below) or the same in every language.
"""

import json
import re
from collections import deque
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from django.conf import LazySettings
from django.core.cache import caches
from django.test import Client
from django.utils import timezone
from django.utils.translation import trans_real

from annotate.models import Author, Membership, Project, PromptImport, QuizAttempt, User
from annotate.said import Said
from annotate.services.checks import make_gold, make_gold_lineup
from annotate.services.review import retract
from tests import messages
from tests.cast import (
    make_comparison,
    make_judgment,
    make_lineup,
    make_prompt,
    make_ranking,
    make_rating,
    make_response,
)
from training.models import Job, Loop, Policy, RecipeRun, Run
from training.recipes import Stage
from training.services.loops import ensure_loop
from training.services.recipes import make_recipe
from training.services.runs import end_run, mark_training, start_run

# The same in every language: names of things, formats and measures, units, and what the code calls something.
SAME = re.compile(
    r"Pairloop|f?DPO|KTO|SFT|RLOO|GRPO|TRL|LoRA|KL|Wilson|CSV|JSONL?|UTF|Markdown|n|s|h|min|[A-Z]|Esc|Shift|Deutsch|English"
    r"|dpo|kto|sigmoid|hinge|ipo|exo|nca|pair|robust|bco|sppo|hard|aot|unpaired|apo|zero|down|sft|norm|mixed|cdpo|linear|cosine|constant|with|warmup|auto|float|bfloat|ann|UTC|MB|KB"
)
# Somebody's words: what the cast and this file wrote, and the browser's own date and time formats.
SAID = re.compile(
    r"alice|lea|bob|charlie|tone|Parcel support|Prefer the answer that is kind and helps\.?|x\.jsonl|spam"
    r"|(?:My parcel \d+ is late\. What now\?)|Can I send a parcel to my neighbour\?"
    r"|vor \w+ (?:Sekunden?|Minuten?|Stunden?)|\d+\. (?:Januar|Februar|März|April|Mai|Juni|Juli|August|September)"
    r"|\d+\. (?:Oktober|November|Dezember)"
    r"|Question \d+: where is my parcel\?|Answer \d+: it is on its way\.|owner/name|ann-[0-9a-f]{8}|[0-9a-f]{40,}"
)


class Texts(HTMLParser):
    """What a person reads or hears of a page, outside of code, keys and what is meant for machines."""

    SKIPPED = ("script", "style", "code", "pre", "kbd", "samp")
    SPOKEN = ("title", "placeholder", "aria-label", "alt", "data-next", "data-saved", "data-in", "data-unit")
    SPOKEN += ("data-labels",)

    def __init__(self) -> None:
        super().__init__()
        self._attributes: list[str] = []
        self._running: list[str] = []
        self.links: list[str] = []
        self.actions: list[str] = []
        self.numbers: list[str] = []
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        machine = tag in self.SKIPPED or "mono" in (values.get("class") or "").split()
        if tag not in ("input", "br", "hr", "img", "meta", "link"):
            self._open.append((tag, machine))
        if not self._machine():
            self._attributes += [value for name in self.SPOKEN if (value := values.get(name))]
        if tag == "a":
            self.links.append(values.get("href") or "")
        if tag == "form" and values.get("method") == "post":
            self.actions.append(values.get("action") or "")
        if tag == "input" and values.get("type") == "number":
            self.numbers.append(values.get("value") or "")
        if tag in ("rect", "progress", "meter"):
            self.numbers += [values.get(name) or "" for name in ("x", "y", "width", "height", "value", "max")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element of SVG that is closed at once."""
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            name, _ = self._open.pop()
            if name == tag:
                return

    def handle_data(self, data: str) -> None:
        if data.strip() and not self._machine():
            self._running.append(" ".join(data.split()))

    def texts(self) -> list[str]:
        """Attributes, and the running text without what stands in brackets, which may reach over several elements."""
        return [
            *map(outside, self._attributes),
            *filter(None, map(str.strip, outside("\n".join(self._running)).split("\n"))),
        ]

    def _machine(self) -> bool:
        return any(machine for _, machine in self._open)


def outside(text: str) -> str:
    """The text without what stands in brackets."""
    while re.search(r"⟦[^⟦⟧]*⟧", text):
        text = re.sub(r"⟦[^⟦⟧]*⟧", " ", text)
    return text


def left_over(text: str, known: re.Pattern[str]) -> list[str]:
    """The words of a text that are neither ours, nor the framework's, nor somebody's, nor the same everywhere."""
    words = re.findall(r"[^\W\d_]+", SAID.sub(" ", known.sub(" ", text)))
    return [word for word in words if not SAME.fullmatch(word)]


def frameworks_own() -> re.Pattern[str]:
    """What Django and allauth say in German: rules for passwords, and the like. Whole texts only."""
    catalogue = trans_real.translation("de")._catalog  # type: ignore[attr-defined]
    said = {str(value).strip() for _key, value in catalogue.items() if value and "⟦" not in str(value)}
    patterns = []
    for text in said:
        parts = re.split(r"%\(\w+\)\w|%s", text)
        if sum(map(str.isalpha, "".join(parts))) > 8 or (len(parts) == 1 and text):
            patterns.append(".+".join(map(re.escape, parts)))
    return re.compile(rf"^\s*(?:{'|'.join(patterns)})\s*$")


@pytest.fixture
def made_up(settings: LazySettings, tmp_path: Path) -> Iterator[None]:
    """German is a language in which every text of ours is the English one in brackets."""
    catalogue = Catalog(locale="de", domain="django")
    for entry in messages.collect():
        if entry.id:
            texts = entry.id if isinstance(entry.id, tuple) else (entry.id,)
            wrapped = tuple(f"⟦{text}⟧" for text in texts)
            catalogue.add(entry.id, wrapped if len(texts) > 1 else wrapped[0], context=entry.context)
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    with (folder / "django.mo").open("wb") as file:
        write_mo(file, catalogue)
    settings.LOCALE_PATHS = [tmp_path]
    # Parts of pages that are kept for each language: what another test read in German, and what this one did.
    caches["process"].clear()
    yield
    caches["process"].clear()


@pytest.fixture
def busy(project: Project, alice: User, lea: User, bob: User) -> Loop:
    """A project in which everything has happened once, so that its pages have something to say."""
    ensure_loop(project=project, base_model="owner/name")
    loop = Loop.objects.get(project=project)
    for number in range(24):
        comparison = make_comparison(make_prompt(project), slots=2, round=1)
        make_judgment(comparison, bob, "A" if number % 3 else "B", active_ms=900 * number, strength=2)
        make_judgment(comparison, lea, "A" if number % 2 else "tie", active_ms=4000)
    make_judgment(make_comparison(make_prompt(project), round=1), bob, "skip")
    make_judgment(make_comparison(make_prompt(project), round=1), bob, "both_bad")
    make_rating(make_response(make_prompt(project)), bob)
    failed = start_run(loop=loop, method="dpo", settings={}, started_by=lea, reason="12")
    mark_training(failed)
    Job.objects.filter(run=failed).update(state="failed", ended_at=timezone.now())
    end_run(
        failed,
        state="failed",
        code="no_space",
        message=Said("The disk is full. Free some space and start the job again."),
    )
    run = start_run(loop=loop, method="dpo", settings={}, started_by=None, reason="12")
    policy = Policy.objects.create(
        project=project, number=1, run=run, parent=run.parent, base_model="owner/name", adapter_path="policies/1/1",
        author=Author.objects.create(project=project, kind="policy", number=1, name="policy 1"),
        manifest_sha256="f" * 64, scored_at=timezone.now(),
        metrics={"heldout_accuracy": 0.7, "heldout_low": 0.5, "heldout_high": 0.8, "heldout_n": 9, "heldout_wins": 6},
    )  # fmt: skip
    assert policy.run_id
    recipe = make_recipe(project=project, name="x.jsonl", stages=[Stage("dpo", {"beta": 0.2}), Stage("kto")], actor=lea)
    begun = RecipeRun.objects.create(
        project=project, number=1, recipe=recipe, name=recipe.name, version=1, stages=recipe.stages,
        start=run.parent, state="stopped", message=Said("There is no policy to go on from."),
    )  # fmt: skip
    Run.objects.filter(pk=failed.pk).update(recipe_run=begun, stage=1)
    make_judgment(make_comparison(make_prompt(project), round=1), alice, "A", tags=["tone"])
    retract(project=project, annotator=alice, since=None, until=None, reason="spam", actor=alice)
    PromptImport.objects.create(
        project=project, name="x.jsonl", rows=2, imported=1, skipped={"json": 1}, created_by=lea, problems=[]
    )
    return loop


def pages(client: Client) -> Iterator[tuple[str, Texts]]:
    """Every page that links lead to from home, each address once (of many alike, such as comparisons, one)."""
    waiting, seen = deque(["/"]), {"/"}
    while waiting:
        address = waiting.popleft()
        answer = client.get(address, headers={"Accept-Language": "de"}, follow=True)
        assert answer.status_code == 200, address
        if not answer["Content-Type"].startswith("text/html"):
            continue
        parser = Texts()
        parser.feed(answer.content.decode())
        yield address, parser
        for link in parser.links:
            path = link.split("?")[0].split("#")[0]
            kind = re.sub(r"(?<=/)\d+(?=/$)", "N", path)
            if path.startswith("/") and kind not in seen and not path.startswith(("/admin", "/static")):
                seen.add(kind)
                waiting.append(path)


@pytest.mark.parametrize(("name", "fewest"), [("alice", 25), ("lea", 20), ("bob", 5)])
def test_every_word_on_every_page_can_be_translated(
    client: Client, made_up: None, busy: Loop, name: str, fewest: int
) -> None:
    client.force_login(User.objects.get(username=name))
    found, visited, known = {}, 0, frameworks_own()
    for address, page in pages(client):
        visited += 1
        for text in page.texts():
            if words := left_over(text, known):
                found.setdefault(text, (address, words))
    assert visited >= fewest
    assert found == {}, json.dumps(found, indent=1)


def test_rankings_and_the_quiz_can_be_translated_as_well(
    client: Client, made_up: None, project: Project, alice: User, bob: User
) -> None:
    for _ in range(2):
        make_ranking(make_lineup(make_prompt(project)), bob, [1, 2, 2, 4])
        make_lineup(make_prompt(project))
    for expected in ("first", "tie"):
        make_gold(comparison=make_comparison(make_prompt(project), slots=0), expected=expected, actor=alice)
        make_gold_lineup(lineup=make_lineup(make_prompt(project), slots=0), ranks=[1, 2, 3, None], actor=alice)
    client.force_login(bob)
    here = f"/projects/{project.pk}/"
    Project.objects.update(judging=Project.Judging.RANKING)
    shown = [client.get(here + path, headers={"Accept-Language": "de"}) for path in ("", "rank/", "history/")]
    client.cookies["django_language"] = "de"
    ranks = {f"rank_{place}": place for place in (1, 2, 3, 4)}
    for judging, said in ((Project.Judging.PAIRS, {"choice": "A"}), (Project.Judging.RANKING, ranks)):
        Project.objects.update(judging=judging, quiz_questions=2, quiz_pass_percent=100, quiz_attempts=9)
        Membership.objects.update(quiz_passed_at=None)
        shown += [client.get(here + path, follow=True) for path in ("judge/", "quiz/")]
        shown.append(client.post(here + "quiz/start/", follow=True))
        attempt = QuizAttempt.objects.first()
        assert attempt is not None
        for position in (1, 2):
            asked = {"attempt": attempt.pk, "position": position, "choice": "ranked"} | said
            shown += [client.post(here + "quiz/answer/", asked, follow=True), client.get(here + "quiz/")]
    assert len(shown) >= 17
    known, found = frameworks_own(), []
    for answer in shown:
        assert answer.status_code == 200
        page = Texts()
        page.feed(answer.content.decode())
        found += [(text, words) for text in page.texts() if (words := left_over(text, known))]
    assert found == []


# Leads away from the project or from the session; tested where they are at home.
ELSEWHERE = re.compile(r"/(language|logout|accounts|account)/|/(remove|sign-out|close)/")


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_what_every_form_answers_can_be_translated(client: Client, made_up: None, busy: Loop, name: str) -> None:
    """Every form of every page, sent empty: what it refuses, and what the page after it says."""
    client.force_login(User.objects.get(username=name))
    actions = {page_action for address, page in pages(client) for page_action in (a or address for a in page.actions)}
    found, known, refused = {}, frameworks_own(), 0
    for action in sorted(action for action in actions if not ELSEWHERE.search(action)):
        answer = client.post(action, {}, headers={"Accept-Language": "de"}, follow=True)
        assert answer.status_code in (200, 302, 409, 422), (action, answer.status_code)
        refused += answer.status_code == 422
        page = Texts()
        page.feed(answer.content.decode())
        for text in page.texts():
            if words := left_over(text, known):
                found.setdefault(text, (action, words))
    assert refused >= (8 if name == "alice" else 1)
    assert found == {}, json.dumps(found, indent=1)


def test_numbers_for_machines_have_no_decimal_comma(client: Client, busy: Loop, lea: User) -> None:
    """A bar chart of the width "0,5" is none, and a number field refuses it."""
    client.force_login(lea)
    numbers = {(address, number) for address, page in pages(client) for number in page.numbers}
    assert len(numbers) > 40
    assert [entry for entry in numbers if "," in entry[1]] == []


def test_a_text_that_nobody_marked_would_be_found() -> None:
    page = Texts()
    page.feed('<p>⟦Saved by ⟦alice⟧⟧ <b title="Not marked">⟦Yes⟧</b> and <code>code</code></p>')
    assert [left_over(text, re.compile("(?!)")) for text in page.texts()] == [["Not", "marked"], ["and"]]
