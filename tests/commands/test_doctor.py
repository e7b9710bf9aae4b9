"""What `doctor` finds."""

from io import StringIO
from unittest.mock import patch

from django.core.management import CommandError, call_command
from django.db import connection
from django.test import TestCase, override_settings

from config.doctor import Finding, examine
from events.models import Outbox
from tests.api.test_health import database_setting, role_setting
from tests.builders import given_stock
from tests.committed import CommittedTestCase


def found(subject: str) -> list[Finding]:
    return [finding for finding in examine() if finding.subject == subject]


def levels(subject: str) -> list[str]:
    return [finding.level for finding in found(subject)]


class DoctorTests(TestCase):
    def test_tells_each_in_one_line(self):
        told = StringIO()

        call_command("doctor", stdout=told)

        lines = [line.split()[:2] for line in told.getvalue().splitlines()]
        assert [line for line in lines if line[1] != "python"] == [
            ["ok", "database"],
            ["ok", "durability"],
            ["ok", "connections"],
            ["ok", "clock"],
            ["ok", "migrations"],
            ["ok", "redis"],
            ["warn", "events"],
            ["warn", "settings"],
            ["ok", "files"],
        ], told.getvalue()
        assert lines[-1][1] == "python"  # Well or not: whichever the tests run with.

    def test_says_which_python_is_slow(self):
        for prefix, options, level in (
            ("/usr", "'--prefix=/usr'", "ok"),
            ("/usr/local", "'--enable-optimizations' '--with-lto'", "ok"),
            ("/home/me/.pyenv", "'--prefix=/home/me/.pyenv'", "warn"),
            ("/opt/python", None, "warn"),
        ):
            with (
                self.subTest(prefix),
                patch("config.doctor.sys.base_prefix", prefix),
                patch("config.doctor.sysconfig.get_config_var", return_value=options),
                patch("config.doctor.find_spec", return_value=object()),
            ):
                assert levels("python") == [level]

    def test_says_that_requests_are_read_slowly(self):
        with (
            patch("config.doctor.is_optimized", return_value=True),
            patch("config.doctor.find_spec", return_value=None),
        ):
            ((level, _, text),) = found("python")

        assert (level, text.split()[0]) == ("warn", "gunicorn_h1c")

    @override_settings(WEB_CONCURRENCY=50, DB_POOL_SIZE=10)
    def test_fails_where_pools_want_more_connections_than_there_are(self):
        ((_, _, text),) = found("connections")

        assert text.startswith("50 workers x 10 connections = 500 of this host, room for 97 in ")
        with self.assertRaisesMessage(CommandError, "1 of these fail") as refusal:
            call_command("doctor", stdout=StringIO())
        assert refusal.exception.returncode == 1

    @override_settings(WEB_CONCURRENCY=9, DB_POOL_SIZE=10)
    def test_warns_where_pools_leave_none_for_relay_and_commands(self):
        assert levels("connections") == ["warn"]

    @override_settings(EVENTS_STREAM_URL="redis://here", REDIS_URL="redis://here")
    def test_warns_of_events_in_a_redis_that_forgets(self):
        assert levels("redis") == ["ok", "warn"]

    def test_fails_where_events_have_waited_for_minutes(self):
        given_stock("CUP", on_hand=1)
        assert Outbox.objects.count() > 0

        ((level, _, text),) = found("events")

        assert level == "fail"
        assert text.endswith("; 0 relays run")

    def test_is_quiet_where_redis_is_away_and_only_warns(self):
        with self.settings(
            CACHES={
                "default": {
                    "BACKEND": "config.cache.GuardedRedisCache",
                    "LOCATION": "redis://127.0.0.1:1/0",
                }
            }
        ):
            assert levels("redis") == ["warn"]


class TroubledDatabaseTests(CommittedTestCase):
    def tearDown(self):
        connection.close()

    def test_fails_where_a_commit_may_be_lost(self):
        with role_setting("synchronous_commit", "off"):
            connection.close()
            ((level, _, text),) = found("durability")

        assert level == "fail"
        assert text.startswith("fsync=on, full_page_writes=on, synchronous_commit=off: ")

    def test_goes_on_without_a_database(self):
        with database_setting("PORT", "1"):
            connection.close()
            told = {finding.subject: finding.level for finding in examine()}

        assert told["database"] == told["migrations"] == "fail"
        assert told["redis"] == told["files"] == "ok"
