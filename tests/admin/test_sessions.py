"""How long a login lasts, and what ends it."""

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import TestCase

from accounts.middleware import BEGAN_AT, SEEN_AT

HOUR_S = 3600


class SessionLimitsTests(TestCase):
    def setUp(self):
        self.root = User.objects.create_superuser("root")
        self.client.force_login(self.root)
        self.assertTrue(self.is_let_in())

    def is_let_in(self):
        return self.client.get("/admin/").status_code == 200

    def age(self, *, began_s=0.0, seen_s=0.0):
        session = self.client.session
        session[BEGAN_AT] -= began_s
        session[SEEN_AT] -= seen_s
        session.save()

    def test_half_an_hour_of_idleness_ends_a_login(self):
        self.age(seen_s=29 * 60)
        self.assertTrue(self.is_let_in())

        self.age(seen_s=30 * 60)
        self.assertFalse(self.is_let_in())
        self.assertFalse(Session.objects.exists())

    def test_twelve_hours_end_a_login_however_busy(self):
        self.age(began_s=11.9 * HOUR_S)
        self.assertTrue(self.is_let_in())

        self.age(began_s=0.1 * HOUR_S)
        self.assertFalse(self.is_let_in())

    def test_a_busy_login_is_noted_once_a_minute(self):
        seen = self.client.session[SEEN_AT]
        self.is_let_in()
        self.assertEqual(self.client.session[SEEN_AT], seen)

        self.age(seen_s=60)
        self.is_let_in()
        self.assertGreater(self.client.session[SEEN_AT], seen)

    def test_a_new_login_begins_anew(self):
        self.age(began_s=13 * HOUR_S)
        self.assertFalse(self.is_let_in())

        self.client.force_login(self.root)
        self.assertTrue(self.is_let_in())

    def test_a_new_password_ends_every_login(self):
        self.root.set_password("something else entirely")
        self.root.save()

        self.assertFalse(self.is_let_in())

    def test_a_user_made_inactive_is_out_at_once(self):
        User.objects.update(is_active=False)

        self.assertFalse(self.is_let_in())
