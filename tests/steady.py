"""Orders at a steady rate, and every answer that was not an order."""

import asyncio
import itertools
import secrets
import time
from collections import Counter
from collections.abc import Callable

from tests.load import Address, Caller, Lost, each

CALLERS = 32


class SteadyOrders:
    """
    Callers that together place so many orders a second, over connections that are kept.

    Nobody asks twice: whatever is not 201 is a failure; refusals tell when it was and what.
    """

    def __init__(self, address: Address, sku: str, *, rate: float, callers: int = CALLERS) -> None:
        self.address = address
        self.sku = sku
        self.interval_s = callers / rate
        self.callers = callers
        self.placed: dict[str, str] = {}
        self.refusals: list[tuple[float, str]] = []
        self.seconds: list[float] = []
        run = secrets.token_hex(4)
        self._keys = (f"steady-{run}-{n}" for n in itertools.count())
        self._is_over = False

    def run(self, disturb: Callable[[], None]) -> None:
        """Place orders until disturb, which runs in a thread, has returned."""
        asyncio.run(self._run(disturb))

    def again(self) -> None:
        """Forget what was answered so far, to be run once more."""
        self.placed.clear()
        self.refusals.clear()
        self.seconds.clear()
        self._is_over = False

    @property
    def refused(self) -> Counter[str]:
        """What was told instead of 201, and how often."""
        return Counter(what for _, what in self.refusals)

    @property
    def total(self) -> int:
        """How many were asked for."""
        return len(self.placed) + len(self.refusals)

    @property
    def seconds_max(self) -> float:
        """How long the longest answer took."""
        return max(self.seconds, default=0.0)

    def percentile_s(self, percent: int) -> float:
        """Return how long the fastest percent of 100 answers took at most."""
        took = sorted(self.seconds) or [0.0]
        return took[len(took) * percent // 100 - (percent == 100)]

    def percentiles(self) -> str:
        """Tell how long answers took."""
        return " ".join(
            f"p{percent} {self.percentile_s(percent) * 1000:.0f} ms" for percent in (50, 99, 100)
        )

    async def _run(self, disturb: Callable[[], None]) -> None:
        async def until_disturbed() -> None:
            try:
                await asyncio.to_thread(disturb)
            finally:
                self._is_over = True

        callers = [Caller(self.address.port) for _ in range(self.callers)]
        async with asyncio.TaskGroup() as group:
            group.create_task(until_disturbed())
            group.create_task(each(callers, self._work))

    async def _work(self, caller: Caller) -> None:
        due = time.monotonic() + self.interval_s * (id(caller) % 97) / 97
        while not self._is_over:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._place(caller)
            due += self.interval_s
        caller.close()

    async def _place(self, caller: Caller) -> None:
        key = next(self._keys)
        began = time.monotonic()
        try:
            reply = await caller.send(self.address.order(key, [(self.sku, 1)], reference=key))
        except (*Lost, TimeoutError) as failure:
            self.refusals.append((time.monotonic(), type(failure).__name__))
            return
        self.seconds.append(time.monotonic() - began)
        if reply.status == 201:
            self.placed[key] = reply.document["id"]
        else:
            is_ours = reply.headers.get("content-type", "").endswith("json")
            code = reply.document["code"] if is_ours else "not of our shape"
            self.refusals.append((time.monotonic(), f"{reply.status} {code}"))


def capacity_of(address: Address, sku: str, *, seconds: float) -> float:
    """Return how many orders a second are placed by callers that wait for nothing else."""
    hurried = SteadyOrders(address, sku, rate=1_000_000)
    began = time.monotonic()
    hurried.run(lambda: time.sleep(seconds))
    return len(hurried.placed) / (time.monotonic() - began)
