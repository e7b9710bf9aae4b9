"""Rules and breakers of many real processes: who follows when, and what a fleet agrees on."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest

from rollout import announcing
from tests.faults.fleet import connect, own_prefix
from tests.load import Address, send_all
from tests.planted.shop import Sample, Shop, describe_ms, open_shop, percentile
from tests.server import fresh_database

pytestmark = pytest.mark.prove

PUBLISHES = 200
# What is asked of it is 50 ms. Where the callers, the database and the workers share two cores,
# the tail belongs to whoever holds them; the figure itself is printed.
LAG_MS_MAX = 250


def share_of_canary(share_bp: int) -> dict[str, Any]:
    rule = {"id": "some", "path": "orders.place", "serve": "canary", "share_bp": share_bp}
    return {
        "releases": {"orders.place": {"stable": "v2", "canary": "v3", "fallback": "v1"}},
        "rules": [rule],
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with (
        fresh_database(os.environ["DATABASE_URL"]) as database,
        open_shop(database, tmp_path_factory.mktemp("planted")) as opened,
    ):
        yield opened


def assert_one_generation_each(shop: Shop, samples: list[Sample]) -> None:
    """Fail unless every request was served, and its answer and its rows tell one generation."""
    assert Counter(sample.status for sample in samples) == {201: len(samples)}
    kept = dict(shop.server.database.rows("SELECT id::text, rules_generation FROM orders_order"))
    told = {s.reply.document["id"]: s.generation for s in samples if s.reply is not None}
    assert {order: kept[order] for order in told} == told


class PublishUnderLoadTests:
    def test_every_worker_follows_200_publishes_and_no_order_notices(self, shop: Shop) -> None:
        rate = shop.half_capacity()

        with shop.steady(rate) as load:
            time.sleep(1)
            told = [shop.publish(**share_of_canary(n)) for n in range(PUBLISHES)]
            time.sleep(1)

        # -1: a worker that looked into the database at that moment was faster than the news.
        lags_ms = [one["lags_ms"][-1] for one in told if one["lags_ms"][0] >= 0]
        samples = load.samples
        print(  # noqa: T201 - what a proof says is read
            f"\n{PUBLISHES} publishes under {len(samples)} orders at {rate:.0f}/s: from commit to"
            f" all workers {describe_ms([lag / 1000 for lag in lags_ms])};"
            f" orders {describe_ms([s.took_s for s in samples])};"
            f" {len({s.generation for s in samples})} generations served"
        )
        assert len(lags_ms) > PUBLISHES * 0.9
        assert percentile(lags_ms, 0.99) < LAG_MS_MAX
        assert_one_generation_each(shop, samples)
        # Once a generation was acknowledged, nobody was served under an older one.
        for one, following in pairwise(told):
            span = load.since(one["converged_at"], following["committed_at"] - 0.1)
            assert all(sample.generation >= one["generation"] for sample in span)

    def test_an_untrusted_header_changes_nothing(self, shop: Shop) -> None:
        shop.publish(**share_of_canary(1_000))
        guest = Address(
            shop.server.port,
            shop.server.database.manage(
                "create_api_key", "--user", "guest", "--create-user",
                "--scope", "orders:write", "--scope", "orders:read",
            ),
        )  # fmt: skip
        dice = random.Random(17)
        names = ["v1", "v2", "v3", "canary", "stable", "fallback"]
        values = [
            dice.choice(names) if dice.random() < 0.5 else f"v{dice.getrandbits(64):x}"
            for _ in range(10_000)
        ]
        plain = [shop.order(n, address=guest) for n in range(1_000)]
        forced = [
            shop.order(n, address=guest).replace(
                b"\r\n", b"\r\nx-deploy-version: " + value.encode() + b"\r\n", 1
            )
            for n, value in enumerate(values)
        ]

        replies = send_all(shop.server.port, plain, callers=20, is_patient=True)
        forced_replies = send_all(shop.server.port, forced, callers=20, is_patient=True)

        assert {reply.status for reply in replies + forced_replies} == {201}
        names_of_headers = {name for reply in replies + forced_replies for name in reply.headers}
        assert not {"x-deploy-version", "x-rollout-generation"} & names_of_headers
        shapes = {tuple(reply.document) for reply in replies + forced_replies}
        assert len(shapes) == 1
        served = dict(
            shop.server.database.rows("SELECT id::text, served_version FROM orders_order")
        )
        without = [served[reply.document["id"]] for reply in replies]
        with_header = [served[reply.document["id"]] for reply in forced_replies]
        counts = Counter(with_header)
        print(f"\n10,000 untrusted headers under a share of 10 %: served {dict(counts)}")  # noqa: T201
        assert with_header[: len(without)] == without
        assert set(counts) == {"v2", "v3"}
        assert 850 < counts["v3"] < 1_150


class PublishWithoutRedisTests:
    def test_workers_follow_within_two_seconds(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        lags_s = []
        with (
            fresh_database(os.environ["DATABASE_URL"]) as database,
            open_shop(database, tmp_path_factory.mktemp("planted"), ROLLOUT_REDIS_URL="") as shop,
        ):
            rate = shop.half_capacity(workers=0)
            told = []
            with shop.steady(rate) as load:
                for n in range(10):
                    told.append(shop.publish(workers=0, **share_of_canary(n)))
                    time.sleep(2.2 + 0.03 * n)
            for one in told:
                after = load.since(one["committed_at"], one["committed_at"] + 2.2)
                lags_s.append(
                    max(
                        (
                            s.sent_at - one["committed_at"]
                            for s in after
                            if s.generation < one["generation"]
                        ),
                        default=0.0,
                    )
                )
            print(  # noqa: T201
                f"\nwithout Redis, 10 publishes under {len(load.samples)} orders at {rate:.0f}/s:"
                f" last order under the old rules {describe_ms(lags_s)} after the commit"
            )
            assert max(lags_s) < 2
            assert_one_generation_each(shop, load.samples)


# --- Breakers of a fleet ------------------------------------------------------------------------

MEMBER = """
import gevent.monkey; gevent.monkey.patch_all()
import json, os, sys, time
import django
from django.conf import settings
settings.configure(
    SECRET_KEY=os.environ["FLEET_SECRET"],
    INSTALLED_APPS=["rollout"],
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": "x", "HOST": "/nowhere",
    }},
    ROLLOUT_REDIS_URL=os.environ["REDIS_URL"],
    ROLLOUT_REDIS_PREFIX=os.environ["ROLLOUT_REDIS_PREFIX"],
    USE_TZ=True,
)
django.setup()
import gevent
from rollout import worker
from rollout.breaker import OPEN
from rollout.codepath import CodePath
from rollout.runtime import runtime

fails_each, calls, members = (int(one) for one in sys.argv[1:])
failing = False

path = CodePath("tests.path", effects="read")
path.version("v1")(lambda: "v1")

@path.version("v2")
def broken():
    if failing:
        raise RuntimeError("planted")
    return "v2"

running = worker.start()
while running.sharer.live_workers < members:
    gevent.sleep(0.01)
served = {"v1": 0, "v2": 0, "failed": 0}
def call(number):
    global failing
    failing = fails_each > 0 and number % fails_each == 0
    try:
        served[path()] += 1
    except RuntimeError:
        served["failed"] += 1
for number in range(1, calls + 1):
    call(number)
    gevent.sleep(0.02)
breaker = runtime.breakers["tests.path", "v2"]
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    print(json.dumps({
        "is_open": breaker.state == OPEN, "by_fleet": breaker.is_governed, "served": served,
    }), flush=True)
worker.stop()
"""
MEMBERS = 8
RULES = {
    "schema_version": 1,
    "releases": {"tests.path": {"stable": "v1", "canary": "v2"}},
    "rules": [{"id": "all", "path": "tests.path", "serve": "canary", "share_bp": 10_000}],
}


class Member:
    """A worker process that makes calls and then tells how its breaker stands."""

    def __init__(self, prefix: str, *, fails_each: int, calls: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MEMBER, str(fails_each), str(calls), str(MEMBERS)],
            env={**os.environ, "ROLLOUT_REDIS_PREFIX": prefix, "FLEET_SECRET": "shared"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> "Member":
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()

    def hears(self) -> Any:
        """Return the next thing that it says."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self) -> Any:
        """Return how its breaker stands now."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.hears()


class FleetBreakerTests:
    @pytest.fixture(autouse=True)
    def _around(self, settings: Any) -> Iterator[None]:
        settings.SECRET_KEY = "shared"
        settings.ROLLOUT_REDIS_URL = os.environ["REDIS_URL"]
        settings.ROLLOUT_REDIS_PREFIX = self.prefix = own_prefix()
        yield
        with connect() as redis:
            for key in redis.scan_iter(match=f"{self.prefix}:*"):
                redis.delete(key)

    def fleet(self, policy: dict[str, Any], *, fails_each: list[int], calls: int) -> list[Any]:
        """Let processes make their calls together; return how each breaker stands afterwards."""
        rules = RULES | {"breakers": {"tests.path": {"v2": policy}}}
        announcing.announce(generation=1, checksum="a" * 64, text=json.dumps(rules))
        with ExitStack() as stack:
            members = [
                stack.enter_context(Member(self.prefix, fails_each=each, calls=calls))
                for each in fails_each
            ]
            for member in members:
                assert member.hears() == "ready"
            time.sleep(2)  # Eight times as long as what they know takes to get around.
            told = [member.ask() for member in members]
        print(f"\n{told}")  # noqa: T201
        return told

    def fleet_state(self) -> str:
        with connect() as redis:
            return str(redis.hget(announcing.key("brk:tests.path:v2"), "state"))

    def test_one_process_that_always_fails_opens_alone(self) -> None:
        policy = {
            "rules": [{"Strategy": "ErrorRatio", "Threshold": 0.5}],
            "MinRequestAmount": 20,
            "StatIntervalMs": 60_000,
            "RetryTimeoutMs": 600_000,
        }

        told = self.fleet(policy, fails_each=[1] + [0] * (MEMBERS - 1), calls=200)

        assert [one["is_open"] for one in told] == [True] + [False] * (MEMBERS - 1)
        assert not any(one["by_fleet"] for one in told)
        assert told[0]["served"] == {"v1": 180, "v2": 0, "failed": 20}
        assert [one["served"]["v2"] for one in told[1:]] == [200] * (MEMBERS - 1)
        assert self.fleet_state() == "0"

    def test_a_failure_that_no_process_can_see_opens_the_fleet(self) -> None:
        policy = {
            "rules": [{"Strategy": "ErrorRatio", "Threshold": 0.01}],
            "MinRequestAmount": 1_000,
            "StatIntervalMs": 60_000,
            "RetryTimeoutMs": 600_000,
        }

        # 2 % of 200 calls each: none has the thousand that its breaker asks for, together 1,600.
        told = self.fleet(policy, fails_each=[50] * MEMBERS, calls=200)

        assert [one["is_open"] for one in told] == [True] * MEMBERS
        assert all(one["by_fleet"] for one in told)
        assert self.fleet_state() == "2"
