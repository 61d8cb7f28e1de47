"""``manage.py close_account NAME``: as the site's owners do on the accounts page, when none of them can sign in."""

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from annotate.models import User
from annotate.services.accounts import deactivate_account, reactivate_account
from annotate.services.people import NotAllowedError


class Command(BaseCommand):
    help = "Close an account (sessions end, leases go back, judgments stay), or open it again with --open."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--open", action="store_true", help="Open it again.")
        parser.add_argument("--reason", default="", help="For the site's log.")

    def handle(self, *, name: str, reason: str, **options: object) -> None:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no account named {name}.")
        if options["open"]:
            done = reactivate_account(user=user, by=None)
            self.stdout.write(f"{name}'s account is open again." if done else f"{name}'s account was open.")
            return
        try:
            done = deactivate_account(user=user, by=None, reason=reason)
        except NotAllowedError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{name}'s account is closed." if done else f"{name}'s account was closed before.")
