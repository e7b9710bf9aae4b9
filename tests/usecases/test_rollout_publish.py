"""Rules are published by compare-and-set, and everything that was done stays on record."""

import copy

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import TestCase

from rollout import usecases
from rollout.codepath import CodePath
from rollout.document import EMPTY_DOCUMENT, checksum_of
from rollout.errors import (
    InvalidRuleSet,
    NothingToPromote,
    StaleGeneration,
    UnknownGeneration,
    UnknownPath,
    UnknownSchema,
)
from rollout.models import AuditEvent, RolloutState, RuleSetRevision
from rollout.runtime import runtime
from rollout.usecases import Actor

KEY = "tests.path"
ADA = Actor("ada", request_id="r-1", ip="192.0.2.7")
RULE = {"id": "half", "path": KEY, "serve": "canary", "share_bp": 5000}


def draft_of(*rules, release=None, **members):
    return {
        **copy.deepcopy(dict(EMPTY_DOCUMENT)),
        "releases": {KEY: release or {"stable": "v1", "canary": "v2"}},
        "rules": list(rules),
        **members,
    }


class RolloutCase(TestCase):
    def setUp(self):
        path = CodePath(KEY, effects="read", stickiness=("account",))
        path.version("v1")(lambda: "v1")
        path.version("v2")(lambda: "v2")
        path.version("v3")(lambda: "v3")

    def tearDown(self):
        runtime.forget(KEY)

    def publish(self, *rules, expected=0, **members):
        return usecases.publish(
            draft_of(*rules, **members), expected_generation=expected, actor=ADA, comment="a draft"
        )

    def assert_nothing_moved(self, generation=0):
        assert RolloutState.objects.get().generation == generation
        assert RuleSetRevision.objects.count() == generation
        assert AuditEvent.objects.count() == generation


class PublishTests(RolloutCase):
    def test_puts_a_draft_in_force_as_the_next_generation(self):
        published = self.publish(RULE)

        assert published.generation == 1
        current = usecases.get_current()
        assert current == published
        assert current.checksum == checksum_of(current.payload)
        revision = RuleSetRevision.objects.get()
        assert (revision.author, revision.comment, revision.schema_version) == (
            "ada",
            "a draft",
            1,
        )

    def test_keeps_who_did_what_from_where(self):
        self.publish(RULE)

        event = AuditEvent.objects.get()
        assert (event.actor, event.actor_kind, event.action) == ("ada", "user", "publish")
        assert (event.from_generation, event.to_generation) == (0, 1)
        assert (event.request_id, event.ip) == ("r-1", "192.0.2.7")
        assert event.diff == [
            {"op": "add", "path": f"/releases/{KEY}", "value": {"stable": "v1", "canary": "v2"}},
            {"op": "add", "path": "/rules/-", "value": RULE},
        ]

    def test_refuses_a_draft_that_began_before_another_was_published(self):
        self.publish(RULE)

        with pytest.raises(StaleGeneration) as caught:
            self.publish(expected=0)

        assert caught.value.current_generation == 1
        self.assert_nothing_moved(generation=1)

    def test_refuses_rules_for_versions_that_are_not_in_the_code(self):
        with pytest.raises(InvalidRuleSet) as caught:
            self.publish({**RULE, "serve": "v9"})

        assert [fault["pointer"] for fault in caught.value.errors] == ["/rules/0/serve"]
        self.assert_nothing_moved()

    def test_refuses_another_schema(self):
        with pytest.raises(UnknownSchema):
            self.publish(schema_version=2)

        self.assert_nothing_moved()

    def test_keeps_its_checksum_over_a_stay_in_the_database(self):
        breakers = {KEY: {"canary": {"RetryJitter": 0.2, "RetryBackoffMultiplier": 2.0}}}

        published = self.publish(breakers=breakers)

        assert checksum_of(usecases.get_current().payload) == published.checksum

    def test_announces_only_after_the_commit(self):
        with self.captureOnCommitCallbacks() as callbacks:
            self.publish(RULE)

        assert len(callbacks) == 1


class RollBackTests(RolloutCase):
    def test_publishes_old_content_as_a_new_generation(self):
        first = self.publish(RULE)
        self.publish(expected=1)

        back = usecases.roll_back(1, expected_generation=2, actor=ADA)

        assert back.generation == 3
        assert back.payload == first.payload
        assert usecases.compare(1, 3) == []

    def test_goes_back_to_before_the_first(self):
        self.publish(RULE)

        back = usecases.roll_back(0, expected_generation=1, actor=ADA)

        assert back.payload["rules"] == []

    def test_refuses_a_generation_that_never_was(self):
        with pytest.raises(UnknownGeneration):
            usecases.roll_back(7, expected_generation=0, actor=ADA)

        self.assert_nothing_moved()

    def test_refuses_rules_whose_version_left_the_code(self):
        self.publish({**RULE, "serve": "v3"})
        del runtime.paths[KEY].versions["v3"]

        with pytest.raises(InvalidRuleSet):
            usecases.roll_back(1, expected_generation=1, actor=ADA)

        self.assert_nothing_moved(generation=1)


class PromoteTests(RolloutCase):
    def test_makes_the_canary_stable_and_stable_its_fallback(self):
        self.publish(RULE, {**RULE, "id": "named", "serve": "v3"})

        promoted = usecases.promote(KEY, expected_generation=1, actor=ADA)

        assert promoted.payload["releases"][KEY] == {
            "stable": "v2",
            "canary": None,
            "fallback": "v1",
        }
        assert [rule["id"] for rule in promoted.payload["rules"]] == ["named"]
        assert AuditEvent.objects.get(pk=2).path == KEY

    def test_refuses_without_a_canary(self):
        with pytest.raises(NothingToPromote):
            usecases.promote(KEY, expected_generation=0, actor=ADA)

        self.assert_nothing_moved()

    def test_refuses_a_path_that_is_not_declared(self):
        with pytest.raises(UnknownPath):
            usecases.promote("tests.lost", expected_generation=0, actor=ADA)

        self.assert_nothing_moved()


class KillSwitchTests(RolloutCase):
    def test_stops_everything_whatever_is_in_force_and_lets_it_go_on(self):
        self.publish(RULE)

        killed = usecases.set_kill_switch(is_killed=True, actor=ADA, reason="orders are lost")
        revived = usecases.set_kill_switch(is_killed=False, actor=ADA)

        assert killed.payload["kill_switch"] == {"all": True, "paths": []}
        assert revived.payload["kill_switch"] == {"all": False, "paths": []}
        assert revived.payload["rules"] == [RULE]
        assert [event.action for event in AuditEvent.objects.order_by("id")] == [
            "publish",
            "kill",
            "revive",
        ]
        assert AuditEvent.objects.get(pk=2).reason == "orders are lost"

    def test_stops_one_path(self):
        killed = usecases.set_kill_switch(is_killed=True, path=KEY, actor=ADA)

        assert killed.payload["kill_switch"] == {"all": False, "paths": [KEY]}

    def test_refuses_a_path_that_is_not_declared(self):
        with pytest.raises(UnknownPath):
            usecases.set_kill_switch(is_killed=True, path="tests.lost", actor=ADA)

        self.assert_nothing_moved()


class PreviewTests(RolloutCase):
    def test_tells_who_would_move_and_moves_nobody(self):
        self.publish({**RULE, "share_bp": 1000})

        seen = usecases.preview(draft_of({**RULE, "share_bp": 1300}))

        (move,) = seen.moves
        assert (move.path, move.from_version, move.to_version) == (KEY, "v1", "v2")
        assert 200 <= move.share_bp <= 400  # 3 % of 10,000
        assert len(move.examples) == 10
        assert seen.changes == [{"op": "replace", "path": "/rules/0/share_bp", "value": 1300}]
        self.assert_nothing_moved(generation=1)

    def test_tells_who_is_named(self):
        named = {**RULE, "match": [{"kind": "account", "values": ["7"]}], "share_bp": 10_000}

        seen = usecases.preview(draft_of(named))

        (move,) = seen.moves
        assert (move.count, move.examples) == (1, ({"account": "7"},))

    def test_takes_a_sample_of_real_callers(self):
        seen = usecases.preview(
            draft_of({**RULE, "share_bp": 10_000}), sample=[{"account": 1}, {"account": 2}]
        )

        assert (seen.sample_size, seen.moves[0].share_bp) == (2, 10_000)

    def test_refuses_what_publish_would_refuse(self):
        with pytest.raises(InvalidRuleSet):
            usecases.preview(draft_of({**RULE, "serve": "v9"}))


class RecordTests(RolloutCase):
    def refused(self, statement):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)

    def test_refuses_to_change_or_remove_what_was_published(self):
        self.publish(RULE)

        self.refused("DELETE FROM rollout_rulesetrevision")
        self.refused("DELETE FROM rollout_auditevent")
        self.refused("TRUNCATE rollout_rulesetrevision")
        self.refused("TRUNCATE rollout_auditevent")
        self.refused("UPDATE rollout_rulesetrevision SET comment = 'x'")
        self.refused("UPDATE rollout_auditevent SET actor = 'eve'")

        self.assert_nothing_moved(generation=1)

    def test_chains_the_trail(self):
        for generation in range(3):
            self.publish(RULE, expected=generation)

        first, second, third = AuditEvent.objects.order_by("id")
        assert (first.pk, second.pk, third.pk) == (1, 2, 3)
        assert first.prev_hash == ""
        assert (second.prev_hash, third.prev_hash) == (first.hash, second.hash)
        assert usecases.verify_audit() == []

    def test_finds_a_changed_and_a_missing_event(self):
        for generation in range(4):
            self.publish(RULE, expected=generation)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE rollout_auditevent DISABLE TRIGGER USER")
            cursor.execute("UPDATE rollout_auditevent SET actor = 'eve' WHERE id = 2")
            changed = usecases.verify_audit()
            cursor.execute("DELETE FROM rollout_auditevent WHERE id = 2")
            cursor.execute("ALTER TABLE rollout_auditevent ENABLE TRIGGER USER")

        assert changed == [2]
        assert usecases.verify_audit()[0] == 3

    def test_lets_nobody_write_a_hash_of_his_own(self):
        self.publish(RULE)

        forged = AuditEvent.objects.create(
            pk=77, actor="eve", actor_kind="user", action="publish", prev_hash="x", hash="y"
        )

        assert AuditEvent.objects.filter(pk=2, actor="eve").exists()
        assert forged.hash == "y"  # what she believes
        assert usecases.verify_audit() == []
