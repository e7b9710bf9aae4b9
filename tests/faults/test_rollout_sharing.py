"""Breakers of a fleet agree through Redis, and each goes on alone without it."""

import time

import pytest

from rollout import announcing
from rollout.breaker import CLOSED, ERROR, HALF_OPEN, OK, OPEN
from rollout.document import read_document
from rollout.rules import PathFacts, Release
from rollout.runtime import Runtime
from rollout.sharing import Sharer
from tests.faults.fleet import Switch, own_prefix

KEY = "tests.path"
POLICY = {
    "rules": [{"Strategy": "ErrorRatio", "Threshold": 0.5}],
    "MinRequestAmount": 20,
    "StatIntervalMs": 10_000,
    "RetryTimeoutMs": 200,
    "RetryJitter": 0,
    "ProbeNum": 2,
    "ProbeTimeoutMs": 1000,
}


class DeclaredPath:
    key = KEY
    versions = {"v1": None, "v2": None}

    def facts(self):
        return PathFacts(KEY, ("v1", "v2"), Release("v1", "v2"))


class Member:
    """One worker of the fleet, with a clock of its own that it shares with the others."""

    def __init__(self, name, redis, policy):
        self.runtime = Runtime()
        self.runtime.declare(DeclaredPath())
        document = {"schema_version": 1, "breakers": {KEY: {"v2": policy}}}
        self.runtime.activate(read_document(document), generation=1)
        self.sharer = Sharer(self.runtime, worker=name, connect=redis)
        self.breaker = self.runtime.breakers[KEY, "v2"]

    def calls(self, *, good=0, bad=0):
        for outcome in [OK] * good + [ERROR] * bad:
            token = self.breaker.admit()
            if token is not None:
                token.complete(outcome)

    @property
    def state(self):
        return self.breaker.state


@pytest.fixture
def redis(settings):
    settings.ROLLOUT_REDIS_PREFIX = own_prefix()
    switch = Switch()
    yield switch
    for key in switch.works.scan_iter(match=f"{settings.ROLLOUT_REDIS_PREFIX}:*"):
        switch.works.delete(key)
    switch.close()


@pytest.fixture
def fleet_of(redis):
    def make(count, **changes):
        return [Member(f"w{number}", redis, POLICY | changes) for number in range(count)]

    return make


def sync(fleet, times=1):
    for _ in range(times):
        for member in fleet:
            assert member.sharer.sync()


def states(fleet):
    return [member.state for member in fleet]


def forget(redis):
    for key in redis.works.scan_iter(match=f"{announcing.key('*')}"):
        redis.works.delete(key)


def wait_until_half_open(fleet):
    """Let the shared retry time pass: 200 ms of Redis's own clock."""
    time.sleep(0.25)
    sync(fleet)


class OpenTests:
    def test_opens_everywhere_on_what_no_worker_sees_alone(self, fleet_of):
        fleet = fleet_of(
            8, rules=[{"Strategy": "ErrorRatio", "Threshold": 0.01}], MinRequestAmount=400
        )
        sync(fleet)
        for member in fleet:
            member.calls(good=98, bad=2)
        alone = states(fleet)

        sync(fleet, times=2)

        assert alone == [CLOSED] * 8
        assert states(fleet) == [OPEN] * 8

    def test_lets_one_sick_worker_open_alone(self, fleet_of):
        fleet = fleet_of(8)
        sync(fleet)
        for _ in range(3):
            for member in fleet[1:]:
                member.calls(good=5)
            fleet[0].calls(bad=40)
            sync(fleet)

        assert states(fleet) == [OPEN] + [CLOSED] * 7

    def test_opens_by_votes_when_half_of_the_workers_opened_alone(self, fleet_of):
        fleet = fleet_of(
            4, rules=[{"Strategy": "consecutive_errors", "Threshold": 3}], RetryTimeoutMs=60_000
        )
        sync(fleet)
        fleet[0].calls(bad=3)
        sync(fleet)
        after_one = states(fleet)
        fleet[1].calls(bad=3)

        sync(fleet, times=2)

        assert after_one == [OPEN, CLOSED, CLOSED, CLOSED]
        assert states(fleet) == [OPEN] * 4

    def test_stays_closed_under_the_amount(self, fleet_of):
        fleet = fleet_of(3, MinRequestAmount=100)
        sync(fleet)
        for member in fleet:
            member.calls(bad=20)

        sync(fleet, times=2)

        assert states(fleet) == [CLOSED] * 3


class ProbeTests:
    def opened(self, fleet):
        sync(fleet)
        for member in fleet:
            member.calls(bad=20)
        sync(fleet, times=2)
        assert states(fleet) == [OPEN] * len(fleet)

    def test_probes_once_at_a_time_in_the_whole_fleet_and_closes_it(self, fleet_of):
        fleet = fleet_of(4)
        self.opened(fleet)
        wait_until_half_open(fleet)
        for member in fleet:
            assert member.breaker.admit() is None  # they ask
        sync(fleet)

        tokens = [member.breaker.admit() for member in fleet]
        first = [token for token in tokens if token is not None]
        first[0].complete(OK)
        sync(fleet)
        tokens = [member.breaker.admit() for member in fleet]
        second = [token for token in tokens if token is not None]
        second[0].complete(OK)
        sync(fleet, times=2)

        assert (len(first), len(second)) == (1, 1)
        assert states(fleet) == [CLOSED] * 4

    def test_opens_again_everywhere_after_one_bad_probe(self, fleet_of):
        fleet = fleet_of(3)
        self.opened(fleet)
        wait_until_half_open(fleet)
        fleet[1].breaker.admit()
        sync(fleet)

        fleet[1].breaker.admit().complete(ERROR)
        sync(fleet, times=2)

        assert states(fleet) == [OPEN] * 3
        told = fleet[0].sharer._known[KEY, "v2"]
        assert (told.state, told.fails) == (OPEN, 1)

    def test_gives_an_unused_lease_to_somebody_else(self, fleet_of):
        fleet = fleet_of(2)
        self.opened(fleet)
        wait_until_half_open(fleet)
        fleet[0].breaker.admit()
        sync(fleet)  # w0 has the lease, and then no call
        assert fleet[1].breaker.admit() is None

        sync(fleet)  # w0 gives it back, w1 takes it

        assert fleet[1].breaker.admit().is_probe

    def test_frees_the_lease_of_a_killed_worker(self, fleet_of):
        fleet = fleet_of(3, ProbeTimeoutMs=100)
        self.opened(fleet)
        wait_until_half_open(fleet)
        fleet[0].breaker.admit()
        sync(fleet)
        fleet[0].breaker.admit()
        survivors = fleet[1:]

        time.sleep(0.65)  # ProbeTimeoutMs and two syncs
        sync(survivors)
        opened_again = survivors[0].sharer._known[KEY, "v2"].state
        time.sleep(0.35)
        sync(survivors)
        survivors[0].breaker.admit()
        sync(survivors)

        assert opened_again == OPEN
        assert survivors[0].breaker.admit().is_probe


class LossTests:
    def test_closes_nothing_when_redis_comes_back_empty(self, fleet_of, redis):
        fleet = fleet_of(3, RetryTimeoutMs=60_000)
        ProbeTests().opened(fleet)

        forget(redis)
        sync(fleet, times=2)

        assert states(fleet) == [OPEN] * 3
        newcomer = Member("new", redis, POLICY)
        sync([newcomer])
        assert newcomer.state == OPEN

    @pytest.mark.parametrize("state", ["gone", "hung"])
    def test_goes_on_alone_without_redis_and_joins_again(self, fleet_of, redis, state):
        fleet = fleet_of(2)
        sync(fleet, times=2)
        redis.state = state

        results = [member.sharer.sync() for member in fleet for _ in range(3)]
        for member in fleet:
            member.calls(bad=20)
        alone = states(fleet)

        assert results == [False] * 6
        assert all(member.sharer.is_degraded for member in fleet)
        assert alone == [OPEN, OPEN]
        assert fleet[0].breaker.probe_chance == 0.5
        redis.state = "up"
        sync(fleet)
        assert not any(member.sharer.is_degraded for member in fleet)

    def test_does_nothing_where_there_is_no_redis(self, fleet_of, redis):
        (member,) = fleet_of(1)
        redis.state = "none"

        assert member.sharer.sync() is False
        member.calls(bad=20)
        assert member.state == OPEN

    def test_overwrites_garbage_in_every_key(self, fleet_of, redis):
        fleet = fleet_of(3, RetryTimeoutMs=60_000)
        ProbeTests().opened(fleet)
        keys = list(redis.works.scan_iter(match=announcing.key("*")))
        for number, key in enumerate(keys):
            redis.works.delete(key)
            if number % 2:
                redis.works.set(key, "\x00garbage")
            else:
                redis.works.rpush(key, "garbage")
        brk = announcing.key(f"brk:{KEY}:v2")

        sync(fleet, times=2)

        assert states(fleet) == [OPEN] * 3
        redis.works.delete(brk)
        redis.works.hset(brk, mapping={"state": "7", "epoch": "x", "retry_at": "-"})
        sync(fleet, times=2)
        assert states(fleet) == [OPEN] * 3

    def test_keeps_a_forced_mode_whatever_the_fleet_says(self, fleet_of):
        fleet = fleet_of(2, RetryTimeoutMs=60_000)
        ProbeTests().opened(fleet)
        member = fleet[0]
        document = {
            "schema_version": 1,
            "breakers": {KEY: {"v2": POLICY | {"mode": "forced_closed"}}},
        }

        member.runtime.activate(read_document(document), generation=2)
        sync(fleet)

        assert member.breaker.admit() is not None


class HalfOpenTests:
    def test_adopts_a_newer_state_of_the_fleet(self, fleet_of, redis):
        fleet = fleet_of(1)
        sync(fleet)
        redis.works.hset(
            announcing.key(f"brk:{KEY}:v2"),
            mapping={"state": HALF_OPEN, "epoch": 9, "retry_at": 0, "fails": 0, "good": 0},
        )

        sync(fleet)

        assert fleet[0].state == OPEN
        assert fleet[0].sharer._known[KEY, "v2"].epoch == 9
