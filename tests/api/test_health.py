"""When a process says that it is alive, and when that it may be sent orders."""

import threading
import time
from contextlib import contextmanager

import psycopg
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client, SimpleTestCase, TestCase, override_settings

from config import health


class LivezTests(SimpleTestCase):
    def test_answers_whatever_host_it_is_asked_for_and_over_http(self):
        with self.settings(ALLOWED_HOSTS=["shop.example"], SECURE_SSL_REDIRECT=True):
            response = Client().get("/livez", headers={"host": "10.0.0.7:8000"})

        assert response.status_code == 200
        assert response.json() == {"status": "alive"}
        assert response.headers["Cache-Control"] == "no-store"


class DurabilityTests(SimpleTestCase):
    SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}

    def test_is_given_when_postgresql_keeps_what_it_acknowledges(self):
        for level in ("on", "remote_apply", "remote_write"):
            assert health.durability_of({**self.SAFE, "synchronous_commit": level}) == {"ok": True}

    def test_names_each_setting_that_takes_it_away(self):
        for name, value in (
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("synchronous_commit", "off"),
            ("synchronous_commit", "local"),
        ):
            assert health.durability_of({**self.SAFE, name: value}) == {
                "ok": False,
                "unsafe": {name: value},
            }


class MissingMigrationsTests(TestCase):
    def test_are_none_in_a_migrated_database(self):
        assert health.count_missing_migrations() == 0

    def test_are_counted(self):
        MigrationRecorder(connection).record_unapplied("sessions", "0001_initial")

        assert health.count_missing_migrations() == 1

    def test_are_not_those_that_replace_what_is_applied(self):
        first, second, both = ("shop", "0001_a"), ("shop", "0002_b"), ("shop", "0001_a_and_b")
        known = {both: frozenset({first, second})}

        assert health.count_missing(known, applied={first, second}) == 0
        assert health.count_missing(known, applied={both}) == 0
        assert health.count_missing(known, applied={first}) == 1


class ReadyzTests(TestCase):
    def setUp(self):
        # A look of its own for each test: the shared one remembers for a second.
        self.readiness, health.readiness = health.readiness, health.Readiness()
        self.client = Client()

    def tearDown(self):
        health.readiness = self.readiness
        health.stop_draining()

    def ask(self):
        response = self.client.get("/readyz", headers={"host": "10.0.0.7"})
        return response.status_code, response.json()

    def test_is_ready_with_a_durable_migrated_database(self):
        status, answer = self.ask()

        assert status == 200
        assert answer["status"] == "ready"
        for name in ("draining", "database", "durability", "migrations"):
            assert answer["checks"][name] == {"ok": True}

    def test_is_not_ready_while_draining(self):
        health.start_draining()

        status, answer = self.ask()

        assert (status, answer["status"]) == (503, "not_ready")
        assert answer["checks"]["draining"] == {"ok": False}

    def test_is_not_ready_while_the_database_may_forget(self):
        with role_setting("synchronous_commit", "off"):
            status, answer = self.ask()

        assert status == 503
        assert answer["checks"]["durability"] == {
            "ok": False,
            "unsafe": {"synchronous_commit": "off"},
        }

    def test_tells_the_log_once_why_it_is_not_ready(self):
        with role_setting("synchronous_commit", "off"), self.assertLogs("config.health") as told:
            self.ask()
            self.ask()

        faults = {"durability": {"ok": False, "unsafe": {"synchronous_commit": "off"}}}
        assert told.output == [f"ERROR:config.health:not ready: {faults}"]

    def test_is_not_ready_before_the_last_migration(self):
        health.count_missing_migrations, count = lambda: 2, health.count_missing_migrations
        try:
            status, answer = self.ask()
        finally:
            health.count_missing_migrations = count

        assert status == 503
        assert answer["checks"]["migrations"] == {
            "ok": False,
            "reason": "2 migrations are not applied",
        }

    def test_is_not_ready_without_a_database_and_says_no_more_than_that(self):
        with database_setting("PORT", "1"):
            status, answer = self.ask()

        assert status == 503
        assert answer["checks"]["database"] == {"ok": False, "reason": "OperationalError"}

    def test_is_ready_without_redis(self):
        with override_settings(
            CACHES={
                "default": {
                    "BACKEND": "django_redis.cache.RedisCache",
                    "LOCATION": "redis://127.0.0.1:1/0",
                    "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 0.25},
                }
            }
        ):
            status, answer = self.ask()

        assert status == 200
        assert answer["checks"]["redis"] == {"ok": False, "reason": "ConnectionError"}

    def test_believes_a_database_that_was_there_until_three_looks_were_in_vain(self):
        health.KEEP_ANSWER_S, keep_s = 0.0, health.KEEP_ANSWER_S
        try:
            assert self.ask()[0] == 200
            with database_setting("PORT", "1"):
                told = [self.ask() for _ in range(4)]
            back, _ = self.ask()
            with database_setting("PORT", "1"):
                again, _ = self.ask()
        finally:
            health.KEEP_ANSWER_S = keep_s

        assert [status for status, _ in told] == [200, 200, 503, 503]
        assert told[1][1]["checks"]["database"] == {
            "ok": True,
            "reason": "OperationalError",
            "vain_looks": 2,
        }
        assert (back, again) == (200, 200)  # One good look, and the count begins anew.

    def test_answers_within_a_second_while_the_database_hangs(self):
        hangs = threading.Event()

        class Hanging(health.Readiness):
            looks = 0

            def _look(self):
                Hanging.looks += 1
                hangs.wait(10)

        health.readiness = Hanging()
        health.ANSWER_WITHIN_S, patience_s = 0.05, health.ANSWER_WITHIN_S
        try:
            answers = [self.ask() for _ in range(3)]
        finally:
            health.ANSWER_WITHIN_S = patience_s
            hangs.set()

        assert {status for status, _ in answers} == {503}
        assert not answers[0][1]["checks"]["database"]["ok"]
        assert Hanging.looks == 1  # One look hangs; the probes do not pile up behind it.

    def test_asks_the_database_once_however_many_probes_come(self):
        looks = []
        look = health.readiness._look
        health.readiness._look = lambda: looks.append(look())

        for _ in range(50):
            assert self.ask()[0] == 200

        assert len(looks) == 1

    def test_leaves_no_connection_behind(self):
        before = count_other_connections()  # Of tests whose threads still run.

        self.ask()

        # A backend that was told to go needs a moment to be gone.
        deadline = time.monotonic() + 5
        while (left := count_other_connections()) > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert left <= before


def count_other_connections():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


@contextmanager
def role_setting(name, value):
    """Give new sessions another setting, as an administrator would: at once and for all."""
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    with psycopg.connect(**parameters, autocommit=True) as administrator:
        administrator.execute(f"ALTER ROLE CURRENT_USER SET {name} = {value}")
        try:
            yield
        finally:
            administrator.execute(f"ALTER ROLE CURRENT_USER RESET {name}")


@contextmanager
def database_setting(name, value):
    """Let new threads look for the database elsewhere."""
    before = connection.settings_dict[name]
    connection.settings_dict[name] = value
    try:
        yield
    finally:
        connection.settings_dict[name] = before
