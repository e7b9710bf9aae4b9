"""Workers follow the rules: by push, by poll, and at the start from whatever is left."""

import time

import pytest
from django.db import connection
from django.db.utils import OperationalError
from prometheus_client import REGISTRY

from rollout import announcing, reload, storage, usecases
from rollout.codepath import CodePath
from rollout.context import CallContext
from rollout.document import EMPTY_DOCUMENT
from rollout.errors import UnknownSchema
from rollout.models import RolloutState, RuleSetRevision
from rollout.reload import Watcher
from rollout.rules import PathFacts, Reason, Release
from rollout.runtime import Runtime, runtime
from tests.committed import CommittedTestCase
from tests.faults.fleet import Switch, own_prefix

KEY = "tests.path"


class DeclaredPath:
    key = KEY
    versions = {"v1": None, "v2": None}

    def facts(self):
        return PathFacts(KEY, ("v1", "v2"), Release("v1", "v2"))


def wait_for(condition, *, within_s=3.0):
    """Return the seconds until a condition held."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within_s, "it did not happen"
        time.sleep(0.001)
    return time.monotonic() - started


class ReloadCase(CommittedTestCase):
    @pytest.fixture(autouse=True)
    def _around(self, settings, tmp_path, monkeypatch):
        settings.ROLLOUT_REDIS_PREFIX = own_prefix()
        self.redis = Switch()
        self.file = tmp_path / "rules"
        self.watchers = []
        path = CodePath(KEY, effects="read")
        path.version("v1")(lambda: "v1")
        path.version("v2")(lambda: "v2")
        monkeypatch.setattr(announcing, "client", self.redis)
        yield
        for watcher in self.watchers:
            watcher.stop()
        runtime.forget(KEY)
        for key in self.redis.works.scan_iter(match=f"{settings.ROLLOUT_REDIS_PREFIX}:*"):
            self.redis.works.delete(key)
        self.redis.close()

    def _fixture_teardown(self):
        super()._fixture_teardown()
        with connection.cursor() as cursor:
            for table in ("rollout_rulesetrevision", "rollout_auditevent"):
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
                cursor.execute(f"TRUNCATE {table}")
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        RolloutState.objects.update(generation=0)

    def watcher(self, name="w1"):
        own = Runtime()
        own.declare(DeclaredPath())
        watcher = Watcher(own, worker=name, last_known_good=self.file, connect=self.redis)
        self.watchers.append(watcher)
        return watcher

    def publish(self, share_bp=5000):
        rule = {"id": "share", "path": KEY, "serve": "v2", "share_bp": share_bp}
        return usecases.publish(
            {**EMPTY_DOCUMENT, "rules": [rule]},
            expected_generation=usecases.get_current().generation,
            actor=usecases.Actor("ada"),
            comment="",
        )

    def without_database(self):
        """Take the database away from whoever asks for rules."""

        def refuse(*_):
            raise OperationalError("gone")

        patch = pytest.MonkeyPatch()
        self.addCleanup(patch.undo)
        patch.setattr(storage, "get_generation", refuse)
        return patch


def told(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0


def share_of(watcher):
    rules = watcher.runtime.snapshot.paths[KEY].rules
    return rules[0].share_bp if rules else None


class FollowTests(ReloadCase):
    def test_hears_of_each_generation_within_milliseconds_and_says_so(self):
        watchers = [self.watcher(f"w{number}") for number in range(3)]
        for watcher in watchers:
            watcher.boot()
            watcher.start()
        time.sleep(0.2)
        taken = []

        for share_bp in range(1, 21):
            published = self.publish(share_bp)
            taken.append(wait_for(lambda bp=share_bp: {share_of(w) for w in watchers} == {bp}))
        wait_for(lambda: len(announcing.convergence(published.generation).lag_ms) == 3)

        assert sorted(taken)[10] < 0.25  # 5 ms where nothing else runs
        told = announcing.convergence(20)
        assert set(told.lag_ms) == {"w0", "w1", "w2"}
        assert all(lag < 2000 for lag in told.lag_ms.values())

    def test_counts_what_it_loaded_and_how_late(self):
        watcher = self.watcher()
        watcher.boot()
        loaded = told("rollout_reload_total", source="redis", result="loaded")
        lags = told("rollout_reload_lag_seconds_count")

        watcher.follow(self.publish(7).generation, time.time())

        assert told("rollout_reload_total", source="redis", result="loaded") == loaded + 1
        assert told("rollout_reload_lag_seconds_count") == lags + 1

    def test_finds_it_by_polling_when_nobody_told(self):
        watcher = self.watcher()
        watcher.boot()
        watcher.start()
        self.redis.state = "none"
        self.publish(7)
        self.redis.state = "up"

        wait_for(lambda: share_of(watcher) == 7, within_s=8)

    def test_follows_the_database_within_two_seconds_without_redis(self):
        for state in ("gone", "hung", "none"):
            watcher = self.watcher()
            watcher.boot()
            self.redis.state = state
            watcher.start()
            share_bp = usecases.get_current().generation + 100

            self.publish(share_bp)

            wait_for(lambda w=watcher, bp=share_bp: share_of(w) == bp, within_s=2)
            self.redis.state = "up"

    def test_ignores_what_is_old_doubled_or_made_up(self):
        watcher = self.watcher()
        self.publish(1)
        self.publish(2)
        watcher.boot()
        snapshot = watcher.runtime.snapshot

        watcher.follow(1)
        watcher.follow(2)
        watcher.follow(999)
        self.redis.works.set(announcing.key("gen"), "garbage")
        assert watcher.look_at_redis()
        self.redis.works.delete(announcing.key("gen"))
        self.redis.works.rpush(announcing.key("gen"), "garbage")
        watcher.look_at_redis()

        assert watcher.runtime.snapshot is snapshot

    def test_believes_no_rules_that_were_not_sealed_here(self):
        self.publish(1)
        watcher = self.watcher()
        watcher.boot()
        published = self.publish(2)
        forged = announcing.seal(2, '{"schema_version":1,"kill_switch":{"all":true}}')
        self.redis.works.set(announcing.key("snap:2"), "0" * 64 + forged[64:])

        watcher.follow(2)

        assert share_of(watcher) == 2
        assert watcher.runtime.snapshot.checksum == published.checksum

    def test_keeps_the_old_rules_when_newer_code_published_what_it_cannot_read(self):
        self.publish(1)
        watcher = self.watcher()
        watcher.boot()
        RuleSetRevision.objects.create(
            generation=2,
            payload={"schema_version": 9},
            checksum=reload.checksum_of({"schema_version": 9}),
            schema_version=9,
            author="newer",
        )
        RolloutState.objects.update(generation=2)

        watcher.look_at_database()
        watcher.look_at_database()

        assert share_of(watcher) == 1
        assert watcher.runtime.snapshot.generation == 1
        with pytest.raises(UnknownSchema):
            reload.read_document({"schema_version": 9})

    def test_refuses_rules_whose_checksum_is_wrong(self):
        self.publish(1)
        watcher = self.watcher()
        watcher.boot()
        RuleSetRevision.objects.create(
            generation=2,
            payload=dict(EMPTY_DOCUMENT),
            checksum="0" * 64,
            schema_version=1,
            author="eve",
        )
        RolloutState.objects.update(generation=2)

        watcher.look_at_database()

        assert share_of(watcher) == 1

    def test_announces_the_newest_generation_whatever_comes_last(self):
        announcing.announce(generation=5, checksum="a" * 64, text="{}")
        announcing.announce(generation=4, checksum="a" * 64, text="{}")

        told = announcing.read_told(self.redis.works.get(announcing.key("gen")))

        assert told[0] == 5

    def test_publishes_without_redis_as_well(self):
        for state in ("gone", "hung", "none"):
            self.redis.state = state
            before = usecases.get_current().generation

            assert self.publish(3).generation == before + 1


class BootTests(ReloadCase):
    def test_starts_from_the_database_without_redis(self):
        self.publish(5)
        self.redis.state = "gone"
        watcher = self.watcher()

        watcher.boot()

        assert share_of(watcher) == 5
        assert not watcher.runtime.snapshot.stale

    def test_starts_from_what_redis_kept_without_the_database(self):
        self.publish(5)
        self.without_database()
        watcher = self.watcher()

        watcher.boot()

        assert share_of(watcher) == 5
        assert watcher.runtime.snapshot.stale

    def test_starts_from_the_last_good_file_without_both(self):
        self.publish(5)
        self.watcher().boot()
        self.redis.state = "gone"
        self.without_database()
        watcher = self.watcher()

        watcher.boot()

        assert share_of(watcher) == 5
        assert watcher.runtime.snapshot.stale

    def test_starts_with_everything_stable_when_nothing_is_left(self):
        self.redis.state = "gone"
        self.without_database()
        self.file.write_text("scribble")
        watcher = self.watcher()

        watcher.boot()

        snapshot = watcher.runtime.snapshot
        decision = snapshot.decide(KEY, CallContext(snapshot))
        assert (decision.version, decision.reason) == ("v1", Reason.STATIC)

    def test_is_not_stale_any_more_once_the_database_is_back(self):
        self.publish(5)
        patch = self.without_database()
        watcher = self.watcher()
        watcher.boot()
        was_stale = watcher.runtime.snapshot.stale
        patch.undo()

        watcher.look_at_database()

        assert was_stale
        assert not watcher.runtime.snapshot.stale

    def test_starts_before_anything_was_published(self):
        watcher = self.watcher()

        watcher.boot()

        assert watcher.runtime.snapshot.generation == 0
        assert not watcher.runtime.snapshot.is_static
