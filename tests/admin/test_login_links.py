"""A link that logs a person in once."""

from datetime import timedelta
from io import StringIO

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client, TestCase
from django.utils import timezone

from accounts import usecases
from accounts.models import LoginLink


def admin_link(*options):
    stdout = StringIO()
    call_command("admin_link", *options, stdout=stdout, stderr=StringIO())
    return stdout.getvalue().strip()


class AdminLinkTests(TestCase):
    def is_logged_in(self):
        return "_auth_user_id" in self.client.session

    def test_logs_a_person_in_after_a_click(self):
        link = admin_link("--user", "root", "--create-superuser")
        self.assertRegex(link, r"^/admin/login/once/[0-9A-Za-z_-]{43}$")
        self.assertFalse(User.objects.get().has_usable_password())

        asked = self.client.get(link)
        self.assertContains(asked, "root")
        self.assertIn("no-store", asked["Cache-Control"])
        self.assertFalse(self.is_logged_in())

        self.assertRedirects(self.client.post(link), "/admin/")
        self.assertTrue(self.is_logged_in())

    def test_works_once(self):
        link = admin_link("--user", "root", "--create-superuser")
        self.client.post(link)
        self.client.logout()

        self.assertContains(self.client.get(link), "used or is too old", status_code=404)
        self.assertContains(self.client.post(link), "used or is too old", status_code=404)
        self.assertFalse(self.is_logged_in())

    def test_of_two_clicks_the_second_finds_it_used(self):
        root = User.objects.create_superuser("root")
        now = timezone.now()
        token = usecases.make_login_link(user=root, now=now)

        self.assertEqual(usecases.use_login_link(token, now=now), root)
        with self.assertRaises(usecases.LoginLinkSpent):
            usecases.use_login_link(token, now=now)

    def test_previews_do_not_use_it_up(self):
        link = admin_link("--user", "root", "--create-superuser")
        for _ in range(3):
            self.client.get(link)
            self.client.head(link)

        self.assertRedirects(self.client.post(link), "/admin/")

    def test_is_dead_after_ten_minutes(self):
        link = admin_link("--user", "root", "--create-superuser")
        minutes = timedelta(minutes=10)
        made = LoginLink.objects.get()
        self.assertEqual(made.expires_at - made.created_at, minutes)
        made.created_at -= minutes
        made.expires_at -= minutes
        made.save()

        self.assertEqual(self.client.post(link).status_code, 404)
        self.assertFalse(self.is_logged_in())

    def test_is_dead_when_its_user_is(self):
        link = admin_link("--user", "root", "--create-superuser")
        User.objects.update(is_active=False)

        self.assertEqual(self.client.post(link).status_code, 404)
        self.assertIsNone(LoginLink.objects.get().used_at)

    def test_is_stored_as_a_digest(self):
        link = admin_link("--user", "root", "--create-superuser")

        self.assertNotIn(link.rsplit("/", 1)[1], repr(LoginLink.objects.values().get()))

    def test_needs_the_token_of_its_form(self):
        self.client = Client(enforce_csrf_checks=True)
        link = admin_link("--user", "root", "--create-superuser")

        self.assertEqual(self.client.post(link).status_code, 403)
        self.assertIsNone(LoginLink.objects.get().used_at)

    def test_an_unknown_token_tells_nothing(self):
        for token in ("x", "a" * 43, "a" * 3000, "é"):
            with self.subTest(token=token[:50]):
                answer = self.client.get(f"/admin/login/once/{token}")
                self.assertContains(answer, "used or is too old", status_code=404)

    def test_drops_the_links_that_time_has_closed(self):
        root = User.objects.create_superuser("root")
        now = timezone.now()
        usecases.make_login_link(user=root, now=now - timedelta(minutes=11))
        usecases.make_login_link(user=root, now=now)

        self.assertEqual(LoginLink.objects.count(), 1)

    def test_is_made_for_staff_alone(self):
        User.objects.create_user("shop")
        User.objects.create_user("gone", is_staff=True, is_active=False)
        for options in (
            ("--user", "nobody"),
            ("--user", "shop"),
            ("--user", "shop", "--create-superuser"),
            ("--user", "gone"),
        ):
            with self.subTest(options), self.assertRaises(CommandError):
                admin_link(*options)

        self.assertFalse(LoginLink.objects.exists())
        self.assertFalse(User.objects.filter(is_superuser=True).exists())
