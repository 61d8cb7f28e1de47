"""The bare app to compare with: Django, one database, no middleware, no session. As little as a judgment can cost."""

import os

import environ

SECRET_KEY = "only the benchmark uses this"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["tests.bench.bare"]
ROOT_URLCONF = "tests.bench.bare.urls"
# The same connection settings as the site's own (config/settings.py), so that only the work differs.
DATABASES = {
    "default": {
        **environ.Env.db_url_config(os.environ["BENCH_BARE_DATABASE_URL"]),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"server_side_binding": True, "prepare_threshold": 3},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
