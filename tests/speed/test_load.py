"""At a fixed rate wrk times requests from when they were due, whatever the service does."""

import asyncio
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from bench.load import Target, drive

pytestmark = pytest.mark.prove

ANSWER_S = 0.005
CONNECTIONS = 10


async def read_head(reader: asyncio.StreamReader) -> str:
    """Return the head of the next request, "" when the caller hung up."""
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return ""


@pytest.fixture
def slow_port() -> Iterator[int]:
    """A service that takes 5 ms for each order, one after the other: 200 a second at most."""
    assert shutil.which("wrk"), "wrk is not installed: make prove-deps"
    loop = asyncio.new_event_loop()
    turn = asyncio.Lock()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while head := await read_head(reader):
                length = int(re.search(r"Content-Length: (\d+)", head)[1])
                body = await reader.readexactly(length)
                if "REFUSE" in head:
                    writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
                    continue
                async with turn:
                    await asyncio.sleep(ANSWER_S)
                writer.write(
                    b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (length, body)
                )

    async def start() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    server = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    server.close()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0.1))
    loop.close()


class OpenLoopTests:
    def test_tells_the_time_of_an_answer_to_who_can_follow(self, slow_port: int) -> None:
        target = Target(slow_port, "peer", "/orders")

        run = drive(target, skus=10, seconds=3, rate=50, connections=CONNECTIONS)

        assert run.requests == pytest.approx(150, rel=0.4)
        assert 5 <= run.p50_ms < 15

    def test_sees_who_cannot_follow_fall_behind(self, slow_port: int) -> None:
        target = Target(slow_port, "peer", "/orders")

        run = drive(target, skus=10, seconds=3, rate=400, connections=CONNECTIONS)

        # Timed from when they were sent, none would seem to take much more than 10 turns, 55 ms.
        assert run.p50_ms > 400
        assert run.p95_ms > 1_000
        assert run.late > run.requests * 0.9


class ClosedLoopTests:
    def test_waits_a_second_after_a_refusal_when_it_is_patient(self, slow_port: int) -> None:
        target = Target(slow_port, "peer", "/REFUSE")

        run = drive(target, skus=1, seconds=3, connections=CONNECTIONS, is_patient=True)

        assert run.refused == run.requests
        assert CONNECTIONS <= run.requests <= 4 * CONNECTIONS
