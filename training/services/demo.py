"""The demo project: prompts of the starter's own domain, and first answers to judge before anyone has to wait."""

import io
import json

from django.conf import settings
from django.db import transaction

from annotate.models import Project, User
from annotate.services.projects import create_project
from annotate.services.prompts import import_prompts
from training.engine.domain import GUIDELINE, demo_prompts
from training.models import Job, Loop
from training.services.jobs import work_on
from training.services.leases import new_owner
from training.services.loops import ensure_loop
from training.services.sampling import start_sampling

# Longer than the domain's longest replies, so that one is cut off only when it rambles.
MAX_NEW_TOKENS = 64


class DemoFailedError(Exception):
    """The first answers could not be sampled; the message says why."""


@transaction.atomic
def create_demo_project(*, owner: User) -> Loop:
    """A project of 240 customer messages whose base is the starter model; it trains when a lead presses Start."""
    project: Project = create_project(name="Shop replies (demo)", created_by=owner, guideline_text=GUIDELINE)
    rows = "".join(
        json.dumps({"messages": [{"role": "user", "content": message}]}) + "\n" for message in demo_prompts()
    )
    import_prompts(
        project=project, file=io.BytesIO(rows.encode()), name="demo prompts", format="jsonl", created_by=owner
    )
    return ensure_loop(project=project, base_model=str(settings.STARTER_DIR), max_new_tokens=MAX_NEW_TOKENS)


def sample_first_answers(loop: Loop) -> None:
    """Does the first sampling job here and now, before there are workers. Raises ``DemoFailedError``."""
    job = start_sampling(loop=loop)
    if job is None:
        return
    work_on(job_id=job.pk, owner=new_owner())
    job.refresh_from_db()
    if job.state != Job.State.DONE:
        raise DemoFailedError(job.error or f"The first sampling job is {job.state}.")
