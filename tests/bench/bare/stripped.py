"""The bare app with everything taken off that can be: no middleware, and connections that are kept.

As little as a judgment can cost in Django; nothing that asks who is there could be this fast.
"""

from tests.bench.bare.kept import *  # noqa: F403  (settings on top of settings)

INSTALLED_APPS = ["tests.bench.bare"]
MIDDLEWARE: list[str] = []
