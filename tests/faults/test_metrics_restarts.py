"""Counts only grow, whatever becomes of the workers that counted."""

import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.commands.processes import free_port, wait_until
from tests.load import Address, Lost, send_all
from tests.measured import Scrape, scrape
from tests.server import Database, Server, fresh_database, serving

REQUESTS = "http_server_requests_total"
ORDERS = {"route": "/api/v1/orders", "method": "POST"}


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with fresh_database(os.environ["DATABASE_URL"]) as made:
        yield made


class Watcher:
    """Asks /metrics again and again, and keeps what fell; a fault of its own ends the test."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.scrapes = 0
        self.fell: list[object] = []
        self.last = scrape(port)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopping.wait(0.1):
            try:
                now = scrape(self.port)
            except (*Lost, HTTPException):  # The worker that was asked has just been killed.
                continue
            self.fell += now.fell_since(self.last)
            self.last = now
            self.scrapes += 1

    def stop(self) -> Scrape:
        self._stopping.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        return scrape(self.port)


class Load:
    """Orders without a pause; one that loses its connection is not counted."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answered = 0
        self.lost = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        address = Address(self.server.port, self.server.api_key)
        while not self._stopping.is_set():
            orders = [address.order(secrets.token_hex(8), [("CUP", 1)]) for _ in range(20)]
            try:
                self.answered += len(send_all(self.server.port, orders, callers=4))
            except (ExceptionGroup, *Lost):
                self.lost += len(orders)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def restart_a_worker(server: Server, how: signal.Signals) -> None:
    pids = server.worker_pids()
    os.kill(pids[0], how)
    wait_until(lambda: pids[0] not in (now := server.worker_pids()) and len(now) == 2, seconds=40)


def assert_counts_only_grow(database: Database, memory: Path, *, restarts: int) -> None:
    own = {"METRICS_BIND": f"127.0.0.1:{free_port()}", "METRICS_DIR": str(memory)}
    with serving(database, **own) as server:
        server.given_stock("CUP", on_hand=1_000_000)
        watcher = Watcher(int(own["METRICS_BIND"].rpartition(":")[2]))
        load = Load(server)
        try:
            for n in range(restarts):
                # A worker that is told to stop finishes what it has; one that is killed does not.
                restart_a_worker(server, signal.SIGTERM if n % 2 else signal.SIGKILL)
                time.sleep(0.5)
        finally:
            load.stop()
            last = watcher.stop()
        counted = last.value(REQUESTS, **ORDERS)
        files = sorted(file.name for file in memory.glob("*/*.db"))
    assert watcher.fell == []
    assert watcher.scrapes > restarts
    assert load.answered <= counted <= load.answered + load.lost
    assert last.value("http_server_duration_seconds_count", route="/api/v1/orders") == counted
    assert last.value("http_server_requests_in_flight") == 0
    # Those of the master, of two workers and of all who are gone, however many those were.
    assert len({name.rpartition("_")[2] for name in files}) <= 4, files
    assert list(memory.iterdir()) == []


class RestartTests:
    @pytest.mark.prove
    def test_counts_only_grow_while_workers_come_and_go(self, database, tmp_path):
        assert_counts_only_grow(database, tmp_path, restarts=4)

    @pytest.mark.soak
    def test_counts_only_grow_over_twenty_restarts(self, database, tmp_path):
        assert_counts_only_grow(database, tmp_path, restarts=20)
