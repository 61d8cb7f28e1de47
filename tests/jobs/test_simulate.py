"""`manage.py simulate` against a whole running site: web, workers, beat and a tiny starter."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from annotate.models import Project, Role, User
from tests.cast import PASSWORD, make_user
from tests.live_site import LiveSite, live_site
from tests.migrated import copy_database
from training.services.loops import ensure_loop
from training.simulation.accounts import AccountsError, make_accounts

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def site(migrated: Path, tiny_starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    """A site whose starter learned for a moment only: it babbles, and everything around it is real."""
    home = tmp_path_factory.mktemp("home")
    copy_database(migrated, home)
    shutil.copytree(tiny_starter, home / "models" / "starter")
    with live_site(home) as running:
        yield running


def test_two_annotators_judge_over_http_and_a_round_is_measured(site: LiveSite, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = site.manage(
        *("simulate", "--url", site.url, "--annotators", "2", "--judgments-per-round", "14", "--rounds", "1"),
        # No ties, so that a babbling model leaves enough to train on.
        *("--tie", "0", "--prompts", "12", "--answers", "1", "--output", str(output)),
        timeout=400,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{site.logs()}"
    found = json.loads((output / "simulate.json").read_text())
    assert [row["round"] for row in found["rounds"]] == [0, 1]
    assert [row["judgments"] for row in found["rounds"]] == [0, 14]
    assert found["rounds"][0]["policy"] == 0
    assert all(row["reward"]["low"] <= row["reward"]["mean"] <= row["reward"]["high"] for row in found["rounds"])
    assert (output / "simulate.png").read_bytes().startswith(b"\x89PNG")
    assert found["verdict"] in done.stdout

    with closing(sqlite3.connect(site.home / "db.sqlite3")) as database:
        by_annotator = dict(
            database.execute(
                "SELECT username, count(*) FROM annotate_judgment j JOIN annotate_user u ON u.id = annotator_id "
                "GROUP BY username"
            )
        )
        runs = database.execute("SELECT state, method FROM training_run").fetchall()
    assert by_annotator == found["judging"][0]["by_annotator"]
    assert set(by_annotator) <= {"sim-1", "sim-2"}  # a busy machine promises nobody a turn
    assert runs == [("finished", "dpo")]


@pytest.mark.django_db
def test_without_a_site_the_command_says_how_to_start_one(project: Project) -> None:
    ensure_loop(project=project, base_model=str(settings.STARTER_DIR))
    with pytest.raises(CommandError, match="make up"):
        call_command("simulate", url="http://127.0.0.1:9")
    assert not User.objects.filter(username__startswith="sim-").exists()


@pytest.mark.django_db
def test_a_project_that_is_not_there_is_named_with_those_that_are(project: Project) -> None:
    with pytest.raises(CommandError, match=rf"no project 99\. Known projects: {project.pk} \(Parcel support\)"):
        call_command("simulate", project=99)


@pytest.mark.django_db
def test_without_a_project_on_the_starter_the_command_says_what_to_do(project: Project) -> None:
    ensure_loop(project=project, base_model="some/other-model")
    with pytest.raises(CommandError, match="choose one with --project"):
        call_command("simulate")


@pytest.mark.django_db
def test_a_persons_account_is_never_taken_over(project: Project) -> None:
    person = make_user("sim-1")
    with pytest.raises(AccountsError, match="sim-1"):
        make_accounts(project=project, annotators=2)
    person.refresh_from_db()
    assert person.check_password(PASSWORD)
    assert not project.memberships.filter(user=person).exists()


@pytest.mark.django_db
def test_a_second_simulation_takes_the_same_accounts_with_new_passwords(project: Project) -> None:
    (first, *_), lead = make_accounts(project=project, annotators=2)
    (again, *_), _ = make_accounts(project=project, annotators=2)
    assert first.username == again.username
    assert first.password != again.password
    assert User.objects.get(username="sim-1").check_password(again.password)
    roles = dict(project.memberships.filter(user__username__startswith="sim-").values_list("user__username", "role"))
    assert roles == {"sim-1": Role.ANNOTATOR, "sim-2": Role.ANNOTATOR, lead.username: Role.LEAD}
