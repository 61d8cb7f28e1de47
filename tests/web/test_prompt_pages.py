"""The prompts pages: upload, summary, list, search."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django.fixtures import Settings

from annotate.models import Project, PromptImport, User
from tests.cast import make_prompt


@pytest.fixture
def leads(client: Client, project: Project, lea: User) -> Client:
    client.force_login(lea)
    return client


def upload(client: Client, project: Project, name: str, content: bytes | str, **values: str) -> tuple[int, str]:
    raw = content if isinstance(content, bytes) else content.encode()
    url = reverse("annotate:new_import", args=[project.pk])
    response = client.post(url, {"file": SimpleUploadedFile(name, raw), **values}, follow=True)
    return response.status_code, response.content.decode()


def test_an_upload_leads_to_a_summary_that_names_the_bad_rows(leads: Client, project: Project, lea: User) -> None:
    content = '{"prompt": "New one"}\n{"prompt": ""}\nnonsense\n{"turns": ["First", "Second"]}\n'
    status, body = upload(leads, project, "mine.jsonl", content)
    assert status == 200
    assert "Message 1 is empty." in body
    assert "This is not valid JSON" in body
    assert "One prompt has later turns" in body
    done = PromptImport.objects.get()
    assert (done.rows, done.imported, done.skipped, done.created_by) == (4, 2, {"empty": 1, "json": 1}, lea)


def test_a_large_upload_goes_through_the_disk_and_imports_the_same(leads: Client, project: Project) -> None:
    rows = [json.dumps({"prompt": f"Question {n} " + "x" * 1000}) for n in range(2000)]
    status, _ = upload(leads, project, "large.jsonl", "\n".join(rows))
    assert status == 200
    assert PromptImport.objects.get().imported == 2000


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        (("rows.csv", "question\nx\n"), {}, "column named &quot;prompt&quot;"),
        (("rows.jsonl", '{"prompt": "x"}'), {"format": "csv"}, "column named &quot;prompt&quot;"),
        (("rows.jsonl", b"PK\x03\x04"), {}, "ZIP archive"),
        (("rows.jsonl", ""), {}, "The submitted file is empty."),
        (("rows.jsonl", '{"prompt": "x"}'), {"format": "xml"}, "not one of the available choices"),
    ],
)
def test_a_file_that_cannot_be_read_comes_back_with_422_and_a_reason(
    leads: Client, project: Project, file: tuple[str, bytes | str], values: dict[str, str], words: str
) -> None:
    status, body = upload(leads, project, *file, **values)
    assert status == 422
    assert words in body
    assert not PromptImport.objects.exists()


def test_no_file_at_all_is_a_422_too(leads: Client, project: Project) -> None:
    response = leads.post(reverse("annotate:new_import", args=[project.pk]), {})
    assert response.status_code == 422
    assert "Choose a file." in response.content.decode()


def test_a_file_over_the_cap_is_refused_in_words_and_never_kept(
    leads: Client, project: Project, settings: Settings
) -> None:
    settings.PROMPT_FILE_MAX_BYTES = 200_000
    status, body = upload(leads, project, "huge.jsonl", b'{"prompt": "x"}\n' * 100_000)
    assert status == 422
    assert "The file is larger than" in body
    assert not PromptImport.objects.exists()
    assert upload(leads, project, "fits.jsonl", b'{"prompt": "fits"}\n')[0] == 200


def test_the_name_of_an_upload_is_only_a_name(leads: Client, project: Project) -> None:
    status, body = upload(leads, project, "<b>../../etc/passwd.jsonl", '{"prompt": "x"}')
    assert status == 200
    assert "<b>" not in body
    assert "/" not in PromptImport.objects.get().name


def test_the_list_searches_and_filters(leads: Client, project: Project) -> None:
    make_prompt(project, 'Ist das "Päckchen" da? 50% \\ off')
    url = reverse("annotate:prompts", args=[project.pk])

    def found(**query: str) -> int:
        return leads.get(url, query).context["page"].paginator.count

    assert found() == 5
    assert found(search="neighbour") == 1
    assert found(search="NEIGHBOUR") == 1
    assert found(search="Päckchen") == 1
    assert found(search='"Päckchen"') == 1
    assert found(search="50%") == 1
    assert found(search="\\ off") == 1
    assert found(search="nothing like it") == 0
    assert found(split="reserved") == 1
    assert found(split="reserved", search="late") == 0
    assert found(split="nonsense", page="99") == 5


def test_the_list_costs_the_same_for_ten_prompts_and_for_twenty(leads: Client, project: Project) -> None:
    url = reverse("annotate:prompts", args=[project.pk])
    for _ in range(6):
        make_prompt(project)
    leads.get(url)
    with CaptureQueriesContext(connection) as ten:
        leads.get(url)
    for _ in range(10):
        make_prompt(project)
    with CaptureQueriesContext(connection) as twenty:
        assert len(leads.get(url).context["page"]) == 20
    assert len(ten) == len(twenty)
