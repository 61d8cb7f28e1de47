"""Questions about accounts, for the site's owners and for people about their own."""

from allauth.mfa.models import Authenticator
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from annotate.models import User


def accounts_like(name: str) -> QuerySet[User]:
    """Accounts by user name, with ``projects_joined`` and ``has_factor``; those whose names or address contain it."""
    found = User.objects.annotate(
        projects_joined=Count("memberships"),
        has_factor=Exists(Authenticator.objects.filter(user=OuterRef("pk"))),
    )
    if name:
        found = found.filter(
            Q(username__icontains=name)
            | Q(first_name__icontains=name)
            | Q(last_name__icontains=name)
            | Q(email__icontains=name)
        )
    return found.order_by("-is_active", "username")
