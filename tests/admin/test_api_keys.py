"""The back office of API keys."""

import re
from datetime import timedelta

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client, TestCase
from django.urls import reverse
from django.utils import timezone

from accounts import rules, usecases
from accounts.models import ApiKey
from tests.admin.people import given_person

LIST = reverse("admin:accounts_apikey_changelist")
ISSUE = reverse("admin:accounts_apikey_add")
KEY = re.compile(rules.KEY_PATTERN)


def page_of(name, key):
    return reverse(f"admin:accounts_apikey_{name}", args=[key.pk])


class ApiKeyAdminTests(TestCase):
    def setUp(self):
        self.shop = User.objects.create_user("shop")
        self.key = usecases.issue_key(
            user=self.shop, name="till", scopes=["orders:read"], now=timezone.now()
        ).key
        self.client.force_login(given_person("operator"))

    def issue(self, **changes):
        form = {"user": self.shop.pk, "name": "web", "scopes": ["stock:read"], **changes}
        return self.client.post(ISSUE, form)

    def log(self):
        return [entry.change_message for entry in LogEntry.objects.order_by("pk")]

    def test_every_page_opens(self):
        pages = [page_of(name, self.key) for name in ("change", "rotate", "revoke", "history")]
        for page in (LIST, f"{LIST}?q=shop", f"{LIST}?revoked_at__isempty=1", ISSUE, *pages):
            with self.subTest(page):
                self.assertEqual(self.client.get(page).status_code, 200)

    def test_the_list_shows_what_a_key_opens_and_not_its_digest(self):
        answer = self.client.get(LIST)

        for text in (self.key.prefix, "shop", "orders:read", "live"):
            self.assertContains(answer, text)
        self.assertNotContains(answer, self.key.digest)

    def test_a_new_key_is_shown_once_and_stored_nowhere(self):
        answer = self.issue(expires_in_days="30")

        text = KEY.search(answer.content.decode())[0]
        key = ApiKey.objects.get(name="web")
        self.assertEqual(key.digest, rules.digest_of(text))
        self.assertEqual((key.user, key.scopes), (self.shop, ["stock:read"]))
        self.assertEqual(key.expires_at - key.created_at, timedelta(days=30))
        self.assertIn("no-store", answer["Cache-Control"])
        self.assertEqual(self.log(), ["Issued: stock:read"])
        secret = text.removeprefix(key.prefix)
        for page in (LIST, page_of("change", key), page_of("history", key)):
            self.assertNotContains(self.client.get(page), secret)
        self.assertNotIn(secret, repr(dict(self.client.session)) + repr(self.client.cookies))

    def test_refuses_a_form_that_makes_no_sense(self):
        gone = User.objects.create_user("gone", is_active=False)
        for changes in (
            {"user": gone.pk},
            {"user": ""},
            {"name": " "},
            {"scopes": []},
            {"scopes": ["orders:burn"]},
            {"scopes": ["*"]},
            {"expires_in_days": "0"},
            {"expires_in_days": "3651"},
        ):
            with self.subTest(changes):
                answer = self.issue(**changes)
                self.assertEqual(answer.status_code, 200)
                self.assertIsNone(KEY.search(answer.content.decode()))

        self.assertEqual(ApiKey.objects.count(), 1)
        self.assertEqual(self.log(), [])

    def test_rotates_with_overlap(self):
        answer = self.client.post(page_of("rotate", self.key), {"overlap_minutes": "15"})

        text = KEY.search(answer.content.decode())[0]
        self.key.refresh_from_db()
        self.assertEqual(self.key.replaced_by.digest, rules.digest_of(text))
        left = self.key.expires_at - timezone.now()
        self.assertTrue(timedelta(minutes=14) < left <= timedelta(minutes=15))
        successor = self.key.replaced_by.prefix
        self.assertEqual(
            self.log(),
            [
                f"Rotated: {successor} replaces it after 15 minutes",
                f"Issued: replaces {self.key.prefix}",
            ],
        )

    def test_refuses_an_overlap_that_is_none(self):
        for minutes in ("", "-1", "1.5", "43201"):
            with self.subTest(minutes):
                self.client.post(page_of("rotate", self.key), {"overlap_minutes": minutes})

        self.assertEqual(ApiKey.objects.count(), 1)

    def test_revokes_after_a_question(self):
        self.client.get(page_of("revoke", self.key))
        self.assertIsNone(ApiKey.objects.get().revoked_at)

        answer = self.client.post(page_of("revoke", self.key), follow=True)

        self.assertContains(answer, "is revoked")
        self.assertIsNotNone(ApiKey.objects.get().revoked_at)
        self.assertEqual(self.log(), ["Revoked"])

    def test_a_dead_key_is_neither_rotated_nor_revoked_again(self):
        self.client.post(page_of("revoke", self.key))
        revoked_at = ApiKey.objects.get().revoked_at

        for name, form in (("rotate", {"overlap_minutes": "5"}), ("revoke", {})):
            with self.subTest(name):
                answer = self.client.post(page_of(name, self.key), form, follow=True)
                self.assertContains(answer, "Nothing was done")

        self.assertEqual(ApiKey.objects.get().revoked_at, revoked_at)
        self.assertEqual(self.log(), ["Revoked"])

    def test_nothing_is_edited_or_deleted(self):
        before = ApiKey.objects.values().get()

        edit = self.client.post(page_of("change", self.key), {"name": "other", "scopes": "*"})
        delete = self.client.post(page_of("delete", self.key), {"post": "yes"})

        self.assertEqual((edit.status_code, delete.status_code), (403, 403))
        self.assertEqual(ApiKey.objects.values().get(), before)

    def test_a_key_that_is_not_there_is_not_found(self):
        self.key.pk = 0

        self.assertEqual(self.client.get(page_of("revoke", self.key)).status_code, 404)

    def test_a_form_without_its_token_is_refused(self):
        client = Client(enforce_csrf_checks=True)
        client.force_login(User.objects.get(username="operator"))

        for page in (ISSUE, page_of("rotate", self.key), page_of("revoke", self.key)):
            with self.subTest(page):
                self.assertEqual(client.post(page, {"overlap_minutes": "5"}).status_code, 403)

        self.assertEqual(ApiKey.objects.get().revoked_at, None)

    def test_other_roles_see_and_change_nothing(self):
        for role in ("viewer", "stock keeper", "order desk"):
            self.client.force_login(given_person(role))
            pages = [page_of(name, self.key) for name in ("change", "rotate", "revoke", "history")]
            for page in (LIST, ISSUE, *pages):
                with self.subTest(role=role, page=page):
                    self.assertEqual(self.client.get(page).status_code, 403)
                    form = {"overlap_minutes": "5", "user": self.shop.pk, "name": "x"}
                    form["scopes"] = ["stock:read"]
                    self.assertEqual(self.client.post(page, form).status_code, 403)

        self.assertEqual(ApiKey.objects.get().revoked_at, None)

    def test_a_stranger_is_sent_to_the_login(self):
        self.client.logout()

        for page in (LIST, ISSUE, page_of("rotate", self.key)):
            with self.subTest(page):
                self.assertRedirects(self.client.get(page), f"/admin/login/?next={page}")
