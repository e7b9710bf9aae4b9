"""Which version serves, why, and how an explanation tells it."""

from datetime import UTC, datetime

import pytest

from rollout.clauses import FROZENSET_IDS_MAX, HashedIds
from rollout.context import CallContext
from rollout.document import read_document
from rollout.explain import explain
from rollout.rules import Decision, PathFacts, Reason, Release, bucket_of
from rollout.snapshot import compile_rule_set

PLACE = PathFacts(
    "orders.place",
    ("v1", "v2", "legacy"),
    Release("v1", "v2"),
    effects="write",
    stickiness=("account+customer", "account"),
)
FACTS = {"orders.place": PLACE}
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()


def snapshot_of(*rules, facts=FACTS, now_s=NOON, **members):
    rules = [{"path": "orders.place", "serve": "canary", **rule} for rule in rules]
    document = {"schema_version": 1, "rules": rules, **members}
    return compile_rule_set(read_document(document), facts, generation=7, wall_clock=lambda: now_s)


def clause(kind, *values, negate=False, **options):
    told = {"kind": kind, "not": negate, **options}
    return told | ({"values": list(values)} if values else {})


def decide(snapshot, **context):
    return snapshot.decide("orders.place", CallContext(snapshot, **context))


def serves(snapshot, **context):
    decision = decide(snapshot, **context)
    return decision.version, decision.reason


def share_for(salt, subject, *, is_in):
    """The largest share that leaves a subject out, or the smallest that takes it in."""
    return bucket_of(salt, subject) + is_in


class DecideTests:
    def test_serves_stable_without_rules(self):
        assert decide(snapshot_of()) == Decision("orders.place", "v1", Reason.DEFAULT, 7)

    def test_says_static_when_no_rules_were_ever_loaded(self):
        static = compile_rule_set(
            read_document({"schema_version": 1}), FACTS, generation=0, is_static=True
        )

        assert serves(static) == ("v1", Reason.STATIC)

    @pytest.mark.parametrize(
        ("members", "reason"),
        [
            ({"kill_switch": {"all": True}}, Reason.KILL_SWITCH),
            ({"kill_switch": {"paths": ["orders.place"]}}, Reason.KILL_SWITCH),
            (
                {"releases": {"orders.place": {"stable": "v1", "enabled": False}}},
                Reason.PATH_DISABLED,
            ),
            (
                {"releases": {"orders.place": {"stable": "v1", "rolled_back": True}}},
                Reason.ROLLED_BACK,
            ),
        ],
    )
    def test_asks_no_rule_and_no_header_of_a_stopped_path(self, members, reason):
        snapshot = snapshot_of({"id": "all", "serve": "v2"}, **members)

        told = serves(
            snapshot,
            headers={"X-Deploy-Version": "v2"},
            trusts=frozenset({"permission"}),
            identities={"account": 1},
        )

        assert told == ("v1", reason)

    def test_gives_a_rule_for_everybody_without_a_subject(self):
        assert serves(snapshot_of({"id": "all"})) == ("v2", Reason.SPLIT)

    def test_draws_the_share_by_account_and_customer(self):
        subject = "7\x1fada"
        near = snapshot_of({"id": "s", "share_bp": share_for("s", subject, is_in=True)})
        far = snapshot_of({"id": "s", "share_bp": share_for("s", subject, is_in=False)})
        who = {"identities": {"account": 7, "customer": "ada"}}

        decision = decide(near, **who)

        assert (decision.version, decision.rule_id) == ("v2", "s")
        assert decision.bucket == bucket_of("s", subject)
        assert serves(far, **who) == ("v1", Reason.DEFAULT)

    def test_is_never_random_without_a_subject(self):
        snapshot = snapshot_of({"id": "s", "share_bp": 9_999})

        assert serves(snapshot) == ("v1", Reason.SPLIT_NO_SUBJECT)

    def test_falls_through_a_missed_share_to_the_next_rule(self):
        missed = share_for("s", "7", is_in=False)
        snapshot = snapshot_of(
            {"id": "s", "share_bp": missed, "priority": 1}, {"id": "t", "serve": "legacy"}
        )

        assert decide(snapshot, identities={"account": 7}).rule_id == "t"

    def test_moves_two_rules_of_one_salt_together(self):
        snapshot = snapshot_of({"id": "a", "salt": "x", "share_bp": 5000})
        other = snapshot_of({"id": "b", "salt": "x", "share_bp": 5000})

        for account in range(200):
            who = {"identities": {"account": account}}
            assert decide(snapshot, **who).version == decide(other, **who).version

    def test_skips_disabled_expired_and_not_yet_valid_rules(self):
        disabled = snapshot_of({"id": "a", "enabled": False})
        expired = snapshot_of({"id": "a", "valid_until": "2026-11-23T12:00:00Z"})
        early = snapshot_of({"id": "a", "valid_from": "2026-11-23T12:00:01Z"})
        valid = snapshot_of(
            {
                "id": "a",
                "valid_from": "2026-11-23T12:00:00Z",
                "valid_until": "2026-11-23T12:00:01Z",
            }
        )

        assert [serves(one)[0] for one in (disabled, expired, early, valid)] == [
            "v1",
            "v1",
            "v1",
            "v2",
        ]

    def test_notices_that_a_rule_expired_after_it_was_compiled(self):
        clock = [NOON]
        document = {
            "schema_version": 1,
            "rules": [
                {
                    "id": "a",
                    "path": "orders.place",
                    "serve": "v2",
                    "valid_until": "2026-11-23T12:00:01Z",
                }
            ],
        }
        snapshot = compile_rule_set(
            read_document(document), FACTS, generation=1, wall_clock=lambda: clock[0]
        )
        before = serves(snapshot)

        clock[0] = NOON + 1

        assert before == ("v2", Reason.SPLIT)
        assert serves(snapshot) == ("v1", Reason.DEFAULT)

    def test_serves_stable_and_says_error_when_a_test_breaks(self, caplog):
        class Broken(CallContext):
            def identity(self, name):
                raise RuntimeError(name)

        snapshot = snapshot_of({"id": "a", "share_bp": 5000})

        decision = snapshot.decide("orders.place", Broken(snapshot))

        assert (decision.version, decision.reason) == ("v1", Reason.ERROR)
        assert "rollout decision failed" in caplog.text

    def test_degrades_to_stable_where_newer_code_published(self):
        unknown_rule = snapshot_of({"id": "a", "serve": "v9"})
        unknown_release = snapshot_of(releases={"orders.place": {"stable": "v9", "canary": "v8"}})

        assert serves(unknown_rule) == ("v1", Reason.DEFAULT)
        assert unknown_release.paths["orders.place"].release == PLACE.release


class OverrideTests:
    TRUSTED = frozenset({"permission"})

    @pytest.mark.parametrize("name", ["v2", "canary"])
    def test_forces_a_version_or_a_role_for_a_trusted_caller(self, name):
        by_header = serves(snapshot_of(), headers={"X-Deploy-Version": name}, trusts=self.TRUSTED)
        by_query = serves(snapshot_of(), query={"x-deploy-version": name}, trusts=self.TRUSTED)

        assert by_header == ("v2", Reason.FORCED_HEADER)
        assert by_query == ("v2", Reason.FORCED_QUERY)

    def test_believes_the_header_before_the_query(self):
        told = serves(
            snapshot_of(),
            headers={"X-Deploy-Version": "legacy"},
            query={"x-deploy-version": "v2"},
            trusts=self.TRUSTED,
        )

        assert told == ("legacy", Reason.FORCED_HEADER)

    def test_lets_the_rules_decide_for_a_name_nobody_knows(self):
        snapshot = snapshot_of({"id": "a", "serve": "legacy"})

        for name in ("v9", "", "fallback", "V2"):
            context = CallContext(snapshot, headers={"X-Deploy-Version": name}, trusts=self.TRUSTED)
            decision = snapshot.decide("orders.place", context)
            assert (decision.version, decision.rule_id) == ("legacy", "a")
            assert context.denied == []

    def test_ignores_and_counts_an_untrusted_caller(self):
        snapshot = snapshot_of()
        context = CallContext(
            snapshot, headers={"X-Deploy-Version": "v2"}, query={"x-deploy-version": "v2"}
        )

        decision = snapshot.decide("orders.place", context)

        assert (decision.version, decision.reason) == ("v1", Reason.DEFAULT)
        assert context.denied == ["header", "query"]

    def test_asks_a_rule_for_its_trust(self):
        snapshot = snapshot_of(
            {
                "id": "a",
                "trust": "staff",
                "match": [{"kind": "header", "name": "x-tester", "op": "exists"}],
            }
        )
        stranger = CallContext(snapshot, headers={"X-Tester": "1"})

        assert snapshot.decide("orders.place", stranger).version == "v1"
        assert stranger.denied == ["rule"]
        staff = {"headers": {"X-Tester": "1"}, "trusts": frozenset({"staff"})}
        assert serves(snapshot, **staff) == ("v2", Reason.FORCED_HEADER)


class ClauseTests:
    ABC = {"headers": {"X-A": "abc"}}
    ACME = {"headers": {"User-Agent": "acme/1"}}
    SEGMENTS = {
        "beta": {"ids": ["9"]},
        "large": {"match": [clause("attr", 20, name="lines", op="at_least")]},
    }

    @pytest.mark.parametrize(
        ("condition", "context", "holds"),
        [
            (clause("header", "1", "abc", name="x-a"), ABC, True),
            (clause("header", "ab", name="x-a"), ABC, False),
            (clause("header", "abc", name="x-a"), {}, False),
            (clause("header", "abc", name="x-a", negate=True), {}, True),
            (clause("header", name="x-a", op="exists"), ABC, True),
            (clause("header", name="x-b", op="exists"), ABC, False),
            (clause("header", "ab", name="x-a", op="prefix"), ABC, True),
            (clause("header", "bc", name="x-a", op="suffix"), ABC, True),
            (clause("header", "b", name="x-a", op="contains"), ABC, True),
            (clause("header", "b", name="x-a", op="contains"), {}, False),
            (clause("header", "a.c$", name="x-a", op="regex"), ABC, True),
            (clause("header", "j", name="content-type"), {"headers": {"Content-Type": "j"}}, True),
            (clause("query", "1", name="beta"), {"query": {"beta": "1"}}, True),
            (clause("query", name="beta", op="exists"), {}, False),
            (clause("user", "7"), {"identities": {"user": 7}}, True),
            (clause("account", "7"), {"identities": {"user": 7}}, False),
            (clause("segment", "beta", "large"), {"identities": {"account": 9}}, True),
            (clause("segment", "beta", negate=True), {"identities": {"account": 8}}, True),
            (clause("segment", "large"), {"attributes": {"lines": 20}}, True),
            (clause("segment", "large"), {"attributes": {"lines": 19}}, False),
            (clause("user_agent", family="acme"), ACME, True),
            (clause("user_agent", family="acme", versions=">=2"), ACME, False),
            (clause("user_agent", regex="acme/[12]"), ACME, True),
            (clause("user_agent", regex="acme"), {}, False),
            (clause("method", "POST"), {"method": "POST"}, True),
            (clause("path_prefix", "/api/"), {"url_path": "/api/v1"}, True),
            (clause("attr", "true", name="gift"), {"attributes": {"gift": True}}, True),
            (clause("attr", "5", name="n"), {"attributes": {"n": 5}}, True),
            (clause("attr", 5, name="n", op="at_most"), {"attributes": {"n": 5.5}}, False),
            (clause("attr", 5, name="n", op="at_least"), {"attributes": {"n": "6"}}, False),
        ],
    )
    def test_holds_or_not(self, condition, context, holds):
        snapshot = snapshot_of({"id": "a", "match": [condition]}, segments=self.SEGMENTS)

        assert (decide(snapshot, **context).version == "v2") is holds

    def test_wants_all_clauses_of_a_rule(self):
        snapshot = snapshot_of(
            {
                "id": "a",
                "match": [
                    {"kind": "method", "values": ["POST"]},
                    {"kind": "account", "values": ["7"]},
                ],
            }
        )

        assert decide(snapshot, method="POST").version == "v1"
        assert decide(snapshot, method="POST", identities={"account": 7}).version == "v2"

    def test_finds_ids_of_a_large_segment(self):
        ids = [str(number) for number in range(FROZENSET_IDS_MAX + 1)]
        snapshot = snapshot_of(
            {"id": "a", "match": [{"kind": "segment", "values": ["many"]}]},
            segments={"many": {"ids": ids}},
        )

        assert decide(snapshot, identities={"account": FROZENSET_IDS_MAX}).version == "v2"
        assert decide(snapshot, identities={"account": FROZENSET_IDS_MAX + 1}).version == "v1"
        assert decide(snapshot).version == "v1"
        assert None not in HashedIds(ids)


class PolicyTests:
    def test_guards_what_has_somewhere_to_fall_and_only_watches_what_has_not(self):
        path = snapshot_of().paths["orders.place"]

        assert path.policies["v2"].mode == "auto"
        assert path.policies["legacy"].mode == "auto"
        assert path.policies["v1"].mode == "metrics_only"
        assert path.chains["v2"] == ("v2", "v1")

    def test_lets_data_say_otherwise_by_version_before_role(self):
        breakers = {
            "orders.place": {
                "stable": {"MinRequestAmount": 3},
                "canary": {"MinRequestAmount": 4},
                "v2": {"MinRequestAmount": 5},
            }
        }

        policies = snapshot_of(breakers=breakers).paths["orders.place"].policies

        assert policies["v1"].mode == "auto"
        assert policies["v1"].min_request_amount == 3
        assert policies["v2"].min_request_amount == 5


class ExplainTests:
    def test_tells_every_rule_and_clause(self):
        snapshot = snapshot_of(
            {
                "id": "staff",
                "trust": "staff",
                "match": [
                    {"kind": "header", "name": "x-tester", "op": "exists"},
                    {"kind": "method", "values": ["GET"]},
                ],
            },
            {"id": "share", "share_bp": 1},
            {"id": "off", "enabled": False},
        )
        context = CallContext(
            snapshot, headers={"X-Tester": "1"}, method="POST", identities={"account": 7}
        )

        told = explain(snapshot, "orders.place", context)

        assert told["decision"]["version"] == "v1"
        assert told["decision"]["reason"] == Reason.DEFAULT
        staff, share, off = told["rules"]
        assert staff["clauses"] == [
            {"kind": "header", "not": False, "name": "x-tester", "op": "exists", "holds": True},
            {"kind": "method", "not": False, "values": ["GET"], "holds": False},
        ]
        assert staff["trust"] == {"required": "staff", "holds": False}
        assert staff["would_serve"] is False
        assert share["share"] == {
            "share_bp": 1,
            "salt": "share",
            "subject": "7",
            "bucket": bucket_of("share", "7"),
            "holds": False,
        }
        assert off["skipped"] == "disabled"

    def test_counts_nothing(self):
        snapshot = snapshot_of()
        context = CallContext(snapshot, headers={"X-Deploy-Version": "v2"})

        explain(snapshot, "orders.place", context)

        assert context.denied == []
