"""manage.py create_api_key"""

from io import StringIO

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import TestCase

from accounts import rules
from accounts.models import ApiKey


def create_api_key(*options):
    stdout, stderr = StringIO(), StringIO()
    call_command("create_api_key", *options, stdout=stdout, stderr=stderr, no_color=True)
    return stdout.getvalue(), stderr.getvalue()


class CreateApiKeyTests(TestCase):
    def test_prints_the_key_alone_on_stdout(self):
        User.objects.create_user("shop")

        printed, told = create_api_key("--user", "shop", "--scope", "orders:read")

        key = ApiKey.objects.get()
        self.assertTrue(printed.endswith("\n"))
        self.assertEqual(rules.digest_of(printed.strip()), key.digest)
        self.assertEqual(key.scopes, ["orders:read"])
        self.assertIsNone(key.expires_at)
        self.assertIn(key.prefix, told)
        self.assertNotIn(printed.strip(), told)

    def test_makes_a_user_without_a_password_when_asked(self):
        create_api_key("--user", "shop", "--create-user", "--all-scopes", "--expires-in-days", "30")

        user, key = User.objects.get(), ApiKey.objects.get()
        self.assertFalse(user.has_usable_password())
        self.assertFalse(user.is_staff)
        self.assertEqual(len(key.scopes), 10)
        self.assertEqual((key.expires_at - key.created_at).days, 30)

    def test_gives_an_existing_user_another_key(self):
        for _ in range(2):
            create_api_key("--user", "shop", "--create-user", "--scope", "stock:read")

        self.assertEqual(User.objects.count(), 1)
        self.assertEqual(ApiKey.objects.count(), 2)

    def test_refuses_what_it_cannot_do_and_changes_nothing(self):
        User.objects.create_user("gone", is_active=False)
        for options in (
            ("--user", "nobody", "--all-scopes"),
            ("--user", "gone", "--all-scopes"),
            ("--user", "new", "--create-user"),
            ("--user", "new", "--create-user", "--scope", "orders:burn"),
            ("--user", "new", "--create-user", "--all-scopes", "--expires-in-days", "0"),
            ("--user", "new", "--create-user", "--all-scopes", "--scope", "orders:read"),
        ):
            with self.subTest(options), self.assertRaises(CommandError):
                create_api_key(*options)

        self.assertEqual(User.objects.count(), 1)
        self.assertFalse(ApiKey.objects.exists())
