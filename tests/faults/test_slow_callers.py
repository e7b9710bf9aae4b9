"""Callers that drip their headers, their bodies or their reading, beside those who order."""

import asyncio
import contextlib
import os
import resource
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.edge import nginx
from tests.load import Address
from tests.server import Database, Server, fresh_database, serving
from tests.steady import SteadyOrders

SKU = "SLOW-CUP"
Drip = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with fresh_database(os.environ["DATABASE_URL"]) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def server(database: Database) -> Iterator[Server]:
    # As many connections as are the default: here they are what runs out.
    with serving(database, WORKER_CONNECTIONS="200") as started:
        started.given_stock(SKU, on_hand=1_000_000)
        yield started


async def drip_header(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /api/v1/orders HTTP/1.1\r\nHost: localhost\r\n")
    while True:
        writer.write(b"X-Drip: 1\r\n")
        await writer.drain()
        await asyncio.sleep(1)


async def drip_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100000\r\n\r\n"
    )
    while True:
        writer.write(b"{")
        await writer.drain()
        await asyncio.sleep(1)


async def drip_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    path = b"/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui.css"
    writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    while await reader.read(100):
        await asyncio.sleep(1)


class SlowCallers:
    """So many connections, a third of each kind, opened again as soon as they are closed."""

    KINDS: tuple[Drip, ...] = (drip_header, drip_body, drip_reading)

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.count = count
        self.open = 0
        self._is_over = threading.Event()

    def during(self, load: SteadyOrders, *, seconds: float) -> None:
        """Be slow while orders are placed."""
        thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        thread.start()
        try:
            load.run(lambda: time.sleep(seconds))
        finally:
            self._is_over.set()
            thread.join()

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._again_and_again(n)) for n in range(self.count)]
        while not self._is_over.is_set():
            await asyncio.sleep(0.2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _again_and_again(self, n: int) -> None:
        await asyncio.sleep(
            n / self.count
        )  # Not all in one moment: the queue of the kernel is short.
        while True:
            with contextlib.suppress(OSError):
                await self._be_slow(self.KINDS[n % len(self.KINDS)])
            await asyncio.sleep(0.5)

    async def _be_slow(self, drip: Drip) -> None:
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        narrow.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", self.port))
        except BaseException:
            narrow.close()
            raise
        reader, writer = await asyncio.open_connection(sock=narrow, limit=1024)
        self.open += 1
        try:
            await drip(reader, writer)
        finally:
            self.open -= 1
            writer.transport.abort()


def prove_patience(
    server: Server, *, count: int, seconds: float, rate: float, share_min: float
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * count + 1000)), hard))
    with nginx([server.port]) as edge:
        load = SteadyOrders(Address(edge.port, server.api_key), SKU, rate=rate, callers=8)
        load.run(lambda: time.sleep(2))  # The pools fill.
        load.again()
        slow = SlowCallers(edge.port, count)

        slow.during(load, seconds=seconds)

    print(  # noqa: T201 - what a proof says is read
        f"\n{count} slow callers for {seconds} s: {load.total} asked, {dict(load.refused)} refused,"
        f" longest {load.seconds_max:.2f} s"
    )
    assert load.total > seconds * rate / 4
    assert len(load.placed) >= share_min * load.total
    # Nobody lost a connection or was left in doubt.
    assert set(load.refused) <= {"503 temporarily_unavailable"}


@pytest.mark.prove
class SlowCallersTests:
    def test_three_hundred_through_nginx_hurt_nobody(self, server: Server) -> None:
        prove_patience(server, count=300, seconds=8, rate=20, share_min=0.9)


@pytest.mark.soak
class ManySlowCallersTests:
    def test_a_thousand_through_nginx_hurt_nobody(self, server: Server) -> None:
        prove_patience(server, count=1000, seconds=60, rate=50, share_min=0.999)

    def test_without_nginx_they_take_the_places_of_others(self, server: Server) -> None:
        """Tell what happens: docs/deploy.md says why a proxy stands before the service."""
        load = SteadyOrders(Address(server.port, server.api_key), SKU, rate=50)

        SlowCallers(server.port, 1000).during(load, seconds=40)

        print(  # noqa: T201 - what a proof says is read
            f"\nwithout nginx: {load.total} asked, {dict(load.refused)} refused,"
            f" longest {load.seconds_max:.2f} s"
        )
        assert load.seconds_max > 2
