"""Issue, rotate, revoke and admit."""

from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import Group, User
from django.db import IntegrityError, transaction
from django.test import TestCase

from accounts import rules, usecases
from accounts.models import ApiKey
from accounts.usecases import ApiKeyNotFound, ApiKeyNotLive, Unauthenticated, UnknownScope

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def given_user(name="shop"):
    return User.objects.create_user(name)


def given_key(user=None, *, scopes=("orders:read",), expires_at=None):
    return usecases.issue_key(
        user=user or given_user(), name="till", scopes=scopes, expires_at=expires_at, now=NOON
    )


def admit(issued, *, now=NOON):
    presented = rules.PresentedKey(issued.text, issued.key.prefix)
    return usecases.admit(presented, digest=rules.digest_of(issued.text), now=now)


class IssueKeyTests(TestCase):
    def test_gives_a_user_a_key_that_opens(self):
        issued = given_key(scopes=["stock:read", "orders:write"])

        caller = admit(issued)
        self.assertEqual(caller.user.get_username(), "shop")
        self.assertEqual(caller.grant.key_id, issued.key.pk)
        self.assertEqual(caller.grant.scopes, {"orders:write", "stock:read"})

    def test_stores_the_digest_and_never_the_key(self):
        issued = given_key()

        row = ApiKey.objects.values().get()
        secret = issued.text.removeprefix(issued.key.prefix)
        self.assertEqual(row["digest"], rules.digest_of(issued.text))
        self.assertNotIn(secret, repr(row))
        self.assertNotIn(secret, repr(issued))

    def test_draws_another_key_each_time(self):
        user = given_user()

        self.assertEqual(len({given_key(user).text for _ in range(50)}), 50)

    def test_turns_a_star_into_the_scopes_of_today(self):
        issued = given_key(scopes=["*"])

        self.assertEqual(issued.key.scopes, sorted(usecases.known_scopes()))
        self.assertEqual(len(issued.key.scopes), 10)

    def test_refuses_a_scope_that_is_not_listed(self):
        with self.assertRaises(UnknownScope) as caught:
            given_key(scopes=["orders:read", "orders:burn"])

        self.assertEqual(caught.exception.unknown, ["orders:burn"])
        self.assertFalse(ApiKey.objects.exists())

    def test_refuses_a_key_that_opens_nothing(self):
        with self.assertRaises(UnknownScope):
            given_key(scopes=[])

        self.assertFalse(ApiKey.objects.exists())


class RotateKeyTests(TestCase):
    def test_both_keys_open_during_the_overlap_and_then_only_the_new_one(self):
        old = given_key(scopes=["orders:read", "stock:read"])

        new = usecases.rotate_key(old.key.pk, overlap=HOUR, now=NOON + SECOND)

        self.assertEqual(new.key.name, "till")
        self.assertEqual(new.key.scopes, ["orders:read", "stock:read"])
        self.assertEqual(ApiKey.objects.get(pk=old.key.pk).replaced_by, new.key)
        last = NOON + HOUR
        self.assertEqual(admit(old, now=last).grant.key_id, old.key.pk)
        self.assertEqual(admit(new, now=last).grant.key_id, new.key.pk)
        with self.assertRaises(Unauthenticated):
            admit(old, now=last + SECOND)
        self.assertEqual(admit(new, now=last + SECOND).grant.key_id, new.key.pk)

    def test_keeps_the_length_of_life(self):
        old = given_key(expires_at=NOON + 10 * HOUR)

        new = usecases.rotate_key(old.key.pk, overlap=HOUR, now=NOON + 8 * HOUR)

        self.assertEqual(new.key.expires_at, NOON + 18 * HOUR)

    def test_never_lengthens_the_life_of_the_old_key(self):
        old = given_key(expires_at=NOON + 2 * HOUR)

        usecases.rotate_key(old.key.pk, overlap=5 * HOUR, now=NOON + HOUR)

        self.assertEqual(ApiKey.objects.get(pk=old.key.pk).expires_at, NOON + 2 * HOUR)

    def test_refuses_a_key_that_has_a_successor(self):
        old = given_key()
        usecases.rotate_key(old.key.pk, overlap=HOUR, now=NOON)

        with self.assertRaises(ApiKeyNotLive) as caught:
            usecases.rotate_key(old.key.pk, overlap=2 * HOUR, now=NOON)

        self.assertEqual(caught.exception.state, "replaced")
        self.assertEqual(ApiKey.objects.count(), 2)
        self.assertEqual(ApiKey.objects.get(pk=old.key.pk).expires_at, NOON + HOUR)

    def test_refuses_a_dead_key(self):
        old = given_key()
        usecases.revoke_key(old.key.pk, now=NOON)

        with self.assertRaises(ApiKeyNotLive) as caught:
            usecases.rotate_key(old.key.pk, overlap=HOUR, now=NOON)

        self.assertEqual(caught.exception.state, "revoked")
        self.assertEqual(ApiKey.objects.count(), 1)

    def test_refuses_an_overlap_below_nothing_and_a_key_that_is_not_there(self):
        with self.assertRaises(ValueError):
            usecases.rotate_key(given_key().key.pk, overlap=-SECOND, now=NOON)
        with self.assertRaises(ApiKeyNotFound):
            usecases.rotate_key(0, overlap=HOUR, now=NOON)

        self.assertEqual(ApiKey.objects.count(), 1)


class RevokeKeyTests(TestCase):
    def test_ends_a_key_at_once(self):
        issued = given_key()

        usecases.revoke_key(issued.key.pk, now=NOON)

        with self.assertRaises(Unauthenticated) as caught:
            admit(issued)
        self.assertEqual(caught.exception.reason, "revoked")

    def test_refuses_a_second_time_and_keeps_the_first_instant(self):
        issued = given_key()
        usecases.revoke_key(issued.key.pk, now=NOON)

        with self.assertRaises(ApiKeyNotLive):
            usecases.revoke_key(issued.key.pk, now=NOON + HOUR)

        self.assertEqual(ApiKey.objects.get().revoked_at, NOON)

    def test_refuses_a_key_that_is_not_there(self):
        with self.assertRaises(ApiKeyNotFound):
            usecases.revoke_key(0, now=NOON)


class AdmitTests(TestCase):
    def assert_refused(self, issued, reason, *, now=NOON):
        with self.assertRaises(Unauthenticated) as caught:
            admit(issued, now=now)
        self.assertEqual(caught.exception.reason, reason)
        self.assertIsNone(ApiKey.objects.get(pk=issued.key.pk).last_used_at)

    def test_refuses_a_right_prefix_with_a_wrong_secret(self):
        issued = given_key()

        self.assert_refused(usecases.IssuedKey(issued.key, issued.text[:-1] + "-"), "unknown")

    def test_refuses_an_expired_key(self):
        self.assert_refused(given_key(expires_at=NOON + HOUR), "expired", now=NOON + HOUR)

    def test_refuses_the_key_of_an_inactive_user(self):
        issued = given_key()
        User.objects.update(is_active=False)

        self.assert_refused(issued, "inactive")

    def test_costs_one_query_while_the_use_is_noted_already(self):
        issued = given_key()
        admit(issued)

        with self.assertNumQueries(1):
            admit(issued)

    def test_notes_the_use_at_most_once_a_minute(self):
        issued = given_key()

        seen = []
        for seconds in (0, 1, 59, 60, 119, 121):
            admit(issued, now=NOON + seconds * SECOND)
            seen.append((ApiKey.objects.get().last_used_at - NOON).total_seconds())

        self.assertEqual(seen, [0, 0, 0, 60, 60, 121])


class ApiKeyConstraintsTests(TestCase):
    def test_the_database_refuses_a_row_that_makes_no_sense(self):
        key = given_key().key
        for change in (
            {"prefix": "sk_short"},
            {"digest": "secret"},
            {"name": ""},
            {"scopes": []},
            {"expires_at": NOON - SECOND},
            {"replaced_by": key.pk},
        ):
            with self.subTest(change), self.assertRaises(IntegrityError), transaction.atomic():
                ApiKey.objects.update(**change)

    def test_an_account_with_keys_cannot_be_deleted(self):
        key = given_key().key

        with self.assertRaises(Exception) as caught:
            key.user.delete()

        self.assertEqual(type(caught.exception).__name__, "ProtectedError")
        self.assertEqual(ApiKey.objects.get().user, key.user)


class RolesTests(TestCase):
    def test_four_groups_exist_and_the_operator_keeps_keys(self):
        may = {
            group.name: {
                permission.codename
                for permission in group.permissions.filter(content_type__app_label="accounts")
            }
            for group in Group.objects.all()
        }

        self.assertEqual(
            may,
            {
                "viewer": set(),
                "stock keeper": set(),
                "order desk": set(),
                "operator": {"view_apikey", "add_apikey", "change_apikey"},
            },
        )
