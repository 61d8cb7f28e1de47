"""Leads give open work to a person or a group, set priorities, and take it back."""

import random
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from annotate.models import (
    AnnotatorGroup,
    Assignment,
    Author,
    Comparison,
    Membership,
    Project,
    PromptImport,
    Slot,
    User,
)
from annotate.queries.judging import open_slots
from annotate.queries.projects import waiting_in
from annotate.services.assignments import (
    NothingToAssignError,
    Selection,
    assign,
    delete_group,
    save_group,
    set_priority,
    undo_assignment,
)
from annotate.services.checks import make_gold
from annotate.services.claims import claim_slot, release_slots
from annotate.services.judging import Saved, record_judgment
from annotate.services.people import remove_member
from tests.cast import join, make_comparison, make_judgment, make_prompt, make_response, make_user

ROUND_ONE = Selection(round=1)


@pytest.fixture
def ida(project: Project) -> User:
    ida = make_user("ida")
    join(project, ida)
    return ida


@pytest.fixture
def group(project: Project, bob: User, ida: User, alice: User) -> AnnotatorGroup:
    """bob and ida."""
    members = list(Membership.objects.filter(project=project, user__in=[bob, ida]).select_related("user"))
    return save_group(project=project, actor=alice, name="Readers of German", members=members)


def claim(project: Project, person: User, *, later: timedelta = timedelta(0)) -> Slot | None:
    project.refresh_from_db()
    now = timezone.now() + later
    return claim_slot(project=project, annotator=person, kind="pair", now=now, rng=random.Random(3))


def say(slot: Slot | None, person: User, choice: str = "A", skip_reason: str = "") -> None:
    assert slot is not None
    outcome = record_judgment(
        project=slot.project, annotator=person, slot_id=slot.pk, client_id=slot.submit_id, choice=choice,
        skip_reason=skip_reason, now=timezone.now(),
    )  # fmt: skip
    assert isinstance(outcome, Saved)


def asked_of(project: Project, person: User) -> set[int | None]:
    """The comparisons that the person is asked about until nothing is left, which are given back afterwards."""
    found = set()
    while slot := claim(project, person):
        found.add(slot.comparison_id)
        Slot.objects.filter(pk=slot.pk).update(state="withdrawn")
    Slot.objects.filter(state="withdrawn").update(state="open", annotator=None, lease_until=None)
    return found


# --- To a person ---


def test_what_is_assigned_to_somebody_is_asked_of_them_first_and_of_nobody_else(
    project: Project, comparisons: list[Comparison], bob: User, lea: User
) -> None:
    made = assign(
        project=project, actor=lea, selection=Selection(comparisons=[comparisons[2].pk]), to=bob
    )  # fmt: skip
    assert made.slots == 1
    first = claim(project, bob)
    assert first is not None
    assert first.comparison == comparisons[2]
    release_slots(project=project, annotator=bob)
    assert asked_of(project, lea) == {comparison.pk for comparison in comparisons[:2]}
    assert waiting_in(project, bob)["pair"] == 3
    assert waiting_in(project, lea)["pair"] == 2


def test_a_person_gets_one_slot_of_each_and_nothing_that_they_were_asked_or_wrote(
    project: Project, bob: User, lea: User
) -> None:
    Slot.objects.all().delete()
    shared = make_comparison(make_prompt(project), slots=3, round=1)
    asked = make_comparison(make_prompt(project), slots=2, round=1)
    make_judgment(asked, bob)
    prompt = make_prompt(project)
    by_bob = Author.objects.create(project=project, kind="person", name="Bob", user=bob)
    make_comparison(prompt, make_response(prompt), make_response(prompt, author=by_bob), round=1)
    assert assign(project=project, actor=lea, selection=ROUND_ONE, to=bob).slots == 1
    assert Slot.objects.get(only_for=bob).comparison == shared
    with pytest.raises(NothingToAssignError):
        assign(project=project, actor=lea, selection=ROUND_ONE, to=bob)
    assert Assignment.objects.count() == 1


def test_what_somebody_holds_and_what_checks_them_is_not_assigned(
    project: Project, comparisons: list[Comparison], bob: User, lea: User, alice: User
) -> None:
    gold = make_gold(comparison=comparisons[0], expected="tie", actor=alice)
    Slot.objects.create(project=project, kind="pair", comparison=gold, only_for=lea)
    held = claim(project, lea)
    assert held is not None
    assert assign(project=project, actor=lea, selection=ROUND_ONE, to=bob).slots == 3
    assert Slot.objects.get(pk=held.pk).only_for == lea


@pytest.mark.parametrize("by", ["round", "file", "category", "prompts", "most"])
def test_a_selection_is_what_fits_everything_that_was_given(project: Project, bob: User, lea: User, by: str) -> None:
    file = PromptImport.objects.create(project=project, name="german.jsonl", rows=2, imported=2)
    wanted = make_prompt(project, prompt_import=file, meta={"category": "legal"})
    comparison = make_comparison(wanted, round=7)
    selection, most = {
        "round": (Selection(round=7), None),
        "file": (Selection(prompt_import=file), None),
        "category": (Selection(category="legal"), None),
        "prompts": (Selection(prompts=[wanted.pk]), None),
        "most": (Selection(prompts=list(range(wanted.pk, wanted.pk + 9))), 1),
    }[by]
    assert assign(project=project, actor=lea, selection=selection, to=bob, most=most).slots == 1
    assert Slot.objects.get(only_for=bob).comparison == comparison


def test_single_answers_are_assigned_too(project: Project, bob: User, lea: User) -> None:
    for number in (1, 2):
        Slot.objects.create(project=project, kind="thumb", response=make_response(make_prompt(project), round=number))
    assert assign(project=project, actor=lea, selection=Selection(kind="thumb", round=2), to=bob).slots == 1


def test_undone_it_is_everybodys_again_but_for_what_is_held(project: Project, bob: User, lea: User) -> None:
    made = assign(project=project, actor=lea, selection=ROUND_ONE, to=bob)
    say(claim(project, bob), bob)
    held = claim(project, bob)
    assert undo_assignment(assignment=made, actor=lea) == 2
    assert undo_assignment(assignment=made, actor=lea) is None
    assert held is not None
    assert len(asked_of(project, lea)) == 1
    assert claim(project, bob) == held
    # And when their time is over, it is anybody's.
    Slot.objects.exclude(pk=held.pk).filter(state="open").update(state="withdrawn")
    assert claim(project, lea, later=timedelta(hours=2)) == held
    deeds = list(project.audit_entries.filter(verb__startswith="queue.").values_list("verb", flat=True))
    assert deeds == ["queue.assignment_undone", "queue.assigned"]


def test_a_skip_of_an_assigned_pair_is_asked_of_everybody_else(project: Project, bob: User, lea: User) -> None:
    assign(project=project, actor=lea, selection=ROUND_ONE, to=bob, most=1)
    slot = claim(project, bob)
    say(slot, bob, "skip", "expertise")
    instead = Slot.objects.get(replaces=slot)
    assert (instead.only_for, instead.assignment) == (None, None)


def test_what_was_assigned_to_somebody_who_leaves_is_everybodys_again(
    project: Project, bob: User, lea: User, alice: User
) -> None:
    assign(project=project, actor=lea, selection=ROUND_ONE, to=bob)
    owner, member = (Membership.objects.select_related("project", "user").get(user=who) for who in (alice, bob))
    remove_member(by=owner, member=member)
    assert len(asked_of(project, lea)) == 3


# --- To a group ---


def test_a_groups_work_is_asked_of_its_members_alone(
    project: Project, comparisons: list[Comparison], group: AnnotatorGroup, bob: User, ida: User, lea: User
) -> None:
    selection = Selection(comparisons=[comparison.pk for comparison in comparisons[1:]])
    assert assign(project=project, actor=lea, selection=selection, to=group).slots == 2
    assert asked_of(project, lea) == {comparisons[0].pk}
    first, second = claim(project, bob), claim(project, ida)
    assert first is not None
    assert second is not None
    assert {first.comparison_id, second.comparison_id} == {comparisons[1].pk, comparisons[2].pk}
    say(first, bob)
    last = claim(project, bob)
    assert last is not None
    assert last.comparison == comparisons[0]
    assert waiting_in(project, lea)["pair"] == 0
    assert open_slots(project, "pair") == 0


def test_a_persons_own_work_comes_before_their_groups(
    project: Project, comparisons: list[Comparison], group: AnnotatorGroup, bob: User, lea: User
) -> None:
    assign(project=project, actor=lea, selection=Selection(comparisons=[comparisons[0].pk]), to=group)
    assign(project=project, actor=lea, selection=Selection(comparisons=[comparisons[2].pk]), to=bob)
    order = []
    for _ in range(3):
        slot = claim(project, bob)
        assert slot is not None
        order.append(slot.comparison)
        say(slot, bob)
    assert order == [comparisons[2], comparisons[0], comparisons[1]]


def test_a_group_gets_no_more_slots_of_an_item_than_it_has_members_to_ask(
    project: Project, group: AnnotatorGroup, bob: User, lea: User
) -> None:
    Slot.objects.all().delete()
    wide = make_comparison(make_prompt(project), slots=4, round=1)
    known = make_comparison(make_prompt(project), slots=3, round=1)
    make_judgment(known, bob)
    assert assign(project=project, actor=lea, selection=ROUND_ONE, to=group).slots == 3
    assert wide.slots.filter(only_for_group=group).count() == 2
    assert known.slots.filter(only_for_group=group).count() == 1
    with pytest.raises(NothingToAssignError):
        assign(project=project, actor=lea, selection=ROUND_ONE, to=group)


def test_a_skip_stays_in_the_group_while_somebody_there_was_not_asked(
    project: Project, comparisons: list[Comparison], group: AnnotatorGroup, bob: User, ida: User, lea: User
) -> None:
    assign(project=project, actor=lea, selection=Selection(comparisons=[comparisons[0].pk]), to=group)
    slot = claim(project, bob)
    say(slot, bob, "skip", "language")
    instead = Slot.objects.get(replaces=slot)
    assert instead.only_for_group == group
    assert claim(project, ida) == instead
    say(claim(project, ida), ida, "skip", "language")
    assert Slot.objects.get(replaces=instead).only_for_group is None
    assert comparisons[0].pk in asked_of(project, lea)


def test_a_deleted_group_gives_its_work_back_and_frees_its_members(
    project: Project, group: AnnotatorGroup, bob: User, lea: User
) -> None:
    made = assign(project=project, actor=lea, selection=ROUND_ONE, to=group)
    assert delete_group(group=group, actor=lea) == 3
    assert len(asked_of(project, lea)) == 3
    assert Membership.objects.get(user=bob).group is None
    made.refresh_from_db()
    assert (made.group, made.to) == (None, "Readers of German")


def test_somebody_is_in_one_group_at_most(project: Project, group: AnnotatorGroup, bob: User, lea: User) -> None:
    member = Membership.objects.select_related("user").get(user=bob)
    other = save_group(project=project, actor=lea, name="Night shift", members=[member])
    member.refresh_from_db()
    assert member.group == other
    assert list(group.memberships.values_list("user__username", flat=True)) == ["ida"]


# --- Priority ---


def test_priority_moves_what_is_asked_first(
    project: Project, comparisons: list[Comparison], bob: User, lea: User
) -> None:
    wanted = Selection(prompts=[comparisons[2].prompt_id])
    assert set_priority(project=project, actor=lea, selection=wanted, priority=5) == 1
    assert set_priority(project=project, actor=lea, selection=wanted, priority=5) == 0
    for _ in range(20):
        make_comparison(make_prompt(project))
    first = claim(project, bob)
    assert first is not None
    assert first.comparison == comparisons[2]


# --- The page ---


def send(client: Client, project: Project, path: str, /, **data: object) -> int:
    return client.post(f"/projects/{project.pk}/queue/{path}", data, follow=True).status_code


def test_a_lead_assigns_and_undoes_on_the_page(
    client: Client, project: Project, comparisons: list[Comparison], bob: User, lea: User
) -> None:
    client.force_login(lea)
    numbers = f"{comparisons[0].pk}, {comparisons[1].pk}-{comparisons[2].pk}"
    chosen = {"kind": "pair", "comparisons": numbers, "to": f"person {bob.pk}", "action": "assign"}
    page = client.post(f"/projects/{project.pk}/queue/steer/", chosen, follow=True).content.decode()
    assert "Assigned to bob: 3." in page
    assert f"comparisons {comparisons[0].pk}-{comparisons[2].pk}" in page
    assert Slot.objects.filter(only_for=bob).count() == 3
    again = client.post(f"/projects/{project.pk}/queue/steer/", chosen)
    assert again.status_code == 422
    assert "nothing that fits is open to everybody" in again.content.decode()
    made = Assignment.objects.get()
    assert send(client, project, f"assignments/{made.pk}/undo/") == 200
    assert not Slot.objects.filter(only_for=bob).exists()
    assert "Undone" in client.get(f"/projects/{project.pk}/queue/").content.decode()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"action": "assign", "to": "bob"}, "Say which: a round"),
        ({"action": "assign", "round": "1"}, "Choose a person or a group"),
        ({"action": "priority", "round": "1"}, "Say which priority"),
        ({"action": "assign", "prompts": "1-x"}, "neither a number nor a range"),
        ({"action": "assign", "prompts": "1-999999999"}, "Name at most"),
        ({"action": "priority", "round": "1", "priority": "99999"}, "less than or equal to 1000"),
    ],
)
def test_nonsense_is_explained(
    client: Client, project: Project, bob: User, lea: User, given: dict[str, str], said: str
) -> None:
    client.force_login(lea)
    if given.get("to") == "bob":
        given = given | {"to": f"person {bob.pk}"}
    answer = client.post(f"/projects/{project.pk}/queue/steer/", {"kind": "pair"} | given)
    assert answer.status_code == 422
    assert said in answer.content.decode()


def test_groups_are_made_changed_and_deleted_on_the_page(
    client: Client, project: Project, bob: User, ida: User, lea: User
) -> None:
    client.force_login(lea)
    member = {who.username: Membership.objects.get(project=project, user=who).pk for who in (bob, ida)}
    assert send(client, project, "groups/", name="Readers", members=[member["bob"], member["ida"]]) == 200
    assert send(client, project, "groups/", name="Readers") == 422
    group = AnnotatorGroup.objects.get()
    assert group.memberships.count() == 2
    assert send(client, project, f"groups/{group.pk}/", name="German", members=[member["ida"]]) == 200
    assert list(group.memberships.values_list("pk", flat=True)) == [member["ida"]]
    chosen = {"kind": "pair", "round": "1", "to": f"group {group.pk}", "action": "assign", "most": "1"}
    assert send(client, project, "steer/", **chosen) == 200
    assert Slot.objects.filter(only_for_group=group).count() == 1
    assert send(client, project, f"groups/{group.pk}/delete/") == 200
    assert not AnnotatorGroup.objects.exists()
    verbs = set(project.audit_entries.values_list("verb", flat=True))
    assert {"group.made", "group.changed", "group.deleted", "queue.assigned"} <= verbs


def test_another_projects_group_and_assignment_are_missing(
    client: Client, project: Project, alice: User, lea: User
) -> None:
    other = Project.objects.create(name="Other", created_by=alice)
    group = AnnotatorGroup.objects.create(project=other, name="Theirs")
    assignment = Assignment.objects.create(project=other, user=alice, to="alice", what="Pair", created_by=alice)
    client.force_login(lea)
    for name in (f"groups/{group.pk}/", f"groups/{group.pk}/delete/", f"assignments/{assignment.pk}/undo/"):
        assert send(client, project, name) == 404
