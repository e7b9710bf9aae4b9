"""A rule set is read whole or refused with every fault named."""

import contextlib
import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.document import EMPTY_DOCUMENT, read_document
from rollout.errors import InvalidRuleSet, UnknownSchema
from rollout.policies import PRESETS, BreakerPolicy, BreakerRule, read_policy, write_policy
from rollout.rules import PathFacts, Release

PLACE = PathFacts(
    "orders.place", ("v1", "v2"), Release("v2", None, "v1"), effects="write", fallback="admission"
)
GET = PathFacts("orders.get", ("v1", "v2"), Release("v1"), effects="read")
PATHS = {"orders.place": PLACE, "orders.get": GET}

FULL = {
    "schema_version": 1,
    "kill_switch": {"all": False, "paths": ["orders.get"]},
    "releases": {"orders.place": {"stable": "v1", "canary": "v2", "enabled": True}},
    "rules": [
        {
            "id": "beta-shops",
            "path": "orders.place",
            "serve": "canary",
            "priority": 10,
            "match": [
                {"kind": "segment", "values": ["beta"]},
                {"kind": "method", "values": ["POST"]},
                {"kind": "path_prefix", "values": ["/api/v1/orders"]},
                {"kind": "attr", "name": "lines", "op": "at_most", "values": [50]},
                {"kind": "user_agent", "family": "acme-shop", "versions": ">=2, <3", "not": True},
            ],
            "valid_from": "2026-11-23T10:00:00Z",
            "valid_until": "2026-12-23T10:00:00+01:00",
        },
        {
            "id": "one-percent",
            "path": "orders.place",
            "serve": "canary",
            "share_bp": 100,
            "stickiness": ["account+customer", "account"],
        },
        {
            "id": "testers",
            "path": "orders.place",
            "serve": "v2",
            "trust": "permission",
            "match": [{"kind": "header", "name": "X-Tester", "op": "exists"}],
        },
    ],
    "segments": {
        "beta": {"ids": ["7", "8"]},
        "large": {"match": [{"kind": "attr", "name": "lines", "op": "at_least", "values": [20]}]},
    },
    "breakers": {"orders.place": {"canary": {"preset": "one_second", "ProbeNum": 0}}},
}

NAMES = sorted(
    {"id", "path", "serve", "match", "kind", "values", "name", "op", "rules", "stable", "canary"}
    | {"ids", "identity", "all", "paths", "orders.place", "share_bp", "salt", "stickiness"}
    | {"Strategy", "Threshold", "preset", "regex", "versions", "not", "trust", "v1", "v2"}
)


def faults_of(document, paths=PATHS):
    with pytest.raises(InvalidRuleSet) as caught:
        read_document(document, paths=paths)
    return [(fault["pointer"], fault["code"]) for fault in caught.value.errors]


def changed(*steps, value):
    """FULL with one member set; the last step names it."""
    document = copy.deepcopy(FULL)
    place = document
    for step in steps[:-1]:
        place = place[step]
    place[steps[-1]] = value
    return document


class ReadDocumentTests:
    def test_reads_every_part(self):
        rule_set = read_document(FULL, paths=PATHS)

        assert rule_set.killed_paths == {"orders.get"}
        assert rule_set.paths["orders.place"].release == Release("v1", "v2")
        assert [rule.id for rule in rule_set.rules] == ["beta-shops", "one-percent", "testers"]
        assert rule_set.rules[1].stickiness == ("account+customer", "account")
        assert rule_set.rules[2].match[0].options == {"name": "x-tester", "op": "exists"}
        assert rule_set.segments["beta"].ids == ("7", "8")
        policy = rule_set.breakers["orders.place"]["canary"]
        assert (policy.retry_timeout_ms, policy.min_request_amount) == (60_000, 10)
        assert policy.probe_num == 1

    def test_reads_the_empty_rule_set(self):
        assert read_document(dict(EMPTY_DOCUMENT), paths=PATHS).rules == ()
        assert read_document({"schema_version": 1}, paths=PATHS).rules == ()

    @pytest.mark.parametrize("version", [None, 0, 2, "1", []])
    def test_refuses_a_schema_it_does_not_know(self, version):
        with pytest.raises(UnknownSchema):
            read_document({"schema_version": version})

    def test_names_all_faults_at_once(self):
        document = {
            "schema_version": 1,
            "surprise": 1,
            "rules": [{"id": "a", "path": "orders.lost", "serve": "v9", "share_bp": 10_001}],
        }

        assert faults_of(document) == [
            ("/surprise", "unknown_member"),
            ("/rules/0/path", "unknown_path"),
            ("/rules/0/share_bp", "out_of_range"),
        ]

    @pytest.mark.parametrize(
        ("steps", "value", "pointer", "code"),
        [
            (("kill_switch", "all"), 1, "/kill_switch/all", "not_a_boolean"),
            (("kill_switch", "paths"), "x", "/kill_switch/paths", "not_a_list"),
            (
                ("releases", "orders.place", "stable"),
                "v9",
                "/releases/orders.place/stable",
                "unknown_version",
            ),
            (
                ("releases", "orders.place", "canary"),
                "v1",
                "/releases/orders.place/canary",
                "same_as_stable",
            ),
            (
                ("releases", "orders.place", "fallback"),
                "v2",
                "/releases/orders.place/canary",
                "same_as_fallback",
            ),
            (("rules", 0, "serve"), "fallback", "/rules/0/serve", "no_such_role"),
            (("rules", 0, "serve"), "v3", "/rules/0/serve", "unknown_version"),
            (("rules", 1, "id"), "beta-shops", "/rules/1/id", "duplicate_id"),
            (("rules", 0, "id"), "a b", "/rules/0/id", "bad_name"),
            (("rules", 0, "priority"), -1, "/rules/0/priority", "out_of_range"),
            (("rules", 0, "mode"), "shadow", "/rules/0/mode", "unknown_choice"),
            (("rules", 0, "match", 0, "kind"), [], "/rules/0/match/0/kind", "unknown_clause"),
            (
                ("rules", 0, "match", 0, "values"),
                ["gamma"],
                "/rules/0/match/0/values/0",
                "unknown_segment",
            ),
            (
                ("rules", 0, "match", 1, "values"),
                ["POKE"],
                "/rules/0/match/1/values/0",
                "unknown_method",
            ),
            (
                ("rules", 0, "match", 2, "values"),
                ["api"],
                "/rules/0/match/2/values/0",
                "bad_prefix",
            ),
            (("rules", 0, "match", 3, "values"), ["50"], "/rules/0/match/3/values", "bad_values"),
            (
                ("rules", 0, "match", 4, "versions"),
                "two",
                "/rules/0/match/4/versions",
                "bad_version_range",
            ),
            (("rules", 0, "valid_from"), "2026-11-23", "/rules/0/valid_from", "bad_instant"),
            (
                ("rules", 0, "valid_until"),
                "2026-11-23T10:00:00Z",
                "/rules/0/valid_until",
                "ends_before_start",
            ),
            (("rules", 1, "share_bp"), True, "/rules/1/share_bp", "out_of_range"),
            (("rules", 1, "stickiness"), ["a b"], "/rules/1/stickiness", "bad_stickiness"),
            (("rules", 1, "note"), "\x00", "/rules/1/note", "too_long"),
            (("rules", 2, "trust"), "any", "/rules/2/trust", "trust_required"),
            (("rules", 0, "trust"), "everybody", "/rules/0/trust", "unknown_choice"),
            (
                ("rules", 2, "match", 0),
                {"kind": "header", "name": "x", "op": "regex", "values": ["(a+)+"]},
                "/rules/2/match/0/values/0",
                "unsafe_pattern",
            ),
            (("segments", "beta", "match"), [], "/segments/beta", "ids_or_match"),
            (
                ("segments", "large", "match", 0),
                {"kind": "segment", "values": ["beta"]},
                "/segments/large/match/0/kind",
                "unknown_clause",
            ),
            (
                ("breakers", "orders.place", "v7"),
                {},
                "/breakers/orders.place/v7",
                "unknown_version",
            ),
        ],
    )
    def test_names_the_fault(self, steps, value, pointer, code):
        assert faults_of(changed(*steps, value=value)) == [(pointer, code)]

    def test_asks_no_trust_for_a_header_on_a_path_that_only_reads(self):
        document = changed("rules", 2, "path", value="orders.get")
        document["rules"][2]["trust"] = "any"

        assert len(read_document(document, paths=PATHS).rules) == 3

    def test_takes_unknown_paths_and_versions_of_newer_code_when_no_code_is_given(self):
        document = changed("rules", 0, "serve", value="v9")

        assert read_document(document).rules[0].serve == "v9"

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=4)
            ),
            max_leaves=12,
        ),
        st.sampled_from(["kill_switch", "releases", "rules", "segments", "breakers"]),
    )
    @settings(max_examples=300, deadline=None)
    def test_never_fails_otherwise_than_by_refusing(self, told, member):
        with contextlib.suppress(InvalidRuleSet):
            read_document({"schema_version": 1, member: told}, paths=PATHS)


class PolicyTests:
    @pytest.mark.parametrize(
        ("told", "pointer", "code"),
        [
            ({"Threshold": 1}, "/Threshold", "unknown_member"),
            ({"preset": "hasty"}, "/preset", "unknown_preset"),
            ({"mode": "open"}, "/mode", "unknown_mode"),
            ({"rules": []}, "/rules", "no_rules"),
            ({"MinRequestAmount": 0}, "/MinRequestAmount", "out_of_range"),
            ({"MinRequestAmount": 1.5}, "/MinRequestAmount", "not_a_number"),
            ({"RetryJitter": 1}, "/RetryJitter", "out_of_range"),
            (
                {"StatSlidingWindowBucketCount": 7},
                "/StatSlidingWindowBucketCount",
                "does_not_divide",
            ),
            (
                {"rules": [{"Strategy": "ErrorRatio", "Threshold": 0}]},
                "/rules/0/Threshold",
                "out_of_range",
            ),
            (
                {"rules": [{"Strategy": "ErrorRatio", "Threshold": 1.1}]},
                "/rules/0/Threshold",
                "out_of_range",
            ),
            (
                {"rules": [{"Strategy": "ErrorCount", "Threshold": 0.5}]},
                "/rules/0/Threshold",
                "out_of_range",
            ),
            (
                {"rules": [{"Strategy": "Hope", "Threshold": 1}]},
                "/rules/0/Strategy",
                "unknown_strategy",
            ),
            ({"rules": [{"Strategy": "ErrorRatio"}]}, "/rules/0", "not_a_rule"),
            ([], "", "not_an_object"),
        ],
    )
    def test_names_the_fault(self, told, pointer, code):
        faults = []

        read_policy(told, pointer="", fault=lambda *fault: faults.append(fault[:2]))

        assert faults == [(pointer, code)]

    def test_has_the_preset_of_one_second(self):
        policy = PRESETS["one_second"]

        assert policy.rules == (BreakerRule("ErrorRatio", 0.6),)
        assert policy.min_request_amount == 10
        assert policy.stat_interval_ms == 1000
        assert policy.retry_timeout_ms == 60_000

    @pytest.mark.parametrize("name", list(PRESETS))
    def test_reads_what_it_writes(self, name):
        faults = []
        told = write_policy(PRESETS[name])

        read = read_policy(told, pointer="", fault=lambda *fault: faults.append(fault))

        assert faults == []
        assert write_policy(read) == told

    def test_stays_open_longer_after_each_failed_probe_up_to_a_minute(self):
        policy = BreakerPolicy(retry_timeout_ms=5000, retry_backoff_multiplier=2, retry_jitter=0.2)

        waits = [policy.retry_in_ms(failed_probes=n, dice=0.5) for n in (0, 1, 2, 3, 4, 10_000)]

        assert waits == [5000, 10_000, 20_000, 40_000, 60_000, 60_000]
        assert policy.retry_in_ms(failed_probes=0, dice=0) == 4000
        assert policy.retry_in_ms(failed_probes=0, dice=1) == 6000
