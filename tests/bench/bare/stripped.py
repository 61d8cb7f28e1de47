"""The bare app with everything taken off that can be: no middleware, and connections that are kept.

As little as a judgment can cost in Django; nothing that asks who is there could be this fast.
"""

from tests.bench.bare.settings import *  # noqa: F403  (settings on top of settings)
from tests.bench.bare.settings import DATABASES

INSTALLED_APPS = ["tests.bench.bare"]
MIDDLEWARE: list[str] = []
# As the site keeps its own (config/settings.py), but asked SELECT 1 before each request, as Django does.
DATABASES["default"] |= {
    "CONN_MAX_AGE": 60,
    "CONN_HEALTH_CHECKS": True,
    "OPTIONS": {"server_side_binding": True, "prepare_threshold": 3},
}
