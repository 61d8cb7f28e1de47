"""The site's settings with a throw-away home, cheap passwords and static files that need no collecting."""

import os
import tempfile

os.environ.setdefault("PAIRLOOP_HOME", tempfile.mkdtemp(prefix="pairloop-tests-"))

from config.settings import *  # noqa: F403  (the home must be chosen before the settings are read)
from config.settings import STORAGES

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
