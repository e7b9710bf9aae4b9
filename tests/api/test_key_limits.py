"""How often a key may call, and how often somebody may fail to present one."""

import json
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.test import TestCase, override_settings
from django.utils import timezone

from accounts import usecases
from accounts.authentication import calls, failures, keyring
from accounts.models import ApiKey
from tests.api.caller import Caller
from tests.builders import given_account


class KeyLimitTestCase(TestCase):
    def setUp(self):
        for memory in (keyring, calls, failures):
            memory.forget()
            self.addCleanup(memory.forget)

    def given_key(self, **more) -> usecases.IssuedKey:
        return usecases.issue_key(
            user=given_account(), name="till", scopes=["stock:read"], now=timezone.now(), **more
        )

    def statuses(self, text: str, count: int, **headers: str) -> list[int]:
        caller = Caller(text)
        return [caller.get("/skus", **headers).status_code for _ in range(count)]


class CallLimitTests(KeyLimitTestCase):
    def test_a_key_over_its_limit_is_told_when_to_come_back(self):
        key = self.given_key(calls_per_s=1)
        assert self.statuses(key.text, 1) == [200]

        response = Caller(key.text).get("/skus")

        problem = json.loads(response.content)
        assert (response.status_code, problem["code"]) == (429, "too_many_requests")
        assert (problem["retryable"], problem["effect"]) == (True, "none")
        assert int(response.headers["Retry-After"]) in (1, 2, 3)

    def test_a_key_without_a_limit_has_that_of_the_setting(self):
        key = self.given_key()

        with override_settings(ACCOUNTS_CALLS_PER_S=4, ACCOUNTS_PROCESSES=2):
            assert self.statuses(key.text, 3) == [200, 200, 429]

    def test_one_key_does_not_use_up_the_limit_of_another(self):
        busy, calm = self.given_key(calls_per_s=1), self.given_key(calls_per_s=1)

        assert self.statuses(busy.text, 2) == [200, 429]
        assert self.statuses(calm.text, 1) == [200]

    def test_a_successor_has_the_same_limit(self):
        key = self.given_key(calls_per_s=7)

        issued = usecases.rotate_key(key.key.pk, overlap=timedelta(0), now=timezone.now())

        assert issued.key.calls_per_s == 7

    def test_a_limit_of_nothing_is_no_limit(self):
        with self.assertRaises(IntegrityError), transaction.atomic():
            self.given_key(calls_per_s=0)
        assert not ApiKey.objects.exists()


class FailureLimitTests(KeyLimitTestCase):
    def setUp(self):
        super().setUp()
        self.key = self.given_key()
        self.guess = self.key.text[:-1] + ("x" if self.key.text[-1] != "x" else "y")

    def test_whoever_guesses_is_refused_unlooked_at(self):
        with self.assertLogs("accounts.authentication", "WARNING") as logged:
            assert self.statuses(self.guess, 10) == [401] * 10
            with self.assertNumQueries(0):
                assert self.statuses(self.guess, 5) == [429] * 5

        assert len(logged.output) == 11
        assert "failed too often" in logged.output[-1]
        assert self.key.text not in "".join(logged.output)

    def test_a_key_that_opened_goes_on_to_open(self):
        self.statuses(self.key.text, 1)
        with self.assertLogs("accounts.authentication", "WARNING"):
            self.statuses(self.guess, 12)

        self.let_a_second_pass()

        assert self.statuses(self.key.text, 1) == [200]

    def let_a_second_pass(self):
        """Make the keyring ask again, as it does after a second."""
        for digest, known in keyring._known.items():
            keyring._known[digest] = known._replace(until=0.0)

    def test_another_address_is_not_punished(self):
        with (
            override_settings(ACCOUNTS_PROXIES=1),
            self.assertLogs("accounts.authentication", "WARNING"),
        ):
            self.statuses(self.guess, 12, **{"X-Forwarded-For": "198.51.100.7"})

            other = {"X-Forwarded-For": "198.51.100.7, 198.51.100.8"}
            assert self.statuses(self.guess, 1, **other) == [401]
            assert self.statuses(self.key.text, 1, **other) == [200]
