"""The sign-in provider and passkeys on pages: ``{% provider_name as provider %}`` is empty where the site has none."""

import json
from typing import Any

from django import template
from django.conf import settings

register = template.Library()


@register.filter
def as_json(value: dict[str, Any]) -> str:
    """What passkey.js hands to the browser, for an attribute: a policy without inline scripts allows no other place."""
    return json.dumps(value)


@register.simple_tag
def provider_name() -> str:
    apps = settings.SOCIALACCOUNT_PROVIDERS.get("openid_connect", {}).get("APPS", [])
    return str(apps[0]["name"]) if apps else ""
