"""Many workers, leases that run out all the time: no (job, token) is granted twice, and nothing is published late."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.jobs.races import environment, start_python

WORKERS = 4
CLAIMS = 40

# One worker: claims whatever it can get, and gives it back, publishes it, or dawdles until somebody else took it and
# then tries to publish all the same.
WORKER = """
import json, os, random, sys, time
import django
django.setup()
from django.conf import settings
settings.JOB_LEASE_SECONDS, settings.JOB_MAX_ATTEMPTS = 0.25, 10_000
from django.db import transaction
from annotate.models import Project
from training.models import Job, TickSlot
from training.services.leases import LeaseLostError, claim, finish, release, renew

name, claims = sys.argv[1], int(sys.argv[2])
dice = random.Random(name)
granted, published, late = [], [], 0
jobs = list(Job.objects.values_list("pk", flat=True))
deadline = time.monotonic() + 60
while len(granted) < claims and time.monotonic() < deadline:
    lease = claim(job_id=dice.choice(jobs), owner=name)
    if lease is None:
        if not Job.objects.filter(state__in=["queued", "running"]).exists():
            break
        time.sleep(0.005)
        continue
    granted.append([str(lease.job_id), lease.token])
    what = dice.choices(["give back", "renew and give back", "dawdle", "publish"], [6, 2, 2, 1])[0]
    if what == "renew and give back":
        renew(lease)
    if what == "dawdle":
        patience = time.monotonic() + 3
        while time.monotonic() < patience and Job.objects.get(pk=lease.job_id).token == lease.token:
            time.sleep(0.02)
    if what.endswith("give back"):
        release(lease, counts=True)
        continue
    try:
        with transaction.atomic():
            finish(lease, state="done")
            # The publication: a second one for the same job would break the unique slot and roll all of it back.
            TickSlot.objects.create(name=str(lease.job_id), slot=lease.token)
        published.append(str(lease.job_id))
    except LeaseLostError:
        late += 1
print(json.dumps({"granted": granted, "published": published, "late": late}))
"""

PREPARE = """
import django
django.setup()
from annotate.models import Project, User
from training.models import Job
alice = User.objects.create_user("alice")
for number in range(12):
    project = Project.objects.create(name=f"Project {number}", created_by=alice)
    Job.objects.create(project=project, kind="sample")
"""

CHECK = """
import django, json
django.setup()
from training.models import Job, TickSlot
jobs = {str(pk): [state, token] for pk, state, token in Job.objects.values_list("pk", "state", "token")}
print(json.dumps({"jobs": jobs, "slots": list(TickSlot.objects.values_list("name", "slot"))}))
"""


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_no_token_is_granted_twice_and_nothing_is_published_late(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    env = environment(engine, tmp_path, request)
    assert start_python(PREPARE, env=env).wait(timeout=300) == 0
    workers = [start_python(WORKER, f"worker {number}", str(CLAIMS), env=env) for number in range(WORKERS)]
    said = [json.loads(worker.communicate(timeout=300)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * WORKERS
    found = json.loads(start_python(CHECK, env=env).communicate(timeout=300)[0])

    granted = Counter((job, token) for one in said for job, token in one["granted"])
    assert len(granted) > WORKERS * 10
    assert max(granted.values()) == 1
    published = Counter(job for one in said for job in one["published"])
    assert max(published.values()) == 1
    assert {job for job, (state, _) in found["jobs"].items() if state == "done"} == set(published)
    # Each publication carries the last token that its job ever had: nobody published with an older one.
    assert sorted(found["slots"]) == sorted([job, found["jobs"][job][1]] for job in published)
    assert sum(one["late"] for one in said) > 0
