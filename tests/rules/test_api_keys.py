"""The form of a key, its life, and its scopes."""

from datetime import UTC, datetime, timedelta
from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from accounts import rules
from accounts.rules import Grant

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PREFIX = "sk_" + "A" * 12
KEY = PREFIX + "_" + "z" * 43


class ParseBearerTests(TestCase):
    def test_returns_the_key_and_its_prefix(self):
        self.assertEqual(rules.parse_bearer(f"Bearer {KEY}"), (KEY, PREFIX))

    def test_takes_the_scheme_in_any_case(self):
        self.assertEqual(rules.parse_bearer(f"bearer {KEY}"), (KEY, PREFIX))
        self.assertEqual(rules.parse_bearer(f"BEARER  {KEY}"), (KEY, PREFIX))

    def test_refuses_whatever_is_not_exactly_one_key(self):
        for header in (
            "",
            "Bearer",
            "Bearer ",
            KEY,
            f"Basic {KEY}",
            f"Token {KEY}",
            f"Bearer{KEY}",
            f"Bearer\t{KEY}",
            f"Bearer {KEY} ",
            f"Bearer {KEY}\n",
            f" Bearer {KEY}",
            f"Bearer {KEY},Bearer {KEY}",
            f"Bearer {KEY}, {KEY}",
            f"Bearer {KEY} {KEY}",
            f"Bearer {KEY[:-1]}",
            f"Bearer {KEY}z",
            f"Bearer {KEY.upper()}",
            f"Bearer {KEY[:-1]}-",
            f"Bearer {KEY[:-1]}\u0661",
            f"Bearer {KEY[:-1]}\xe9",
            "Bearer " + "z" * 10_000,
        ):
            with self.subTest(header=header[:80]):
                self.assertIsNone(rules.parse_bearer(header))

    @given(st.text(max_size=200))
    def test_takes_any_text_without_a_fault(self, text):
        self.assertIsNone(rules.parse_bearer(f"Bearer {text}"))


class ComposeKeyTests(TestCase):
    def test_returns_a_key_that_a_bearer_carries(self):
        presented = rules.compose_key("A" * 12, "z" * 43)

        self.assertEqual(presented, (KEY, PREFIX))
        self.assertEqual(rules.parse_bearer(f"Bearer {presented.key_text}"), presented)

    def test_refuses_draws_of_another_shape(self):
        for random_prefix, random_secret in (("A" * 11, "z" * 43), ("A" * 12, "z" * 42 + "-")):
            with self.subTest(random_prefix), self.assertRaises(ValueError):
                rules.compose_key(random_prefix, random_secret)

    def test_a_secret_has_256_bits(self):
        self.assertGreater(len(rules.ALPHABET) ** rules.SECRET_LENGTH, 2**256)
        self.assertEqual(len(set(rules.ALPHABET)), 62)


class DigestTests(TestCase):
    def test_is_sha_256_in_hex(self):
        self.assertEqual(
            rules.digest_of("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        )

    def test_differs_in_one_character(self):
        self.assertTrue(rules.is_same_digest("ab", "ab"))
        self.assertFalse(rules.is_same_digest("ab", "ac"))


class StateOfKeyTests(TestCase):
    def state(self, *, revoked_at=None, expires_at=None, is_user_active=True):
        return rules.state_of_key(
            revoked_at=revoked_at, expires_at=expires_at, is_user_active=is_user_active, now=NOON
        )

    def test_is_live_until_the_instant_it_expires(self):
        self.assertEqual(self.state(), "live")
        self.assertEqual(self.state(expires_at=NOON + SECOND), "live")
        self.assertEqual(self.state(expires_at=NOON), "expired")

    def test_is_revoked_whatever_else_holds(self):
        self.assertEqual(self.state(revoked_at=NOON, expires_at=NOON), "revoked")

    def test_dies_with_its_user(self):
        self.assertEqual(self.state(is_user_active=False), "inactive")


class ScopesTests(TestCase):
    known = ("stock:read", "orders:read", "orders:all")

    def test_a_star_chooses_all_that_are_known(self):
        self.assertEqual(
            rules.choose_scopes(["*"], self.known), ["orders:all", "orders:read", "stock:read"]
        )

    def test_each_is_chosen_once(self):
        self.assertEqual(
            rules.choose_scopes(["stock:read", "orders:read", "stock:read"], self.known),
            ["orders:read", "stock:read"],
        )

    def test_unknown_ones_are_named(self):
        self.assertEqual(
            rules.list_unknown_scopes(["z", "orders:read", "a", "*"], self.known), ["a", "z"]
        )

    def test_none_implies_another(self):
        grant = Grant(key_id=1, prefix=PREFIX, scopes=frozenset({"orders:all", "orders:write"}))

        self.assertTrue(grant.has("orders:all"))
        self.assertFalse(grant.has("orders:read"))
        self.assertFalse(grant.has(""))
