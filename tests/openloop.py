"""Requests that come when they come, whether or not the last ones were answered: an open loop."""

import select
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# The bytes of the n-th request, and what the reader calls it.
Make = Callable[[int], tuple[str, bytes]]
LOST = 0


@dataclass(frozen=True, slots=True)
class Told:
    """
    What became of one request.

    status: LOST without an answer. at_s: when it was due, in seconds of the run. seconds: from
    then to its answer, also where the caller was late to send it.
    """

    name: str
    status: int
    at_s: float
    seconds: float


class Line:
    """One connection, kept alive, with at most one request under way."""

    __slots__ = ("due", "is_idle", "name", "received", "socket")

    def __init__(self, port: int) -> None:
        self.is_idle = True
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.received = b""

    def send(self, name: str, request: bytes, due: float) -> None:
        self.name, self.due, self.received, self.is_idle = name, due, b"", False
        if self.socket.send(request) != len(request):
            raise OSError("the request was not taken at once")

    def status_of_answer(self) -> int | None:
        """Return the status once the answer is whole, None before, LOST when there is none."""
        part = self.socket.recv(65536)
        if not part:
            return LOST
        self.received += part
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return None
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head[9:12]) if len(body) >= length else None


class Loop:
    """Requests over many connections, in one thread and cheap enough to leave cores for others."""

    def __init__(self, port: int, make: Make, *, lines_max: int) -> None:
        self.port = port
        self.make = make
        self.lines_max = lines_max
        self.told: list[Told] = []
        self.sent = 0
        self._lines: dict[int, Line] = {}
        self._idle: list[Line] = []
        self._poll = select.epoll()

    def offer(self, per_second: float, seconds: float) -> list[Told]:
        """Send so many a second, evenly; wait for the last answers, at most 5 s."""
        self._connect()
        began = time.monotonic()
        count = int(per_second * seconds)
        while self.sent < count:
            now = time.monotonic() - began
            while self.sent < count and (due := self.sent / per_second) <= now:
                self._send(began, due)
            self._receive(began, max(0.0, began + self.sent / per_second - time.monotonic()))
        return self._end(began)

    def saturate(self, lines: int, seconds: float) -> list[Told]:
        """Keep so many connections busy: what the service can do at most."""
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            while len(self._lines) - len(self._idle) < lines:
                self._send(began, now)
            self._receive(began, 0.1)
        return self._end(began)

    def _connect(self) -> None:
        """Open every line before, as a proxy has them: what is measured is calls."""
        for opened in range(self.lines_max):
            self._idle.append(self._open())
            if opened % 20 == 0:
                time.sleep(0.01)  # A worker accepts one at a time.

    def _end(self, began: float) -> list[Told]:
        until = time.monotonic() + 5
        while len(self._idle) < len(self._lines) and time.monotonic() < until:
            self._receive(began, 0.1)
        for line in self._lines.values():
            if not line.is_idle:
                self.told.append(Told(line.name, LOST, line.due, 5.0))
            line.socket.close()
        self._poll.close()
        return self.told

    def _send(self, began: float, due: float) -> None:
        name, request = self.make(self.sent)
        self.sent += 1
        try:
            line = self._idle.pop() if self._idle else self._open()
            line.send(name, request, due)
        except OSError:
            self.told.append(Told(name, LOST, due, time.monotonic() - began - due))

    def _open(self) -> Line:
        if len(self._lines) >= self.lines_max:
            raise OSError("no connection is free")
        line = Line(self.port)
        self._lines[line.socket.fileno()] = line
        self._poll.register(line.socket, select.EPOLLIN)
        return line

    def _receive(self, began: float, wait_s: float) -> None:
        for number, _ in self._poll.poll(wait_s):
            line = self._lines[number]
            try:
                status = line.status_of_answer()
            except OSError:
                status = LOST
            if status is None:
                continue
            if not line.is_idle:
                self._note(line, status, time.monotonic() - began)
            if status == LOST:
                self._drop(number, line)
            elif not line.is_idle:
                line.is_idle = True
                self._idle.append(line)

    def _note(self, line: Line, status: int, now: float) -> None:
        self.told.append(Told(line.name, status, line.due, now - line.due))

    def _drop(self, number: int, line: Line) -> None:
        self._poll.unregister(number)
        line.socket.close()
        del self._lines[number]
        if line.is_idle:
            self._idle.remove(line)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run was, by status, and how long answers of a status took."""

    told: Sequence[Told]
    seconds: float

    def per_second(self, status: int = 201, name: str | None = None) -> float:
        """Return how many a second were told this status."""
        return len(self._seconds_of(status, name)) / self.seconds

    def percentile_ms(self, percent: int, status: int, name: str | None = None) -> float:
        """Return how long these took; 0.0 when there were none."""
        took = self._seconds_of(status, name)
        if len(took) < 2:
            return 0.0
        return statistics.quantiles(took, n=100, method="inclusive")[percent - 1] * 1000

    def share(self, status: int, name: str) -> float:
        """Return which part of the requests of a name was told this status."""
        of_name = [told for told in self.told if told.name == name]
        return len(self._seconds_of(status, name)) / len(of_name)

    def _seconds_of(self, status: int, name: str | None) -> list[float]:
        return [
            told.seconds
            for told in self.told
            if told.status == status and name in (None, told.name)
        ]

    def __str__(self) -> str:
        counts = Counter((told.name, told.status) for told in self.told)
        return "  ".join(
            f"{name} {status or 'lost'}: {count / self.seconds:.0f}/s"
            f" p50 {self.percentile_ms(50, status, name):.0f}"
            f" p99 {self.percentile_ms(99, status, name):.0f} ms"
            for (name, status), count in sorted(counts.items())
        )
