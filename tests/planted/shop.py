"""A shop under a steady load whose rules and whose planted version a test changes."""

import asyncio
import json
import math
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.commands.processes import PROJECT
from tests.faults.fleet import own_prefix
from tests.load import Address, Caller, Lost, Reply, send_all
from tests.server import Database, Server, serving

SKUS = [f"PROVE-{n}" for n in range(20)]
STOCK = 1_000_000
# Half of what the server can take just now; but a machine that others use as well can take less
# a moment later, and what is proved here is not how much it takes. `make soak` has no bound.
RATE_MAX = float(os.environ.get("STEADY_RATE_MAX", "80"))
WORKERS = 2
# The server hangs up on who says nothing for 20 s; a request sent at that moment would be lost.
IDLE_S_MAX = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """One request of a steady load; times are of the clock on the wall. reply: None when lost."""

    number: int
    sent_at: float
    took_s: float
    reply: Reply | None

    @property
    def status(self) -> int:
        """What was answered, 0 for nothing."""
        return 0 if self.reply is None else self.reply.status

    @property
    def version(self) -> str:
        """Which version served, as trusted callers are told."""
        return "" if self.reply is None else self.reply.headers.get("x-deploy-version", "")

    @property
    def generation(self) -> int:
        """Under which rules it was served, as trusted callers are told."""
        return 0 if self.reply is None else int(self.reply.headers["x-rollout-generation"])


class Steady:
    """
    Requests at a steady rate, in a thread of their own, whatever the server makes of them.

    make: returns the bytes of the nth request.
    """

    def __init__(self, port: int, rate: float, make: Callable[[int], bytes]) -> None:
        self.port = port
        self.rate = rate
        self.make = make
        self.samples: list[Sample] = []
        self._idle: list[tuple[float, Caller]] = []
        self._is_over = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "Steady":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()

    def since(self, moment: float, until: float = float("inf")) -> list[Sample]:
        """Return what was sent in a span of time and has its answer."""
        return [sample for sample in list(self.samples) if moment <= sample.sent_at < until]

    async def _run(self) -> None:
        begin = time.monotonic()
        number = 0
        async with asyncio.TaskGroup() as group:
            while not self._is_over:
                await asyncio.sleep(max(0.0, begin + number / self.rate - time.monotonic()))
                group.create_task(self._send(number))
                number += 1
        for _, caller in self._idle:
            caller.close()

    def _take_caller(self) -> Caller:
        while self._idle:
            idle_since, caller = self._idle.pop()
            if time.monotonic() - idle_since < IDLE_S_MAX:
                return caller
            caller.close()
        return Caller(self.port)

    async def _send(self, number: int) -> None:
        caller = self._take_caller()
        sent_at, begin = time.time(), time.monotonic()
        try:
            reply = await caller.send(self.make(number))
        except (*Lost, TimeoutError):
            reply = None
        self.samples.append(Sample(number, sent_at, time.monotonic() - begin, reply))
        self._idle.append((time.monotonic(), caller))


class Shop:
    """A server with gevent workers, its rules, and the mood of its planted version."""

    def __init__(self, server: Server, folder: Path, publisher: "subprocess.Popen[str]") -> None:
        self.server = server
        self.folder = folder
        self.address = Address(server.port, server.api_key)
        self._publisher = publisher
        for sku in SKUS:
            server.given_stock(sku, on_hand=STOCK)

    # --- Rules --------------------------------------------------------------------------------

    def publish(self, *, workers: int = WORKERS, wait_s: float = 20, **changes: Any) -> Any:
        """Publish a rule set made of the changes; wait until so many workers have it."""
        assert self._publisher.stdin is not None
        asked = {"changes": changes, "workers": workers, "wait_s": wait_s}
        self._publisher.stdin.write(json.dumps(asked) + "\n")
        self._publisher.stdin.flush()
        told = self._read()
        assert not workers or told["lags_ms"], f"no {workers} workers followed in {wait_s} s"
        return told

    def _read(self) -> Any:
        assert self._publisher.stdout is not None
        line = self._publisher.stdout.readline()
        assert line, "the publisher has ended"
        return json.loads(line)

    # --- The planted version --------------------------------------------------------------------

    def set_mood(self, mood: str) -> float:
        """Break the planted version, or mend it with "well"; return when."""
        draft = self.folder / "draft"
        draft.write_text(mood)
        draft.replace(self.folder / "mood")
        return time.time()

    def wrong_calls(self) -> list[float]:
        """Return when the planted version did something wrong, in order."""
        wrong = self.folder / "wrong"
        lines = wrong.read_text().splitlines() if wrong.exists() else []
        return sorted(float(line.rpartition(" ")[2]) for line in lines)

    def forget_wrong_calls(self) -> None:
        """Begin to count anew."""
        (self.folder / "wrong").unlink(missing_ok=True)

    # --- Load -----------------------------------------------------------------------------------

    def order(self, number: int, *, address: Address | None = None, **more: Any) -> bytes:
        """Return the bytes of an order; each is of a customer of its own."""
        key = secrets.token_hex(8)
        lines = [(SKUS[number % len(SKUS)], 1)]
        sent: dict[str, Any] = {"customer": f"c-{number}", "reference": key, **more}
        return (address or self.address).order(key, lines, **sent)

    def half_capacity(self, version: str = "v2", *, workers: int = WORKERS) -> float:
        """Return half of the orders a second that it takes now, at most RATE_MAX."""
        self.publish(workers=workers, releases={"orders.place": {"stable": version}})
        send_all(self.server.port, [self.order(n) for n in range(200)], callers=20)
        requests = [self.order(n) for n in range(800)]
        begin = time.monotonic()
        replies = send_all(self.server.port, requests, callers=20, is_patient=True)
        capacity = len(requests) / (time.monotonic() - begin)
        assert {reply.status for reply in replies} == {201}
        rate = min(capacity / 2, RATE_MAX)
        print(f"\ncapacity of {version}: {capacity:.0f} orders/s; sent: {rate:.0f}/s")  # noqa: T201
        return rate

    def steady(self, rate: float) -> Steady:
        """Return orders at a steady rate."""
        return Steady(self.server.port, rate, self.order)


@contextmanager
def open_shop(database: Database, folder: Path, **settings: str) -> Iterator[Shop]:
    """Serve with the planted version, which is well."""
    (folder / "mood").write_text("well")
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.planted.settings",
        "PLANTED": str(folder),
        "PLANTED_PREFIX": own_prefix(),
    }
    with serving(database, **environment, **settings) as server:
        publisher = subprocess.Popen(
            [sys.executable, "-m", "tests.planted.publisher"],
            cwd=PROJECT,
            env=server.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            with publisher:
                shop = Shop(server, folder, publisher)
                assert shop._read() == "ready"
                yield shop
                assert publisher.stdin is not None
                publisher.stdin.close()
        finally:
            publisher.kill()


def percentile(values: list[float], share: float) -> float:
    """Return the value that so great a share of all do not exceed."""
    return sorted(values)[math.ceil(len(values) * share) - 1]


def describe_ms(seconds: list[float]) -> str:
    """Return what to print of times."""
    ms = [one * 1000 for one in seconds]
    return ", ".join(
        f"{name} {percentile(ms, share):.1f} ms"
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))
    )
