"""``manage.py reseal_second_factors``: keys of authenticator apps and recovery codes under today's secret key."""

from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError

from annotate.sealing import reseal

# What allauth hands to its adapter's `encrypt`, by name: a TOTP key, and what recovery codes are made of.
SEALED = ("secret", "seed")


class Command(BaseCommand):
    help = "Encrypt second factors under today's secret key; afterwards an old key can go."

    def handle(self, **options: Any) -> None:
        lost, done = 0, 0
        for factor in Authenticator.objects.filter(type__in=["totp", "recovery_codes"]).order_by("pk").iterator():
            try:
                again: dict[str, Any] = {name: reseal(factor.data[name]) for name in SEALED if name in factor.data}
            except ValueError:
                lost += 1
                self.stderr.write(f"The second factor of {factor.user} is sealed under a key that is not here.")
                continue
            if "migrated_codes" in factor.data:
                again["migrated_codes"] = [reseal(code) for code in factor.data["migrated_codes"]]
            Authenticator.objects.filter(pk=factor.pk).update(data=factor.data | again)
            done += 1
        self.stdout.write(f"Sealed anew: {done}.")
        if lost:
            raise CommandError(f"{lost} could not be opened: name the old key in PAIRLOOP_OLD_SECRET_KEYS.")
