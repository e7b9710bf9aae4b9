"""Callers that drip their headers, their bodies or their reading, beside those who order."""

import asyncio
import contextlib
import json
import os
import resource
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.edge import nginx
from tests.load import Address
from tests.server import Database, Server, fresh_database, serving
from tests.steady import SteadyOrders

SKU = "SLOW-CUP"
# What the kernel keeps of an answer that nobody reads.
BUFFER_BYTES_MAX = 4_194_304
Drip = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with fresh_database(os.environ["DATABASE_URL"]) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def server(database: Database) -> Iterator[Server]:
    with serving(database) as started:
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


def answer_to(caller: socket.socket, request: bytes, *, then: bytes, every_s: float) -> bytes:
    """Send a request and more of it every so often, until the other side hangs up."""
    caller.sendall(request)
    caller.settimeout(every_s)
    answer, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            part = caller.recv(65536)
        except TimeoutError:
            caller.sendall(then)
            continue
        if not part:
            return answer
        answer += part
    raise AssertionError(f"nobody hung up after {answer!r}")


def given_long_orders(server: Server, *, count: int) -> None:
    """Place orders of so many lines that a list of them fits into no buffer of the kernel."""
    server.given_stock("LONG-CUP", on_hand=1_000_000)
    lines = [{"sku": "LONG-CUP", "quantity": 1}] * 1000
    for _ in range(count):
        server.must_post("/api/v1/orders", {"customer": "c-17", "lines": lines})


@pytest.mark.prove
class BodyTests:
    def test_that_drips_is_answered_and_hung_up_on(self, database: Database) -> None:
        head = (
            b"POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"
        )
        with serving(database, REQUEST_DEADLINE_S="2", WEB_CONCURRENCY="1") as server:
            # Now and then a byte, hardly ever a pause, and nothing after the first.
            for every_s in (0.7, 0.02, 50.0):
                with socket.create_connection(("127.0.0.1", server.port)) as caller:
                    answer = answer_to(caller, head, then=b" ", every_s=every_s)

                assert answer.startswith(b"HTTP/1.1 408 "), answer
                problem = json.loads(answer.partition(b"\r\n\r\n")[2])
                assert (problem["code"], problem["effect"]) == ("body_too_slow", "none")
            assert server.call("GET", "/api/v1/orders")[0] == 200
        assert database.value("SELECT count(*) FROM orders_order") == 0


@pytest.mark.prove
class ReadersTests:
    def test_that_are_slow_hold_neither_a_connection_nor_a_place(self, database: Database) -> None:
        limits = {"DB_POOL_SIZE": "1", "GATE_OTHERS_MAX": "1", "GATE_WAITING_MAX": "0"}
        with serving(database, WEB_CONCURRENCY="1", **limits) as server, ExitStack() as stack:
            server.given_stock("READ-CUP", on_hand=10)
            given_long_orders(server, count=30)
            asking = (
                f"GET /api/v1/orders?limit=30 HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {server.api_key}\r\n\r\n"
            ).encode()

            for _ in range(3):
                caller = stack.enter_context(socket.socket())
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                caller.connect(("127.0.0.1", server.port))
                caller.sendall(asking)
                # The answer is on its way, and far from read.
                head = caller.recv(1000)
                assert head.startswith(b"HTTP/1.1 200 "), server.log_text()
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                assert length > BUFFER_BYTES_MAX

            assert server.call("GET", "/api/v1/stock/READ-CUP")[0] == 200
            server.must_post(
                "/api/v1/orders",
                {"customer": "c-17", "lines": [{"sku": "READ-CUP", "quantity": 1}]},
            )


@pytest.mark.prove
class SlowCallersTests:
    def test_three_hundred_through_nginx_hurt_nobody(self, server: Server) -> None:
        prove_patience(server, count=300, seconds=8, rate=20, share_min=0.9)


@pytest.mark.soak
class ManySlowCallersTests:
    def test_a_thousand_through_nginx_hurt_nobody(self, server: Server) -> None:
        prove_patience(server, count=1000, seconds=60, rate=50, share_min=0.999)

    def test_without_nginx_they_hurt_nobody_while_there_are_connections(
        self, server: Server
    ) -> None:
        load = without_nginx(server)

        assert len(load.placed) >= 0.9 * load.total

    def test_without_nginx_and_connections_others_wait(self, database: Database) -> None:
        """Tell what happens: docs/deploy.md says why a proxy stands before the service."""
        with serving(database, WORKER_CONNECTIONS="200") as narrow:
            narrow.given_stock(f"{SKU}-NARROW", on_hand=1_000_000)
            load = without_nginx(narrow, f"{SKU}-NARROW")

        assert load.seconds_max > 2


def without_nginx(server: Server, sku: str = SKU) -> SteadyOrders:
    load = SteadyOrders(Address(server.port, server.api_key), sku, rate=50)
    SlowCallers(server.port, 1000).during(load, seconds=40)
    print(  # noqa: T201 - what a proof says is read
        f"\nwithout nginx: {load.total} asked, {dict(load.refused)} refused, {load.percentiles()}"
    )
    return load
