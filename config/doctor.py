"""What is wrong with an installation, or soon will be, each in one line."""

import platform
import resource
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import NamedTuple

from django.conf import settings
from django.core.cache import cache
from django.core.checks import ERROR, WARNING, run_checks
from django.db import connection
from django.utils.module_loading import import_string

from config.env import env_int
from config.health import DURABLE, count_missing_migrations, durability_of

POSTGRES_MIN = 15
# Commands, the relay, and a person with psql, besides the workers.
CONNECTIONS_BESIDE = 10
SKEW_S_MAX, SKEW_S_BAD = 1.0, 30.0
OUTBOX_S_MAX, OUTBOX_S_BAD = 10.0, 300.0
# What a worker has open besides its callers and its connections.
FILES_BESIDE = 100


class Finding(NamedTuple):
    """One line. level: ok, warn, or fail, which says that orders are or may be lost or refused."""

    level: str
    subject: str
    text: str


def examine() -> Iterator[Finding]:
    """Yield what is found; what cannot be looked at fails, and the next is looked at."""
    for subject, look in LOOKS.items():
        try:
            found = list(look())
        except Exception as failure:  # noqa: BLE001 - whatever it is, the next look may succeed
            first_line = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
            level = "warn" if subject == "redis" else "fail"
            found = [(level, f"{type(failure).__name__}: {first_line}")]
        for level, text in found:
            yield Finding(level, subject, text)


Found = Iterator[tuple[str, str]]


def _database() -> Found:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('server_version_num')::int / 10000,"
            " current_setting('server_version'), pg_is_in_recovery(),"
            " current_setting('default_transaction_read_only')"
        )
        major, version, is_replica, read_only = cursor.fetchone()
    if major < POSTGRES_MIN:
        yield "fail", f"PostgreSQL {version}: {POSTGRES_MIN} is the oldest that is supported"
    elif is_replica or read_only == "on":
        yield "fail", f"PostgreSQL {version} is a replica or read-only: name the primary"
    else:
        yield "ok", f"PostgreSQL {version}"


def _durability() -> Found:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(DURABLE)]
        )
        found = dict(cursor.fetchall())
    told = ", ".join(f"{name}={found[name]}" for name in DURABLE)
    if durability_of(found)["ok"]:
        yield "ok", told
    else:
        yield "fail", f"{told}: an order that was acknowledged may be lost, no worker gets ready"


def _connections() -> Found:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(setting::int) FILTER (WHERE name = 'max_connections')"
            "     - sum(setting::int) FILTER (WHERE name <> 'max_connections'),"
            " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
            " FROM pg_settings WHERE name IN"
            " ('max_connections', 'superuser_reserved_connections', 'reserved_connections')"
        )
        room, used = cursor.fetchone()
    wanted = settings.WEB_CONCURRENCY * settings.DB_POOL_SIZE
    sum_ = f"{settings.WEB_CONCURRENCY} workers x {settings.DB_POOL_SIZE} connections = {wanted}"
    told = f"{sum_} of this host, room for {room} in PostgreSQL, {used} open now"
    if wanted > room:
        yield "fail", f"{told}: lower DB_POOL_SIZE or raise max_connections"
    elif wanted + CONNECTIONS_BESIDE > room:
        yield "warn", f"{told}: leave {CONNECTIONS_BESIDE} for relay and commands"
    else:
        yield "ok", told


def _clock() -> Found:
    with connection.cursor() as cursor:
        before = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float")
        (theirs,) = cursor.fetchone()
        after = time.time()
    skew_s = theirs - (before + after) / 2
    told = f"that of the database is {abs(skew_s):.3f} s {'ahead' if skew_s > 0 else 'behind'}"
    if abs(skew_s) <= SKEW_S_MAX:
        yield "ok", told
    else:
        yield "warn" if abs(skew_s) <= SKEW_S_BAD else "fail", f"{told}: run NTP on both"


def _migrations() -> Found:
    missing = count_missing_migrations()
    if missing:
        yield "fail", f"{missing} are not applied: run migrate"
    else:
        yield "ok", "all are applied"


def _redis() -> Found:
    client = cache.client.get_client()  # type: ignore[attr-defined]
    about = client.info()
    version = about.get("valkey_version") or about["redis_version"]
    limit_bytes, policy = int(about["maxmemory"]), about["maxmemory_policy"]
    told = f"{version}, maxmemory={limit_bytes}, maxmemory-policy={policy}"
    if limit_bytes == 0:
        yield "warn", f"{told}: set maxmemory, or it grows until the system ends it"
    elif not policy.startswith("allkeys-"):
        yield "warn", f"{told}: a full cache should drop what is old: allkeys-lru"
    else:
        yield "ok", told
    if settings.EVENTS_STREAM_URL and settings.EVENTS_STREAM_URL == settings.REDIS_URL:
        yield "warn", "EVENTS_STREAM_URL is the cache: events there may be dropped for others"


def _events() -> Found:
    # By its name: config knows no app.
    depth, age_s, relays = import_string("events.usecases.measure_waiting")()
    told = f"{depth} events wait for a relay, the oldest for {age_s:.0f} s; {relays} relays run"
    if age_s > OUTBOX_S_BAD:
        yield "fail", told
    elif age_s > OUTBOX_S_MAX or not relays:
        yield "warn", told
    else:
        yield "ok", told


def _checks() -> Found:
    if not settings.IS_PRODUCTION:
        yield "warn", f"SLUICE_ENV={settings.SLUICE_ENV}: this is not set up for production"
        return
    messages = run_checks(include_deployment_checks=True)
    found = [message for message in messages if message.level >= WARNING]
    for message in found:
        yield "fail" if message.level >= ERROR else "warn", f"{message.id} {message.msg}"
    if not found:
        yield "ok", "check --deploy finds nothing"


def _files() -> Found:
    callers = env_int("WORKER_CONNECTIONS", default=1000, at_least=1)
    wanted = callers + settings.DB_POOL_SIZE + FILES_BESIDE
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    told = f"a worker may open {limit} (of this shell), and wants {wanted} when it is full"
    if limit == resource.RLIM_INFINITY or limit >= wanted:
        yield "ok", told
    else:
        yield "warn", f"{told}: ulimit -n, or LimitNOFILE of systemd"


def _python() -> Found:
    told = f"Python {platform.python_version()}"
    has_parser = find_spec("gunicorn_h1c") is not None
    is_fast = is_optimized()
    if not is_fast:
        yield "warn", f"{told} was built without optimizations: an order takes a quarter longer"
    if not has_parser:
        yield "warn", "gunicorn_h1c is not installed: reading a request takes five times as long"
    if is_fast and has_parser:
        yield "ok", f"{told}, with optimizations and gunicorn's parser in C"


def is_optimized() -> bool:
    """
    Test whether this Python was built for speed: by a distribution, or with the options for it.

    Those who build it for themselves, as pyenv does, have to ask for them.
    """
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return sys.base_prefix == "/usr" or "--enable-optimizations" in options


# In the order of their telling; without a database the first says why, and others fail as well.
LOOKS: dict[str, Callable[[], Found]] = {
    "database": _database,
    "durability": _durability,
    "connections": _connections,
    "clock": _clock,
    "migrations": _migrations,
    "redis": _redis,
    "events": _events,
    "settings": _checks,
    "files": _files,
    "python": _python,
}
