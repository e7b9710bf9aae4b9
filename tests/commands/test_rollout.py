"""manage.py rollout: the verbs of rules, for people and for CI."""

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.test import TestCase

from rollout.codepath import CodePath
from rollout.models import AuditEvent, RuleSetRevision
from rollout.runtime import runtime

KEY = "tests.path"
RULES = {
    "schema_version": 1,
    "releases": {KEY: {"stable": "v1", "canary": "v2"}},
    "rules": [
        {
            "id": "seven",
            "path": KEY,
            "serve": "canary",
            "match": [{"kind": "account", "values": ["7"]}],
        }
    ],
}


class RolloutCommandTests(TestCase):
    @pytest.fixture(autouse=True)
    def _files(self, tmp_path, settings):
        settings.ROLLOUT_REDIS_URL = ""
        self.file = tmp_path / "rules.json"
        self.file.write_text(json.dumps(RULES))

    def setUp(self):
        path = CodePath(KEY, effects="read")
        path.version("v1")(lambda: "v1")
        path.version("v2")(lambda: "v2")

    def tearDown(self):
        runtime.forget(KEY)

    def run_verb(self, *arguments):
        out = io.StringIO()
        call_command("rollout", *map(str, arguments), stdout=out)
        return out.getvalue()

    def test_applies_a_file_once(self):
        first = self.run_verb("apply", self.file, "--comment", "try v2", "--actor", "ci")
        second = self.run_verb("apply", self.file)

        assert "Generation 1 is in force." in first
        assert "has these rules already" in second
        event = AuditEvent.objects.get()
        assert (event.actor, event.actor_kind, event.reason) == ("ci", "cli", "try v2")

    def test_exports_what_it_applied(self):
        self.run_verb("apply", self.file)

        assert json.loads(self.run_verb("export")) == RULES
        assert json.loads(self.run_verb("export", "--generation", 0))["rules"] == []

    def test_refuses_rules_with_faults_and_names_them(self):
        bad = json.loads(json.dumps(RULES).replace('"canary", "match"', '"v9", "match"'))
        self.file.write_text(json.dumps(bad))

        for verb in ("validate", "diff", "apply"):
            with pytest.raises(CommandError, match="/rules/0/serve"):
                self.run_verb(verb, self.file)

        assert not RuleSetRevision.objects.exists()

    def _refuse(self, text):
        self.file.write_text(text)
        with pytest.raises(CommandError, match="rules"):
            self.run_verb("validate", self.file)

    def test_refuses_what_is_no_json_object(self):
        for text in ("", "[]", "{", "null", "\x00"):
            self._refuse(text)
        with pytest.raises(CommandError, match="No such file"):
            self.run_verb("validate", "nowhere.json")

    def test_publishes_only_over_the_generation_that_was_expected(self):
        self.run_verb("apply", self.file)

        with pytest.raises(CommandError, match="expected generation 0, but 1 is current"):
            self.run_verb("publish", self.file, "--expect", 0)
        told = self.run_verb("publish", self.file, "--expect", 1)

        assert "Generation 2" in told

    def test_tells_what_a_file_would_change_and_who_would_move(self):
        told = json.loads(self.run_verb("diff", self.file))

        assert told["moves"] == [
            {
                "path": KEY,
                "from": "v1",
                "to": "v2",
                "share_bp": 1,
                "examples": [{"account": "7"}],
            }
        ]
        assert not RuleSetRevision.objects.exists()

    def test_explains_a_decision(self):
        self.run_verb("apply", self.file)

        told = json.loads(self.run_verb("explain", KEY, "--identity", "account=7"))

        assert told["decision"]["version"] == "v2"
        assert told["decision"]["rule_id"] == "seven"
        with pytest.raises(CommandError, match="no code path"):
            self.run_verb("explain", "tests.lost")
        with pytest.raises(CommandError, match="NAME=VALUE"):
            self.run_verb("explain", KEY, "--identity", "7")

    def test_promotes_rolls_back_kills_and_revives(self):
        self.run_verb("apply", self.file)

        said = [
            self.run_verb("promote", KEY),
            self.run_verb("rollback", 1),
            self.run_verb("kill", KEY, "--comment", "orders are lost"),
            self.run_verb("kill", KEY, "--lift"),
        ]

        assert [text.strip() for text in said] == [
            f"Generation {number} is in force." for number in (2, 3, 4, 5)
        ]
        actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
        assert actions == ["publish", "promote", "roll_back", "kill", "revive"]
        assert self.run_verb("history").splitlines()[0].split()[0] == "5"
        assert "whole" in self.run_verb("verify-audit")

    def test_tells_what_is_in_force(self):
        self.run_verb("apply", self.file)

        status = json.loads(self.run_verb("status"))
        breakers = json.loads(self.run_verb("breakers"))

        assert status["generation"] == 1
        assert status["paths"][KEY]["canary"] == "v2"
        assert status["workers"] is None
        assert breakers[f"{KEY}:v2"] == {"mode": "auto", "fleet": None}
        assert breakers[f"{KEY}:v1"] == {"mode": "metrics_only", "fleet": None}
