"""Questions about accounts, for the site's owners and for people about their own."""

from allauth.mfa.models import Authenticator
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from annotate.models import Membership, Role, User

FACTOR = Exists(Authenticator.objects.filter(user=OuterRef("pk")).exclude(type=Authenticator.Type.RECOVERY_CODES))


def has_factor(user: User) -> bool:
    """Does signing in ask this person for a second factor? Recovery codes alone are none."""
    return User.objects.filter(FACTOR, pk=user.pk).exists()


def factors_of(user: User) -> list[Authenticator]:
    """The person's second factors, recovery codes apart, the oldest first."""
    factors = Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.RECOVERY_CODES)
    return list(factors.order_by("pk"))


def needs_factor(user: User) -> bool:
    """Has this person a role for which the site asks a second factor, where ``REQUIRE_MFA`` is set?"""
    return (
        user.is_superuser
        or user.is_staff
        or Membership.objects.filter(user=user, role__in=[Role.OWNER, Role.LEAD]).exists()
    )


def accounts_like(name: str) -> QuerySet[User]:
    """Accounts by user name, with ``projects_joined`` and ``has_factor``; those whose names or address contain it."""
    found = User.objects.annotate(
        projects_joined=Count("memberships"),
        has_factor=FACTOR,
    )
    if name:
        found = found.filter(
            Q(username__icontains=name)
            | Q(first_name__icontains=name)
            | Q(last_name__icontains=name)
            | Q(email__icontains=name)
        )
    return found.order_by("-is_active", "username")
