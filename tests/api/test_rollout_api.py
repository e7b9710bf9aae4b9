"""/api/v1/rollout, from outside."""

import copy
import itertools
import json
import time
from types import SimpleNamespace

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.test import TestCase, override_settings
from django.utils import timezone
from rest_framework.exceptions import NotFound
from rest_framework.test import APIClient
from rest_framework.views import exception_handler

from rollout import announcing, usecases
from rollout.api.permissions import MayRollout
from rollout.api.refusals import answer_refusal
from rollout.api.serializers import KillIn
from rollout.api.views import AuditViewSet, BreakerViewSet, RulesViewSet, StatusViewSet
from rollout.breaker import ERROR, Transition
from rollout.codepath import CodePath
from rollout.document import EMPTY_DOCUMENT, checksum_of, read_document
from rollout.errors import StaleGeneration
from rollout.journal import KEPT, Journal
from rollout.models import AuditEvent, BreakerTransition, RolloutState, RuleSetRevision
from rollout.rules import sign_override
from rollout.runtime import runtime
from rollout.sharing import Sharer
from tests.api.caller import Caller
from tests.builders import given_account, given_api_key, given_stock
from tests.faults.fleet import connect, own_prefix

KEY = "tests.path"
RULE = {"id": "half", "path": KEY, "serve": "canary", "share_bp": 5000}
RELEASE = {"stable": "v1", "canary": "v2"}
BROKEN_RULE = {**RULE, "serve": "v9"}


def draft_of(*rules, **members):
    return {
        **copy.deepcopy(dict(EMPTY_DOCUMENT)),
        "releases": {KEY: RELEASE},
        "rules": list(rules),
        **members,
    }


class RolloutApiCase(TestCase):
    """An operator with both scopes, a code path of three versions, and rules that can be put in."""

    def setUp(self):
        path = CodePath(KEY, effects="read", stickiness=("account",), owner="tests")
        self.addCleanup(runtime.reset)
        self.addCleanup(runtime.forget, KEY)
        path.version("v1")(lambda: "v1")
        path.version("v2")(lambda: "v2")
        path.version("v3")(lambda: "v3")
        self.account = given_account("operator")
        self.operator = self.caller("rollout:read", "rollout:write")

    def caller(self, *scopes):
        return Caller(given_api_key(self.account, *scopes))

    def get(self, path, **headers):
        return self.operator.get(f"/rollout{path}", **headers)

    def send(self, verb, path, body):
        return self.operator.client.generic(
            verb, f"/api/v1/rollout{path}", json.dumps(body), content_type="application/json"
        )

    def post(self, path, body):
        return self.send("POST", path, body)

    def put(self, path, body):
        return self.send("PUT", path, body)

    def publish(self, *rules, expected=0, comment="a draft", query="", **members):
        body = {"expected_generation": expected, "comment": comment}
        return self.put(f"/rules{query}", body | {"document": draft_of(*rules, **members)})

    def activate(self):
        """Do what a worker does when it hears of a generation."""
        current = usecases.get_current()
        runtime.activate(read_document(current.payload), generation=current.generation)

    def told(self, answer, status=200):
        assert answer.status_code == status, answer.content
        return answer.json()

    def refused(self, answer, status, code, *, generation=0):
        """Return the problem, after proving that the refusal moved nothing."""
        problem = self.told(answer, status)
        assert problem["code"] == code
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert RolloutState.objects.get().generation == generation
        assert RuleSetRevision.objects.count() == generation
        assert AuditEvent.objects.count() == generation
        return problem


class PublishTests(RolloutApiCase):
    def test_puts_rules_in_force_and_keeps_who_did_it(self):
        answer = self.publish(RULE, comment="half of them")

        document = draft_of(RULE)
        assert self.told(answer) == {
            "generation": 1,
            "checksum": checksum_of(document),
            "convergence": None,
        }
        assert self.told(self.get("/rules")) == {
            "generation": 1,
            "checksum": checksum_of(document),
            "document": document,
        }
        event = AuditEvent.objects.get()
        assert (event.actor, event.actor_kind, event.action) == ("operator", "user", "publish")
        assert event.reason == "half of them"
        assert (event.request_id, event.ip) == (answer.headers["X-Request-Id"], "127.0.0.1")

    def test_refuses_what_began_before_another_was_published(self):
        self.publish(RULE)

        problem = self.refused(self.publish(expected=0), 409, "stale_generation", generation=1)

        assert (problem["expected_generation"], problem["current_generation"]) == (0, 1)
        assert (problem["retryable"], problem["effect"]) == (False, "none")

    def test_names_every_fault_of_the_rules(self):
        answer = self.publish(BROKEN_RULE, {**RULE, "id": "x y"})

        problem = self.refused(answer, 422, "invalid_rule_set")
        assert [(fault["pointer"], fault["code"]) for fault in problem["errors"]] == [
            ("/rules/0/serve", "unknown_version"),
            ("/rules/1/id", "bad_name"),
        ]

    def test_refuses_another_schema(self):
        problem = self.refused(self.publish(schema_version=2), 422, "unknown_schema")

        assert problem["schema_version"] == 2

    def test_refuses_bodies_that_are_none(self):
        whole = {"expected_generation": 0, "comment": "x", "document": draft_of()}
        for body in (
            {},
            whole | {"expected_generation": "0"},
            whole | {"expected_generation": -1},
            whole | {"comment": ""},
            whole | {"comment": "x" * 501},
            whole | {"document": []},
            whole | {"more": 1},
        ):
            self.refused(self.put("/rules", body), 422, "validation_failed")
        self.refused(self.put("/rules?wait=long", whole), 422, "validation_failed")
        self.refused(self.put("/rules?timeout_ms=5001", whole), 422, "validation_failed")

    def test_refuses_numbers_that_nobody_could_read_back(self):
        clause = {"kind": "attr", "name": "lines", "op": "at_least"}
        for number in (10**19, 10**400, -(10**400)):
            answer = self.publish({**RULE, "match": [{**clause, "values": [number]}]})

            self.refused(answer, 422, "invalid_rule_set")

    def test_says_that_nobody_knows_who_has_it_without_redis(self):
        with override_settings(ROLLOUT_REDIS_URL=""):
            told = self.told(self.publish(RULE, query="?wait=converged&timeout_ms=0"))

        assert told["generation"] == 1
        assert told["convergence"] is None


class ConvergenceTests(RolloutApiCase):
    def setUp(self):
        super().setUp()
        self.redis = connect()
        self.addCleanup(self.redis.close)
        self.enterContext(override_settings(ROLLOUT_REDIS_PREFIX=own_prefix()))

    def live(self, *workers):
        seconds, micros = self.redis.time()
        now_ms = seconds * 1000 + micros // 1000
        self.redis.zadd(announcing.key("workers"), dict.fromkeys(workers, now_ms))

    def test_waits_until_every_live_worker_has_it(self):
        self.live("w1", "w2")
        for worker, lag_ms in (("w1", 2.0), ("w2", 6.0)):
            announcing.acknowledge(self.redis, 1, worker, lag_ms)

        told = self.told(self.publish(RULE, query="?wait=converged"))

        assert told["convergence"] == {
            "generation": 1,
            "is_complete": True,
            "live": 2,
            "acknowledged": 2,
            "lag_ms_p99": 6.0,
            "workers": [{"worker": "w1", "lag_ms": 2.0}, {"worker": "w2", "lag_ms": 6.0}],
        }

    def test_answers_after_the_timeout_who_is_missing(self):
        self.live("w1", "w2")
        announcing.acknowledge(self.redis, 1, "w1", 2.0)

        told = self.told(self.publish(RULE, query="?wait=converged&timeout_ms=20"))

        assert told["generation"] == 1
        assert (told["convergence"]["is_complete"], told["convergence"]["acknowledged"]) == (
            False,
            1,
        )
        assert told["convergence"]["workers"][1] == {"worker": "w2", "lag_ms": None}

    def test_tells_breakers_of_the_fleet_and_skips_garbage(self):
        seconds, _ = self.redis.time()
        self.redis.hset(
            announcing.key(f"brk:{KEY}:v2"),
            mapping={"state": 2, "epoch": 5, "retry_at": (seconds + 60) * 1000},
        )
        self.redis.set(announcing.key(f"brk:{KEY}:v1"), "no hash")
        self.redis.hset(
            announcing.key(f"brk:{KEY}:v3"), mapping={"state": 7, "epoch": "x", "retry_at": ""}
        )

        told = self.told(self.get("/breakers"))["data"]

        fleet = {one["version"]: one["fleet"] for one in told if one["path"] == KEY}
        assert fleet["v2"]["state"] == "open"
        assert fleet["v2"]["epoch"] == 5
        assert 55_000 < fleet["v2"]["retry_in_ms"] <= 60_000
        assert (fleet["v1"], fleet["v3"]) == (None, None)


class ReadTests(RolloutApiCase):
    def test_tells_the_empty_rules_that_nobody_published(self):
        told = self.told(self.get("/rules"))

        assert (told["generation"], told["document"]) == (0, dict(EMPTY_DOCUMENT))

    def test_tells_the_rules_of_every_generation(self):
        self.publish(RULE)
        self.publish(expected=1)

        assert self.told(self.get("/rules/1"))["document"]["rules"] == [RULE]
        assert self.told(self.get("/rules/2"))["document"]["rules"] == []
        for generation in (3, 10**30):
            self.refused(self.get(f"/rules/{generation}"), 404, "unknown_generation", generation=2)

    def test_pages_through_history_newest_first(self):
        for generation in range(5):
            self.publish(RULE, expected=generation, comment=f"number {generation + 1}")

        first = self.told(self.get("/rules/history?limit=2"))
        second = self.told(self.get(f"/rules/history?limit=2&cursor={first['next_cursor']}"))
        third = self.told(self.get(f"/rules/history?limit=2&cursor={second['next_cursor']}"))

        assert [row["generation"] for row in first["data"]] == [5, 4]
        assert [row["generation"] for row in second["data"]] == [3, 2]
        assert [row["comment"] for row in third["data"]] == ["number 1"]
        assert third["next_cursor"] is None
        assert "payload" not in first["data"][0]
        assert first["data"][0]["author"] == "operator"

    def test_tells_the_patch_between_two_generations(self):
        self.publish(RULE)
        self.publish({**RULE, "share_bp": 6000}, expected=1)

        told = self.told(self.get("/rules/diff?from_generation=1&to_generation=2"))

        assert told == {
            "from_generation": 1,
            "to_generation": 2,
            "changes": [{"op": "replace", "path": "/rules/0/share_bp", "value": 6000}],
        }
        self.refused(
            self.get("/rules/diff?from_generation=1&to_generation=9"),
            404,
            "unknown_generation",
            generation=2,
        )

    def test_tells_status(self):
        self.publish(RULE, {**RULE, "id": "off", "enabled": False})
        self.activate()

        told = self.told(self.get("/status"))

        assert told["generation"] == 1
        assert told["here"] == {"generation": 1, "is_stale": False, "is_static": False}
        (path,) = [path for path in told["paths"] if path["path"] == KEY]
        assert path == {
            "path": KEY,
            "owner": "tests",
            "effects": "read",
            "versions": ["v1", "v2", "v3"],
            "release": {"stable": "v1", "canary": "v2", "fallback": None},
            "stopped": None,
            "rules": 1,
            "skipped_rules": 1,
        }
        assert told["unknown_paths"] == []
        breakers = {one["version"]: one for one in told["breakers"] if one["path"] == KEY}
        assert breakers["v2"]["mode"] == "auto"
        assert breakers["v2"]["falls_to"] == ["v1"]
        assert breakers["v2"]["here"]["state"] == "closed"
        assert breakers["v1"]["mode"] == "metrics_only"

    def test_names_paths_of_rules_that_this_code_does_not_declare(self):
        self.publish(RULE)
        runtime.forget(KEY)

        told = self.told(self.get("/status"))

        assert told["unknown_paths"] == [KEY]
        assert KEY not in {path["path"] for path in told["paths"]}


class DraftTests(RolloutApiCase):
    def test_validates_and_publishes_nothing(self):
        good = self.told(self.post("/rules/validate", {"document": draft_of(RULE)}))
        bad = self.told(self.post("/rules/validate", {"document": draft_of(BROKEN_RULE)}))
        newer = self.told(self.post("/rules/validate", {"document": draft_of(schema_version=2)}))

        assert good == {"is_valid": True, "errors": []}
        assert [fault["pointer"] for fault in bad["errors"]] == ["/rules/0/serve"]
        assert newer["errors"][0]["code"] == "unknown_schema"
        assert RolloutState.objects.get().generation == 0

    def test_tells_who_would_move_and_moves_nobody(self):
        body = {
            "document": draft_of({**RULE, "share_bp": 10_000}),
            "sample": [{"account": 7}, {"account": "ada"}],
        }

        told = self.told(self.post("/rules/preview", body))

        assert told["sample_size"] == 2
        assert told["moves"] == [
            {
                "path": KEY,
                "from_version": "v1",
                "to_version": "v2",
                "count": 2,
                "share_bp": 10_000,
                "examples": [{"account": "7"}, {"account": "ada"}],
            }
        ]
        assert RolloutState.objects.get().generation == 0

    def test_refuses_to_preview_what_could_not_be_published(self):
        answer = self.post("/rules/preview", {"document": draft_of(BROKEN_RULE)})

        self.refused(answer, 422, "invalid_rule_set")


class MoveTests(RolloutApiCase):
    def test_rolls_back_to_earlier_rules_as_a_new_generation(self):
        self.publish(RULE)
        self.publish(expected=1)

        told = self.told(self.post("/rollback", {"to_generation": 1, "expected_generation": 2}))

        assert told["generation"] == 3
        assert self.told(self.get("/rules"))["document"]["rules"] == [RULE]
        assert AuditEvent.objects.get(pk=3).reason == "back to generation 1"

    def test_refuses_to_roll_back_blindly(self):
        self.publish(RULE)

        stale = self.post("/rollback", {"to_generation": 0, "expected_generation": 0})
        unknown = self.post("/rollback", {"to_generation": 9, "expected_generation": 1})

        self.refused(stale, 409, "stale_generation", generation=1)
        self.refused(unknown, 404, "unknown_generation", generation=1)

    def test_promotes_a_canary(self):
        self.publish(RULE)

        self.told(self.post("/promote", {"path": KEY, "expected_generation": 1}))

        document = self.told(self.get("/rules"))["document"]
        assert document["releases"][KEY] == {"stable": "v2", "canary": None, "fallback": "v1"}
        assert document["rules"] == []

    def test_refuses_to_promote_nothing(self):
        for path, expected, status, code in (
            (KEY, 0, 409, "nothing_to_promote"),
            ("tests.lost", 0, 404, "unknown_path"),
            (KEY, 7, 409, "stale_generation"),
        ):
            answer = self.post("/promote", {"path": path, "expected_generation": expected})
            self.refused(answer, status, code)

    def test_kills_once_however_often_it_is_asked(self):
        self.publish(RULE)

        first = self.told(self.post("/kill", {"reason": "orders are lost"}))
        again = self.told(self.post("/kill", {"reason": "orders are lost"}))
        self.activate()
        stopped = {one["path"]: one["stopped"] for one in self.told(self.get("/status"))["paths"]}
        back = self.told(self.post("/unkill", {}))

        assert (first["generation"], again["generation"], back["generation"]) == (2, 2, 3)
        assert set(stopped.values()) == {"KILL_SWITCH"}
        assert self.told(self.get("/rules"))["document"]["kill_switch"] == {
            "all": False,
            "paths": [],
        }
        assert [event.action for event in AuditEvent.objects.order_by("id")] == [
            "publish",
            "kill",
            "revive",
        ]

    def test_kills_one_path(self):
        self.told(self.post("/kill", {"path": KEY}))

        assert self.told(self.get("/rules"))["document"]["kill_switch"]["paths"] == [KEY]

    def test_refuses_to_kill_a_path_that_is_not_declared(self):
        self.refused(self.post("/kill", {"path": "tests.lost"}), 404, "unknown_path")
        self.refused(self.post("/unkill", {"path": "tests.lost"}), 404, "unknown_path")


class BreakerModeTests(RolloutApiCase):
    def mode(self, version, mode, **more):
        return self.put(f"/breakers/{KEY}/{version}/mode", {"mode": mode, **more})

    def policies(self):
        return self.told(self.get("/rules"))["document"]["breakers"].get(KEY)

    def test_forces_a_breaker_open_for_all_workers_and_lets_it_decide_again(self):
        self.publish(RULE)

        self.told(self.mode("canary", "forced_open", reason="v2 loses orders"))
        self.activate()
        forced = self.told(self.get("/breakers"))["data"]
        self.told(self.mode("v2", "auto"))

        (v2,) = [one for one in forced if (one["path"], one["version"]) == (KEY, "v2")]
        assert (v2["mode"], v2["here"]["state"]) == ("forced_open", "open")
        assert self.policies() is None
        event = AuditEvent.objects.get(pk=2)
        assert (event.action, event.path, event.reason) == ("breaker_mode", KEY, "v2 loses orders")

    def test_keeps_the_policy_that_it_forces(self):
        policy = {"preset": "one_second"}
        self.publish(RULE, breakers={KEY: {"canary": policy}})

        self.told(self.mode("v2", "forced_closed"))
        forced = self.policies()
        self.told(self.mode("v2", "auto"))

        assert forced == {"canary": {**policy, "mode": "forced_closed"}}
        assert self.policies() == {"canary": policy}

    def test_gives_no_breaker_to_what_has_nowhere_to_fall(self):
        self.publish(RULE)

        told = self.told(self.mode("stable", "auto"))

        assert told["generation"] == 1  # Nothing was to be changed.
        assert self.policies() is None

    def test_refuses_unknown_paths_versions_modes_and_a_stale_generation(self):
        self.publish(RULE)

        for answer, status, code in (
            (self.mode("v9", "auto"), 404, "unknown_version"),
            (self.mode("fallback", "auto"), 404, "unknown_version"),
            (self.put("/breakers/tests.lost/v1/mode", {"mode": "auto"}), 404, "unknown_path"),
            (self.mode("v2", "broken"), 422, "validation_failed"),
            (
                self.mode("v2", "forced_open", expected_generation=0),
                409,
                "stale_generation",
            ),
        ):
            self.refused(answer, status, code, generation=1)


class TransitionTests(RolloutApiCase):
    def test_tells_what_breakers_did_newest_first(self):
        policy = {
            "rules": [{"Strategy": "consecutive_errors", "Threshold": 2}],
            "RetryTimeoutMs": 1,
        }
        self.publish({**RULE, "share_bp": 10_000}, breakers={KEY: {"canary": policy}})
        self.activate()
        breaker = runtime.breakers[KEY, "v2"]
        for _ in range(2):
            breaker.admit().complete(ERROR)
        time.sleep(0.01)
        breaker.admit().complete(ERROR)  # a probe
        journal = Journal(worker="w1")
        Sharer(runtime, worker="w1", on_transition=journal.keep).tick()
        assert journal.write()
        assert journal.write()  # Nothing waits any more.

        first = self.told(self.get(f"/breakers/transitions?path={KEY}&limit=2"))
        rest = self.told(self.get(f"/breakers/transitions?cursor={first['next_cursor']}"))
        other = self.told(self.get("/breakers/transitions?path=orders.place"))

        told = [
            (one["version"], one["from_state"], one["to_state"], one["cause"], one["worker"])
            for one in first["data"] + rest["data"]
        ]
        assert told == [
            ("v2", "half_open", "open", "probe failed", "w1"),
            ("v2", "open", "half_open", "probe", "w1"),
            ("v2", "closed", "open", "consecutive_errors", "w1"),
        ]
        assert (rest["data"][0]["errors"], rest["next_cursor"], other["data"]) == (2, None, [])

    def test_waits_while_the_database_is_away(self):
        journal = Journal(worker="w1")
        journal.keep(Transition(KEY, "v2", 0, 2, 1, "ErrorRatio", 20, 20, 0))

        def away(execute, sql, params, many, context):
            if sql.startswith("INSERT"):
                raise OperationalError("gone")
            return execute(sql, params, many, context)

        with (
            transaction.atomic(),
            connection.execute_wrapper(away),
            self.assertLogs("rollout", "WARNING"),
        ):
            assert not journal.write()
        assert not BreakerTransition.objects.exists()

        assert journal.write()
        assert BreakerTransition.objects.count() == 1

    def test_forgets_what_is_older_than_a_month(self):
        journal = Journal(worker="w1")
        journal.keep(Transition(KEY, "v2", 0, 2, 1, "old", 1, 1, 0))
        journal.keep(Transition(KEY, "v2", 2, 1, 2, "new", 0, 0, 0))
        journal.write()
        BreakerTransition.objects.filter(cause="old").update(at=timezone.now() - KEPT)

        journal.sweep()

        assert [one.cause for one in BreakerTransition.objects.all()] == ["new"]


class AuditTests(RolloutApiCase):
    def test_pages_through_the_trail_of_one_path(self):
        self.publish(RULE)
        for _ in range(2):
            self.post("/kill", {"path": KEY})
            self.post("/unkill", {"path": KEY})

        first = self.told(self.get(f"/audit?path={KEY}&limit=3"))
        rest = self.told(self.get(f"/audit?path={KEY}&limit=3&cursor={first['next_cursor']}"))
        every = self.told(self.get("/audit"))

        assert [event["id"] for event in first["data"]] == [5, 4, 3]
        assert [event["id"] for event in rest["data"]] == [2]
        assert [event["id"] for event in every["data"]] == [5, 4, 3, 2, 1]
        assert every["data"][0]["prev_hash"] == every["data"][1]["hash"]
        assert every["data"][0]["diff"] == [{"op": "remove", "path": "/kill_switch/paths/0"}]

    def test_says_that_the_trail_is_whole(self):
        self.publish(RULE)

        assert self.told(self.get("/audit/verify")) == {"is_whole": True, "broken": []}

    def test_refuses_a_cursor_that_is_none(self):
        for path in (
            "/audit?cursor=x",
            "/audit?limit=0",
            "/rules/history?cursor=-1",
            "/audit?path=X",
        ):
            self.refused(self.get(path), 422, "validation_failed")


class ExplainTests(RolloutApiCase):
    def explained(self, query=""):
        return self.told(self.get(f"/explain?path={KEY}{query}"))

    def test_tells_every_rule_and_clause(self):
        named = {
            "id": "named",
            "path": KEY,
            "serve": "v3",
            "match": [
                {"kind": "account", "values": ["7"]},
                {"kind": "attr", "name": "lines", "op": "at_least", "values": [10]},
            ],
        }
        self.publish(RULE, named)
        self.activate()

        told = self.explained("&identity=account:7&attribute=lines:9")

        first, second = told["rules"]
        assert (first["id"], first["would_serve"]) == ("named", False)
        assert [clause["holds"] for clause in first["clauses"]] == [True, False]
        assert second["share"]["subject"] == "7"
        assert told["serves"]["reason"] in {"SPLIT", "DEFAULT"}
        assert self.explained("&identity=account:7&attribute=lines:10")["serves"] == {
            "version": "v3",
            "reason": "USER_TARGETED",
            "base_reason": None,
        }

    def test_tells_which_breaker_stands_in_the_way(self):
        self.publish(
            {**RULE, "share_bp": 10_000}, breakers={KEY: {"canary": {"mode": "forced_open"}}}
        )
        self.activate()

        told = self.explained()

        assert told["decision"]["version"] == "v2"
        assert [(step["version"], step["admits"]) for step in told["breakers"]] == [
            ("v2", "no"),
            ("v1", "yes"),
        ]
        assert told["serves"] == {
            "version": "v1",
            "reason": "BREAKER_FALLBACK",
            "base_reason": "SPLIT",
        }

    def test_tells_that_nothing_would_serve(self):
        closed = {"mode": "forced_open"}
        self.publish(RULE, breakers={KEY: {"stable": closed, "canary": closed}})
        self.activate()

        assert self.explained()["serves"] == {
            "version": None,
            "reason": "BREAKER_503",
            "base_reason": "SPLIT_NO_SUBJECT",
        }

    def test_tells_whether_an_override_is_trusted(self):
        self.publish()
        self.activate()

        denied = self.explained("&header=X-Deploy-Version:canary")
        trusted = self.explained("&header=X-Deploy-Version:canary&trust=permission")

        assert denied["overrides"] == [{"source": "header", "is_trusted": False, "version": None}]
        assert denied["serves"]["version"] == "v1"
        assert trusted["overrides"] == [{"source": "header", "is_trusted": True, "version": "v2"}]
        assert trusted["serves"] == {
            "version": "v2",
            "reason": "FORCED_HEADER",
            "base_reason": None,
        }

    def test_replays_an_older_generation(self):
        self.publish({**RULE, "share_bp": 10_000})
        self.publish(expected=1)
        self.activate()

        assert self.explained()["serves"]["version"] == "v1"
        assert self.explained("&generation=1")["serves"]["version"] == "v2"
        self.refused(
            self.get(f"/explain?path={KEY}&generation=9"),
            404,
            "unknown_generation",
            generation=2,
        )

    def test_counts_nothing_and_takes_no_probe(self):
        self.publish({**RULE, "share_bp": 10_000})
        self.activate()
        before = [one["here"] for one in self.told(self.get("/breakers"))["data"]]

        self.explained()

        assert [one["here"] for one in self.told(self.get("/breakers"))["data"]] == before

    def test_refuses_what_it_cannot_imagine(self):
        self.refused(self.get("/explain?path=tests.lost"), 404, "unknown_path")
        for query in ("", "?path=x.y&identity=account", "?path=x.y&trust=me", "?path=x.y&more=1"):
            self.refused(self.get(f"/explain{query}"), 422, "validation_failed")


class ExplainAgreesTests(RolloutApiCase):
    """What is explained is what a real request then meets."""

    PATH = "inventory.availability"

    def setUp(self):
        super().setUp()
        given_stock("CUP", on_hand=10)
        self.addCleanup(runtime.reset)
        self.accounts = [given_account(f"shop-{number}") for number in range(6)]
        self.shops = {
            account.pk: Caller(given_api_key(account, "stock:read", "rollout:override"))
            for account in self.accounts
        }

    def publish_here(self, *rules, **members):
        current = usecases.get_current().generation
        members.setdefault("releases", {self.PATH: RELEASE})
        self.told(self.publish(*rules, expected=current, **members))
        self.activate()

    def served(self, account_id, headers):
        answer = self.shops[account_id].post(
            "/stock/availability", {"skus": ["CUP"]}, key="k", **headers
        )
        return self.told(answer) and answer.headers["x-deploy-version"]

    def explained(self, account_id, headers):
        query = "".join(f"&header={name}:{value}" for name, value in headers.items())
        return self.told(
            self.get(
                f"/explain?path={self.PATH}&identity=account:{account_id}&trust=permission"
                f"&method=POST&url_path=/api/v1/stock/availability&header=Idempotency-Key:k{query}"
            )
        )["serves"]["version"]

    def test_under_many_rules_and_callers(self):
        half = {"id": "half", "path": self.PATH, "serve": "canary", "share_bp": 5000}
        rule_sets = [
            [half],
            [{**half, "stickiness": ["idempotency_key"]}],
            [{**half, "match": [{"kind": "account", "values": [str(self.accounts[0].pk)]}]}],
            [{**half, "match": [{"kind": "header", "name": "X-Team", "values": ["blue"]}]}],
            [
                {
                    **half,
                    "share_bp": 10_000,
                    "trust": "authenticated",
                    "match": [{"kind": "user_agent", "family": "acme", "versions": ">=2"}],
                }
            ],
            [{**half, "share_bp": 10_000, "match": [{"kind": "method", "values": ["GET"]}]}],
            [
                {
                    **half,
                    "share_bp": 10_000,
                    "match": [{"kind": "path_prefix", "values": ["/api/v1/stock"]}],
                }
            ],
        ]
        callers = [
            {},
            {"X-Team": "blue"},
            {"User-Agent": "acme/2.1"},
            {"User-Agent": "acme/1.9"},
            {"X-Deploy-Version": "canary"},
            {"X-Deploy-Version": "v1"},
            {"X-Deploy-Version": "v7"},
        ]
        met = set()
        for rules in rule_sets:
            self.publish_here(*rules)
            for account, headers in itertools.product(self.shops, callers):
                served = self.served(account, headers)
                met.add(served)
                assert self.explained(account, headers) == served, (rules, account, headers)

        assert met == {"v1", "v2"}

    def test_under_open_breakers(self):
        everybody = {"id": "all", "path": self.PATH, "serve": "canary"}
        for policies in (
            {"canary": {"mode": "forced_open"}},
            {"canary": {"mode": "forced_closed"}},
            {"stable": {"mode": "forced_open"}},
        ):
            self.publish_here(everybody, breakers={self.PATH: policies})
            account = self.accounts[0].pk

            assert self.explained(account, {}) == self.served(account, {}), policies

    @override_settings(ROLLOUT_HEADER_TRUST="signed")
    def test_under_signed_overrides(self):
        self.publish_here()
        account = self.accounts[0].pk
        good = sign_override(
            "canary", expires_at_s=int(time.time()) + 60, key=settings.SECRET_KEY.encode()
        )
        for text, version in ((good, "v2"), (good[:-1] + "x", "v1"), ("canary", "v1")):
            told = self.told(
                self.get(
                    f"/explain?path={self.PATH}&identity=account:{account}"
                    f"&header=X-Deploy-Version:{text}"
                )
            )

            assert told["serves"]["version"] == version, text


class ScopesTests(RolloutApiCase):
    READS = (
        "/status",
        f"/explain?path={KEY}",
        "/rules",
        "/rules/0",
        "/rules/diff?from_generation=0&to_generation=0",
        "/rules/history",
        "/breakers",
        "/breakers/transitions",
        "/audit",
        "/audit/verify",
    )
    READING_POSTS = ("/rules/validate", "/rules/preview")
    WRITES = (
        ("PUT", "/rules", {"expected_generation": 0, "comment": "x", "document": draft_of()}),
        ("POST", "/rollback", {"to_generation": 0, "expected_generation": 0}),
        ("POST", "/promote", {"path": KEY, "expected_generation": 0}),
        ("POST", "/kill", {}),
        ("POST", "/unkill", {}),
        ("PUT", f"/breakers/{KEY}/v1/mode", {"mode": "forced_open"}),
    )

    def asked(self, *scopes):
        """Return the status of every verb for a key with these scopes."""
        self.operator = self.caller(*scopes)
        draft = {"document": draft_of(), "sample": [{"account": 7}]}
        reads = {path: self.get(path).status_code for path in self.READS}
        reads |= {
            path: self.post(
                path, draft if path.endswith("preview") else {"document": draft_of()}
            ).status_code
            for path in self.READING_POSTS
        }
        writes = {path: self.send(verb, path, body).status_code for verb, path, body in self.WRITES}
        return reads, writes

    def test_reads_need_rollout_read_and_writes_rollout_write(self):
        self.activate()
        others = ("orders:read", "orders:write", "orders:all", "stock:write", "rollout:override")

        reads, writes = self.asked(*others)
        assert set(reads.values()) == {403}
        assert set(writes.values()) == {403}

        reads, writes = self.asked("rollout:read")
        assert set(reads.values()) == {200}
        assert set(writes.values()) == {403}
        assert RolloutState.objects.get().generation == 0
        assert AuditEvent.objects.count() == 0

        reads, writes = self.asked("rollout:write")
        assert set(reads.values()) == {403}
        # The first one publishes, so that the two that were expecting generation 0 are stale.
        assert list(writes.values()) == [200, 409, 409, 200, 200, 200]

    def test_nobody_without_a_key(self):
        self.operator.client = APIClient()
        for path in self.READS:
            self.refused(self.get(path), 401, "unauthenticated")
        for verb, path, body in self.WRITES:
            self.refused(self.send(verb, path, body), 401, "unauthenticated")

    def test_the_matrix_has_every_action(self):
        every = [
            action
            for viewset in (StatusViewSet, RulesViewSet, BreakerViewSet, AuditViewSet)
            for action in viewset.scopes
        ]

        assert len(every) == len(self.READS) + len(self.READING_POSTS) + len(self.WRITES)


class WithoutScopesTests(TestCase):
    """In a project that has users and permissions, and nothing of ours."""

    def may(self, action, *permissions, viewset=RulesViewSet, user=True):
        person = SimpleNamespace(has_perm=lambda name: name in permissions) if user else None
        view = viewset()
        view.action = action
        return MayRollout().has_permission(SimpleNamespace(auth=None, user=person), view)

    def test_permissions_of_django_are_enough(self):
        view, publish, kill = "rollout.view_rulesetrevision", "rollout.publish", "rollout.kill"

        assert self.may("current", view)
        assert not self.may("current", publish)
        assert self.may("publish", publish)
        assert not self.may("publish", view, kill)
        assert self.may("kill", kill)
        assert not self.may("kill", view, publish)
        assert self.may("verify", "rollout.view_auditevent", viewset=AuditViewSet)
        assert not self.may("verify", view, viewset=AuditViewSet)
        assert self.may("set_mode", kill, viewset=BreakerViewSet)

    def test_nobody_may_what_is_not_declared_or_without_a_user(self):
        assert not self.may("forgotten", "rollout.publish", "rollout.view_rulesetrevision")
        assert not self.may("current", "rollout.view_rulesetrevision", user=False)

    def test_refusals_are_answered_where_the_project_does_not_know_them(self):
        stale = StaleGeneration(expected_generation=1, current_generation=2)

        answer = answer_refusal(stale, {})

        assert answer.status_code == 409
        assert answer.content_type == "application/problem+json"
        assert answer.data["code"] == "stale_generation"
        assert answer.data["current_generation"] == 2

    def test_faults_of_a_body_and_others_own_refusals_are_answered_too(self):
        try:
            KillIn.model_validate({"path": 7})
        except ValueError as failure:
            answer = answer_refusal(failure, {})

        assert (answer.status_code, answer.data["errors"][0]["pointer"]) == (422, "/path")
        view = SimpleNamespace()
        assert answer_refusal(NotFound(), {"view": view}).status_code == 404
        assert answer_refusal(KeyError(), {"view": view}) is None

    def test_a_handler_of_the_project_is_left_alone(self):
        view = RulesViewSet()
        view.settings = SimpleNamespace(EXCEPTION_HANDLER=exception_handler)
        assert view.get_exception_handler() is answer_refusal

        view.settings = SimpleNamespace(EXCEPTION_HANDLER=len)
        assert view.get_exception_handler() is len
