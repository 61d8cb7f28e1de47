"""``manage.py export_policy PROJECT_ID NUMBER --output PATH``: a policy's weights with their card and manifest."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.models import Policy
from training.services.jobs import work_on
from training.services.leases import new_owner
from training.services.outbound import start_merge
from training.services.release import (
    CannotReleaseError,
    Release,
    merged_release_of,
    note_release,
    own_form,
    release_of,
    write_release,
)
from training.shell import policy_of


class Command(BaseCommand):
    help = "Write a policy to a new folder, or to a .zip file: the same as the download on its page."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project_id", type=int)
        parser.add_argument("number", type=int, help="The policy's number.")
        parser.add_argument("--output", type=Path, required=True, help="A folder that is not there yet, or NAME.zip.")
        parser.add_argument(
            "--merged", action="store_true", help="Base and adapter in one; made here and now where there is none yet."
        )

    def handle(self, *, project_id: int, number: int, output: Path, merged: bool, **options: Any) -> None:
        policy = policy_of(project_id, number)
        try:
            release = _merged(policy) if merged else release_of(policy)
            if output.suffix == ".zip":
                part = output.with_name(f".{output.name}.{os.getpid()}.part")
                try:
                    with part.open("xb") as file:
                        file.writelines(release.stream())
                    part.replace(output)
                finally:
                    part.unlink(missing_ok=True)
            else:
                write_release(release, output)
        except CannotReleaseError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"Cannot write {output}: {error}.") from error
        note_release(policy=policy, what="merged" if merged else own_form(policy), actor=None, to="folder")
        self.stdout.write(f"{output}: {len(release.files)} files")


def _merged(policy: Policy) -> Release:
    try:
        return merged_release_of(policy)
    except CannotReleaseError:
        job = start_merge(policy=policy)
    work_on(job_id=job.pk, owner=new_owner())
    job.refresh_from_db()
    if job.error:
        raise CannotReleaseError(job.error)
    return merged_release_of(policy)
