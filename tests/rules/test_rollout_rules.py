"""Buckets, shares, the order of rules, signed overrides."""

from dataclasses import replace
from itertools import pairwise

from rollout.rules import (
    Clause,
    Reason,
    Release,
    Rule,
    Tier,
    bucket_of,
    in_order,
    is_in_share,
    read_override,
    sign_override,
)

SUBJECTS = [str(number) for number in range(100_000)]
KEY = b"a key of the test"
NOON_S = 1_795_000_000


class BucketTests:
    def test_gives_the_same_bucket_for_ever(self):
        golden = {
            ("orders-place-1", "7"): 1422,
            ("orders-place-1", "8"): 1651,
            ("orders-place-2", "7"): 8278,
            ("", ""): 1488,
            ("a", "b\x1fc"): 3770,
            ("r", "6f1d8f0e-2c1b-7a53-9d7e-1f8b6a0c9e11"): 4066,
            ("Überweg", "кот"): 5219,
        }

        assert {pair: bucket_of(*pair) for pair in golden} == golden

    def test_keeps_salt_and_subject_apart(self):
        assert bucket_of("ab", "c") != bucket_of("a", "bc")

    def test_spreads_subjects_evenly(self):
        counts = [0] * 100
        for subject in SUBJECTS:
            counts[bucket_of("even", subject) // 100] += 1

        chi_square = sum((count - 1000) ** 2 / 1000 for count in counts)

        # 99 degrees of freedom: 148.2 is reached by chance once in a thousand salts.
        assert chi_square < 148.2

    def test_takes_nobody_at_0_and_everybody_at_10_000(self):
        assert not any(is_in_share("s", subject, 0) for subject in SUBJECTS)
        assert all(is_in_share("s", subject, 10_000) for subject in SUBJECTS)

    def test_takes_about_the_share(self):
        met = sum(is_in_share("s", subject, 100) for subject in SUBJECTS)

        assert 900 <= met <= 1100

    def test_only_adds_when_the_share_is_raised_and_only_removes_when_it_is_lowered(self):
        steps = [0, 1, 10, 100, 1000, 2500, 5000, 9999, 10_000]
        met = [{s for s in SUBJECTS[:20_000] if is_in_share("s", s, bp)} for bp in steps]

        assert all(small <= large for small, large in pairwise(met))
        assert len(met[-1]) == 20_000

    def test_draws_two_rules_independently(self):
        both = sum(
            is_in_share("rule-a", subject, 1000) and is_in_share("rule-b", subject, 1000)
            for subject in SUBJECTS
        )

        assert 900 <= both <= 1100  # 0.9 to 1.1 % of 100,000


class OrderTests:
    def test_asks_tier_first_then_priority_then_id(self):
        header = Clause("header", {"name": "x-client", "op": "exact", "values": ("a",)})
        phase = Clause("header", {"name": "x-migration-phase", "op": "exact", "values": ("beta",)})
        agent = Clause("user_agent", {"family": "curl", "versions": None})
        user = Clause("user", {"values": ("7",)})
        cohort = Clause("segment", {"values": ("beta",)})
        method = Clause("method", {"values": ("POST",)})
        plain = Rule(id="share", path="orders.place", serve="canary")
        rules = [
            replace(plain, id="b", priority=5),
            replace(plain, id="a", priority=5),
            replace(plain, id="first", priority=1),
            replace(plain, id="method", priority=9, match=(method,)),
            replace(plain, id="phase", match=(phase,), priority=200),
            replace(plain, id="agent", match=(agent,)),
            replace(plain, id="cohort", match=(cohort,)),
            replace(plain, id="allow", match=(user,)),
            replace(plain, id="deny", match=(user,), serve="stable"),
            replace(plain, id="header", match=(header, user)),
        ]

        told = [(rule.id, rule.tier, rule.reason) for rule in in_order(rules)]

        assert told == [
            ("header", Tier.FORCED, Reason.FORCED_HEADER),
            ("deny", Tier.EXCLUDED, Reason.USER_EXCLUDED),
            ("allow", Tier.TARGETED, Reason.USER_TARGETED),
            ("cohort", Tier.COHORT, Reason.COHORT_MATCH),
            ("agent", Tier.CLIENT, Reason.UA_MATCH),
            ("phase", Tier.CLIENT, Reason.MIGRATION_PHASE),
            ("first", Tier.SPLIT, Reason.SPLIT),
            ("a", Tier.SPLIT, Reason.SPLIT),
            ("b", Tier.SPLIT, Reason.SPLIT),
            ("method", Tier.SPLIT, Reason.SPLIT),
        ]


class ReleaseTests:
    def test_tells_what_each_version_falls_to(self):
        release = Release(stable="v2", canary="v3", fallback="v1")

        assert release.falls_to("v3") == ("v2", "v1")
        assert release.falls_to("v2") == ("v1",)
        assert release.falls_to("v1") == ()
        assert release.falls_to("legacy") == ("v2", "v1")

    def test_has_nowhere_to_fall_without_other_roles(self):
        assert Release(stable="v1").falls_to("v1") == ()
        assert Release(stable="v1", canary="v2").falls_to("v2") == ("v1",)


class SignedOverrideTests:
    def test_names_its_version_until_it_expires(self):
        token = sign_override("v2", expires_at_s=NOON_S + 60, key=KEY)

        assert read_override(token, now_s=NOON_S, keys=[b"newer", KEY]) == "v2"
        assert read_override(token, now_s=NOON_S + 59.9, keys=[KEY]) == "v2"
        assert read_override(token, now_s=NOON_S + 60, keys=[KEY]) is None

    def test_refuses_a_token_that_lives_longer_than_a_quarter_of_an_hour(self):
        token = sign_override("v2", expires_at_s=NOON_S + 901, key=KEY)

        assert read_override(token, now_s=NOON_S, keys=[KEY]) is None
        assert read_override(token, now_s=NOON_S + 1, keys=[KEY]) == "v2"

    def test_refuses_another_key_another_version_and_other_text(self):
        token = sign_override("v2", expires_at_s=NOON_S + 60, key=KEY)

        assert read_override(token, now_s=NOON_S, keys=[b"other"]) is None
        assert read_override(token.replace("v2", "v3"), now_s=NOON_S, keys=[KEY]) is None
        for text in ("", "v2", "v=v2", token + "x", token.upper(), token[:-1]):
            assert read_override(text, now_s=NOON_S, keys=[KEY]) is None
