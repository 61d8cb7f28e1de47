"""``manage.py add_user NAME``: an account with a generated password, and a place in a project."""

import secrets
from argparse import ArgumentParser

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from annotate.models import Role, User
from annotate.services.people import NotAllowedError, add_member
from annotate.shell import project_of


class Command(BaseCommand):
    help = "Make an account (its password is printed once), or give an existing one a role in a project."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--project", type=int, help="The project to join.")
        parser.add_argument("--role", choices=Role.values, default=Role.ANNOTATOR.value)
        parser.add_argument("--staff", action="store_true", help="A new account that may open projects.")

    def handle(self, *, name: str, project: int | None, role: str, staff: bool, **options: object) -> None:
        found = None if project is None else project_of(project)
        with transaction.atomic():
            user = User.objects.filter(username=name).first()
            password = None
            if user is None:
                password = secrets.token_urlsafe(12)
                user = User(username=name, is_staff=staff)
                user.set_password(password)
                try:
                    user.full_clean()
                except ValidationError as error:
                    raise CommandError(" ".join(error.messages)) from error
                user.save()
            elif staff:
                raise CommandError(f"{name} has an account already; --staff is for new ones.")
            elif found is None:
                raise CommandError(f"{name} has an account already. Say which project to join: --project ID.")
            if found is not None:
                try:
                    add_member(project=found, user=user, role=role, actor=None)
                except NotAllowedError as error:
                    raise CommandError(str(error)) from error
        if password is not None:
            self.stdout.write(f"{name}'s password, shown this once: {password}")
        if found is not None:
            self.stdout.write(f"{name} is {Role(role).label.lower()} in {found}.")
