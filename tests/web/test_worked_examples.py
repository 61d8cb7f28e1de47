"""Worked examples: pairs with the right answer and why, which belong to one version of the guideline."""

import pytest
from django.test import Client

from annotate.models import Comparison, GuidelineAcknowledgement, Project, User, WorkedExample
from annotate.services.projects import Example, write_guideline
from annotate.services.verdicts import adjudicate
from tests.cast import make_comparison, make_prompt

KIND = Example(
    prompt="Where is *my* parcel?",
    a="Wait.",
    b="I am sorry. It left **today**.",
    answer="B",
    why="It says what happens.",
)
EQUAL = Example(prompt="Can I send it back?", a="Yes, for 14 days.", b="For 14 days: yes.", answer="tie", why="Equal.")


def url(project: Project, name: str) -> str:
    return f"/projects/{project.pk}/{name}"


def sent(project: Project, *examples: Example, initial: int = 0, **more: str) -> dict[str, str]:
    """What the form sends."""
    newest = project.guidelines.order_by("-version")[0]
    data = {
        "text": "Prefer what helps.", "based_on": str(newest.version), "examples-TOTAL_FORMS": str(len(examples)),
        "examples-INITIAL_FORMS": str(initial),
    }  # fmt: skip
    for number, example in enumerate(examples):
        for name in ("prompt", "a", "b", "answer", "why"):
            data[f"examples-{number}-{name}"] = getattr(example, name)
    return data | more


def shown(project: Project, version: int) -> list[tuple[int, str]]:
    rows = WorkedExample.objects.filter(guideline__project=project, guideline__version=version)
    return list(rows.values_list("position", "answer"))


def test_examples_are_written_with_a_version_and_stay_with_it(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    client.post(url(project, "guideline/edit/"), sent(project, KIND, EQUAL))
    taken_out = sent(project, KIND, EQUAL, initial=2) | {"examples-0-DELETE": "on"}
    client.post(url(project, "guideline/edit/"), taken_out)
    assert (shown(project, 1), shown(project, 2), shown(project, 3)) == ([], [(1, "B"), (2, "tie")], [(1, "tie")])
    old = client.get(url(project, "guideline/2/")).content.decode()
    assert "It left <strong>today</strong>" in old
    assert "Where is <em>my</em> parcel?" in old
    assert "Where is" not in client.get(url(project, "guideline/")).content.decode()


def test_a_version_without_a_word_about_examples_keeps_them(project: Project, alice: User) -> None:
    write_guideline(project=project, text="New.", based_on=1, created_by=alice, examples=[KIND])
    write_guideline(project=project, text="Newer.", based_on=2, created_by=alice)
    assert shown(project, 3) == [(1, "B")]


def test_one_more_is_asked_for_without_losing_what_was_typed(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    page = client.post(
        url(project, "guideline/edit/"), sent(project, KIND, add="1", text="Half a sent")
    ).content.decode()
    assert "Half a sent" in page
    assert "Example 2" in page
    assert "It says what happens." in page
    assert project.guidelines.count() == 1


def test_a_preview_shows_them_and_saves_nothing(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    page = client.post(url(project, "guideline/edit/"), sent(project, KIND, preview="1")).content.decode()
    assert "It left <strong>today</strong>" in page
    assert not WorkedExample.objects.exists()


@pytest.mark.parametrize("missing", ["prompt", "a", "answer", "why"])
def test_half_an_example_is_sent_back(client: Client, project: Project, lea: User, missing: str) -> None:
    client.force_login(lea)
    answer = client.post(url(project, "guideline/edit/"), sent(project, KIND) | {f"examples-0-{missing}": ""})
    assert answer.status_code == 422
    assert "This field is required" in answer.content.decode()
    assert project.guidelines.count() == 1


def test_an_example_left_empty_is_none(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    empty = Example("", "", "", "", "")
    assert client.post(url(project, "guideline/edit/"), sent(project, KIND, empty)).status_code == 302
    assert shown(project, 2) == [(1, "B")]


def test_one_begins_from_a_comparison_with_its_verdict(
    client: Client, project: Project, lea: User, alice: User
) -> None:
    comparison = make_comparison(make_prompt(project, "Is it late?"))
    adjudicate(comparison=comparison, verdict="second", note="It is kinder.", reviewer=lea)
    client.force_login(lea)
    link = url(project, "guideline/edit/") + f"?example={comparison.pk}"
    assert link in client.get(url(project, f"comparisons/{comparison.pk}/")).content.decode()
    page = client.get(link)
    first = page.context["examples"][0].initial
    assert first == {
        "prompt": "Is it late?", "a": comparison.first.text, "b": comparison.second.text, "answer": "B",
        "why": "It is kinder.",
    }  # fmt: skip
    other = Project.objects.create(name="Other", created_by=alice)
    foreign = make_comparison(make_prompt(other))
    for number in (foreign.pk, 10**17, "x"):
        page = client.get(url(project, "guideline/edit/") + f"?example={number}")
        assert page.context["examples"].total_form_count() == 0


def test_an_annotator_meets_them_with_the_guideline_and_while_judging(
    client: Client, project: Project, bob: User, alice: User, comparisons: list[Comparison]
) -> None:
    made = write_guideline(project=project, text="New.", based_on=1, created_by=alice, examples=[KIND])
    client.force_login(bob)
    unread = client.get(url(project, "judge/")).content.decode()
    assert "It says what happens." in unread
    GuidelineAcknowledgement.objects.create(guideline=made, user=bob)
    judging = client.get(url(project, "judge/")).content.decode()
    assert 'name="choice"' in judging
    assert "It says what happens." in judging
    assert "Example 1" in judging


def test_hostile_text_is_harmless(client: Client, project: Project, bob: User, alice: User) -> None:
    evil = Example(
        prompt="<script>alert(1)</script>",
        a="<img src=x onerror=alert(1)>",
        b="b",
        answer="A",
        why="[x](javascript:alert(1))",
    )
    write_guideline(project=project, text="New.", based_on=1, created_by=alice, examples=[evil])
    client.force_login(bob)
    page = client.get(url(project, "guideline/")).content.decode()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert 'href="javascript' not in page
