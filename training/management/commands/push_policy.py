"""``manage.py push_policy PROJECT_ID NUMBER --name NAME``: a worker pushes a policy to the Hub."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.services.outbound import start_push
from training.services.release import CannotReleaseError
from training.shell import policy_of


class Command(BaseCommand):
    help = "Ask a worker to push a policy to the Hub, below PAIRLOOP_HUB_NAMESPACE (docs/reference/policies.md)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project_id", type=int)
        parser.add_argument("number", type=int, help="The policy's number.")
        parser.add_argument("--name", required=True, help="The repository, without its owner.")
        parser.add_argument("--merged", action="store_true", help="The merged model, which must have been made.")

    def handle(self, *, project_id: int, number: int, name: str, merged: bool, **options: Any) -> None:
        policy = policy_of(project_id, number)
        try:
            job = start_push(policy=policy, name=name, merged=merged, started_by=None)
        except CannotReleaseError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"A worker pushes it to {job.payload['repo']}; the policy's page says when it is there.")
