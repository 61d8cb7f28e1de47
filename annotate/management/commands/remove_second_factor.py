"""``manage.py remove_second_factor NAME``: for the site's only owner, who lost their phone and the recovery codes."""

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from annotate.models import User
from annotate.services.accounts import remove_factors


class Command(BaseCommand):
    help = "Take away an account's second factor and its recovery codes: the password alone signs in then."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")

    def handle(self, *, name: str, **options: object) -> None:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no account named {name}.")
        removed = remove_factors(user=user, by=None)
        self.stdout.write(f"{name}'s second factor is removed." if removed else f"{name} had none.")
