"""Workers and their sessions are killed under load, and nobody is told a lie."""

import asyncio
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import psycopg
import pytest

from config.embedded import embedded_servers
from tests.commands.processes import wait_until
from tests.faults.history import Asked, Attempt, find_lies
from tests.load import Address, Caller, Lost, each
from tests.server import Database, Row, Server, fresh_database, serving

pytestmark = pytest.mark.prove

CALLERS = 40
SKUS = [f"KILL-{n}" for n in range(8)]
STOCK = 100_000
SCARCE, SCARCE_STOCK = "KILL-SCARCE", 40
# So often is a key asked for, with pauses, before its caller gives up: about 20 s.
ATTEMPTS_MAX = 60

FIND_SESSION = """
SELECT pid FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'sluice-web'
   AND xact_start IS NOT NULL AND state <> 'idle'
 ORDER BY xact_start LIMIT 1
"""
# In one statement: a transaction lasts for milliseconds.
TERMINATE_SESSION = f"SELECT pg_terminate_backend(pid) FROM ({FIND_SESSION}) AS victim"  # noqa: S608


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """
    A database in a PostgreSQL of its own, on this machine.

    A session that is killed takes all others of its server with it.
    """
    home = tmp_path_factory.mktemp("kill")
    given = {"REDIS_URL": os.environ["REDIS_URL"]}
    with (
        embedded_servers(home, given) as servers,
        fresh_database(servers.environment["DATABASE_URL"]) as fresh,
    ):
        yield fresh


@pytest.fixture(scope="module", params=["v2", "v1"])
def server(request: pytest.FixtureRequest, database: Database) -> Iterator[Server]:
    with serving(database, ORDERS_PLACE_VERSION=request.param) as started:
        if request.param == "v2":
            for sku in SKUS:
                started.given_stock(sku, on_hand=STOCK)
        yield started


class Load:
    """Callers that place orders, ask again with the same key, and remember what they were told."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.name = name
        self.address = Address(server.port, server.api_key)
        self.history: list[Asked] = []
        self.is_over = False
        self.lost = 0
        self.scarce = f"{SCARCE}-{name}"
        server.given_stock(self.scarce, on_hand=SCARCE_STOCK)

    def run(self, disturb: Callable[[], None]) -> None:
        """Place orders until disturb, which runs in a thread, has returned and all have an end."""
        asyncio.run(self._run(disturb))

    async def _run(self, disturb: Callable[[], None]) -> None:
        async def until_disturbed() -> None:
            try:
                await asyncio.to_thread(disturb)
            finally:
                self.is_over = True

        async with asyncio.TaskGroup() as group:
            group.create_task(until_disturbed())
            group.create_task(each([Caller(self.server.port) for _ in range(CALLERS)], self._work))

    async def _work(self, caller: Caller) -> None:
        while not self.is_over:
            await self._ask(caller)
        caller.close()

    async def _ask(self, caller: Caller) -> None:
        asked = Asked(f"{self.name}-{len(self.history)}")
        self.history.append(asked)
        dice = random.Random(asked.key)
        sku = self.scarce if dice.random() < 0.1 else dice.choice(SKUS)
        request = self.address.order(asked.key, [(sku, 1)], reference=asked.key)
        # Some go away when they are told that nothing was done: then it must be so.
        gives_up = dice.random() < 0.5
        for _ in range(ATTEMPTS_MAX):
            attempt = await self._attempt(caller, request)
            asked.attempts.append(attempt)
            if attempt.is_placed or attempt.is_kept_refusal:
                asked.is_finished = True
                return
            if gives_up and attempt.effect == "none":
                return
            await asyncio.sleep(dice.uniform(0.05, 0.6))

    async def _attempt(self, caller: Caller, request: bytes) -> Attempt:
        try:
            reply = await caller.send(request)
        except TimeoutError:
            return Attempt(None, is_late=True)
        except Lost:
            self.lost += 1
            return Attempt(None)
        document = reply.document
        if reply.status == 201:
            return Attempt(201, order_id=document["id"], body=reply.body)
        return Attempt(reply.status, code=document["code"], effect=document["effect"])

    def told(self) -> Counter[str]:
        """Count the answers by what they say."""
        return Counter(
            "placed" if a.is_placed else a.code or "connection lost"
            for asked in self.history
            for a in asked.attempts
        )

    def assert_true(self) -> None:
        """Fail with every lie; what was acknowledged is there and the books balance."""
        orders: dict[str, list[str]] = defaultdict(list)
        for key, order_id in self.server.database.rows(
            "SELECT reference, id::text FROM orders_order WHERE reference LIKE %s",
            f"{self.name}-%",
        ):
            orders[key].append(order_id)
        assert find_lies(self.history, orders) == []
        assert "internal_error" not in self.told()
        self.server.database.assert_balanced()


def report(fault: str, *, planned: int, injected: int, effective: int, load: Load) -> None:
    """Print what was done, and fail when less was noticed than planned."""
    print(  # noqa: T201 - what a proof says is read
        f"\n{fault}: planned {planned}, injected {injected}, effective {effective};"
        f" {len(load.history)} keys, {dict(load.told())}"
    )
    assert effective == planned


def inject(
    times: int, fault: Callable[[], bool], effects: Callable[[], int], *, every_s: float
) -> tuple[int, int]:
    """
    Inject a fault until somebody noticed it so many times; return how often it was, and was seen.

    fault: returns whether it found a victim; asked again until it does. effects: counts what
    has been noticed. A session that has just sent its answer to COMMIT dies unnoticed: those do
    not count, but there is an end to trying.
    """
    injected = effective = 0
    while effective < times and injected < 3 * times:
        before = effects()
        deadline = time.monotonic() + 30
        while not (is_done := fault()) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert is_done, "no victim within 30 s"
        injected += 1
        time.sleep(every_s)
        effective += effects() > before
    return injected, effective


@pytest.fixture
def load(server: Server, request: pytest.FixtureRequest) -> Load:
    return Load(
        server, f"{request.node.originalname[5:25]}-{server.environment['ORDERS_PLACE_VERSION']}"
    )


class KilledWorkerTests:
    def test_twenty_killed_workers_lose_nothing(self, server: Server, load: Load) -> None:
        counts = []

        def kill_worker() -> bool:
            workers = server.worker_pids()
            if len(workers) < 2:
                return False  # The last one is not back yet.
            os.kill(workers[0], signal.SIGKILL)  # The oldest: surely it serves somebody.
            return True

        load.run(lambda: counts.append(inject(20, kill_worker, lambda: load.lost, every_s=0.8)))

        injected, effective = counts[0]
        report("kill -9 of a worker", planned=20, injected=injected, effective=effective, load=load)
        load.assert_true()


class KilledSessionTests:
    def trouble(self, server: Server) -> int:
        """Count the transactions that the server saw fail."""
        return server.log_text().count("transaction failed")

    def test_twenty_terminated_sessions_lose_nothing(self, server: Server, load: Load) -> None:
        counts = []

        def disturb() -> None:
            with server.database.connect() as watching:
                counts.append(
                    inject(
                        20,
                        lambda: watching.execute(TERMINATE_SESSION).fetchone() == (True,),
                        lambda: self.trouble(server),
                        every_s=0.3,
                    )
                )

        load.run(disturb)

        injected, effective = counts[0]
        report("terminated session", planned=20, injected=injected, effective=effective, load=load)
        load.assert_true()

    def test_a_database_that_crashes_under_load_loses_nothing(
        self, server: Server, load: Load
    ) -> None:
        counts = []
        # Each crash takes all sessions with it and some seconds: v1 shares the code, so fewer do.
        times = 20 if server.environment["ORDERS_PLACE_VERSION"] == "v2" else 4

        def kill_session() -> bool:
            with suppress(psycopg.OperationalError), server.database.connect() as watching:
                if found := watching.execute(FIND_SESSION).fetchone():
                    os.kill(found[0], signal.SIGKILL)
                    return True
            return False

        load.run(
            lambda: counts.append(
                inject(times, kill_session, lambda: self.trouble(server), every_s=2.5)
            )
        )

        injected, effective = counts[0]
        report(
            "kill -9 of a session", planned=times, injected=injected, effective=effective, load=load
        )
        load.assert_true()


class AwayDatabaseTests:
    def test_a_database_that_comes_back_is_used_at_once(self, server: Server, load: Load) -> None:
        back_in_s = []

        def go_away() -> None:
            with self.other_database(server) as beside:
                name = urlsplit(server.database.url).path[1:]
                beside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                beside.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    [name],
                )
                time.sleep(8)
                beside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            back = time.monotonic()
            wait_until(lambda: self.is_placed(server))
            back_in_s.append(time.monotonic() - back)

        load.run(go_away)

        report("database away for 8 s", planned=1, injected=1, effective=1, load=load)
        # The pool alone would pause for 8 s after that long, and longer after longer.
        assert back_in_s[0] < 4
        load.assert_true()

    def other_database(self, server: Server) -> psycopg.Connection[Row]:
        url = urlsplit(server.database.url)._replace(path="/sluice").geturl()
        return psycopg.connect(url, autocommit=True)

    def is_placed(self, server: Server) -> bool:
        order = {"customer": "c-17", "lines": [{"sku": SKUS[0], "quantity": 1}]}
        return server.call("POST", "/api/v1/orders", order)[0] == 201


class GracefulStopTests:
    def test_a_server_told_to_stop_under_load_loses_nothing(
        self, server: Server, load: Load
    ) -> None:
        stopped_in_s = []

        def restart() -> None:
            for _ in range(2):
                time.sleep(1.5)
                begin = time.monotonic()
                server.stop()
                stopped_in_s.append(time.monotonic() - begin)
                server.start()
            time.sleep(1.5)

        load.run(restart)

        report("TERM", planned=2, injected=2, effective=2, load=load)
        assert max(stopped_in_s) < 35
        load.assert_true()
