"""
Where the time goes: in our Python, or in PostgreSQL, and there in whose statements.

Two sources, because neither tells all. pg_stat_statements counts every call and keeps the text of
the first one only, whoever sends the same statement later; and it does not see what COMMIT waits
for. So pg_stat_activity is asked every few milliseconds what runs, sent by whom, and what it waits
for.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from django.db import connection

from config.senders import sender_of
from config.workers import CoreTime, core_time_of

SAMPLE_EACH_S = 0.05
# A worker that has or wants a core for so much of the time has no room for more.
FULL_SHARE = 0.8
# Less than this, of a core and of a statement at a time, is nobody's load.
IDLE = 0.05

# What waits for the client waits for us: in the midst of a pipeline that is our computing.
ACTIVE = """
SELECT query_id, coalesce(wait_event_type || ' ' || wait_event, 'computing'), query
  FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'sluice-web' AND state = 'active'
   AND coalesce(wait_event_type, '') <> 'Client'
"""

# Of statements of other roles there is neither id nor text, unless one may read all statistics.
COUNTED = """
SELECT queryid, sum(calls)::bigint, sum(total_exec_time), min(query)
  FROM pg_stat_statements
 WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND queryid IS NOT NULL AND query NOT LIKE '%pg_stat_%'
 GROUP BY queryid
"""


class CannotTell(Exception):
    """What is missing on the server, in one line for a person."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a statement took in the time that was looked at, and who sent it, as far as was seen."""

    query_id: int
    calls: int
    total_ms: float
    text: str
    senders: Counter[tuple[str, str]]

    @property
    def mean_ms(self) -> float:
        return self.total_ms / self.calls

    @property
    def sender(self) -> tuple[str, str]:
        """Who was seen to send it most of the time, else who sent it first of all."""
        return self.senders.most_common(1)[0][0] if self.senders else sender_of(self.text)


@dataclass(frozen=True, slots=True)
class Sample:
    """
    What was seen in so many seconds.

    cores: None where no worker of this machine was looked at. waits: how often a call of a worker
    was seen computing in PostgreSQL, or waiting there for what. statements: the costliest first.
    """

    seconds: float
    looks: int
    workers: int
    cores: CoreTime | None
    waits: Counter[str]
    statements: Sequence[Statement]

    @property
    def in_database(self) -> float:
        """How many calls of workers were in PostgreSQL at a time, on average."""
        return self.waits.total() / max(1, self.looks)


@dataclass
class _Seen:
    looks: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    senders: dict[int, Counter[tuple[str, str]]] = field(default_factory=dict)

    def add(self, rows: Iterable[tuple[int | None, str, str]]) -> None:
        self.looks += 1
        for query_id, wait, text in rows:
            self.waits[wait] += 1
            sender = sender_of(text)
            if query_id is not None and sender[0]:
                self.senders.setdefault(query_id, Counter())[sender] += 1


def look(workers: Sequence[int], *, seconds: float) -> Sample:
    """
    Look for so many seconds at the workers and at the database.

    Raises CannotTell where pg_stat_statements cannot be read.
    """
    with connection.cursor() as django_cursor:
        cursor = django_cursor.cursor
        before, cores_before = _counted(cursor), core_time_of(workers)
        began = time.monotonic()
        seen = _Seen()
        while (elapsed := time.monotonic() - began) < seconds:
            seen.add(cursor.execute(ACTIVE).fetchall())
            time.sleep(SAMPLE_EACH_S)
        cores = core_time_of(workers)
        after = _counted(cursor)
    return Sample(
        seconds=elapsed,
        looks=seen.looks,
        workers=len(workers),
        cores=_difference(cores, cores_before) if workers else None,
        waits=seen.waits,
        statements=_statements(before, after, seen),
    )


def _difference(after: CoreTime, before: CoreTime) -> CoreTime:
    return CoreTime(after.used_s - before.used_s, after.queued_s - before.queued_s)


def _counted(cursor: Any) -> dict[int, tuple[int, float, str]]:
    try:
        return {row[0]: row[1:] for row in cursor.execute(COUNTED)}
    except psycopg.errors.UndefinedTable:
        raise CannotTell(
            "pg_stat_statements is not there: a superuser of this database runs"
            " CREATE EXTENSION pg_stat_statements (the embedded PostgreSQL does not have it)"
        ) from None
    except psycopg.errors.ObjectNotInPrerequisiteState:
        raise CannotTell(
            "pg_stat_statements is not loaded: add it to shared_preload_libraries of PostgreSQL"
            " and restart that"
        ) from None
    except psycopg.errors.InsufficientPrivilege:
        raise CannotTell(
            "pg_stat_statements may not be read: a superuser runs GRANT pg_read_all_stats to the"
            " role of DATABASE_URL"
        ) from None


def _statements(
    before: dict[int, tuple[int, float, str]], after: dict[int, tuple[int, float, str]], seen: _Seen
) -> list[Statement]:
    found = []
    for query_id, (calls, total_ms, text) in after.items():
        calls_before, ms_before, _ = before.get(query_id, (0, 0.0, ""))
        # Fewer than before: somebody has reset them meanwhile.
        if calls > calls_before:
            senders = seen.senders.get(query_id, Counter())
            found.append(
                Statement(query_id, calls - calls_before, total_ms - ms_before, text, senders)
            )
    return sorted(found, key=lambda statement: -statement.total_ms)


def verdict(sample: Sample) -> str:
    """Say in a sentence what keeps orders waiting, and from what that is concluded."""
    if sample.cores is None:
        return "no verdict: no worker was looked at"
    used, queued = (
        seconds / sample.seconds for seconds in (sample.cores.used_s, sample.cores.queued_s)
    )
    wanted = used + queued
    share = wanted / sample.workers
    facts = (
        f"{sample.workers} workers had {used:.2f} cores and waited for {queued:.2f}, {share:.0%} of"
        f" what they can use; {sample.in_database:.2f} calls at a time were in PostgreSQL"
    )
    if wanted < IDLE and sample.in_database < IDLE:
        return f"idle: {facts}. Ask again under load"
    if share >= FULL_SHARE or wanted >= sample.in_database:
        others = ". Others on this machine have the cores they wait for" if queued > used else ""
        return f"CPU-bound: {facts}{others}"
    return f"database-bound: {facts}"
