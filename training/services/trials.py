"""Trials: two policies answer the same prompts, for a lead to look at; and what a lead typed becomes a prompt."""

import io
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction

from annotate.models import Project, Prompt, User
from annotate.prompt_files import Problem, PromptRow, messages_sha256, read_prompts
from annotate.queries.prompts import prompts_of
from annotate.said import Said
from annotate.services.prompts import import_prompts
from training.engine import rundir
from training.engine.spec import TrialSpec
from training.engine.trial import ANSWERS
from training.models import Job, Policy, Trial, TrialRow
from training.services.doorbell import ring_after_commit
from training.services.leases import Lease, finish
from training.services.sampling import model_ref
from training.services.text import storable
from training.states import JOB_ACTIVE

MOST_PROMPTS = 50
# Each costs a start of the model, and they wait one behind the other.
MOST_WAITING = 5

Messages = list[dict[str, str]]


class CannotTryError(Exception):
    """The trial cannot be started; the message says why."""


class Chosen(NamedTuple):
    """One conversation for a trial, and the project's prompt that it is, if it is one."""

    messages: Messages
    prompt: Prompt | None = None


def check_messages(messages: Messages) -> Messages:
    """The conversation as a prompt of the project would be stored, or ``CannotTryError`` with the problem."""
    line = io.BytesIO(json.dumps({"messages": messages}).encode())
    row: PromptRow | Problem | None = next(
        read_prompts(line, format="jsonl", max_chars=settings.PROMPT_MAX_CHARS), None
    )
    if isinstance(row, PromptRow):
        return row.messages
    raise CannotTryError(row.message if row is not None else Said("Type a message first."))


def choose_prompts(
    *, project: Project, split: str, containing: str, numbers: Sequence[int], count: int, seed: int
) -> list[Chosen]:
    """The prompts with these numbers; without any, ``count`` drawn by ``seed`` of those that contain a text.

    ``split``: "train", "reserved", or "" for both.
    """
    if numbers:
        found = project.prompts.in_bulk(list(numbers)[:MOST_PROMPTS])
        prompts = [found[pk] for pk in numbers if pk in found]
    else:
        fitting = prompts_of(project, search=containing, split=split)
        ids = list(fitting.order_by("pk").values_list("pk", flat=True))
        drawn = random.Random(seed).sample(ids, min(count, MOST_PROMPTS, len(ids)))
        by_id = project.prompts.in_bulk(drawn)
        prompts = [by_id[pk] for pk in drawn]
    return [Chosen(prompt.messages, prompt) for prompt in prompts]


def start_trial(
    *,
    project: Project,
    left: Policy,
    right: Policy,
    rows: Sequence[Chosen],
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    seed: int,
    started_by: User | None,
) -> Trial:
    """Freezes conversations, settings and seed, and rings for a worker after the commit.

    Raises ``SpecError`` (keyed by field) or ``CannotTryError``.
    """
    if not rows:
        raise CannotTryError(Said("No prompt fits. Choose others, or import some."))
    sampling: dict[str, Any] = {
        "temperature": temperature,
        "top_p": top_p,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
    }
    spec = TrialSpec(left=model_ref(left), right=model_ref(right), **sampling)
    with transaction.atomic():
        waiting = Job.objects.filter(project=project, kind=Job.Kind.TRIAL, state__in=JOB_ACTIVE).count()
        if waiting >= MOST_WAITING:
            raise CannotTryError(
                Said("%(waiting)s trials of this project wait for a worker already. Look again later.", waiting=waiting)
            )
        job = Job.objects.create(project=project, kind=Job.Kind.TRIAL, payload={"spec": spec.to_json()})
        trial = Trial.objects.create(
            project=project, left=left, right=right, job=job, sampling=sampling, created_by=started_by
        )
        TrialRow.objects.bulk_create(
            TrialRow(trial=trial, place=place, prompt=row.prompt, messages=row.messages)
            for place, row in enumerate(rows[:MOST_PROMPTS])
        )
        ring_after_commit(job.pk)
    return trial


def keep_as_prompt(*, row: TrialRow, actor: User) -> tuple[Prompt, bool]:
    """The conversation as a prompt of the project, by the rules of any import: its split by the usual hash, never
    twice. True: it was new. Raises ``CannotTryError`` when it cannot be one.
    """
    project = row.trial.project
    messages = check_messages(row.messages)
    line = io.BytesIO(json.dumps({"messages": messages}).encode())
    made = import_prompts(project=project, file=line, name="playground", format="jsonl", created_by=actor)
    prompt = project.prompts.filter(sha256=messages_sha256(messages)).first()
    if prompt is None:
        raise CannotTryError(Said("This cannot be a prompt of the project."))
    TrialRow.objects.filter(trial__project=project, messages=row.messages, prompt=None).update(prompt=prompt)
    TrialRow.objects.filter(pk=row.pk).update(prompt=prompt)
    return prompt, made.imported == 1


# --- The worker's side ------------------------------------------------------------------------------------------------


def _engine_rows(trial: Trial) -> Iterator[dict[str, Any]]:
    for place, messages in trial.rows.values_list("place", "messages"):
        yield {"id": place, "messages": messages}


def write_trial_dir(job: Job, folder: Path) -> None:
    """What the engine needs for a trial."""
    rundir.write_run_dir(folder, TrialSpec.from_json(job.payload["spec"]), _engine_rows(job.trial))


@transaction.atomic
def publish_trial(*, lease: Lease, job: Job, folder: Path, result: dict[str, Any]) -> None:
    """Ends the job and keeps both answers to each prompt, or why there are none. Raises ``LeaseLostError``."""
    finish(lease, state=Job.State.DONE)
    rows = {row.place: row for row in job.trial.rows.all()}
    for answer in rundir.iter_rows(folder / ANSWERS):
        row = rows[int(answer["id"])]
        row.left, row.right = storable(answer["left"]), storable(answer["right"])
    for skipped in result.get("skipped", []):
        rows[int(skipped["id"])].skipped = str(skipped["reason"])[:60]
    TrialRow.objects.bulk_update(rows.values(), ["left", "right", "skipped"])
