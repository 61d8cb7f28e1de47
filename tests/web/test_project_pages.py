"""Home, new project, overview, settings and guideline: what each role sees, and that lists cost no query a row."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.models import AuditEntry, Membership, Project, User
from annotate.services.projects import GuidelineMovedError, create_project, write_guideline
from tests.cast import join, make_comparison, make_judgment, make_prompt, make_rating, make_response, make_user


def page(client: Client, user: User, name: str, *arguments: object, **query: str) -> str:
    client.force_login(user)
    response = client.get(reverse(f"annotate:{name}", args=arguments), query)
    assert response.status_code == 200
    return response.content.decode()


def test_home_shows_ones_own_projects_and_what_waits_in_them(client: Client, project: Project, bob: User) -> None:
    other = Project.objects.create(name="Not for bob", created_by=bob)
    body = page(client, bob, "home")
    assert "Parcel support" in body
    assert other.name not in body
    assert reverse("annotate:judge", args=[project.pk]) in body
    assert reverse("annotate:thumbs", args=[project.pk]) in body
    assert '<span class="stat-value">3</span><span class="stat-label">waiting</span>' in body
    assert reverse("annotate:new_project") not in body


def test_home_tells_a_stranger_how_to_get_in_and_staff_how_to_begin(
    client: Client, project: Project, charlie: User
) -> None:
    assert "invite link" in page(client, charlie, "home")
    staff = make_user("sam", is_staff=True)
    assert reverse("annotate:new_project") in page(client, staff, "home")


def test_home_says_that_one_is_paused_and_why(client: Client, project: Project, bob: User) -> None:
    project.memberships.filter(user=bob).update(paused_at=timezone.now(), paused_reason="Please read section 2")
    body = page(client, bob, "home")
    assert "Please read section 2" in body
    assert reverse("annotate:judge", args=[project.pk]) not in body


def test_home_costs_the_same_for_one_project_and_for_ten(client: Client, project: Project, bob: User) -> None:
    client.force_login(bob)
    client.get(reverse("annotate:home"))
    with CaptureQueriesContext(connection) as one:
        client.get(reverse("annotate:home"))
    for number in range(9):
        join(Project.objects.create(name=f"Project {number}", created_by=bob), bob)
    with CaptureQueriesContext(connection) as ten:
        client.get(reverse("annotate:home"))
    assert len(one) == len(ten)


def test_staff_opens_a_project_and_owns_it(client: Client, alice: User) -> None:
    client.force_login(alice)
    values = {
        "name": "Refunds",
        "judging": "pairs",
        "overlap": "1",
        "lease_minutes": "30",
        "reserved_percent": "15",
        "guideline_text": "Be fair.",
    }
    response = client.post(reverse("annotate:new_project"), values)
    project = Project.objects.get(name="Refunds")
    assert response.url == reverse("annotate:project", args=[project.pk])  # type: ignore[attr-defined]
    assert project.memberships.get().role == "owner"
    assert project.memberships.get().user == alice
    assert [(text.version, text.text) for text in project.guidelines.all()] == [(1, "Be fair.")]
    assert AuditEntry.objects.get(project=project).verb == "project.created"


@pytest.mark.parametrize(("field", "value"), [("name", ""), ("overlap", "0"), ("reserved_percent", "51")])
def test_a_form_with_nonsense_comes_back_with_422(client: Client, alice: User, field: str, value: str) -> None:
    client.force_login(alice)
    values = {
        "name": "Refunds",
        "judging": "pairs",
        "overlap": "1",
        "lease_minutes": "30",
        "reserved_percent": "15",
        "guideline_text": "Be fair.",
        field: value,
    }
    response = client.post(reverse("annotate:new_project"), values)
    assert response.status_code == 422
    assert 'class="errorlist"' in response.content.decode()
    assert not Project.objects.exists()


def test_the_overview_is_about_the_work_for_annotators_and_about_the_state_for_leads(
    client: Client, project: Project, bob: User, lea: User
) -> None:
    comparison = project.comparisons.first()
    assert comparison is not None
    make_judgment(comparison, bob, "A")
    make_rating(comparison.first, bob, "up")
    for_bob, for_lea = (page(client, user, "project", project.pk) for user in (bob, lea))
    assert "kind and helps" in for_bob
    assert "kind and helps" in for_lea
    assert "Recent judgments" not in for_bob
    assert "What people said" not in for_bob
    assert "Recent judgments" in for_lea
    assert "A is better" in for_lea
    assert '<span class="stat-value">2</span><span class="stat-label">decisions in all</span>' in for_lea
    assert '<span class="stat-value">2</span><span class="stat-label">done by you today</span>' in for_bob


def test_the_overview_costs_the_same_with_one_judgment_and_with_twenty(
    client: Client, project: Project, lea: User, bob: User
) -> None:
    client.force_login(lea)
    url = reverse("annotate:project", args=[project.pk])
    make_judgment(make_comparison(make_prompt(project)), bob)
    client.get(url)
    with CaptureQueriesContext(connection) as few:
        client.get(url)
    for number in range(19):
        make_judgment(make_comparison(make_prompt(project)), make_user(f"annotator{number}"))
    with CaptureQueriesContext(connection) as many:
        client.get(url)
    assert len(few) == len(many)


def test_tabs_show_each_role_its_pages_and_mark_the_one_that_is_open(
    client: Client, project: Project, bob: User, lea: User
) -> None:
    overview = reverse("annotate:project", args=[project.pk])
    prompts = reverse("annotate:prompts", args=[project.pk])
    for_bob = page(client, bob, "project", project.pk)
    assert f'<a href="{overview}" aria-current="page">' in for_bob
    assert f'href="{prompts}"' not in for_bob
    for_lea = page(client, lea, "new_import", project.pk)
    assert f'<a href="{prompts}" aria-current="page">' in for_lea
    assert for_lea.count('aria-current="page"') == 1
    # A page without a tab of its own is below the one that leads there.
    retractions = page(client, lea, "retractions", project.pk)
    assert f'<a href="{reverse("annotate:quality", args=[project.pk])}" aria-current="page">' in retractions
    assert retractions.count('aria-current="page"') == 1
    comparison = page(client, lea, "comparison", project.pk, make_comparison(make_prompt(project)).pk)
    assert f'<a href="{reverse("annotate:review", args=[project.pk])}" aria-current="page">' in comparison


def settings_values(client: Client, project: Project) -> dict[str, str]:
    """What the settings page would send as it stands."""
    form = client.get(reverse("annotate:settings", args=[project.pk])).context["form"]
    return {
        bound.name: str(bound.value()) for bound in form if bound.value() is not None and bound.value() is not False
    }


def test_settings_save_what_changed_and_the_audit_says_what(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    url = reverse("annotate:settings", args=[project.pk])
    values = settings_values(client, project) | {"overlap": "3"}
    assert client.post(url, values).status_code == 302
    project.refresh_from_db()
    assert project.overlap == 3
    assert AuditEntry.objects.get(verb="project.changed").detail == {"overlap": 3}
    assert client.post(url, values | {"overlap": "0"}).status_code == 422
    project.refresh_from_db()
    assert project.overlap == 3


def test_every_setting_is_in_one_group_of_the_page(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    form = client.get(reverse("annotate:settings", args=[project.pk])).context["form"]
    assert [field.name for group in form.groups() for field in group.fields] == list(form.fields)
    shown = page(client, lea, "settings", project.pk)
    for number, _group in enumerate(form.groups(), 1):
        assert f'href="#group-{number}"' in shown
        assert f'<h2 id="group-{number}">' in shown


def test_saving_the_page_as_it_stands_changes_nothing(client: Client, project: Project, lea: User) -> None:
    Project.objects.filter(pk=project.pk).update(reason_tags=["tone", "made up facts"])
    client.force_login(lea)
    values = settings_values(client, project)
    values["reason_tags"] = values["reason_tags"].replace("\n", "\r\n")  # as browsers send it
    assert client.post(reverse("annotate:settings", args=[project.pk]), values).status_code == 302
    assert not AuditEntry.objects.filter(verb="project.changed").exists()


def test_reason_tags_are_written_one_a_line(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    url = reverse("annotate:settings", args=[project.pk])
    values = settings_values(client, project)
    assert client.post(url, values | {"reason_tags": " tone \r\n\r\nmade  up facts\r\ntone"}).status_code == 302
    project.refresh_from_db()
    assert project.reason_tags == ["tone", "made up facts"]
    assert settings_values(client, project)["reason_tags"] == "tone\nmade up facts"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gold_percent": "30", "recheck_percent": "21"}, "may be 50 percent at most, not 51"),
        ({"gold_percent": "51"}, "less than or equal to 50"),
        ({"pause_below_gold_percent": "70"}, "Nobody is asked gold questions"),
        ({"overlap_percent": "101"}, "less than or equal to 100"),
        ({"fast_seconds": "0"}, "greater than or equal to 0.1"),
        ({"pause_after": "4"}, "greater than or equal to 5"),
        ({"reason_tags": "x" * 41}, "to 40 characters"),
        ({"reason_tags": "\n".join(str(number) for number in range(21))}, "20 tags or fewer"),
    ],
)
def test_settings_that_cannot_work_come_back_with_the_reason(
    client: Client, project: Project, lea: User, changes: dict[str, str], message: str
) -> None:
    client.force_login(lea)
    values = settings_values(client, project)
    response = client.post(reverse("annotate:settings", args=[project.pk]), values | changes)
    assert response.status_code == 422
    assert message in response.content.decode()
    assert not AuditEntry.objects.filter(verb="project.changed").exists()


def test_limits_are_taken_back_by_emptying_them(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    url = reverse("annotate:settings", args=[project.pk])
    values = settings_values(client, project)
    limits = {"gold_percent": "10", "pause_below_gold_percent": "70", "pause_above_fast_percent": "30"}
    assert client.post(url, values | limits).status_code == 302
    project.refresh_from_db()
    assert (project.pause_below_gold_percent, project.pause_above_fast_percent) == (70, 30)
    assert client.post(url, values | {"gold_percent": "0"}).status_code == 302
    project.refresh_from_db()
    assert (project.pause_below_gold_percent, project.pause_above_fast_percent) == (None, None)


def test_a_new_guideline_is_a_new_version_and_the_old_one_stays(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    url = reverse("annotate:edit_guideline", args=[project.pk])
    response = client.post(url, {"text": "Prefer **short** answers.\r\n", "based_on": "1"})
    assert response.status_code == 302
    assert [(text.version, text.text) for text in project.guidelines.order_by("version")] == [
        (1, "Prefer the answer that is kind and helps."),
        (2, "Prefer **short** answers.\n"),
    ]
    assert "<strong>short</strong>" in page(client, lea, "guideline", project.pk)
    assert "kind and helps" in page(client, lea, "guideline_version", project.pk, 1)


def test_a_preview_shows_the_text_and_saves_nothing(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    url = reverse("annotate:edit_guideline", args=[project.pk])
    response = client.post(url, {"text": "*New* <script>alert(1)</script>", "based_on": "1", "preview": "1"})
    body = response.content.decode()
    assert "<em>New</em>" in body
    assert "<script>alert" not in body
    assert project.guidelines.count() == 1


def test_a_guideline_saved_in_the_meantime_is_shown_before_it_is_replaced(
    client: Client, project: Project, alice: User, lea: User
) -> None:
    write_guideline(project=project, text="By alice.", based_on=1, created_by=alice)
    client.force_login(lea)
    url = reverse("annotate:edit_guideline", args=[project.pk])
    response = client.post(url, {"text": "By lea.", "based_on": "1"})
    assert response.status_code == 422
    assert "By alice." in response.content.decode()
    assert project.guidelines.count() == 2
    again = {"text": "By lea.", "based_on": str(response.context["form"]["based_on"].value())}
    assert client.post(url, again).status_code == 302
    assert project.guidelines.order_by("-version")[0].text == "By lea."


def test_only_one_of_two_writers_makes_the_next_version(project: Project, alice: User, lea: User) -> None:
    write_guideline(project=project, text="First.", based_on=1, created_by=alice)
    with pytest.raises(GuidelineMovedError):
        write_guideline(project=project, text="Second.", based_on=1, created_by=lea)
    assert project.guidelines.order_by("-version")[0].text == "First."


def test_an_empty_guideline_is_refused(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    url = reverse("annotate:edit_guideline", args=[project.pk])
    assert client.post(url, {"text": " \n ", "based_on": "1"}).status_code == 422
    assert project.guidelines.count() == 1


def test_a_project_without_prompts_says_what_to_do_next(client: Client, alice: User) -> None:
    empty = Project.objects.create(name="Empty", created_by=alice)
    Membership.objects.create(project=empty, user=alice, role="owner")
    assert reverse("annotate:new_import", args=[empty.pk]) in page(client, alice, "project", empty.pk)
    assert "No prompts yet" in page(client, alice, "prompts", empty.pk)


def test_the_judging_page_of_a_project_without_prompts_tells_its_lead_to_import_some(
    client: Client, alice: User, bob: User
) -> None:
    project = create_project(name="Empty", created_by=alice, guideline_text="Be kind.", judging=Project.Judging.PAIRS)
    project.guidelines.get().acknowledgements.create(user=alice)
    join(project, bob)
    importing = reverse("annotate:new_import", args=[project.pk])
    for_bob = page(client, bob, "judge", project.pk)
    assert "New answers are being prepared" in for_bob
    assert importing not in for_bob
    for_alice = page(client, alice, "judge", project.pk)
    assert f'href="{importing}"' in for_alice
    assert "New answers are being prepared" not in for_alice
    make_prompt(project)
    assert "New answers are being prepared" in page(client, alice, "judge", project.pk)


def test_prompts_of_strange_content_are_shown_as_text(client: Client, project: Project, lea: User, bob: User) -> None:
    hostile = "<img src=x onerror=alert(1)>" * 10
    prompt = make_prompt(project, hostile)
    make_judgment(make_comparison(prompt, make_response(prompt)), bob)
    for name in ("prompts", "project"):
        body = page(client, lea, name, project.pk)
        assert "<img" not in body
        assert "&lt;img" in body
