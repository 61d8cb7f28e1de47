"""The bare app as ``startproject`` makes it, but its connections to the database are kept, as the site keeps them."""

from tests.bench.bare.settings import *  # noqa: F403  (settings on top of settings)
from tests.bench.bare.settings import DATABASES

# As in config/settings.py, but asked SELECT 1 before each request, as Django does.
DATABASES["default"] |= {
    "CONN_MAX_AGE": 60,
    "CONN_HEALTH_CHECKS": True,
    "OPTIONS": {"server_side_binding": True, "prepare_threshold": 3},
}
