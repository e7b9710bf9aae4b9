"""Signatures, as the reference library of Standard Webhooks verifies them."""

import time
import unittest
from uuid import UUID

import pytest
from django.test import override_settings
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from events.signing import SecretLost, new_secret, seal, sign, unseal

EVENT_ID = UUID("0197f0a1-7c3e-7d52-9f6b-2b1f0f4c8a12")
BODY = '{"type": "order.placed", "é": 1}'.encode()


def headers(*secrets, body=BODY):
    now = int(time.time())
    return {
        "webhook-id": str(EVENT_ID),
        "webhook-timestamp": str(now),
        "webhook-signature": sign(body, event_id=EVENT_ID, timestamp_s=now, secrets=secrets),
    }


class SignTests(unittest.TestCase):
    def test_is_verified_by_the_reference_library(self):
        secret = new_secret()

        assert Webhook(secret).verify(BODY, headers(secret)) == {"type": "order.placed", "é": 1}

    def test_is_verified_under_either_secret_while_they_are_rotated(self):
        new, former = new_secret(), new_secret()
        sent = headers(new, former)

        Webhook(new).verify(BODY, sent)
        Webhook(former).verify(BODY, sent)
        with pytest.raises(WebhookVerificationError):
            Webhook(new_secret()).verify(BODY, sent)

    def test_covers_body_id_and_time(self):
        secret = new_secret()
        sent = headers(secret)

        for name, value in {"webhook-id": "other", "webhook-timestamp": "1"}.items():
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(BODY, sent | {name: value})
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(BODY + b" ", sent)


class SecretTests(unittest.TestCase):
    def test_is_long_and_never_the_same(self):
        assert len(new_secret()) == len("whsec_") + 44
        assert new_secret() != new_secret()

    def test_is_stored_as_nobody_can_read_it(self):
        secret = new_secret()

        assert secret not in seal(secret)
        assert seal(secret) != seal(secret)
        assert unseal(seal(secret)) == secret

    def test_outlives_a_rotation_of_the_key_and_not_its_loss(self):
        secret = new_secret()
        with override_settings(SECRET_KEY="former" * 10):
            sealed = seal(secret)

        with override_settings(SECRET_KEY_FALLBACKS=["former" * 10]):
            assert unseal(sealed) == secret
        with pytest.raises(SecretLost):
            unseal(sealed)
