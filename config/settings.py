"""Every setting of the site, read once from the environment, loud on nonsense (docs/reference/settings.md).

With nothing set this is the embedded default: SQLite, Celery's filesystem transport, everything below ``var/``.
"""

import os
import re
import secrets
import shlex
import sqlite3
import zoneinfo
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()


def _integer(name: str, default: int, *, low: int, high: int) -> int:
    raw = os.environ.get(name, "").strip()
    if not raw:
        return default
    if not re.fullmatch(r"-?\d+", raw) or not low <= int(raw) <= high:
        raise ImproperlyConfigured(f"{name}={raw!r}: give a whole number from {low} to {high}, or leave it unset.")
    return int(raw)


def _flag(name: str, default: bool) -> bool:
    raw = os.environ.get(name, "").strip().lower()
    if not raw:
        return default
    if raw not in ("1", "0", "true", "false", "yes", "no", "on", "off"):
        raise ImproperlyConfigured(f"{name}={raw!r}: give 1 or 0, or leave it unset.")
    return raw in ("1", "true", "yes", "on")


def _names(name: str, default: list[str]) -> list[str]:
    raw = os.environ.get(name, "").strip()
    return [part.strip() for part in raw.split(",") if part.strip()] if raw else default


def _sign_in_provider() -> tuple[dict[str, Any], list[str]]:
    """One OpenID Connect provider as allauth wants it, and the domains of addresses that need no invite."""
    names = ("PAIRLOOP_OIDC_ISSUER", "PAIRLOOP_OIDC_CLIENT_ID", "PAIRLOOP_OIDC_CLIENT_SECRET")
    issuer, client_id, secret = (os.environ.get(name, "").strip() for name in names)
    name = os.environ.get("PAIRLOOP_OIDC_NAME", "").strip() or "single sign-on"
    domains = [domain.lower() for domain in _names("PAIRLOOP_OIDC_DOMAINS", [])]
    for domain in domains:
        if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", domain):
            raise ImproperlyConfigured(f"PAIRLOOP_OIDC_DOMAINS: {domain!r} must look like example.org, without an @.")
    if len(name) > 40:
        raise ImproperlyConfigured("PAIRLOOP_OIDC_NAME is too long: give what stands on a button, 40 letters at most.")
    if not (issuer or client_id or secret):
        if domains:
            raise ImproperlyConfigured("PAIRLOOP_OIDC_DOMAINS needs a provider: set PAIRLOOP_OIDC_ISSUER as well.")
        return {}, []
    if not (issuer and client_id and secret):
        raise ImproperlyConfigured(
            "PAIRLOOP_OIDC_ISSUER, PAIRLOOP_OIDC_CLIENT_ID and PAIRLOOP_OIDC_CLIENT_SECRET belong together: "
            "set all three, or none."
        )
    parsed = urlsplit(issuer)
    loopback = parsed.hostname in ("localhost", "127.0.0.1", "::1")
    if not parsed.netloc or not (parsed.scheme == "https" or (parsed.scheme == "http" and loopback)):
        raise ImproperlyConfigured(
            f"PAIRLOOP_OIDC_ISSUER={issuer!r} must look like https://login.example.org/realms/team: secrets go there."
        )
    app = {
        "provider_id": "oidc",
        "name": name,
        "client_id": client_id,
        "secret": secret,
        "settings": {"server_url": issuer.rstrip("/"), "oauth_pkce_enabled": True},
    }
    return {"openid_connect": {"APPS": [app]}}, domains


def _secret(path: Path) -> str:
    """The secret key: read from its file, or made once with nobody but us allowed to read it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f"{path.name}.{os.getpid()}")
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(64))
        try:
            os.link(made, path)  # Loses quietly to a process that made it first, and never overwrites.
        except FileExistsError:
            pass
        finally:
            made.unlink()
    return path.read_text().strip()


# --- Where things are -------------------------------------------------------------------------------------------------

# Database, models, runs, secrets: everything that is worth a backup.
HOME = Path(os.environ.get("PAIRLOOP_HOME", "").strip() or BASE_DIR / "var").resolve()
HOME.mkdir(parents=True, exist_ok=True)
RUNS_DIR = HOME / "runs"
POLICIES_DIR = HOME / "policies"
CACHE_DIR = HOME / "cache"
# The engine builds it in a run directory of its own, beside its events and its result.
STARTER_DIR = HOME / "models" / "starter" / "model"

# --- The site ---------------------------------------------------------------------------------------------------------

DEBUG = _flag("PAIRLOOP_DEBUG", False)
# Behind TLS: secure cookies, HSTS, redirects. The embedded default listens on loopback without TLS.
HTTPS = _flag("PAIRLOOP_HTTPS", False)
ALLOWED_HOSTS = _names("PAIRLOOP_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = _names("PAIRLOOP_TRUSTED_ORIGINS", [])
for _origin in CSRF_TRUSTED_ORIGINS:
    if urlsplit(_origin).scheme not in ("http", "https") or not urlsplit(_origin).netloc:
        raise ImproperlyConfigured(
            f"PAIRLOOP_TRUSTED_ORIGINS: {_origin!r} must look like https://pairloop.example.org."
        )
SECRET_KEY = os.environ.get("PAIRLOOP_SECRET_KEY", "").strip() or _secret(HOME / "secret-key")
if len(SECRET_KEY) < 50:
    raise ImproperlyConfigured(
        "PAIRLOOP_SECRET_KEY is too short: give at least 50 random characters, or leave it unset."
    )

# Keys of before: what they signed or sealed still counts, and nothing new is signed with them.
SECRET_KEY_FALLBACKS = _names("PAIRLOOP_OLD_SECRET_KEYS", [])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "csp",
    "django_htmx",
    "annotate",
    "training",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "annotate.middleware.NumbersFit",
    "annotate.middleware.SecondFactorRequired",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
# Puts the focus where a form went wrong.
FORM_RENDERER = "annotate.forms.focus.Renderer"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# The one place where the two apps meet on a page, by string: panels on a project's page, panels on the page of what was
# judged, and tabs above them. A panel is a function (request, membership) -> rendered HTML; one of what was judged gets
# the comparison or lineup as well; a list of tabs holds `annotate.tabs.Tab`s.
PROJECT_PANELS = ["training.panels.loop_panel"]
JUDGED_PANELS = ["training.panels.trained_on_panel"]
PROJECT_TABS = ["annotate.tabs.TABS", "training.tabs.TABS"]
# What the verbs in the audit log mean.
AUDIT_DEEDS = ["annotate.deeds.DEEDS", "training.deeds.DEEDS"]
# What `manage.py verify` asks: functions that yield a sentence for each row that should not be.
INVARIANTS = ["annotate.queries.invariants.broken", "training.queries.invariants.broken"]

# --- Database ---------------------------------------------------------------------------------------------------------


def _wal_is_safe(version: tuple[int, int, int]) -> bool:
    """Is this SQLite free of the WAL-reset corruption bug (3.7.0 to 3.51.2; backports 3.50.7 and 3.44.6)?

    Source: https://sqlite.org/wal.html#walresetbug. Several writing processes are its trigger, and we have several.
    """
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)


def _launch(written: str) -> tuple[str, ...]:
    """What stands between ``python`` and ``-m training.engine`` to train with several processes (docs/launch.md)."""
    wrong = (
        f"PAIRLOOP_LAUNCH={written!r} must look like torchrun --standalone --nproc_per_node 2, or accelerate launch "
        "--config_file fsdp2.yaml; leave it unset for one process."
    )
    try:
        words = shlex.split(written)
    except ValueError as error:
        raise ImproperlyConfigured(wrong) from error
    if not words:
        return ()
    if words[0] == "torchrun":
        return ("-m", "torch.distributed.run", *words[1:])
    if words[:2] == ["accelerate", "launch"]:
        return ("-m", "accelerate.commands.launch", *words[2:])
    raise ImproperlyConfigured(wrong)


def _database(url: str) -> dict[str, Any]:
    if not url:
        journal = "WAL" if _wal_is_safe(sqlite3.sqlite_version_info[:3]) else "DELETE"
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": HOME / "db.sqlite3",
            "OPTIONS": {
                # A deferred transaction that turns from reading to writing fails at once, whatever its timeout.
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                # synchronous=FULL: an acknowledged judgment survives a power cut.
                "init_command": f"PRAGMA journal_mode={journal}; PRAGMA synchronous=FULL;",
            },
        }
    parsed = env.db_url_config(url)
    if parsed.get("ENGINE") != "django.db.backends.postgresql":
        raise ImproperlyConfigured(
            "PAIRLOOP_DATABASE_URL must look like postgres://user:password@host:5432/name; leave it unset for SQLite."
        )
    # Prepared statements halve what PostgreSQL spends on a judgment. A pooler in transaction mode must know them.
    prepare = _flag("PAIRLOOP_PREPARED_STATEMENTS", True)
    options = {"server_side_binding": prepare, "prepare_threshold": 3 if prepare else None}
    parsed["OPTIONS"] = {**parsed.get("OPTIONS", {}), **options}
    return {**parsed, "ENGINE": "config.postgresql", "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}


DATABASES = {"default": _database(os.environ.get("PAIRLOOP_DATABASE_URL", "").strip())}
# Shared by all processes, so that a limit on sign-ins is one limit, and a code of a second factor counts once on all of
# them. In the database, because sign-ins must not need Redis.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "annotate_cache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    },
    # Parts of the judging pages that are alike for all, such as the reasons to skip: each process makes them once.
    "process": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 1_000}},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Jobs -------------------------------------------------------------------------------------------------------------

# The broker is a doorbell: messages carry a job's id and may be lost, repeated or reordered (docs/adr/0004).
CELERY_BROKER_URL = os.environ.get("PAIRLOOP_BROKER_URL", "").strip() or "filesystem://localhost/"
_transport = urlsplit(CELERY_BROKER_URL).scheme
if _transport not in ("filesystem", "redis", "rediss", "redis+socket"):
    raise ImproperlyConfigured(
        "PAIRLOOP_BROKER_URL must look like redis://host:6379/0; leave it unset for the embedded filesystem broker."
    )
if _transport == "filesystem":
    _broker = HOME / "broker"
    for _part in ("messages", "control"):
        (_broker / _part).mkdir(parents=True, exist_ok=True)
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
        "data_folder_in": str(_broker / "messages"),
        "data_folder_out": str(_broker / "messages"),
        "control_folder": str(_broker / "control"),
    }
else:
    # Explicit, because redis-py's defaults change between releases.
    CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 2, "health_check_interval": 30}
    CELERY_WORKER_DISABLE_PREFETCH = True  # Redis alone knows it; elsewhere the worker would warn
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {"training.tasks.run_job": {"queue": "gpu"}}
# Doorbells that nobody heard within a minute are noise: the reconciler rings again.
CELERY_TASK_PUBLISH_RETRY = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"

# Seconds between two ticks, and how long a worker's lease on a job lasts without renewal.
TICK_SECONDS = _integer("PAIRLOOP_TICK_SECONDS", 5, low=1, high=3600)
JOB_LEASE_SECONDS = _integer("PAIRLOOP_JOB_LEASE_SECONDS", 60, low=2, high=3600)
JOB_MAX_ATTEMPTS = _integer("PAIRLOOP_JOB_MAX_ATTEMPTS", 3, low=1, high=20)
# A job that makes no progress for this long is ended and tried again.
JOB_STALL_SECONDS = _integer("PAIRLOOP_JOB_STALL_SECONDS", 1800, low=10, high=86_400)
LAUNCH = _launch(os.environ.get("PAIRLOOP_LAUNCH", "").strip())
# What the log-probabilities under references may take on disk (docs/adr/0012). 0: they are computed anew in each run.
REFERENCE_CACHE_MB = _integer("PAIRLOOP_REFERENCE_CACHE_MB", 1024, low=0, high=1_000_000)
# What whole models made of adapters may take on disk; the one used longest ago goes first. 0: all are kept.
MERGED_MB = _integer("PAIRLOOP_MERGED_MB", 51_200, low=0, high=100_000_000)
# The user or organisation on the Hugging Face Hub below which policies may be pushed; none: pushing is off. The token
# is HF_TOKEN where the worker runs, and no other process needs it.
HUB_NAMESPACE = os.environ.get("PAIRLOOP_HUB_NAMESPACE", "").strip()
if not re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9-]{0,95})?", HUB_NAMESPACE):
    raise ImproperlyConfigured(
        f"PAIRLOOP_HUB_NAMESPACE={HUB_NAMESPACE!r}: give a user or an organisation of the Hub, or leave it unset."
    )
HUB_PRIVATE = _flag("PAIRLOOP_HUB_PRIVATE", True)
# Where runs are tracked besides TensorBoard's files, which each run directory has.
TRACKERS = _names("PAIRLOOP_TRACKERS", [])
if _unknown := sorted(set(TRACKERS) - {"wandb", "mlflow", "trackio"}):
    raise ImproperlyConfigured(f"PAIRLOOP_TRACKERS: {_unknown[0]!r} is not among wandb, mlflow, trackio.")
CELERY_BEAT_SCHEDULE = {
    "tick": {
        "task": "training.tasks.tick",
        "schedule": float(TICK_SECONDS),
        "options": {"expires": float(max(TICK_SECONDS * 3, 15))},
    }
}

# --- Sign-in ----------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "annotate.User"
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "annotate.accounts.ClosedSignup"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_REDIRECT_URL = "/"
# Failed sign-ins count per name and address, so that one mistyped password never locks out an office.
ACCOUNT_RATE_LIMITS = {"login": "120/m/ip", "login_failed": "8/5m/key"}
# Beside the password, one OpenID Connect provider; none unless it is set (docs/people.md).
SOCIALACCOUNT_PROVIDERS, OIDC_DOMAINS = _sign_in_provider()
SOCIALACCOUNT_ADAPTER = "annotate.accounts.ProviderSignIn"
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
# Who is recognised by a verified address is connected for good, so that a changed address does not lock them out.
SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True
SOCIALACCOUNT_REAUTHENTICATION_REQUIRED = True
SOCIALACCOUNT_REQUESTS_TIMEOUT = 10
MFA_ADAPTER = "annotate.accounts.SecondFactor"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
# A passkey that asks for a finger, a face or a PIN is enough alone. Browsers want HTTPS for any, or localhost.
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_FORMS = {
    "login_webauthn": "annotate.forms.passkeys.LoginForm",
    "reauthenticate_webauthn": "annotate.forms.passkeys.ReauthenticateForm",
    "authenticate_webauthn": "annotate.forms.passkeys.AuthenticateForm",
}
MFA_TOTP_ISSUER = "Pairloop"
# A code counts half a minute longer, for clocks that are not quite right. Each code counts once.
MFA_TOTP_TOLERANCE = 1
# Owners and leads of projects, and the site's, set up a second factor before they see anything else.
REQUIRE_MFA = _flag("PAIRLOOP_REQUIRE_MFA", False)
SESSION_ENGINE = "annotate.sessions"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# Nothing but our own files, and no inline script or style: model output is untrusted text.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}

# --- Uploads, language, static files ----------------------------------------------------------------------------------

DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
# Files are streamed to disk and have a cap of their own.
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_HANDLERS = [
    "annotate.uploads.SizeCap",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
PROMPT_FILE_MAX_BYTES = _integer("PAIRLOOP_PROMPT_FILE_MAX_MB", 200, low=1, high=10_000) * 1024 * 1024
PROMPT_MAX_CHARS = _integer("PAIRLOOP_PROMPT_MAX_CHARS", 50_000, low=100, high=1_000_000)

LANGUAGE_CODE = "en"
# Each by its own name, as who reads it looks for it. The browser's wish decides until somebody chooses (a cookie).
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_SECURE = HTTPS
TIME_ZONE = os.environ.get("PAIRLOOP_TIME_ZONE", "").strip() or "UTC"
if TIME_ZONE not in zoneinfo.available_timezones():
    raise ImproperlyConfigured(
        f"PAIRLOOP_TIME_ZONE={TIME_ZONE!r} is no time zone; write one like Europe/Berlin or UTC."
    )
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = Path(os.environ.get("PAIRLOOP_STATIC_ROOT", "").strip() or HOME / "static")
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Names with hashes need `collectstatic`, which `make up` and the image do.
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
MEDIA_ROOT = HOME / "uploads"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": os.environ.get("PAIRLOOP_LOG_LEVEL", "").strip().upper() or "INFO"},
}
if LOGGING["root"]["level"] not in ("DEBUG", "INFO", "WARNING", "ERROR"):  # type: ignore[index]
    raise ImproperlyConfigured("PAIRLOOP_LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR.")
