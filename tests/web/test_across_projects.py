"""What belongs to one project cannot be reached through another: not by an address, not by an id in a form."""

import os
import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from annotate.models import (
    AnnotatorGroup,
    Comparison,
    Judgment,
    Project,
    PromptImport,
    PromptReport,
    Rating,
    Retraction,
    Role,
    Slot,
    User,
)
from annotate.services.projects import create_project
from tests.cast import join, make_comparison, make_judgment, make_prompt, make_user
from tests.web.test_access import ADDRESSES, MISSING, TABLE, make_world, outcome
from training.paths import policy_folder

# Arguments that are counted within a project or are words: the same ones exist in every project.
OF_EVERY_PROJECT = {"version", "number", "name", "kind"}


@pytest.fixture
def elsewhere(db: None) -> Project:
    """Another project, of other people."""
    owner, leads, judges = (make_user(name) for name in ("olga", "lars", "ben"))
    project = create_project(
        name="Elsewhere", created_by=owner, guideline_text="Be brief.", judging=Project.Judging.BOTH
    )
    join(project, leads, Role.LEAD)
    join(project, judges)
    make_comparison(make_prompt(project, "What is elsewhere?"), round=1)
    return project


def person(name: str) -> User:
    return User.objects.get(username=name)


def with_ids() -> list[str]:
    return [
        name
        for name, page in TABLE.items()
        if "project_id" in ADDRESSES[name] and set(page.arguments) - OF_EVERY_PROJECT
    ]


def test_there_are_addresses_with_ids() -> None:
    assert len(with_ids()) > 15


@pytest.mark.parametrize("name", with_ids())
def test_an_id_of_another_project_is_not_there(client: Client, project: Project, elsewhere: Project, name: str) -> None:
    world = make_world(elsewhere, person("ben"), person("lars"))
    arguments = {key: world[value] for key, value in TABLE[name].arguments.items()}
    url = reverse(name, kwargs={**arguments, "project_id": project.pk})
    client.force_login(person("alice"))
    for method, allowed in (("GET", TABLE[name].get), ("POST", TABLE[name].post)):
        if allowed:
            assert outcome(client, method, url) == MISSING


@pytest.mark.parametrize("name", [name for name in ADDRESSES if "int:" in ADDRESSES[name]])
def test_a_number_that_no_database_holds_is_not_there(client: Client, project: Project, name: str) -> None:
    client.force_login(User.objects.create_superuser("root"))
    join(project, person("root"), Role.OWNER)
    words: dict[str, Any] = {"kind": "pair", "name": "days", "project_id": project.pk}
    parts = re.findall(r"<(\w+):(\w+)>", ADDRESSES[name])
    for huge in (part for kind, part in parts if kind == "int"):
        url = reverse(name, kwargs={part: words.get(part, 1) for _, part in parts} | {huge: 10**30})
        for method, allowed in (("GET", TABLE[name].get), ("POST", TABLE[name].post)):
            if allowed:
                assert outcome(client, method, url) == MISSING, f"{method} {url}"


def held(project: Project, user: User, kind: str = Slot.Kind.PAIR) -> Slot:
    """An open slot that the user holds now."""
    slot = project.slots.filter(state=Slot.State.OPEN, kind=kind).earliest("id")
    slot.state, slot.annotator, slot.lease_until = Slot.State.LEASED, user, timezone.now() + timedelta(minutes=5)
    slot.shown_at = timezone.now()
    slot.save()
    return slot


def url(name: str, project: Project, *more: object) -> str:
    return reverse(f"annotate:{name}", args=[project.pk, *more])


@pytest.fixture
def in_both(project: Project, elsewhere: Project, bob: User) -> User:
    """bob judges in both projects: what he holds in one is nothing in the other."""
    join(elsewhere, bob)
    return bob


def test_what_is_held_in_one_project_is_not_judged_through_another(
    client: Client, project: Project, elsewhere: Project, in_both: User
) -> None:
    client.force_login(in_both)
    pair = held(elsewhere, in_both)
    thumb = Slot.objects.create(
        project=elsewhere, kind=Slot.Kind.THUMB, response=make_comparison(make_prompt(elsewhere), slots=0).first
    )
    thumb = held(elsewhere, in_both, Slot.Kind.THUMB)
    for name, slot, said in (("judge", pair, {"choice": "A"}), ("thumbs", thumb, {"value": "up"})):
        sent = {"slot": slot.pk, "client_id": slot.submit_id, "active_ms": 5, **said}
        assert client.post(url(name, project), sent).status_code == 409
        slot.refresh_from_db()
        assert slot.state == Slot.State.LEASED
        assert client.post(url(name, elsewhere), sent).status_code == 303
    assert (Judgment.objects.get().project, Rating.objects.get().project) == (elsewhere, elsewhere)


def test_nothing_is_reported_handed_back_or_undone_through_another(
    client: Client, project: Project, elsewhere: Project, in_both: User
) -> None:
    client.force_login(in_both)
    slot = held(elsewhere, in_both)
    sent = {"kind": "pair", "reported_slot": slot.pk, "reported_id": slot.submit_id, "reason": "broken", "note": ""}
    client.post(url("report", project), sent)
    client.post(url("stop", project))
    slot.refresh_from_db()
    assert slot.state == Slot.State.LEASED
    assert not PromptReport.objects.exists()
    judgment = make_judgment(make_comparison(make_prompt(elsewhere)), in_both)
    client.post(url("undo", project), {"kind": "pair", "undone_id": str(judgment.client_id)})
    judgment.refresh_from_db()
    assert judgment.superseded_at is None
    assert client.get(url("change", project, "pair", judgment.pk)).status_code == 404
    assert client.get(url("change", elsewhere, "pair", judgment.pk)).status_code == 200


def test_the_id_of_a_decision_elsewhere_saves_nothing_here(
    client: Client, project: Project, elsewhere: Project, in_both: User
) -> None:
    client.force_login(in_both)
    there = make_judgment(make_comparison(make_prompt(elsewhere)), in_both)
    here = held(project, in_both)
    client.post(url("judge", project), {"slot": here.pk, "client_id": there.client_id, "choice": "B"})
    client.post(url("judge", project), {"slot": here.pk, "client_id": uuid.uuid4(), "choice": "B"})
    assert list(Judgment.objects.all()) == [there]


def test_a_retraction_takes_back_nothing_elsewhere(client: Client, project: Project, elsewhere: Project) -> None:
    bob, ben, lea = person("bob"), person("ben"), person("lea")
    join(elsewhere, bob)
    there = make_judgment(make_comparison(make_prompt(elsewhere)), bob)
    make_judgment(make_comparison(make_prompt(elsewhere)), ben)
    make_judgment(make_comparison(make_prompt(project)), bob)
    client.force_login(lea)
    assert client.post(url("retract", project), {"annotator": ben.pk, "reason": "spam"}).status_code == 422
    assert client.post(url("retract", project), {"annotator": bob.pk, "reason": "spam"}).status_code == 302
    there.refresh_from_db()
    assert there.retracted_at is None
    assert Retraction.objects.get().judgments == 1


def test_the_queue_is_steered_within_the_project(client: Client, project: Project, elsewhere: Project) -> None:
    client.force_login(person("lea"))
    theirs = elsewhere.comparisons.earliest("id")
    group = AnnotatorGroup.objects.create(project=elsewhere, name="Night shift")
    file = PromptImport.objects.create(project=elsewhere, name="x.jsonl", rows=0, imported=0)
    ours = project.comparisons.earliest("id")
    steer = url("steer", project)
    for sent in (
        {"comparisons": theirs.pk, "to": f"person {person('bob').pk}"},
        {"prompts": theirs.prompt_id, "to": f"person {person('bob').pk}"},
        {"comparisons": ours.pk, "to": f"person {person('ben').pk}"},
        {"comparisons": ours.pk, "to": f"group {group.pk}"},
        {"prompt_import": file.pk, "to": f"person {person('bob').pk}"},
    ):
        assert client.post(steer, {"kind": "pair", "action": "assign", **sent}).status_code == 422
    client.post(steer, {"kind": "pair", "action": "priority", "comparisons": theirs.pk, "priority": "7"})
    assert not Slot.objects.exclude(priority=0).exists()
    assert not Slot.objects.exclude(only_for=None, only_for_group=None).exists()
    member = elsewhere.memberships.get(user__username="ben")
    assert client.post(url("new_group", project), {"name": "Mine", "members": member.pk}).status_code == 422
    assert not project.groups.exists()


def test_exports_and_tables_hold_the_project_and_nothing_else(
    client: Client, project: Project, elsewhere: Project
) -> None:
    ben = person("ben")
    prompt = make_prompt(elsewhere, "A secret of elsewhere")
    make_judgment(make_comparison(prompt, round=1), ben, rationale="A secret of elsewhere")
    make_judgment(make_comparison(make_prompt(project), round=1), person("bob"))
    client.force_login(person("alice"))
    sent = {"what": "judgments", "format": "jsonl"}
    export = b"".join(client.post(url("export", project), sent))  # type: ignore[arg-type]
    pages = [client.get(url(name, project)) for name in ("dashboard", "quality", "audit", "review", "prompts", "queue")]
    pages += [client.get(url("annotators_csv", project)), client.get(url("dashboard_table", project, "annotators"))]
    for body in (export, *(page.content for page in pages)):
        assert b"secret of elsewhere" not in body
        assert ben.pseudonym.encode() not in body
        assert b"ben<" not in body
    assert Comparison.objects.filter(prompt=prompt).exists()


def test_a_loop_does_not_begin_with_another_projects_policy(
    client: Client, project: Project, elsewhere: Project, settings: Settings
) -> None:
    make_world(elsewhere, person("ben"), person("lars"))
    client.force_login(person("lea"))
    page = reverse("training:loop", args=[project.pk])
    sent = client.get(page).context["form"].initial
    theirs = policy_folder(elsewhere.pk, 1)
    roundabout = f"{settings.STARTER_DIR}/../../../policies/{elsewhere.pk}/1"
    for base in (str(theirs), os.path.relpath(theirs), roundabout, str(settings.HOME)):
        given = {name: "" if value is None else value for name, value in sent.items()} | {"base_model": base}
        answer = client.post(page, given)
        assert answer.status_code == 422
        assert "belongs to a project" in answer.content.decode()
