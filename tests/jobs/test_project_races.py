"""People who press at the same moment: one invite lets one person in, a project keeps an owner, a file imports once."""

from pathlib import Path

import pytest

from tests.jobs.races import environment, said_by

# Runs on a database of its own, in threads that wait for each other before each deed.
RACES = """
import io, json
from functools import partial
import django
django.setup()
from annotate.models import Membership, Role, User
from annotate.services import people
from annotate.services.projects import GuidelineMovedError, create_project, write_guideline
from annotate.services.prompts import import_prompts
from tests.jobs import races

refusals = (people.NotAllowedError, people.InviteGoneError, GuidelineMovedError)
at_once = partial(races.at_once, forgive=refusals)

said = {"owners": [], "invites": [], "versions": [], "imports": []}
alice = User.objects.create_user("alice")
for turn in range(8):
    project = create_project(name=f"Project {turn}", created_by=alice, guideline_text="Be kind.")
    first = Membership.objects.select_related("project", "user").get(project=project)
    second = Membership.objects.create(
        project=project, user=User.objects.create_user(f"owner{turn}"), role=Role.OWNER
    )
    at_once(
        lambda: people.change_role(by=first, member=second, role="lead"),
        lambda: people.change_role(by=second, member=first, role="lead"),
        lambda: people.remove_member(by=first, member=first),
    )
    said["owners"].append(project.memberships.filter(role=Role.OWNER).count())

    project.memberships.update(role=Role.OWNER)
    maker = Membership.objects.select_related("project", "user").filter(project=project).first()
    invite, _ = people.create_invite(by=maker, role=Role.ANNOTATOR)
    guests = [User.objects.create_user(f"guest{turn}-{number}") for number in range(5)]
    answers = at_once(*[lambda guest=guest: people.accept_invite(invite=invite, user=guest).role for guest in guests])
    said["invites"].append([answers.count("annotator"), project.memberships.filter(user__in=guests).count()])

    writers = [lambda: write_guideline(project=project, text="New.", based_on=1, created_by=alice).version] * 4
    said["versions"].append([at_once(*writers).count(2), project.guidelines.count()])

file = "".join(json.dumps({"prompt": f"Question {number}"}) + chr(10) for number in range(1500)).encode()
deeds = [
    lambda: import_prompts(project=project, file=io.BytesIO(file), name="x", format="jsonl", created_by=None).imported
] * 3
said["imports"] = [sorted(at_once(*deeds)), project.prompts.count()]
print(json.dumps(said))
"""


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_whoever_comes_second_finds_it_done(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    said = said_by(RACES, env=environment(engine, tmp_path, request))
    assert all(owners >= 1 for owners in said["owners"])
    assert said["invites"] == [[1, 1]] * 8
    assert said["versions"] == [[1, 2]] * 8
    assert said["imports"] == [[0, 0, 1500], 1500]
