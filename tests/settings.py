"""The site's settings with a throw-away home, cheap passwords and static files that need no collecting."""

import os
import sys
import tempfile

# A home of its own for each process that runs tests, also where several run side by side.
if "PAIRLOOP_HOME" not in os.environ or ("PYTEST_XDIST_WORKER" in os.environ and "pytest" in sys.modules):
    os.environ["PAIRLOOP_HOME"] = tempfile.mkdtemp(prefix="pairloop-tests-")

from config.settings import *  # noqa: F403  (the home must be chosen before the settings are read)
from config.settings import STORAGES

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
