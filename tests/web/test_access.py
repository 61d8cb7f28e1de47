"""Every address of the site, as everyone who might open it. An address that is not in the table fails the test."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from annotate.models import AnnotatorGroup, Assignment, Membership, Project, PromptImport, Retraction, Role, User
from annotate.services.people import create_invite
from tests.cast import make_comparison, make_judgment, make_lineup, make_prompt
from training.models import Loop, Policy, RecipeRun, Trial
from training.recipes import Stage
from training.services.loops import ensure_loop
from training.services.recipes import make_recipe
from training.services.runs import start_run
from training.services.trials import Chosen, start_trial

SIGN_IN, MISSING, FORBIDDEN, OPEN = "sign in first", "404", "403", "open"

# What each of them gets: nobody (not signed in), charlie (a stranger), bob (annotates), lea (leads), alice (owns).
Outcomes = tuple[str, str, str, str, str]
FOR_ALL: Outcomes = (OPEN, OPEN, OPEN, OPEN, OPEN)
SIGNED_IN: Outcomes = (SIGN_IN, OPEN, OPEN, OPEN, OPEN)
NOTHING_YET: Outcomes = (SIGN_IN, MISSING, MISSING, MISSING, MISSING)
STAFF: Outcomes = (SIGN_IN, FORBIDDEN, FORBIDDEN, FORBIDDEN, OPEN)
MEMBERS: Outcomes = (SIGN_IN, MISSING, OPEN, OPEN, OPEN)
# Owners of the site, whom test_accounts.py plays: nobody in this cast is one.
SITE: Outcomes = (SIGN_IN, FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN)
LEADS: Outcomes = (SIGN_IN, MISSING, FORBIDDEN, OPEN, OPEN)


@dataclass(frozen=True)
class Page:
    """Who may read and who may send; None where the method itself is refused with 405."""

    get: Outcomes | None = None
    post: Outcomes | None = None
    # Arguments beside project_id: names of what `world` made.
    arguments: dict[str, str] = field(default_factory=dict)


MEMBER = {"member_id": "member"}
PERSON = {"user_id": "bob"}
RUN = {"number": "run"}
POLICY = {"number": "policy"}
RECIPE = {"recipe_id": "recipe"}
PLACE = {"place": "place"}
RECIPE_RUN = {"number": "recipe_run"}
TRIAL = {"trial_id": "trial"}
COMPARISON = {"subject_id": "comparison"}
LINEUP = {"subject_id": "lineup"}
TABLE: dict[str, Page] = {
    "account_login": Page(FOR_ALL, FOR_ALL),
    "account_logout": Page(FOR_ALL, FOR_ALL),
    "account_inactive": Page(FOR_ALL, None),
    "account_change_password": Page(SIGNED_IN, SIGNED_IN),
    # Without a provider there is nothing behind these (test_provider_sign_in).
    "provider_sign_in": Page(None, (MISSING,) * 5),
    "openid_connect_callback": Page((MISSING,) * 5, None),
    "socialaccount_connections": Page(SIGNED_IN, SIGNED_IN),
    "account_reauthenticate": Page(SIGNED_IN, SIGNED_IN),
    "mfa_index": Page(FOR_ALL, FOR_ALL),
    "mfa_authenticate": Page(SIGNED_IN, SIGNED_IN),
    "mfa_reauthenticate": Page(SIGNED_IN, SIGNED_IN),
    "mfa_activate_totp": Page(SIGNED_IN, SIGNED_IN),
    # There is nothing to show or switch off while nobody in this cast has a second factor (test_second_factor).
    "mfa_qr": Page(NOTHING_YET, None),
    "mfa_deactivate_totp": Page(NOTHING_YET, NOTHING_YET),
    "mfa_view_recovery_codes": Page(NOTHING_YET, None),
    "mfa_generate_recovery_codes": Page(SIGNED_IN, SIGNED_IN),
    "mfa_download_recovery_codes": Page(NOTHING_YET, None),
    "mfa_list_webauthn": Page(FOR_ALL, FOR_ALL),
    "mfa_add_webauthn": Page(SIGNED_IN, SIGNED_IN),
    "mfa_reauthenticate_webauthn": Page(SIGNED_IN, SIGNED_IN),
    # Whoever is not signed in is led back to the form that has the button.
    "mfa_login_webauthn": Page(SIGNED_IN, SIGNED_IN),
    "mfa_remove_webauthn": Page(NOTHING_YET, NOTHING_YET, {"pk": "bob"}),
    "annotate:account": Page(SIGNED_IN, SIGNED_IN),
    "annotate:sign_out_everywhere": Page(None, SIGNED_IN),
    "annotate:accounts": Page(SITE, None),
    "annotate:account_of": Page(SITE, None, PERSON),
    "annotate:deactivate": Page(None, SITE, PERSON),
    "annotate:reactivate": Page(None, SITE, PERSON),
    "annotate:end_sessions": Page(None, SITE, PERSON),
    "annotate:remove_factors": Page(None, SITE, PERSON),
    "annotate:change_address": Page(None, SITE, PERSON),
    "annotate:site_audit": Page(SITE, None),
    # A GET leads back and changes nothing.
    "set_language": Page(FOR_ALL, FOR_ALL),
    "annotate:home": Page(SIGNED_IN, None),
    "annotate:new_project": Page(STAFF, STAFF),
    "annotate:project": Page(MEMBERS, None),
    "annotate:judge": Page(MEMBERS, MEMBERS),
    "annotate:thumbs": Page(MEMBERS, MEMBERS),
    "annotate:rank": Page(MEMBERS, MEMBERS),
    "annotate:stop": Page(None, MEMBERS),
    "annotate:undo": Page(None, MEMBERS),
    "annotate:report": Page(None, MEMBERS),
    "annotate:acknowledge": Page(None, MEMBERS),
    "annotate:history": Page(MEMBERS, None),
    # One's own decisions only: another member's is missing (test_judging_history).
    "annotate:change": Page(
        (SIGN_IN, MISSING, OPEN, MISSING, MISSING),
        (SIGN_IN, MISSING, OPEN, MISSING, MISSING),
        {"kind": "pair", "decision_id": "judgment"},
    ),
    "annotate:prompts": Page(LEADS, None),
    "annotate:new_import": Page(LEADS, LEADS),
    "annotate:prompt_import": Page(LEADS, None, {"import_id": "import"}),
    "annotate:people": Page(LEADS, None),
    "annotate:member": Page(LEADS, None, MEMBER),
    "annotate:change_role": Page(None, LEADS, MEMBER),
    "annotate:change_quota": Page(None, LEADS, MEMBER),
    "annotate:pause": Page(None, LEADS, MEMBER),
    "annotate:resume": Page(None, LEADS, MEMBER),
    "annotate:remove": Page(None, LEADS, MEMBER),
    "annotate:new_invite": Page(None, LEADS),
    "annotate:revoke_invite": Page(None, LEADS, {"invite_id": "invite"}),
    "annotate:guideline": Page(MEMBERS, None),
    "annotate:guideline_version": Page(MEMBERS, None, {"version": "version"}),
    "annotate:edit_guideline": Page(LEADS, LEADS),
    "annotate:dashboard": Page(LEADS, None),
    "annotate:dashboard_table": Page(LEADS, None, {"name": "table"}),
    "annotate:quality": Page(LEADS, None),
    "annotate:annotators_csv": Page(LEADS, None),
    "annotate:quality_table": Page(LEADS, None, {"name": "quality_table"}),
    # bob's own page: another annotator's is for leads (test_quality_pages).
    "annotate:annotator": Page(MEMBERS, None, {"user_id": "bob"}),
    "annotate:queue": Page(LEADS, None),
    "annotate:steer": Page(None, LEADS),
    "annotate:undo_assignment": Page(None, LEADS, {"assignment_id": "assignment"}),
    "annotate:new_group": Page(None, LEADS),
    "annotate:change_group": Page(None, LEADS, {"group_id": "group"}),
    "annotate:delete_group": Page(None, LEADS, {"group_id": "group"}),
    "annotate:quiz": Page(MEMBERS, None),
    "annotate:start_quiz": Page(None, MEMBERS),
    "annotate:answer_quiz": Page(None, MEMBERS),
    "annotate:pass_quiz": Page(None, LEADS, MEMBER),
    "annotate:reset_quiz": Page(None, LEADS, MEMBER),
    "annotate:review": Page(LEADS, None),
    "annotate:resolve_reports": Page(None, LEADS, {"prompt_id": "prompt"}),
    "annotate:comparison": Page(LEADS, None, COMPARISON),
    "annotate:adjudicate": Page(None, LEADS, COMPARISON),
    "annotate:withdraw_verdict": Page(None, LEADS, COMPARISON),
    "annotate:make_gold": Page(None, LEADS, COMPARISON),
    "annotate:lineup": Page(LEADS, None, LINEUP),
    "annotate:response": Page(LEADS, None, {"response_id": "response"}),
    "annotate:adjudicate_lineup": Page(None, LEADS, LINEUP),
    "annotate:withdraw_order_verdict": Page(None, LEADS, LINEUP),
    "annotate:make_gold_lineup": Page(None, LEADS, LINEUP),
    "annotate:close_thumb": Page(None, LEADS, {"response_id": "response"}),
    "annotate:ask_again": Page(None, LEADS, {"kind": "pair", "subject_id": "comparison"}),
    "annotate:retractions": Page(LEADS, None),
    "annotate:retract": Page(None, LEADS),
    "annotate:reverse_retraction": Page(None, LEADS, {"retraction_id": "retraction"}),
    "annotate:audit": Page(LEADS, None),
    "annotate:export": Page(LEADS, LEADS),
    "annotate:settings": Page(LEADS, LEADS),
    "annotate:invite": Page(FOR_ALL, FOR_ALL, {"token": "token"}),
    "training:runs": Page(LEADS, None),
    "training:start": Page(LEADS, LEADS),
    "training:run": Page(LEADS, None, RUN),
    "training:run_live": Page(LEADS, None, RUN),
    "training:run_curve": Page(LEADS, None, RUN),
    "training:run_log": Page(LEADS, None, RUN),
    "training:run_rows": Page(LEADS, None, RUN),
    "training:run_results": Page(LEADS, None, RUN),
    "training:cancel": Page(None, LEADS, RUN),
    "training:stop": Page(None, LEADS, RUN),
    "training:resume": Page(None, LEADS, RUN),
    "training:score": Page(None, LEADS, RUN),
    "training:recipes": Page(LEADS, None),
    "training:new_recipe": Page(LEADS, LEADS),
    "training:recipe": Page(LEADS, LEADS, RECIPE),
    "training:new_stage": Page(LEADS, LEADS, RECIPE),
    "training:stage": Page(LEADS, LEADS, RECIPE | PLACE),
    "training:arrange_stage": Page(None, LEADS, RECIPE | PLACE),
    "training:archive_recipe": Page(None, LEADS, RECIPE),
    "training:restore_recipe": Page(None, LEADS, RECIPE),
    "training:start_recipe": Page(None, LEADS, RECIPE),
    "training:recipe_run": Page(LEADS, None, RECIPE_RUN),
    "training:recipe_run_live": Page(LEADS, None, RECIPE_RUN),
    "training:begin_again": Page(LEADS, LEADS, RECIPE_RUN),
    "training:accept_policy": Page(None, LEADS, RECIPE_RUN),
    "training:cancel_recipe": Page(None, LEADS, RECIPE_RUN),
    "training:policies": Page(LEADS, None),
    "training:policy": Page(LEADS, None, POLICY),
    "training:learned": Page(LEADS, None, POLICY),
    "training:learned_csv": Page(LEADS, None, POLICY),
    "training:download": Page(None, LEADS, POLICY),
    "training:release": Page(LEADS, None, POLICY),
    "training:sample_from": Page(None, LEADS, POLICY),
    "training:merge": Page(None, LEADS, POLICY),
    "training:push": Page(None, LEADS, POLICY),
    "training:compare": Page(LEADS, LEADS),
    "training:playground": Page(LEADS, LEADS),
    "training:trial": Page(LEADS, None, TRIAL),
    "training:trial_live": Page(LEADS, None, TRIAL),
    "training:keep_prompt": Page(None, LEADS, {"row_id": "row"}),
    "training:loop": Page(LEADS, LEADS),
    "training:now": Page(LEADS, None),
    "training:sample": Page(None, LEADS),
    "training:pause": Page(None, LEADS),
}


def addresses(
    patterns: list[URLPattern | URLResolver], namespace: str = "", route: str = ""
) -> Iterator[tuple[str, str]]:
    """Name and route of everything below, the admin's left out: it is not ours and has a test of its own."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            if pattern.namespace != "admin":
                inner = f"{pattern.namespace}:" if pattern.namespace else namespace
                yield from addresses(pattern.url_patterns, inner, route + str(pattern.pattern))
        else:
            yield f"{namespace}{pattern.name}", route + str(pattern.pattern)


ADDRESSES = dict(addresses(get_resolver().url_patterns))


@pytest.fixture
def world(project: Project, bob: User, lea: User) -> dict[str, object]:
    """One of each thing that an address can name."""
    return make_world(project, bob, lea)


def make_world(project: Project, bob: User, lea: User) -> dict[str, object]:
    """One of each thing in the project, which ``lea`` leads and ``bob`` judges in."""
    leads = Membership.objects.select_related("project", "user").get(project=project, user=lea)
    invite, token = create_invite(by=leads, role=Role.ANNOTATOR)
    for _ in range(12):
        comparison = make_comparison(make_prompt(project), round=1)
        judgment = make_judgment(comparison, bob)
    loop = ensure_loop(project=project, base_model=str(settings.STARTER_DIR))
    run = start_run(loop=loop, method="dpo", settings={}, started_by=None, reason="12 new judgments")
    trial = make_trial(loop)
    recipe_run = make_recipe_run(loop)
    return {
        "project_id": project.pk,
        "member": Membership.objects.get(project=project, user=bob).pk,
        "import": PromptImport.objects.create(project=project, name="x.jsonl", rows=0, imported=0).pk,
        "invite": invite.pk,
        "token": token,
        "version": 1,
        "bob": bob.pk,
        "prompt": comparison.prompt_id,
        "comparison": comparison.pk,
        "lineup": make_lineup(comparison.prompt).pk,
        "response": comparison.first_id,
        "retraction": Retraction.objects.create(project=project, annotator=bob, reason="spam", created_by=lea).pk,
        "assignment": Assignment.objects.create(project=project, user=bob, to="bob", what="Pair", created_by=lea).pk,
        "group": AnnotatorGroup.objects.create(project=project, name="Night shift").pk,
        "table": "days",
        "quality_table": "shortcuts",
        "pair": "pair",
        "judgment": judgment.pk,
        "run": run.number,
        "policy": 0,
        "trial": trial.pk,
        "recipe": recipe_run.recipe_id,
        "place": 1,
        "recipe_run": recipe_run.number,
        "row": trial.rows.get().pk,
    }


def make_recipe_run(loop: Loop) -> RecipeRun:
    """One that has stopped, of a recipe with one stage."""
    stages = [Stage("dpo")]
    recipe = make_recipe(project=loop.project, name="Night", stages=stages, actor=None)
    kept = {"name": recipe.name, "version": 1, "stages": recipe.stages, "state": "stopped"}
    base = Policy.objects.get(project=loop.project, number=0)
    return RecipeRun.objects.create(project=loop.project, number=1, recipe=recipe, start=base, **kept)


def make_trial(loop: Loop) -> Trial:
    """The base beside itself, asked one thing."""
    base = Policy.objects.get(project=loop.project, number=0)
    asked = [Chosen([{"role": "user", "content": "Where is my parcel now?"}])]
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 8, "seed": 1}
    return start_trial(project=loop.project, left=base, right=base, rows=asked, started_by=None, **sampling)


def address(name: str, world: dict[str, object]) -> str:
    arguments = {key: world[value] for key, value in TABLE[name].arguments.items()}
    if "project_id" in ADDRESSES[name]:
        arguments["project_id"] = world["project_id"]
    return reverse(name, kwargs=arguments)


def outcome(client: Client, method: str, url: str) -> str:
    """The outcome of one request, and the database as it was before it."""
    with transaction.atomic():
        response = client.generic(method, url)
        transaction.set_rollback(True)
    if response.status_code == 302 and response["Location"].startswith(reverse("account_login")):
        return SIGN_IN
    # 422 is a form that came back, which only those see who may send it.
    known = {404: MISSING, 403: FORBIDDEN, 422: OPEN}
    return known.get(response.status_code, OPEN if response.status_code < 400 else str(response.status_code))


def test_the_table_has_every_address_and_no_other() -> None:
    assert set(ADDRESSES) == set(TABLE)


# One world for all addresses, because making it takes longer than asking: what an address did to it is undone.
def test_everyone_gets_what_the_table_says(world: dict[str, object], charlie: User) -> None:
    cast = [None, charlie, *(User.objects.get(username=username) for username in ("bob", "lea", "alice"))]
    wrong = {}
    for name, page in TABLE.items():
        url = address(name, world)
        found: dict[str, list[str]] = {"GET": [], "POST": []}
        with transaction.atomic():
            client = Client()
            for person in cast:
                if person is not None:
                    client.force_login(person)
                for method, outcomes in found.items():
                    outcomes.append(outcome(client, method, url))
            transaction.set_rollback(True)
        expected = {"GET": list(page.get or ("405",) * 5), "POST": list(page.post or ("405",) * 5)}
        if found != expected:
            wrong[name] = found
    assert wrong == {}


def test_nothing_is_accepted_without_a_csrf_token(world: dict[str, object], alice: User) -> None:
    for name in [name for name, page in TABLE.items() if page.post]:
        strict = Client(enforce_csrf_checks=True)
        if name != "account_login":
            strict.force_login(alice)
        response = strict.post(address(name, world))
        assert (name, response.status_code) == (name, 403)
        assert b"Please send it again" in response.content, name


def test_a_project_that_is_not_there_looks_like_one_that_is_not_yours(
    client: Client, world: dict[str, object], alice: User
) -> None:
    client.force_login(alice)
    for name in [name for name in TABLE if "project_id" in ADDRESSES[name]]:
        url = address(name, world | {"project_id": 987_654})
        for method, expected in (("GET", TABLE[name].get), ("POST", TABLE[name].post)):
            if expected:
                assert (name, method, outcome(client, method, url)) == (name, method, MISSING)


def test_the_admin_is_for_superusers_and_signs_in_through_the_front_door(
    client: Client, project: Project, alice: User, bob: User
) -> None:
    changelist = reverse("admin:annotate_user_changelist")
    anonymous = client.get(changelist, follow=True)
    assert anonymous.redirect_chain[-1][0].startswith(reverse("account_login"))
    client.force_login(bob)
    assert client.get(changelist, follow=True).status_code == 403
    client.force_login(alice)  # Staff opens projects; it sees no accounts.
    assert client.get(changelist).status_code == 403
    assert client.get(reverse("admin:annotate_auditentry_changelist")).status_code == 403


def test_the_audit_log_cannot_be_changed_even_by_superusers(client: Client, project: Project) -> None:
    client.force_login(User.objects.create_superuser("root"))
    entry = project.audit_entries.first()
    assert entry is not None
    assert client.get(reverse("admin:annotate_auditentry_changelist")).status_code == 200
    for name, arguments in (("add", []), ("delete", [entry.pk])):
        assert client.post(reverse(f"admin:annotate_auditentry_{name}", args=arguments)).status_code == 403
    assert client.post(reverse("admin:annotate_auditentry_change", args=[entry.pk]), {"verb": "x"}).status_code == 403


def test_strangers_cannot_make_accounts(client: Client) -> None:
    for path in ("/accounts/signup/", "/accounts/password/reset/", "/accounts/email/"):
        assert client.get(path).status_code == 404
