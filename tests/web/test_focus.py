"""After a failed form the focus is where it went wrong, without a script."""

import re

from django.test import Client
from django.urls import reverse

from annotate.models import Project, User


def focused(body: str) -> list[str]:
    tags = re.findall(r"<(?:input|select|textarea)[^>]*autofocus[^>]*>", body)
    return [name for tag in tags for name in re.findall(r'name="(\w+)"', tag)]


def test_the_first_wrong_field_has_the_focus(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    page = reverse("annotate:settings", args=[project.pk])
    assert focused(client.get(page).content.decode()) == []
    failed = client.post(page, {"name": "Parcel support", "overlap": "0", "lease_minutes": "x"})
    assert failed.status_code == 422
    assert focused(failed.content.decode())[:1] == [next(iter(failed.context["form"].errors))]
    assert len(focused(failed.content.decode())) == 1


def test_a_form_that_is_wrong_as_a_whole_begins_at_its_beginning(client: Client, project: Project, lea: User) -> None:
    client.force_login(lea)
    failed = client.post(reverse("annotate:retract", args=[project.pk]), {"reason": "x", "since": "2026-01-01T00:00"})
    assert failed.status_code == 422
    assert focused(failed.content.decode()) == ["annotator"]
