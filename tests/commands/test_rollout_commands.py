"""manage.py rollout"""

import copy
import json
import os
import signal
import sys
import threading
import time
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import TestCase, override_settings

from rollout import announcing, usecases
from rollout.codepath import CodePath
from rollout.document import EMPTY_DOCUMENT
from rollout.management.rulefiles import UnreadableFile, parse_rules, versions_of
from rollout.models import AuditEvent, RolloutState, RuleSetRevision
from rollout.runtime import runtime
from tests.faults.fleet import connect, own_prefix

KEY = "tests.path"
RULE = {"id": "half", "path": KEY, "serve": "canary", "share_bp": 5000}


def draft_of(*rules, **members):
    return {
        **copy.deepcopy(dict(EMPTY_DOCUMENT)),
        "releases": {KEY: {"stable": "v1", "canary": "v2"}},
        "rules": list(rules),
        **members,
    }


class RolloutCommandCase(TestCase):
    """A folder for files, and a code path of two versions."""

    def setUp(self):
        path = CodePath(KEY, effects="read", stickiness=("account",))
        self.addCleanup(runtime.forget, KEY)
        path.version("v1")(lambda: "v1")
        path.version("v2")(lambda: "v2")
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.file = self.folder / "rules.json"
        self.stderr = StringIO()

    def run_command(self, *words):
        stdout = StringIO()
        call_command(
            "rollout",
            *(str(word) for word in words),
            stdout=stdout,
            stderr=self.stderr,
            no_color=True,
        )
        return stdout.getvalue()

    def refused(self, *words, returncode=1, generation=0):
        """Return what was said, after proving that nothing moved."""
        with pytest.raises(CommandError) as caught:
            self.run_command(*words)
        assert caught.value.returncode == returncode, caught.value
        assert RolloutState.objects.get().generation == generation
        assert RuleSetRevision.objects.count() == generation
        assert AuditEvent.objects.count() == generation
        return str(caught.value)

    def write(self, *rules, **members):
        self.file.write_text(json.dumps(draft_of(*rules, **members)), encoding="utf-8")
        return self.file

    def publish(self, *rules, expected=0, **members):
        self.write(*rules, **members)
        return self.run_command(
            *("publish", self.file, "--expected-generation", expected, "--comment", "a draft")
        )


class PublishTests(RolloutCommandCase):
    def test_puts_a_file_in_force_and_keeps_who_did_it(self):
        self.write(RULE)

        printed = self.run_command(
            *("publish", self.file, "--expected-generation", 0, "--comment", "half"),
            *("--actor", "ada"),
        )

        assert printed == "generation 1 in force\n"
        event = AuditEvent.objects.get()
        assert (event.actor, event.actor_kind, event.reason) == ("ada", "cli", "half")
        assert usecases.get_current().payload == draft_of(RULE)

    def test_refuses_a_stale_generation(self):
        self.publish(RULE)

        told = self.refused(
            *("publish", self.file, "--expected-generation", 0, "--comment", "x"), generation=1
        )

        assert told == "expected generation 0, but 1 is current"

    def test_tells_each_fault_on_a_line_of_its_own(self):
        self.write({**RULE, "serve": "v9"}, {**RULE, "id": "x y"})

        told = self.refused("publish", self.file, "--expected-generation", 0, "--comment", "x")

        assert told == "2 fault(s), nothing was changed"
        assert self.stderr.getvalue() == (
            "/rules/0/serve: tests.path has v1, v2, not v9 (unknown_version)\n"
            "/rules/1/id: write 1 to 64 letters, digits, _ . : - (bad_name)\n"
        )

    def test_refuses_a_file_that_is_none(self):
        for content, told in (
            (b"{", ":1:2: Expecting property name enclosed in double quotes"),
            (b'{"rules": [], "rules": []}', ": a member is named twice: 'rules'"),
            (b'{"n": NaN}', ": NaN is not JSON"),
            (b'{"n": "\\ud800"}', "surrogates not allowed"),
            (b"\xff", "can't decode byte"),
        ):
            self.file.write_bytes(content)
            assert told in self.refused("apply", self.file, returncode=2)
        self.file.write_bytes(b"[]")
        self.refused("apply", self.file)
        self.file.unlink()
        assert "No such file" in self.refused("apply", self.file, returncode=2)

    def test_waits_for_the_workers(self):
        redis = connect()
        self.addCleanup(redis.close)
        self.enterContext(override_settings(ROLLOUT_REDIS_PREFIX=own_prefix()))
        seconds, _ = redis.time()
        redis.zadd(announcing.key("workers"), {"w1": seconds * 1000, "w2": seconds * 1000})
        announcing.acknowledge(redis, 1, "w1", 2.0)
        self.write(RULE)
        words = ("apply", self.file, "--wait-ms", 20)

        with pytest.raises(CommandError) as caught:
            self.run_command(*words)
        announcing.acknowledge(redis, 2, "w1", 2.0)
        announcing.acknowledge(redis, 2, "w2", 6.0)
        self.write()
        printed = self.run_command(*words)

        assert caught.value.returncode == 3
        assert str(caught.value) == "1 of 2 workers on generation 1, p99 lag 2 ms"
        assert printed.splitlines() == [
            "generation 2 in force",
            "2 of 2 workers on generation 2, p99 lag 6 ms",
        ]


class FileTests(RolloutCommandCase):
    def test_exports_what_apply_takes_back_as_the_same(self):
        self.publish(RULE)

        printed = self.run_command("export")
        self.run_command("export", self.file)
        again = self.run_command("apply", self.file)

        assert self.file.read_text(encoding="utf-8") == printed
        assert json.loads(printed) == draft_of(RULE)
        assert printed.startswith('{\n  "schema_version": 1,\n  "kill_switch": {')
        assert again == "generation 1 has these rules already\n"
        assert [path.name for path in self.folder.iterdir()] == ["rules.json"]

    def test_exports_an_older_generation(self):
        self.publish(RULE)
        self.publish(expected=1)

        assert json.loads(self.run_command("export", "--generation", 1))["rules"] == [RULE]
        self.refused("export", "--generation", 9, generation=2)

    def test_validates(self):
        good = self.run_command("validate", self.write(RULE))
        told = self.refused("validate", self.write({**RULE, "share_bp": 10_001}))

        assert good == f"{self.file}: no fault\n"
        assert told == f"{self.file}: 1 fault(s)"
        assert self.stderr.getvalue().startswith("/rules/0/share_bp: ")

    def test_previews_who_would_move(self):
        printed = self.run_command("preview", self.write({**RULE, "share_bp": 10_000}))

        assert "tests.path: v1 -> v2 for 10000 of 10000 callers (100.00 %)" in printed
        assert RolloutState.objects.get().generation == 0

    def test_tells_what_differs(self):
        self.publish(RULE)

        same = self.run_command("diff", self.file)
        self.write({**RULE, "share_bp": 6000})
        told = self.refused("diff", self.file, generation=1)

        assert (same, told) == ("", "1 difference(s)")

    def test_tells_what_differs_between_generations(self):
        self.publish(RULE)
        self.publish({**RULE, "share_bp": 6000}, expected=1)
        stdout = StringIO()

        with pytest.raises(CommandError):
            call_command("rollout", "diff", "1", "2", stdout=stdout)

        assert stdout.getvalue() == "replace /rules/0/share_bp 6000\n"
        self.refused("diff", "1", "9", generation=2)
        self.refused("diff", "one", "2", returncode=2, generation=2)
        self.refused("diff", "1", "2", "3", returncode=2, generation=2)

    def test_applies_only_over_the_generation_that_is_expected(self):
        self.publish(RULE)
        self.write()

        self.refused("apply", self.file, "--expected-generation", 0, generation=1)
        printed = self.run_command("apply", self.file, "--expected-generation", 1)

        assert printed == "generation 2 in force\n"
        assert AuditEvent.objects.get(pk=2).reason == "apply rules.json"

    def test_reads_standard_input(self):
        rules = TextIOWrapper(BytesIO(json.dumps(draft_of(RULE)).encode()))

        with patch.object(sys, "stdin", rules):
            printed = self.run_command("apply", "-")

        assert printed == "generation 1 in force\n"
        self.refused("apply", "-", "--watch", returncode=2, generation=1)


class WatchTests(RolloutCommandCase):
    def replace(self, *rules, **members):
        """Replace the file as an editor or an orchestrator does: by another that takes its name."""
        draft = self.folder / "draft"
        draft.write_text(json.dumps(draft_of(*rules, **members)), encoding="utf-8")
        os.replace(draft, self.file)

    def watch(self, *steps, options=()):
        """Run `apply --watch`, do each step when what it waits for was said, then interrupt."""
        stdout = StringIO()
        said = {"out": stdout, "err": self.stderr}

        def act():
            try:
                for stream, words, step in steps:
                    deadline_s = time.monotonic() + 5
                    while words not in said[stream].getvalue() and time.monotonic() < deadline_s:
                        time.sleep(0.005)
                    step()
            finally:
                os.kill(os.getpid(), signal.SIGINT)

        person = threading.Thread(target=act)
        person.start()
        try:
            call_command(
                *("rollout", "apply", str(self.file), "--watch", "--poll-ms", "10", *options),
                stdout=stdout,
                stderr=self.stderr,
            )
        finally:
            person.join()
        return stdout.getvalue().splitlines()

    def test_follows_the_file(self):
        self.write(RULE)

        printed = self.watch(
            ("out", "generation 1", lambda: self.replace({**RULE, "share_bp": 1})),
            ("out", "generation 2", lambda: self.file.write_text("{", encoding="utf-8")),
            ("err", "rules.json:1:2", lambda: self.replace({**RULE, "serve": "v9"})),
            ("err", "/rules/0/serve", self.file.unlink),
            ("err", "/rules/0/serve", lambda: self.replace({**RULE, "share_bp": 2})),
            ("out", "generation 3", lambda: None),
        )

        assert printed == [f"generation {number} in force" for number in (1, 2, 3)]
        assert usecases.get_current().payload["rules"][0]["share_bp"] == 2
        assert self.stderr.getvalue().endswith("stopped\n")

    def test_waits_for_a_person_when_somebody_else_published(self):
        self.write(RULE)
        # Another generation than the one that this file was made for is in force.
        usecases.set_kill_switch(is_killed=True, actor=usecases.Actor("eve"))

        printed = self.watch(
            ("err", "not applied: expected generation 0, but 1 is current", lambda: None),
            options=("--expected-generation", "0"),
        )

        assert printed == []
        assert RolloutState.objects.get().generation == 1

    def test_goes_on_from_what_it_published_itself(self):
        self.write(RULE)

        printed = self.watch(
            ("out", "generation 1", lambda: self.replace({**RULE, "share_bp": 1})),
            ("out", "generation 2", lambda: None),
            options=("--expected-generation", "0"),
        )

        assert len(printed) == 2


class VersionsOfTests(RolloutCommandCase):
    def test_tells_a_file_written_in_pieces_once_it_stands_still(self):
        contents = [b"1", b"1", b"1 2", b"1 2 3", b"1 2 3", b"1 2 3", None, b"1 2 3", b"4", b"4"]

        class Over(Exception):
            pass

        steps = iter(contents[1:])

        def step(_):
            content = next(steps, Over)
            if content is Over:
                raise Over
            if content is None:
                self.file.unlink()
            else:
                self.file.write_bytes(content)

        self.file.write_bytes(contents[0])
        told = []

        with pytest.raises(Over):
            told.extend(versions_of(self.file, poll_s=1, sleep=step))

        assert told == [b"1", b"1 2 3", b"4"]

    def test_reads_utf_8(self):
        assert parse_rules('{"note": "Zürich"}'.encode(), name="x") == {"note": "Zürich"}
        with pytest.raises(UnreadableFile):
            parse_rules(b"[" * 100_000, name="x")


class MoveTests(RolloutCommandCase):
    def test_promotes(self):
        self.publish(RULE)

        printed = self.run_command("promote", KEY, "--expected-generation", 1)

        assert printed == "generation 2 in force\n"
        assert usecases.get_current().payload["releases"][KEY]["stable"] == "v2"

    def test_refuses_to_promote_nothing(self):
        told = self.refused("promote", KEY, "--expected-generation", 0)
        self.refused("promote", "tests.lost", "--expected-generation", 0)

        assert told == "tests.path has no canary to promote"

    def test_rolls_back(self):
        self.publish(RULE)
        self.publish(expected=1)

        printed = self.run_command("rollback", 1, "--expected-generation", 2)

        assert printed == "generation 3 in force\n"
        assert usecases.get_current().payload["rules"] == [RULE]

    def test_refuses_to_roll_back_blindly(self):
        self.publish(RULE)

        self.refused("rollback", 0, "--expected-generation", 0, generation=1)
        self.refused("rollback", 9, "--expected-generation", 1, generation=1)
        self.refused("rollback", 1, generation=1)

    def test_kills_and_revives(self):
        killed = self.run_command("kill", KEY, "--reason", "orders are lost")
        again = self.run_command("kill", KEY)
        back = self.run_command("unkill", KEY)

        assert (killed, again) == ("generation 1 in force\n",) * 2
        assert back == "generation 2 in force\n"
        assert AuditEvent.objects.get(pk=1).reason == "orders are lost"
        self.refused("kill", "tests.lost", generation=2)

    def test_puts_a_breaker_into_a_mode(self):
        self.publish(RULE)

        self.run_command("breakers", KEY, "canary", "--mode", "forced_open", "--reason", "slow")
        shown = self.run_command("breakers", KEY)

        assert "tests.path v2 (canary): open, mode forced_open, falls to v1" in shown
        assert AuditEvent.objects.get(pk=2).reason == "slow"
        for words in (
            (KEY, "v9", "--mode", "auto"),
            (KEY, "v2", "--mode", "auto", "--expected-generation", 1),
        ):
            self.refused("breakers", *words, generation=2)
        self.refused("breakers", "--mode", "auto", returncode=2, generation=2)


class ShowTests(RolloutCommandCase):
    def test_tells_status(self):
        self.publish(RULE)

        with override_settings(ROLLOUT_REDIS_URL=""):
            printed = self.run_command("status").splitlines()
            told = json.loads(self.run_command("status", "--json"))

        assert printed[:2] == [
            "generation 1 in force",
            "workers: not known, Redis is not there or cannot be asked",
        ]
        assert "tests.path: stable v1, canary v2; 1 rules" in printed
        assert (told["generation"], told["workers"]) == (1, None)

    def test_tells_history(self):
        self.publish(RULE)
        self.publish(expected=1)

        lines = self.run_command("history").splitlines()
        told = json.loads(self.run_command("history", "--limit", 1, "--json"))

        assert [line.split("  ")[0] for line in lines] == ["2", "1"]
        assert lines[0].endswith(": a draft")
        assert [one["generation"] for one in told] == [2]

    def test_explains(self):
        self.publish(RULE, breakers={KEY: {"canary": {"mode": "forced_open"}}})

        words = ("explain", KEY, "--header", "X-Deploy-Version: v2", "--trust", "permission")
        printed = self.run_command(*words)
        told = json.loads(self.run_command("explain", KEY, "--identity", "account=7", "--json"))

        assert printed.splitlines()[:2] == [
            "tests.path on generation 1: v1 serves (BREAKER_FALLBACK, was FORCED_HEADER)",
            "  override by header: v2",
        ]
        assert "  breaker of v2 (canary): open, mode forced_open, admits: no" in printed
        assert told["rules"][0]["share"]["subject"] == "7"
        self.refused("explain", "tests.lost", generation=1)

    def test_verifies_the_trail(self):
        self.publish(RULE)
        whole = self.run_command("verify-audit")
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE rollout_auditevent DISABLE TRIGGER USER")
            cursor.execute("UPDATE rollout_auditevent SET actor = 'eve'")
            cursor.execute("ALTER TABLE rollout_auditevent ENABLE TRIGGER USER")

        assert whole == "the trail is whole\n"
        told = self.refused("verify-audit", generation=1)
        assert told == "the trail is broken at 1 event(s): 1"
