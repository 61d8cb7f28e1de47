"""At the same moment: closed accounts leave an owner, a code counts once. And nothing changes the audit log."""

from pathlib import Path

import pytest

from tests.jobs.races import environment, said_by

# Runs on a database of its own, in threads that wait for each other before each deed.
RACES = """
import json
from functools import partial
import django
django.setup()
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from allauth.mfa.totp.internal.auth import (
    TOTP, format_hotp_value, generate_totp_secret, hotp_value, yield_hotp_counters_from_time,
)
from annotate.models import Membership, Role, User
from annotate.services import accounts, people
from annotate.services.projects import create_project
from tests.jobs import races

at_once = partial(races.at_once, forgive=(people.NotAllowedError,))

def close(user):
    return lambda: accounts.deactivate_account(user=user, by=None)

said = {"site": [], "project": [], "codes": [], "log": []}
for turn in range(8):
    User.objects.update(is_superuser=False)
    roots = [User.objects.create_superuser(f"root{turn}-{number}") for number in range(2)]
    at_once(*[close(root) for root in roots])
    said["site"].append(User.objects.filter(is_superuser=True, is_active=True).count())

    owners = [User.objects.create_user(f"owner{turn}-{number}") for number in range(3)]
    project = create_project(name=f"Project {turn}", created_by=owners[0], guideline_text="Be kind.")
    rows = [Membership.objects.select_related("project", "user").get(project=project)]
    rows += [Membership.objects.create(project=project, user=owner, role=Role.OWNER) for owner in owners[1:]]
    at_once(
        close(owners[0]),
        lambda: people.change_role(by=rows[1], member=rows[1], role="lead"),
        lambda: people.remove_member(by=rows[2], member=rows[2]),
    )
    said["project"].append(project.memberships.filter(role=Role.OWNER, user__is_active=True).count())

    secret = generate_totp_secret()
    factor = TOTP(TOTP.activate(owners[0], secret).instance)
    code = format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time()) + 1))
    taken = []
    at_once(*[lambda: taken.append(factor.validate_code(code)) for _ in range(4)])
    said["codes"].append(taken.count(True))

statements = ["UPDATE annotate_auditentry SET verb = 'x'", "DELETE FROM annotate_auditentry"]
if connection.vendor == "postgresql":
    statements.append("TRUNCATE annotate_auditentry CASCADE")
for statement in statements:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
        said["log"].append("done")
    except DatabaseError as error:
        said["log"].append("append-only" in str(error))
call_command("verify", verbosity=0, stdout=open("/dev/null", "w"))
print(json.dumps(said))
"""


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_somebody_always_owns_the_site_and_the_project(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    said = said_by(RACES, env=environment(engine, tmp_path, request))
    assert said["site"] == [1] * 8
    assert said["project"] == [1] * 8
    # A code counts once, wherever it arrives twice at the same moment.
    assert said["codes"] == [1] * 8
    assert said["log"] == [True] * (3 if engine == "postgresql" else 2)
