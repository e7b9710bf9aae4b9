"""A canary of orders.place breaks under load: its breaker opens, and stable takes the orders."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from config.embedded import embedded_servers
from tests.commands.processes import wait_until
from tests.planted.shop import Sample, Shop, Steady, describe_ms, open_shop
from tests.server import fresh_database

pytestmark = pytest.mark.prove

MOODS = ["raises", "hangs", "answers nonsense"]
SHARE_BP = 500
BROKEN_S = 10
LATE_S = 1.0
# One in a hundred is counted of at least so many: a breaker wants some evidence at any rate.
ORDERS_MIN = 2_500
POLICY = {"preset": "swift"}
CANARY = {
    "releases": {"orders.place": {"stable": "v2", "canary": "v3", "fallback": "v1"}},
    "rules": [{"id": "some", "path": "orders.place", "serve": "canary", "share_bp": SHARE_BP}],
    "breakers": {"orders.place": {"canary": POLICY}},
}
BROKEN_STABLE = {
    "releases": {"orders.place": {"stable": "v3", "canary": None, "fallback": "v1"}},
    "breakers": {"orders.place": {"stable": POLICY}},
}


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A Valkey of our own, that may hang: its URL and its process."""
    given = {"DATABASE_URL": os.environ["DATABASE_URL"]}
    with embedded_servers(tmp_path_factory.mktemp("canary"), given) as servers:
        yield servers.environment["REDIS_URL"], servers.children["valkey"].pid


@pytest.fixture(scope="module")
def shop(valkey: tuple[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with (
        fresh_database(os.environ["DATABASE_URL"]) as database,
        open_shop(database, tmp_path_factory.mktemp("planted"), REDIS_URL=valkey[0]) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def rate(shop: Shop) -> float:
    return shop.half_capacity()


@pytest.fixture(autouse=True)
def _well(shop: Shop) -> Iterator[None]:
    """The planted version is well before and after each test; the books balance in the end."""
    shop.set_mood("well")
    shop.forget_wrong_calls()
    yield
    shop.set_mood("well")
    shop.server.database.assert_balanced()


@contextmanager
def hung(pid: int) -> Iterator[None]:
    """Stop a process for the length of the block, as if it hung."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def served_by(samples: list[Sample], version: str) -> int:
    """Count the orders that a version took."""
    return sum(sample.status == 201 and sample.version == version for sample in samples)


def break_and_mend(
    shop: Shop, load: Steady, mood: str, *, orders_min: int = ORDERS_MIN
) -> tuple[float, float]:
    """
    Break the planted version for a while and mend it; return when.

    Ends when its breakers have closed again: more calls went through than probes would; and not
    before there were enough orders.
    """
    broken_at = shop.set_mood(mood)
    time.sleep(BROKEN_S)
    mended_at = shop.set_mood("well")
    wait_until(lambda: served_by(load.since(mended_at), "v3") >= 20, seconds=40)
    wait_until(lambda: len(load.samples) >= orders_min, seconds=120)
    return broken_at, mended_at


def quiet_since(calls: list[float]) -> float:
    """Return when a breaker had opened: the end of the first second and a half without calls."""
    for call, following in zip(calls, [*calls[1:], float("inf")], strict=True):
        if following - call > 1.5:
            return call
    raise AssertionError("it never opened")


def assert_harmed_few(
    shop: Shop, load: Steady, broken_at: float, mended_at: float, mood: str
) -> None:
    """Fail unless the breaker opened soon, and all but a few orders were taken in time."""
    samples = load.samples
    harmed = [s for s in samples if s.status != 201 or s.took_s > LATE_S]
    calls = shop.wrong_calls()
    open_after_s = quiet_since(calls) - broken_at
    failing = sum(call <= broken_at + open_after_s for call in calls)
    closed_after_s = sorted(
        s.sent_at - mended_at for s in load.since(mended_at) if s.version == "v3"
    )[19]
    others = [s for s in samples if s not in harmed]
    print(  # noqa: T201 - what a proof says is read
        f"\n{mood}: {len(samples)} orders at {load.rate:.0f}/s; opened after {failing} failing"
        f" calls and {open_after_s:.2f} s; {len(calls)} in all with probes; harmed {len(harmed)}"
        f" ({100 * len(harmed) / len(samples):.2f} %): {dict(Counter(s.status for s in harmed))};"
        f" twentieth good call {closed_after_s:.1f} s after it was mended;"
        f" others {describe_ms([s.took_s for s in others])};"
        f" while broken {dict(Counter(s.version for s in load.since(broken_at, mended_at)))}"
    )
    assert failing <= 20 or open_after_s <= 5
    # What the canary did to orders; and what they waited for stable, where a machine that others
    # use as well may stop everybody for a second.
    by_canary = [s for s in harmed if s.status != 201 or s.version == "v3"]
    assert len(by_canary) < len(samples) / 100
    assert len(harmed) < len(samples) / 20
    assert {sample.status for sample in others} == {201}


@pytest.mark.parametrize("mood", MOODS)
class BrokenCanaryTests:
    def test_harms_few_orders_and_serves_again_when_mended(
        self, shop: Shop, rate: float, mood: str
    ) -> None:
        shop.publish(**CANARY)

        with shop.steady(rate) as load:
            time.sleep(3)
            assert served_by(load.samples, "v3") > 0
            broken_at, mended_at = break_and_mend(shop, load, mood)

        assert_harmed_few(shop, load, broken_at, mended_at, mood)

    def test_harms_few_orders_while_redis_hangs(
        self, shop: Shop, rate: float, mood: str, valkey: tuple[str, int]
    ) -> None:
        shop.publish(**CANARY)

        with shop.steady(rate) as load, hung(valkey[1]):
            time.sleep(3)
            assert served_by(load.samples, "v3") > 0
            broken_at, mended_at = break_and_mend(shop, load, mood)

        assert_harmed_few(shop, load, broken_at, mended_at, f"{mood}, Redis hung")


class BrokenStableTests:
    def test_is_replaced_by_its_fallback(self, shop: Shop) -> None:
        rate = shop.half_capacity("v1")
        shop.publish(**BROKEN_STABLE)

        with shop.steady(rate) as load:
            time.sleep(2)
            assert served_by(load.samples, "v3") > 0
            broken_at, mended_at = break_and_mend(shop, load, "raises", orders_min=0)

        meanwhile = load.since(broken_at, mended_at)
        told = Counter((s.status, s.version if s.status == 201 else "") for s in meanwhile)
        calls = shop.wrong_calls()
        open_after_s = quiet_since(calls) - broken_at
        print(  # noqa: T201
            f"\nstable broken: {len(meanwhile)} orders at {rate:.0f}/s, {dict(told)}; opened after"
            f" {open_after_s:.2f} s; {describe_ms([s.took_s for s in meanwhile])}"
        )
        assert sum(call <= broken_at + open_after_s for call in calls) <= 20
        assert served_by(meanwhile, "v1") > len(meanwhile) * 0.9
        assert sum(s.status != 201 for s in load.samples) == len(calls)
