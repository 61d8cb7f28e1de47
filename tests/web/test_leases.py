"""The fenced lease, one caller at a time. Races: tests/jobs/test_lease_races.py."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from annotate.models import Project
from training.models import Job
from training.services.jobs import give_up
from training.services.leases import Lease, LeaseLostError, claim, finish, in_line, release, renew


@pytest.fixture
def job(project: Project) -> Job:
    return Job.objects.create(project=project, kind=Job.Kind.SAMPLE)


def claimed(job: Job, owner: str = "worker 1") -> Lease:
    lease = claim(job_id=job.pk, owner=owner)
    assert lease is not None
    return lease


def let_it_run_out(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_the_first_worker_gets_the_job_and_the_second_gets_nothing(job: Job) -> None:
    lease = claimed(job)
    assert (lease.token, lease.attempt) == (1, 1)
    assert claim(job_id=job.pk, owner="worker 2") is None
    job.refresh_from_db()
    assert (job.state, job.owner, job.token) == ("running", "worker 1", 1)
    assert job.started_at is not None
    assert job.lease_until is not None
    assert job.lease_until > timezone.now()


def test_a_job_that_is_not_there_is_nobodys(db: None) -> None:
    assert claim(job_id=uuid.uuid4(), owner="worker 1") is None


def test_a_lease_that_ran_out_goes_to_the_next_with_a_higher_token(job: Job) -> None:
    stale = claimed(job)
    let_it_run_out(job)
    fresh = claimed(job, "worker 2")
    assert fresh.token == stale.token + 1
    assert fresh.attempt == 2
    assert not renew(stale)
    assert renew(fresh)


def test_whoever_lost_the_lease_cannot_finish_or_give_back(job: Job) -> None:
    stale = claimed(job)
    let_it_run_out(job)
    fresh = claimed(job, "worker 2")
    with pytest.raises(LeaseLostError):
        finish(stale, state="done")
    assert not release(stale, counts=True)
    finish(fresh, state="done")
    job.refresh_from_db()
    assert (job.state, job.lease_until) == ("done", None)
    assert job.ended_at is not None
    with pytest.raises(LeaseLostError):
        finish(fresh, state="done")


def test_a_lease_that_ran_out_unnoticed_still_counts_until_someone_takes_it(job: Job) -> None:
    lease = claimed(job)
    let_it_run_out(job)
    assert renew(lease)
    assert claim(job_id=job.pk, owner="worker 2") is None


def test_a_worker_that_was_asked_to_stop_does_not_use_up_an_attempt(job: Job) -> None:
    for _ in range(5):
        lease = claimed(job)
        assert lease.attempt == 1
        assert release(lease, counts=False)
    job.refresh_from_db()
    assert (job.state, job.attempt, job.token) == ("queued", 0, 5)


def test_after_three_attempts_nobody_gets_it_and_it_is_given_up_once(job: Job) -> None:
    for attempt in (1, 2, 3):
        lease = claimed(job)
        assert lease.attempt == attempt
        assert release(lease, counts=True)
    assert claim(job_id=job.pk, owner="worker 4") is None
    assert give_up(job.pk)
    assert not give_up(job.pk)
    job.refresh_from_db()
    assert job.state == "failed"
    assert "Given up after 3 attempts" in job.error


def test_a_job_in_its_last_attempt_is_not_given_up_while_it_is_held(job: Job) -> None:
    for _ in range(2):
        release(claimed(job), counts=True)
    lease = claimed(job)
    assert lease.attempt == 3
    assert not give_up(job.pk)
    let_it_run_out(job)
    assert give_up(job.pk)
    with pytest.raises(LeaseLostError):
        finish(lease, state="done")


def test_a_job_ends_only_in_a_terminal_state(job: Job) -> None:
    with pytest.raises(ValueError, match="cannot end"):
        finish(claimed(job), state="queued")


def test_on_one_gpu_projects_take_turns_and_sampling_starves_no_run(project: Project, settings: Any) -> None:
    others = [Project.objects.create(name=f"Project {n}", created_by=project.created_by) for n in range(3)]
    start = timezone.now() - timedelta(hours=1)
    clock = iter(range(1000))

    def queue(where: Project, kind: str) -> Job:
        job = Job.objects.create(project=where, kind=kind)
        Job.objects.filter(pk=job.pk).update(created_at=start + timedelta(seconds=next(clock)))
        return job

    # A project that samples all the time, two that start a run, and one whose job was given back by a worker.
    queue(project, "sample")
    back = queue(others[2], "score")
    runs = [queue(others[0], "train"), queue(others[1], "train")]
    assert release(claimed(back), counts=False)
    spent = queue(others[2], "train")
    Job.objects.filter(pk=spent.pk).update(attempt=settings.JOB_MAX_ATTEMPTS)

    done: list[Job] = []
    while (waiting := in_line()) and len(done) < 8:
        lease = claim(job_id=waiting[0], owner="the only worker")
        assert lease is not None
        job = Job.objects.get(pk=lease.job_id)
        assert waiting[0] not in in_line(), "one slot, one job"
        finish(lease, state="done")
        done.append(job)
        if job.kind == "sample":
            queue(project, "sample")
    assert [job.project_id for job in done[:4]] == [project.pk, others[2].pk, others[0].pk, others[1].pk]
    assert [job.pk for job in done[2:4]] == [run.pk for run in runs]
    assert {job.kind for job in done[4:]} == {"sample"}
