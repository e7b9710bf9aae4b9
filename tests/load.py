"""Many callers at once, cheap enough to leave the cores to the server."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

# No request may take longer, whatever happens to the server.
ANSWER_S_MAX = 15.0
# Who is patient asks at most so often: a server that refuses for a minute is not just busy.
ASKED_MAX = 30
Lost = (OSError, asyncio.IncompleteReadError)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered; names of headers are in lower case. busy: how many 503 before."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    busy: int = 0

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def is_replayed(self) -> bool:
        """Whether this was told before."""
        return "idempotent-replayed" in self.headers


@dataclass(frozen=True, slots=True)
class Address:
    """Where the API is, and with which key it is called."""

    port: int
    api_key: str

    def order(self, key: str, lines: Iterable[tuple[str, int]], **more: Any) -> bytes:
        """Return the bytes of a POST of an order: SKU and quantity of each line."""
        body = {"customer": "c-17", "lines": [{"sku": s, "quantity": n} for s, n in lines]} | more
        content = json.dumps(body).encode()
        return (
            f"POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {self.api_key}\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: {key}\r\nContent-Length: {len(content)}\r\n\r\n"
        ).encode() + content


class Caller:
    """One caller with one connection that is kept alive, and opened again when it was lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Connect now and not with the first request."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)

    async def send(self, request: bytes) -> Reply:
        """
        Send a request once and return its reply.

        Raises one of Lost when the connection breaks, TimeoutError after ANSWER_S_MAX.
        """
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await self._exchange(request)
        except BaseException:
            self.close()
            raise

    async def send_patiently(self, request: bytes) -> Reply:
        """
        Send a request as the API says: again, when it is time, for as long as it is told 503.

        Raises as send does.
        """
        busy = 0
        reply = await self.send(request)
        while reply.status == 503 or (busy and is_in_progress(reply)):
            assert busy < ASKED_MAX, reply
            busy += reply.status == 503
            await asyncio.sleep(float(reply.headers["retry-after"]))
            reply = await self.send(request)
        return replace(reply, busy=busy)

    async def _exchange(self, request: bytes) -> Reply:
        await self.open()
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return Reply(int(status.split(" ", 2)[1]), headers, body)

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def is_in_progress(reply: Reply) -> bool:
    """Test whether an earlier attempt with this key, told that its outcome is unknown, goes on."""
    return reply.status == 409 and bool(reply.document["code"] == "request_in_progress")


async def each(callers: Sequence[Caller], act: Callable[[Caller], Awaitable[None]]) -> None:
    """Let all callers act at once; an error of one is an error of all."""
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(_act(caller, act))


async def _act(caller: Caller, act: Callable[[Caller], Awaitable[None]]) -> None:
    await act(caller)


def send_all(
    port: int, requests: Sequence[bytes], *, callers: int, is_patient: bool = False
) -> list[Reply]:
    """
    Send requests over so many connections, each as soon as one is free; return the replies.

    is_patient: send again what was told 503, until it is told something else; Reply.busy counts.
    """
    return asyncio.run(_send_all(port, requests, callers, is_patient))


async def _send_all(
    port: int, requests: Sequence[bytes], count: int, is_patient: bool
) -> list[Reply]:
    replies: dict[int, Reply] = {}
    waiting = iter(enumerate(requests))

    async def work(caller: Caller) -> None:
        for n, request in waiting:
            send = caller.send_patiently if is_patient else caller.send
            replies[n] = await send(request)
        caller.close()

    await each([Caller(port) for _ in range(count)], work)
    return [replies[n] for n in range(len(requests))]


def send_in_waves(port: int, requests: Sequence[bytes], *, callers: int) -> list[Reply]:
    """
    Send requests in waves of one for each connection: all of a wave at the same moment.

    Callers are patient. The next wave begins when the last of this one has its reply.
    """
    return asyncio.run(_send_in_waves(port, requests, callers))


async def _send_in_waves(port: int, requests: Sequence[bytes], count: int) -> list[Reply]:
    callers = [Caller(port) for _ in range(count)]
    await asyncio.gather(*(caller.open() for caller in callers))
    waiting = iter(requests)
    replies: list[Reply] = []
    while wave := list(islice(waiting, count)):
        pairs = zip(callers, wave, strict=False)
        sent = (caller.send_patiently(request) for caller, request in pairs)
        replies += await asyncio.gather(*sent)
    for caller in callers:
        caller.close()
    return replies
