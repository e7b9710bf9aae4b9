"""What refuses a figure: orders that were answered, and not written, flushed or in stock."""

import asyncio
import os
import signal
import time

import psycopg

from bench.competitors import Competitor, Running
from bench.load import Run, Target
from tests.commands.processes import wait_until
from tests.load import Address, Caller, Lost, each
from tests.server import Database

CRASH_CALLERS = 8
CRASH_AFTER_S = 1.5


class Cheat(Exception):
    """A service did not do what it is measured for."""


def count_orders(database: Database, competitor: Competitor) -> int:
    """Return how many orders there are when no more come: wrk hangs up on its last requests."""
    count = -1
    while count != (count := int(database.value(competitor.count))):
        time.sleep(0.5)
    return count


def check_run(competitor: Competitor, run: Run, *, orders_each: int = 1, more: int) -> None:
    """Raise Cheat unless every answer was good and its orders are among the new ones."""
    if run.refused or run.lost:
        raise Cheat(
            f"{competitor.name}: {run.refused} refused, {run.lost} without an answer {run.refusal}"
        )
    if more < run.requests * orders_each:
        raise Cheat(
            f"{competitor.name} acknowledged {run.requests * orders_each} orders, wrote {more}"
        )


def check_books(competitor: Competitor, database: Database) -> None:
    """Raise Cheat unless its stock, its orders and what it promises to write agree."""
    faults = database.rows(competitor.faults)
    if faults:
        raise Cheat(f"{competitor.name}: {faults}")


def check_durability(competitor: Competitor, database: Database, running: Running) -> None:
    """
    Raise Cheat if an acknowledged order does not survive a crash of PostgreSQL.

    A server process is killed at the moment of the last answer. PostgreSQL then starts anew from
    its log, so what was answered before it was flushed is gone. Needs a server on this machine
    that we may kill.
    """
    before = count_orders(database, competitor)
    with database.connect() as connection:
        victim = connection.info.backend_pid
        acknowledged = asyncio.run(_place_until_crash(running, victim))
    wait_until(lambda: _accepts(database), seconds=60)
    written = count_orders(database, competitor) - before
    if written < acknowledged:
        raise Cheat(
            f"{competitor.name} acknowledged {acknowledged} orders, of which a crash left {written}"
        )


async def _place_until_crash(running: Running, victim: int) -> int:
    place = running.place
    acknowledged = 0
    crash_at = time.monotonic() + CRASH_AFTER_S

    async def work(caller: Caller) -> None:
        nonlocal acknowledged
        number = 0
        while time.monotonic() < crash_at:
            number += 1
            reply = await caller.send(order(place, f"{id(caller)}-{number}"))
            acknowledged += reply.status == 201
        caller.close()

    async def load(caller: Caller) -> None:
        try:
            await work(caller)
        except Lost:
            caller.close()

    callers = [Caller(running.port) for _ in range(CRASH_CALLERS)]
    await each(callers, load)
    os.kill(victim, signal.SIGKILL)
    return acknowledged


def order(place: Target, key: str) -> bytes:
    """Return the bytes of a POST of one order."""
    if place.action == "sluice":
        return Address(place.port, place.api_key).order(key, [("BENCH-1", 1)])
    content = b'{"customer":"c-17","sku":"BENCH-1","quantity":1}'
    return (
        f"POST {place.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: {key}\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode() + content


def _accepts(database: Database) -> bool:
    try:
        database.value("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True
