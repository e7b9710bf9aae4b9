"""Is this process alive, and may it be sent orders?"""

import logging
import threading
import time
from collections.abc import Callable, Container, Mapping
from functools import cache as kept
from typing import Any

import orjson
from django.core.cache import cache
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse

from config.pools import give_back

ANSWER_WITHIN_S = 1.0
KEEP_ANSWER_S = 1.0  # However many probes ask, the database hears one a second.
KEEP_DURABILITY_S = 5.0
# A database that answered is believed to be there until so many looks in a row were in vain: one
# lost packet should not send every order elsewhere.
VAIN_LOOKS_MAX = 3
# A 201 says that the order is on disk. With one of these off, it might not be.
DURABLE = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "remote_apply", "remote_write"),
}

Check = dict[str, Any]
Migration = tuple[str, str]  # App and name.

logger = logging.getLogger(__name__)

_is_draining = threading.Event()


def start_draining() -> None:
    """Say "not ready" from now on: the server calls this when it is told to stop."""
    _is_draining.set()


def stop_draining() -> None:
    """Take start_draining back."""
    _is_draining.clear()


class Readiness:
    """
    The last look at PostgreSQL and Redis, renewed when it is asked for and older than a second.

    The look itself runs in a thread of its own (a greenlet in the server), so that a database
    that hangs makes this process "not ready" in a second, and nothing has to be killed while it
    holds a connection. At most one look is under way.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looking: threading.Thread | None = None
        self._checks: dict[str, Check] = {"database": {"ok": False, "reason": "not asked yet"}}
        self._looked_at = float("-inf")
        self._durable_at = float("-inf")
        self._durability: Check = {}
        self._is_migrated = False
        self._last_good: dict[str, Check] | None = None
        self._vain_looks = 0
        self._vain_at = float("-inf")
        self._told: dict[str, Check] = {}

    def checks(self) -> dict[str, Check]:
        """
        Return what the look found, or that it has not come back within a second.

        What was found before stands until VAIN_LOOKS_MAX looks in a row were in vain.
        """
        with self._lock:
            if time.monotonic() - self._looked_at < KEEP_ANSWER_S:
                return self._checks
            if self._looking is None or not self._looking.is_alive():
                self._looking = threading.Thread(target=self._look, daemon=True)
                self._looking.start()
            looking = self._looking
        looking.join(ANSWER_WITHIN_S)
        if looking.is_alive():
            return self._weigh({"database": _bad(f"no answer within {ANSWER_WITHIN_S:.0f} s")})
        return self._checks

    def _weigh(self, checks: dict[str, Check]) -> dict[str, Check]:
        if checks["database"]["ok"]:
            self._vain_looks = 0
            self._last_good = checks
            return checks
        # However many probes wait for one look that hangs, it was one a second.
        if time.monotonic() - self._vain_at >= KEEP_ANSWER_S:
            self._vain_looks += 1
            self._vain_at = time.monotonic()
        if self._last_good is None or self._vain_looks >= VAIN_LOOKS_MAX:
            self._last_good = None
            return checks
        believed = {**checks["database"], "ok": True, "vain_looks": self._vain_looks}
        return {**self._last_good, **checks, "database": believed}

    def _look(self) -> None:
        try:
            checks = {
                "database": _outcome(self._ask_database),
                "redis": _outcome(_ask_redis),
            }
            if checks["database"]["ok"]:
                checks["durability"] = self._durability
                checks["migrations"] = _outcome(self._ask_migrations)
        finally:
            connection.close()  # Back to the pool: this thread ends.
            give_back()
        self._checks, self._looked_at = self._weigh(checks), time.monotonic()
        self._tell_change()

    def _tell_change(self) -> None:
        # Once, and not with every probe: why nobody is sent here, and when that is over.
        faults = {name: check for name, check in self._checks.items() if not _is_good(name, check)}
        if faults != self._told:
            self._told = faults
            if faults:
                logger.error("not ready: %s", faults)
            else:
                logger.warning("ready again")

    def _ask_database(self) -> Check:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 1000")
            if time.monotonic() - self._durable_at < KEEP_DURABILITY_S:
                cursor.execute("SELECT 1")
                return {"ok": True}
            cursor.execute(
                "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(DURABLE)]
            )
            self._durability = durability_of(dict(cursor.fetchall()))
            self._durable_at = time.monotonic()
        return {"ok": True}

    def _ask_migrations(self) -> Check:
        if not self._is_migrated:
            missing = count_missing_migrations()
            if missing:
                return _bad(f"{missing} migrations are not applied")
            self._is_migrated = True  # Nobody unapplies one under a running server.
        return {"ok": True}


def count_missing_migrations() -> int:
    """Return how many migrations of this code the database does not have."""
    return count_missing(known_migrations(), MigrationRecorder(connection).applied_migrations())


def count_missing(
    known: Mapping[Migration, frozenset[Migration]], applied: Container[Migration]
) -> int:
    """Return how many are neither applied nor made of others that all are."""
    return sum(
        one not in applied and not (replaced and all(part in applied for part in replaced))
        for one, replaced in known.items()
    )


@kept
def known_migrations() -> Mapping[Migration, frozenset[Migration]]:
    """
    Return each migration of this code, with those that it replaces. Asks no database.

    It imports all of them: 7 MB, which the master does once for all of its workers.
    """
    loader = MigrationLoader(None, load=False)
    loader.load_disk()
    return {name: frozenset(one.replaces) for name, one in loader.disk_migrations.items()}


def durability_of(settings: dict[str, str]) -> Check:
    """Return whether PostgreSQL with these settings keeps what it has acknowledged."""
    unsafe = {
        name: settings.get(name) for name, safe in DURABLE.items() if settings.get(name) not in safe
    }
    return {"ok": not unsafe, **({"unsafe": unsafe} if unsafe else {})}


readiness = Readiness()


def livez(request: HttpRequest) -> HttpResponse:
    """Say that the process answers. Touches nothing else."""
    return _answer({"status": "alive"}, status=200)


def readyz(request: HttpRequest) -> HttpResponse:
    """Say whether orders are welcome here: 200, or 503 with the check that says why not."""
    checks = _all_checks()
    is_welcome = _are_good(checks)
    body = {"status": "ready" if is_welcome else "not_ready", "checks": checks}
    return _answer(body, status=200 if is_welcome else 503)


def is_ready() -> bool:
    """Test whether orders are welcome here."""
    return _are_good(_all_checks())


def _all_checks() -> dict[str, Check]:
    return {"draining": {"ok": not _is_draining.is_set()}} | readiness.checks()


def _are_good(checks: dict[str, Check]) -> bool:
    return all(_is_good(name, check) for name, check in checks.items())


def _is_good(name: str, check: Check) -> bool:
    # Redis is told and never decides: an order needs none.
    return bool(check["ok"]) or name == "redis"


# The edge answers these before all else.
PROBES: dict[str, Callable[[HttpRequest], HttpResponse]] = {"/livez": livez, "/readyz": readyz}


def _answer(content: dict[str, Any], *, status: int) -> HttpResponse:
    body = orjson.dumps(content)
    response = HttpResponse(
        body,
        status=status,
        content_type="application/json",
        headers={
            "Cache-Control": "no-store",
            "Content-Length": str(len(body)),
            "X-Content-Type-Options": "nosniff",
        },
    )
    # Whoever asks hears it; the log would repeat it with every probe.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def _ask_redis() -> Check:
    # The cache swallows errors where it may: only its client tells whether Redis is there.
    return {"ok": bool(cache.client.get_client().ping())}  # type: ignore[attr-defined]


def _outcome(ask: Callable[[], Check]) -> Check:
    try:
        return ask()
    except Exception as failure:  # noqa: BLE001 - whatever it is, it means "not ready"
        # The type and no more: messages name hosts and users.
        return _bad(type(failure).__name__)


def _bad(reason: str) -> Check:
    return {"ok": False, "reason": reason}
