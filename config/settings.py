"""Every setting of the service, read from the environment once, at the start."""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from config.env import (
    database_from_url,
    env_bool,
    env_choice,
    env_int,
    env_list,
    env_text,
    networks_from_texts,
)
from config.logs import log_format
from config.release import VERSION
from config.slow_statements import WatchedConnection

BASE_DIR = Path(__file__).resolve().parent.parent

# production refuses whatever is not safe in front of the world; trial is `make run` and the tests,
# on plain http and localhost; development adds DEBUG.
SLUICE_ENV = env_choice(
    "SLUICE_ENV", default="production", choices=("production", "trial", "development")
)
IS_PRODUCTION = SLUICE_ENV == "production"
# The server sets "web" for its workers: they have a pool and short timeouts, commands have neither.
# The relay sets "relay".
SLUICE_ROLE = env_choice("SLUICE_ROLE", default="command", choices=("command", "relay", "web"))

TRIAL_SECRET_KEY = "for-trial-only-this-key-is-public-and-production-refuses-it"  # noqa: S105
DEBUG = env_bool("DEBUG", default=SLUICE_ENV == "development")
SECRET_KEY = env_text("SECRET_KEY", default=TRIAL_SECRET_KEY)
SECRET_KEY_FALLBACKS = env_list("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = env_list(
    "ALLOWED_HOSTS", default="" if IS_PRODUCTION else "localhost,127.0.0.1,[::1]"
)
# Where people and programs find the service; https in production.
PUBLIC_URL = env_text("PUBLIC_URL", default="").rstrip("/")
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []

if IS_PRODUCTION:
    if DEBUG:
        raise ImproperlyConfigured("DEBUG=true is refused in production")
    # The bounds are those of Django's own check, which nobody is obliged to run.
    if SECRET_KEY == TRIAL_SECRET_KEY or len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 5:
        raise ImproperlyConfigured("SECRET_KEY: production needs 50 characters or more of its own")
    if TRIAL_SECRET_KEY in SECRET_KEY_FALLBACKS:
        raise ImproperlyConfigured("SECRET_KEY_FALLBACKS: the key of trials is public")
    if not ALLOWED_HOSTS or any(host.strip() in ("*", ".") for host in ALLOWED_HOSTS):
        raise ImproperlyConfigured("ALLOWED_HOSTS: name the hosts that production answers for")
    if PUBLIC_URL and not PUBLIC_URL.startswith("https://"):
        raise ImproperlyConfigured(f"PUBLIC_URL={PUBLIC_URL!r}: production is called by https")

# --- Applications ---------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "config",
    "accounts",
    "backoffice",
    "events",
    "inventory",
    "orders",
    "rollout",
]
if SLUICE_ROLE == "relay":
    # events knows no other app, and what is not loaded cannot delay a relay that is needed again:
    # it starts with a third of the work.
    INSTALLED_APPS = ["config", "events"]

MIDDLEWARE = [
    "config.measured.Measured",
    "config.middleware.Edge",
    # Outside of all that may still fail: what fails after a version answered is the version's too.
    "rollout.middleware.RolloutMiddleware",
    "config.middleware.StraightToApi",  # What stands below serves browsers, not the API.
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "accounts.middleware.SessionLimits",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False  # A redirect turns a POST into a GET.

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
            ]
        },
    }
]

# --- PostgreSQL -----------------------------------------------------------------------------

DATABASE_URL = env_text("DATABASE_URL", default=None if IS_PRODUCTION else "postgres:///sluice")
_database = database_from_url(DATABASE_URL)
# A request waits this long for a connection, a statement or a lock, then it is refused: early
# instead of late. Commands run for as long as they need.
DB_POOL_SIZE = env_int("DB_POOL_SIZE", default=10, at_least=1, at_most=1000)
DB_POOL_TIMEOUT_S = env_int("DB_POOL_TIMEOUT_S", default=2, at_least=1, at_most=60)
DB_STATEMENT_TIMEOUT_MS = env_int("DB_STATEMENT_TIMEOUT_MS", default=2000, at_least=100)
DB_LOCK_TIMEOUT_MS = env_int("DB_LOCK_TIMEOUT_MS", default=500, at_least=10)
DB_IDLE_IN_TRANSACTION_TIMEOUT_MS = env_int(
    "DB_IDLE_IN_TRANSACTION_TIMEOUT_MS", default=5000, at_least=100
)
# Off behind a transaction-pooling PgBouncer older than 1.21, which knows no prepared statements.
DB_PREPARED_STATEMENTS = env_bool("DB_PREPARED_STATEMENTS", default=True)
DB_TIMEOUTS = {
    "statement_timeout": DB_STATEMENT_TIMEOUT_MS,
    "lock_timeout": DB_LOCK_TIMEOUT_MS,
    "idle_in_transaction_session_timeout": DB_IDLE_IN_TRANSACTION_TIMEOUT_MS,
}

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        **_database,
        "CONN_MAX_AGE": 0,  # The pool keeps connections; under gevent any other age leaks them.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **_database["OPTIONS"],  # type: ignore[dict-item]
            "application_name": f"sluice-{SLUICE_ROLE}",
            "prepare_threshold": 5 if DB_PREPARED_STATEMENTS else None,
            # A peer that vanished without a word is noticed after this long, not after hours.
            "connect_timeout": 5,
            "tcp_user_timeout": 10_000,
        },
    }
}
if SLUICE_ROLE == "web":
    DATABASES["default"]["OPTIONS"] |= {  # type: ignore[operator]
        "options": " ".join(f"-c {name}={value}" for name, value in DB_TIMEOUTS.items()),
        "pool": {
            "connection_class": WatchedConnection,
            "min_size": min(2, DB_POOL_SIZE),
            "max_size": DB_POOL_SIZE,
            "timeout": DB_POOL_TIMEOUT_S,
            "max_lifetime": 1800,
            "max_idle": 300,
            "num_workers": 1,
            # The pause between attempts to reconnect doubles, and nobody else may try meanwhile:
            # after a minute without a database another minute. So the pool gives up soon, and
            # whoever wants a connection next tries at once.
            "reconnect_timeout": 2,
        },
    }

# --- Overload: refuse early, not late -------------------------------------------------------

# One worker's, each. Orders under way wait in group commit and hold no connection; other calls
# hold one sooner or later, and some of each call is no query: so twice as many as there are.
GATE_ORDERS_MAX = env_int("GATE_ORDERS_MAX", default=128, at_least=1)
GATE_OTHERS_MAX = env_int("GATE_OTHERS_MAX", default=2 * DB_POOL_SIZE, at_least=1)
GATE_WAITING_MAX = env_int("GATE_WAITING_MAX", default=128, at_least=0)
GATE_WAIT_MS_MAX = env_int("GATE_WAIT_MS_MAX", default=500, at_least=0, at_most=10_000)
# No body may take longer to come, no reading call may begin another statement.
REQUEST_DEADLINE_S = env_int("REQUEST_DEADLINE_S", default=10, at_least=1, at_most=25)

# --- Redis: only what may vanish ------------------------------------------------------------

REDIS_URL = env_text("REDIS_URL", default="redis://127.0.0.1:6379/0")
CACHES = {
    "default": {
        "BACKEND": "config.cache.GuardedRedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "sluice",
        "TIMEOUT": 300,
        "OPTIONS": {
            "SOCKET_CONNECT_TIMEOUT": 0.1,
            "SOCKET_TIMEOUT": 0.1,
            "CONNECTION_POOL_CLASS": "redis.connection.BlockingConnectionPool",
            "CONNECTION_POOL_KWARGS": {"max_connections": 50, "timeout": 0.1},
            "CLIENT_CLASS": "config.cache.Client",
            "SERIALIZER": "config.cache.JsonSerializer",
            "PARSER_CLASS": "config.cache.Parser",
        },
    }
}

# --- Who may call ---------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
# Sessions of the admin live in the database: they outlive a lost Redis.
SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_AGE = ACCOUNTS_SESSION_AGE_S = 12 * 3600
ACCOUNTS_SESSION_IDLE_S = 30 * 60
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_PRODUCTION
CSRF_COOKIE_HTTPONLY = True
if IS_PRODUCTION:
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"

# What a key may open. A scope implies no other; "*" asks for all of them when a key is issued.
ACCOUNTS_SCOPES = {
    "orders:read": "read the account's orders",
    "orders:write": "place and change the account's orders",
    "orders:all": "reach the orders of every account",
    "stock:read": "read stock levels and movements",
    "stock:write": "receive, adjust, move and count stock; keep SKUs",
    "events:read": "read the event feed and deliveries",
    "events:write": "keep webhook endpoints",
    "rollout:read": "read code paths, rules and verdicts",
    "rollout:write": "change rules and plans",
    "rollout:override": "choose a version for one call by its header",
}
ACCOUNTS_REALM = "sluice"
# Of one key on this host, unless the key has a limit of its own.
ACCOUNTS_CALLS_PER_S = env_int("ACCOUNTS_CALLS_PER_S", default=10_000, at_least=1)
# The processes that share a limit, and the proxies of ours that a call comes through.
WEB_CONCURRENCY = env_int("WEB_CONCURRENCY", default=os.cpu_count() or 1, at_least=1, at_most=256)
ACCOUNTS_PROCESSES = WEB_CONCURRENCY if SLUICE_ROLE == "web" else 1
ACCOUNTS_PROXIES = env_int("ACCOUNTS_PROXIES", default=0, at_least=0, at_most=10)

# --- HTTP -----------------------------------------------------------------------------------

BODY_BYTES_MAX = 128 * 1024
BULK_BODY_BYTES_MAX = 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = BULK_BODY_BYTES_MAX
# A form of the back office about an order of 1,000 lines has so many, and some more.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_100
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Only behind a proxy that sets the header: else anybody could claim to come by https.
if env_bool("TRUST_X_FORWARDED_PROTO", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
if IS_PRODUCTION:
    SECURE_SSL_REDIRECT = env_bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]

# Django 6 has a setting of this name and shape: the day of the upgrade, config.middleware lets go.
SECURE_CSP = {
    "default-src": ["'self'"],
    "img-src": ["'self'", "data:"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["config.rest.JsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["config.rest.StrictJsonParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "config.rest.JsonOnly",
    "DEFAULT_METADATA_CLASS": "config.rest.AllowedMethods",
    "DEFAULT_SCHEMA_CLASS": "config.schema.ApiSchema",
    "EXCEPTION_HANDLER": "config.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
}

# In production the schema and its pages are for staff with a session of the admin.
DOCS_PUBLIC = env_bool("DOCS_PUBLIC", default=not IS_PRODUCTION)
SPECTACULAR_SETTINGS = {
    "TITLE": "Sluice",
    "DESCRIPTION": "Takes orders: never sells what is not there, never takes one order twice.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVERS": [{"url": PUBLIC_URL or "/"}],
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_PATCH": False,
    "POSTPROCESSING_HOOKS": ["config.schema.add_what_is_shared"],
    "SERVE_AUTHENTICATION": (
        [] if DOCS_PUBLIC else ["rest_framework.authentication.SessionAuthentication"]
    ),
    "SERVE_PERMISSIONS": [
        f"rest_framework.permissions.{'AllowAny' if DOCS_PUBLIC else 'IsAdminUser'}"
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key, sk_…"}
        }
    },
    "SECURITY": [{"apiKey": []}],
}

# --- Logs -----------------------------------------------------------------------------------

LOG_FORMAT = log_format()
LOG_REQUESTS = env_bool("LOG_REQUESTS", default=True)
# A wait for the database that lasts so long is logged with the function that sent it; 0: none.
SLOW_STATEMENT_MS = env_int("SLOW_STATEMENT_MS", default=250, at_least=0)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "config.logs.formatter", "style": LOG_FORMAT}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"django": {"handlers": [], "level": "INFO", "propagate": True}},
}

# --- Metrics --------------------------------------------------------------------------------

SERVICE_NAME = env_text("OTEL_SERVICE_NAME", default="sluice")
# Either shows /metrics: a port of its own that serves nothing else, or a token on the main one.
METRICS_BIND = env_text("METRICS_BIND", default="")
METRICS_PORT = METRICS_BIND.rpartition(":")[2]
METRICS_TOKEN = env_text("METRICS_TOKEN", default="")
# What one worker asks the database now and then, for all: see config.sampling.
METRICS_SAMPLES = ["events.usecases.show_waiting", "orders.reconciliation.show_last_run"]
if IS_PRODUCTION and METRICS_TOKEN and len(METRICS_TOKEN) < 20:
    raise ImproperlyConfigured("METRICS_TOKEN: production needs 20 characters or more")

# --- Traces ---------------------------------------------------------------------------------

# Where spans go; without an endpoint OpenTelemetry's SDK is not even loaded.
IS_TRACED = bool(
    env_text("OTEL_EXPORTER_OTLP_ENDPOINT", default="")
    or env_text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", default="")
)
# gRPC's library blocks the worker that waits in it.
env_choice("OTEL_EXPORTER_OTLP_PROTOCOL", default="http/protobuf", choices=("http/protobuf",))

# --- Language, time, files ------------------------------------------------------------------

LANGUAGE_CODE = "en"
USE_I18N = False
DATETIME_FORMAT = "Y-m-d H:i:s"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
# Production serves what `collectstatic` collected; elsewhere files are served where they lie.
STATIC_ROOT = BASE_DIR / "staticfiles" if IS_PRODUCTION else None
WHITENOISE_USE_FINDERS = not IS_PRODUCTION
WHITENOISE_ALLOW_ALL_ORIGINS = False  # Our pages are on one origin; others' are not our business.

# --- Orders ---------------------------------------------------------------------------------

# What shares one transaction: this many lines, an order counting for 5 at least. More would keep
# the stock of a hot SKU locked for longer than the orders that wait for it.
ORDERS_BATCH_LINES_MAX = env_int("ORDERS_BATCH_LINES_MAX", default=1000, at_least=1, at_most=10_000)

# How long an order waits for its money before it expires, unless it says so itself; 0: for ever.
ORDERS_PAY_WITHIN_S = env_int("ORDERS_PAY_WITHIN_S", default=0, at_least=0, at_most=7_776_000)

# What is read through Redis may be this old, and says so.
ORDER_CACHE_S = env_int("ORDER_CACHE_S", default=30, at_least=1, at_most=3600)
AVAILABILITY_CACHE_S = env_int("AVAILABILITY_CACHE_S", default=2, at_least=1, at_most=60)

# --- Events ---------------------------------------------------------------------------------

# `source` of every event, and with `id` its name in the world: choose it once, and never again.
EVENTS_SOURCE = env_text("EVENTS_SOURCE", default=PUBLIC_URL or "urn:sluice")
# What belongs to no account (stock), and what belongs to others, needs more than an account.
EVENTS_SHARED_SCOPE = "stock:read"
EVENTS_ALL_SCOPE = "orders:all"
EVENTS_SHARED_TYPES = frozenset({"stock", "stocktake"})
# A developer's receiver: http, any port, names of the inside.
WEBHOOKS_ALLOW_HTTP = env_bool("WEBHOOKS_ALLOW_HTTP", default=False)
if IS_PRODUCTION and WEBHOOKS_ALLOW_HTTP:
    raise ImproperlyConfigured("WEBHOOKS_ALLOW_HTTP=true is refused in production")
# Receivers that are not in the open Internet: nothing else in these networks should listen.
WEBHOOKS_PRIVATE_NETWORKS = networks_from_texts(
    "WEBHOOKS_PRIVATE_NETWORKS", env_list("WEBHOOKS_PRIVATE_NETWORKS")
)
# Every event also goes to this Redis, as an entry of a stream; empty: to none.
EVENTS_STREAM_URL = env_text("EVENTS_STREAM_URL", default="")
EVENTS_STREAM_NAME = env_text("EVENTS_STREAM_NAME", default="sluice:events")
# 0 never trims: whoever sets a length says that what nobody has read by then may go.
EVENTS_STREAM_LENGTH_MAX = env_int("EVENTS_STREAM_LENGTH_MAX", default=0, at_least=0)
# A context manager that a relay works within.
EVENTS_RELAY_WITHIN = "config.telemetry.sending" if IS_TRACED else ""
# The sinks of the relay by name: the class, and what it is made with.
EVENTS_SINKS: dict[str, dict[str, object]] = {}
if EVENTS_STREAM_URL:
    EVENTS_SINKS["redis"] = {
        "class": "events.streams.RedisStream",
        "url": EVENTS_STREAM_URL,
        "stream": EVENTS_STREAM_NAME,
        "length_max": EVENTS_STREAM_LENGTH_MAX,
    }

# --- Holds ----------------------------------------------------------------------------------

# For how long a hold may be asked for, and for how long its extensions may keep it in all.
HOLD_S_MIN = env_int("HOLD_S_MIN", default=5, at_least=1, at_most=3600)
HOLD_S_MAX = env_int("HOLD_S_MAX", default=3600, at_least=HOLD_S_MIN, at_most=30 * 24 * 3600)
HOLD_LIFE_S_MAX = env_int(
    "HOLD_LIFE_S_MAX", default=14_400, at_least=HOLD_S_MAX, at_most=90 * 24 * 3600
)
# What one account may hold at a time: stock that is held is stock that nobody else can buy.
HOLDS_OPEN_MAX = env_int("HOLDS_OPEN_MAX", default=10_000, at_least=1)
HOLD_UNITS_MAX = env_int("HOLD_UNITS_MAX", default=1_000_000, at_least=1)

# --- Housekeeping ---------------------------------------------------------------------------

# What `manage.py housekeeping` deletes: where it is described, and for how many days it is kept.
# A refused key is kept for a week at least, a delivery for longer than it may be tried.
KEEP_IMPORTS_DAYS = env_int("KEEP_IMPORTS_DAYS", default=90, at_least=1)
HOUSEKEEPING = {
    "refused idempotency keys": (
        "events.pruning.REFUSED_KEYS",
        env_int("KEEP_REFUSED_KEYS_DAYS", default=30, at_least=7),
    ),
    "deliveries of webhooks": (
        "events.pruning.DELIVERIES",
        env_int("KEEP_DELIVERIES_DAYS", default=30, at_least=4),
    ),
    "ended holds": (
        "inventory.pruning.HOLDS",
        env_int("KEEP_ENDED_HOLDS_DAYS", default=90, at_least=1),
    ),
    "trials of imports": ("inventory.pruning.TRIALS_OF_IMPORTS", KEEP_IMPORTS_DAYS),
    "outcomes of imported rows": ("inventory.pruning.ROWS_OF_IMPORTS", KEEP_IMPORTS_DAYS),
    "results of reconcile": (
        "orders.pruning.RECONCILIATIONS",
        env_int("KEEP_RECONCILIATIONS_DAYS", default=365, at_least=1),
    ),
    "ended sessions": ("config.housekeeping.SESSIONS", 0),
    "closed login links": ("accounts.pruning.LOGIN_LINKS", 0),
}

# --- Rollout --------------------------------------------------------------------------------

# Which version of a code path serves as long as no published rules say otherwise.
_place_version = env_choice("ORDERS_PLACE_VERSION", default="v2", choices=("v1", "v2"))
ROLLOUT_RELEASES = {
    "orders.place": {
        "stable": _place_version,
        "fallback": "v1" if _place_version == "v2" else None,
    },
    "orders.get": env_choice("ORDERS_GET_VERSION", default="v1", choices=("v1", "v2")),
    "inventory.availability": env_choice(
        "INVENTORY_AVAILABILITY_VERSION", default="v1", choices=("v1", "v2")
    ),
}
# Spreads rules and breaker states faster; empty: workers ask the database.
ROLLOUT_REDIS_URL = env_text("ROLLOUT_REDIS_URL", default=REDIS_URL)
# Whose x-deploy-version counts, and who is told what served.
ROLLOUT_HEADER_TRUST = env_choice(
    "ROLLOUT_HEADER_TRUST",
    default="permission",
    choices=("permission", "authenticated", "signed", "any"),
)
# What a worker starts from when neither the database nor Redis can be asked.
ROLLOUT_LAST_KNOWN_GOOD = env_text("ROLLOUT_LAST_KNOWN_GOOD", default="")
