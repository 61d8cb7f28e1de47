"""`manage.py add_user` and `manage.py verify`."""

import io
import re
import uuid
from collections.abc import Callable

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone

from annotate.models import Comparison, Judgment, Membership, Project, PromptImport, Rating, Slot, User
from tests.cast import make_comparison, make_judgment, make_prompt, make_rating, make_response, make_user
from training.models import Policy
from training.services.loops import ensure_loop


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_a_new_user_gets_a_password_that_is_shown_once_and_a_place_in_the_project(project: Project) -> None:
    printed = run("add_user", "nina", "--role", "lead", "--project", str(project.pk))
    found = re.search(r"password, shown this once: (\S+)", printed)
    assert found
    nina = User.objects.get(username="nina")
    assert nina.check_password(found[1])
    assert len(found[1]) >= 16
    assert not nina.is_staff
    assert project.memberships.get(user=nina).role == "lead"
    assert project.audit_entries.filter(verb="member.added", subject="nina").exists()


def test_an_existing_user_keeps_the_password_and_takes_the_role(project: Project, bob: User) -> None:
    before = bob.password
    assert "password" not in run("add_user", "bob", "--role", "lead", "--project", str(project.pk))
    bob.refresh_from_db()
    assert bob.password == before
    assert project.memberships.get(user=bob).role == "lead"


def test_staff_may_open_projects_and_needs_none(db: None) -> None:
    run("add_user", "sam", "--staff")
    assert User.objects.get(username="sam").is_staff


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bob"], "has an account already"),
        (["bob", "--staff"], "has an account already"),
        (["nina", "--project", "999999"], "no project 999999"),
        (["white space"], "valid username"),
        (["alice", "--role", "annotator", "--project", "{project}"], "needs an owner"),
        (["nina", "--role", "boss"], "invalid choice"),
    ],
)
def test_add_user_says_what_is_wrong_and_changes_nothing(project: Project, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        run("add_user", *(argument.format(project=project.pk) for argument in arguments))
    assert User.objects.count() == 3
    assert project.memberships.count() == 3


def test_an_account_is_closed_and_opened_from_the_command_line(project: Project, bob: User) -> None:
    assert "is closed" in run("close_account", "bob", "--reason", "left")
    bob.refresh_from_db()
    assert not bob.is_active
    assert "closed before" in run("close_account", "bob")
    assert "open again" in run("close_account", "bob", "--open")
    bob.refresh_from_db()
    assert bob.is_active
    with pytest.raises(CommandError, match="no account named nina"):
        run("close_account", "nina")
    with pytest.raises(CommandError, match="Parcel support"):
        run("close_account", "alice")


def test_a_lost_second_factor_is_taken_away_from_the_command_line(bob: User) -> None:
    Authenticator.objects.create(user=bob, type=Authenticator.Type.TOTP, data={})
    assert "removed" in run("remove_second_factor", "bob")
    assert not Authenticator.objects.exists()
    assert "had none" in run("remove_second_factor", "bob")
    with pytest.raises(CommandError, match="no account named nina"):
        run("remove_second_factor", "nina")


@pytest.fixture
def judged(project: Project, bob: User, lea: User) -> Project:
    """One of everything that verify looks at, as it should be."""
    for swapped in (False, True):
        for choice in ("A", "B", "tie", "both_bad", "skip"):
            make_judgment(make_comparison(make_prompt(project)), bob, choice, swapped=swapped)
    comparison = project.comparisons.order_by("-id")[0]
    make_judgment(comparison, lea, "A")
    make_rating(comparison.first, bob, "up")
    PromptImport.objects.create(project=project, name="x", rows=3, imported=2, skipped={"empty": 1})
    ensure_loop(project=project, base_model=str(settings.STARTER_DIR))
    return project


def test_verify_is_content_with_tables_that_are_right(judged: Project) -> None:
    assert "All is as it must be." in run("verify")


def other_side_preferred() -> None:
    judgment = Judgment.objects.filter(choice="A", swapped=True).earliest("id")
    Judgment.objects.filter(pk=judgment.pk).update(preferred=judgment.comparison.first_id)


def slot_of_another_person() -> None:
    slot = Judgment.objects.filter(annotator__username="lea").earliest("id").slot_id
    Slot.objects.filter(pk=slot).update(annotator=make_user("else"))


def second_judgment_of_a_slot() -> None:
    judgment = Judgment.objects.filter(annotator__username="lea").earliest("id")
    other = make_user("else")
    copy = make_judgment(judgment.comparison, other)
    Judgment.objects.filter(pk=copy.pk).update(slot=judgment.slot)


def replaced_by_another_item() -> None:
    slot = Slot.objects.filter(kind="pair").earliest("id")
    elsewhere = make_comparison(make_prompt(slot.project))
    elsewhere.slots.update(replaces=slot)


def responses_to_two_prompts() -> None:
    elsewhere = make_response(make_prompt(Project.objects.get()))
    Comparison.objects.filter(pk=Comparison.objects.earliest("id").pk).update(second=elsewhere)


def weights_that_are_gone() -> None:
    base = Policy.objects.get()
    Policy.objects.create(
        project=base.project,
        number=1,
        author=base.project.authors.create(kind="policy", number=1, name="policy 1"),
        base_model=base.base_model,
        adapter_path="policies/nowhere",
        manifest_sha256="f" * 64,
    )


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (other_side_preferred, "the preferred response is not"),
        (lambda: Judgment.objects.filter(choice="A").update(choice="B"), "the preferred response is not"),
        (lambda: Judgment.objects.filter(annotator__username="lea").delete(), "neither judgment nor rating"),
        (lambda: Rating.objects.all().delete(), "neither judgment nor rating"),
        (
            lambda: Slot.objects.filter(kind="pair", state="done").update(state="open"),
            "judgment .*: its slot is not done",
        ),
        (lambda: Slot.objects.filter(kind="thumb").update(state="withdrawn"), "rating .*: its slot is not done"),
        (slot_of_another_person, "about another comparison or person"),
        (second_judgment_of_a_slot, "has 2 judgments that stand"),
        (replaced_by_another_item, "in the place of a slot about something else"),
        (responses_to_two_prompts, "comparison .*: its responses"),
        (lambda: Comparison.objects.filter(split="train").update(split="reserved"), "comparison .*: its responses"),
        (lambda: PromptImport.objects.update(imported=F("rows")), "3 imported . 1 skipped is not 3 rows"),
        (lambda: Membership.objects.filter(role="owner").delete(), "has no owner"),
        (weights_that_are_gone, "policy 1 of project"),
    ],
)
def test_verify_finds_each_kind_of_damage(judged: Project, damage: Callable[[], object], words: str) -> None:
    damage()
    errors = io.StringIO()
    with pytest.raises(CommandError, match="not as they must be"):
        call_command("verify", stdout=io.StringIO(), stderr=errors)
    assert re.search(words, errors.getvalue())


def test_a_superseded_judgment_beside_its_successor_is_fine(judged: Project) -> None:
    old = Judgment.objects.filter(annotator__username="lea").earliest("id")
    Judgment.objects.filter(pk=old.pk).update(superseded_at=timezone.now())
    old.pk, old.client_id = None, uuid.uuid4()
    old.save()
    assert Judgment.objects.filter(slot=old.slot).count() == 2
    assert "All is as it must be." in run("verify")
