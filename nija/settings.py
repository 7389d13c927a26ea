"""All configuration, and the only reader of the environment (see README and docs/operations.md for the variables)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from nija import environment, logs

try:
    # SQLite 3.7.0 to 3.51.2 can corrupt a WAL database with two writers; the wheel carries a mended one where it exists.
    import pysqlite3

    sys.modules["sqlite3"] = pysqlite3
    sys.modules["sqlite3.dbapi2"] = pysqlite3.dbapi2
except ImportError:
    pass

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
environment.load(BASE_DIR)
env.ENVIRON = environment.written()

_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def _switch(name: str) -> bool:
    """Off when left out. What is neither on nor off is refused: a brake that is misspelt must not stay off."""
    given = env.str(name, default="false").strip()
    if given.lower() not in _WORDS:
        raise ImproperlyConfigured(f"{name} is {given!r}; it is either true or false")
    return _WORDS[given.lower()]


def _whole(name: str, default: int) -> int:
    given = env.str(name, default=str(default)).strip()
    if not (given.isascii() and given.isdigit()):
        raise ImproperlyConfigured(f"{name} is {given!r}; it is a whole number")
    return int(given)


def _from_url(name: str, url: str, read: Callable[[str], dict[str, Any]], *, forms: str) -> dict[str, Any]:
    """What cannot be read is not repeated: it may hold a password."""
    try:
        return read(url)
    except (ImproperlyConfigured, KeyError, ValueError):
        raise ImproperlyConfigured(f"{name} cannot be read; it is {forms}") from None


def _database(url: str) -> dict[str, Any]:
    """Raises ImproperlyConfigured for a database that NIJA does not run on."""
    # Before it is parsed, which prints what is no database with its password.
    engine = env.DB_SCHEMES.get(url.partition(":")[0])
    if engine not in {"django.db.backends.postgresql", "django.db.backends.sqlite3"}:
        raise ImproperlyConfigured("neither PostgreSQL nor SQLite")
    found: dict[str, Any] = env.db_url_config(url)
    return found


def _redis(url: str) -> dict[str, Any]:
    """The same server in Celery's words and in redis-py's. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme in {"unix", "redis+socket"}:
        return {"broker": f"redis+socket://{parts.path}?virtual_host=0", "client": f"unix://{parts.path}?db=0"}
    # Asking for the port looks at it, too.
    if parts.scheme not in {"redis", "rediss"} or parts.port == 0:
        raise ValueError("not Redis")
    return {"broker": url, "client": url}


NIJA_ENV = env.str("NIJA_ENV", default="production")
if NIJA_ENV not in {"production", "development"}:
    raise ImproperlyConfigured(f"NIJA_ENV is {NIJA_ENV!r}; it is either production or development")
DEVELOPMENT = NIJA_ENV == "development"
DEBUG = False

NIJA_DATA_DIR = Path(env.str("NIJA_DATA_DIR", default=str(BASE_DIR / ".nija"))).absolute()
PORT = _whole("PORT", 8000)
#: Which of nija.processes this is, when `manage.py up` started it.
NIJA_PROCESS = env.str("NIJA_PROCESS", default="")

DEVELOPMENT_SECRET_KEY = "development-only-not-a-secret-refused-by-production-settings"  # noqa: S105
SECRET_KEY = env.str("SECRET_KEY", default=DEVELOPMENT_SECRET_KEY if DEVELOPMENT else "")
if not DEVELOPMENT and (len(SECRET_KEY) < 50 or SECRET_KEY == DEVELOPMENT_SECRET_KEY):
    raise ImproperlyConfigured("SECRET_KEY must be set to at least 50 random characters in production")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"] if DEVELOPMENT else [])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# Kraken, and what this installation may do there.
KRAKEN_API_URL = env.str("KRAKEN_API_URL", default="https://api.kraken.com").rstrip("/")
LIVE_TRADING = _switch("LIVE_TRADING")
VENUE_IS_LOCAL = urlsplit(KRAKEN_API_URL).hostname in {"127.0.0.1", "localhost", "::1"}
#: What accounts, orders and a data directory belong to. The demo names it, since its own exchange may change its port.
VENUE = env.str("NIJA_VENUE", default="") or KRAKEN_API_URL
ORDERS_ALLOWED = VENUE_IS_LOCAL or LIVE_TRADING
ENTRY_BLOCKING = _switch("ENTRY_BLOCKING")
COPY_TRADING_MODE = env.str("COPY_TRADING_MODE", default="MASTER_FOLLOW")
if COPY_TRADING_MODE not in {"MASTER_FOLLOW", "INDEPENDENT"}:
    raise ImproperlyConfigured("COPY_TRADING_MODE is either MASTER_FOLLOW or INDEPENDENT")
# Above this share of copied entries that fail within a minute, of at least so many, all entries stop.
BREAKER_FAILURE_PERCENT = _whole("BREAKER_FAILURE_PERCENT", 50)
BREAKER_ENTRIES_MIN = _whole("BREAKER_ENTRIES_MIN", 6)
if not 1 <= BREAKER_FAILURE_PERCENT <= 100 or BREAKER_ENTRIES_MIN < 1:
    raise ImproperlyConfigured("BREAKER_FAILURE_PERCENT is from 1 to 100, BREAKER_ENTRIES_MIN at least 1")
NIJA_VAULT_PUBLIC_KEY = env.str("NIJA_VAULT_PUBLIC_KEY", default="")
NIJA_VAULT_PRIVATE_KEY = env.str("NIJA_VAULT_PRIVATE_KEY", default="")
KRAKEN_PLATFORM_API_KEY = env.str("KRAKEN_PLATFORM_API_KEY", default="")
KRAKEN_PLATFORM_API_SECRET = env.str("KRAKEN_PLATFORM_API_SECRET", default="")
KRAKEN_USER_VARIABLES = {
    name: value for name, value in env.ENVIRON.items() if name.startswith("KRAKEN_USER_") and value.strip()
}
MASTER_STRATEGY = env.str("MASTER_STRATEGY", default="apex")
MASTER_PAIRS = env.list("MASTER_PAIRS", default=["BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "DOGE-USD", "BEAM-USD"])
MASTER_CANDLE_MINUTES = _whole("MASTER_CANDLE_MINUTES", 1)
MASTER_ENTRY_NOTIONAL_PERCENT = env.str("MASTER_ENTRY_NOTIONAL_PERCENT", default="12")

# What `trading` rings on commit without importing its listeners (see trading/doorbell.py).
DOORBELLS = {
    "signal": "copytrade.tasks.claim_signals",
    "executions": "copytrade.tasks.plan_exits",
}
# Whom `accounts` asks how many managed positions a user has open, likewise without an import.
OPEN_POSITIONS = "trading.services.intake.open_positions"
UNKNOWN_SYMBOLS = "trading.services.symbols.unknown"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "rest_framework",
    "knox",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
    # Ours come last, so that they have the last word on what the admin shows.
    "nija",
    "accounts",
    "trading",
    "copytrade",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "nija.static_files.StaticFiles",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
ROOT_URLCONF = "nija.urls"
ASGI_APPLICATION = "nija.asgi.application"
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
                "nija.context.site",
            ]
        },
    }
]

# Database: PostgreSQL in production, embedded SQLite elsewhere. IMMEDIATE serialises writers; FULL keeps an order intent over a power loss.
_DATABASE_URL = env.str("DATABASE_URL", default="")
# No URL for our own file: its path may hold any sign.
_EMBEDDED = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(NIJA_DATA_DIR / "nija.sqlite3")}
_DATABASE_FORMS = "postgres://USER:PASSWORD@HOST:PORT/NAME or sqlite:////PATH"
DATABASES: dict[str, dict[str, Any]] = {
    "default": _from_url("DATABASE_URL", _DATABASE_URL, _database, forms=_DATABASE_FORMS)
    if _DATABASE_URL
    else _EMBEDDED
}
ATOMIC_REQUESTS = False
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 30,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=30000;",
    }
    if LIVE_TRADING:
        raise ImproperlyConfigured("LIVE_TRADING=true needs PostgreSQL: set DATABASE_URL")
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.str("REDIS_URL", default="") or "redis://127.0.0.1:6379/0"
_REDIS = _from_url("REDIS_URL", REDIS_URL, _redis, forms="redis://:PASSWORD@HOST:PORT/NUMBER or unix:///PATH")
CELERY_BROKER_URL, REDIS_CLIENT_URL = _REDIS["broker"], _REDIS["client"]
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_CLIENT_URL,
        # Nobody who asks for a page or for a stop waits for a Redis that is silent.
        "OPTIONS": {"socket_connect_timeout": 2, "socket_timeout": 2},
        "KEY_PREFIX": "nija",
    }
}

# People: log-in by e-mail through allauth, which also limits the rate of attempts; the admin goes through the same door.
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/dashboard/"
LOGOUT_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_FORMS = {"signup": "accounts.forms.SignupForm"}
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_PREVENT_ENUMERATION = True
MFA_TOTP_ISSUER = "NIJA"

# Mail: without EMAIL_URL a development installation keeps it in the data directory and the pages link to it.
MAIL_DIR = NIJA_DATA_DIR / "mail"
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="NIJA <no-reply@localhost>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL
# A mail server that is silent must not keep those waiting who plan exits.
EMAIL_TIMEOUT = 5
_EMAIL_URL = env.str("EMAIL_URL", default="")
MAIL_IS_KEPT = not _EMAIL_URL and DEVELOPMENT
if _EMAIL_URL:
    _EMAIL_FORMS = "smtp+tls://USER:PASSWORD@HOST:PORT or alike"
    vars().update(_from_url("EMAIL_URL", _EMAIL_URL, env.email_url_config, forms=_EMAIL_FORMS))
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = str(MAIL_DIR)

# Browser security.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEVELOPMENT
SECURE_SSL_REDIRECT = not DEVELOPMENT
SECURE_REDIRECT_EXEMPT = [r"^health/$"]
SECURE_HSTS_SECONDS = 0 if DEVELOPMENT else 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not DEVELOPMENT
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _switch("BEHIND_PROXY") else None
SESSION_COOKIE_HTTPONLY = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
    }
}

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEVELOPMENT
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEVELOPMENT

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["accounts.api.parsers.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_THROTTLE_CLASSES": ["accounts.api.throttles.CallerThrottle"],
    # Stopping has a budget of its own, which no other call spends.
    "DEFAULT_THROTTLE_RATES": {"user": "600/min", "emergency-stop": "600/min"},
    "COERCE_DECIMAL_TO_STRING": True,
}
REST_KNOX = {"TOKEN_TTL": timedelta(days=365), "AUTO_REFRESH": False}
SPECTACULAR_SETTINGS = {
    "TITLE": "NIJA API",
    "DESCRIPTION": "Trade history, balances and controls. Amounts are decimal strings, instants RFC 3339 UTC, lists newest first.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "ENUM_NAME_OVERRIDES": {
        "OrderStateEnum": "trading.api.orders.STATES",
        "PositionStateEnum": "trading.api.positions.STATES",
        "CopyingStateEnum": "accounts.models.risk.CopyState",
        "BalanceSourceEnum": "trading.api.balances.SOURCES",
    },
}

CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 60, "socket_timeout": 10, "socket_connect_timeout": 5}
CELERY_TIMEZONE = "UTC"

LOGGING = logs.CONFIGURATION
