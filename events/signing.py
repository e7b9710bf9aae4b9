"""Secrets of endpoints, and signatures as Standard Webhooks defines them."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> str:
    """Return a new secret: whsec_ and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sign(body: bytes, *, event_id: UUID, timestamp_s: int, secrets: Sequence[str]) -> str:
    """
    Return the webhook-signature header: one signature for each secret, apart by blanks.

    Source: Standard Webhooks 1.0, symmetric scheme v1. A UUID and a number have no dot in them, so
    the signed text can be cut in one way only.
    """
    signed = b"%b.%d.%b" % (str(event_id).encode(), timestamp_s, body)
    return " ".join(f"v1,{_signature(signed, secret)}" for secret in secrets)


def _signature(signed: bytes, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def seal(secret: str) -> str:
    """Return a secret as it is stored: encrypted under SECRET_KEY."""
    return _fernet().encrypt(secret.encode()).decode()


def unseal(sealed: str) -> str:
    """Return a stored secret, also one sealed under a former key; raises SecretLost."""
    try:
        return _fernet().decrypt(sealed.encode()).decode()
    except InvalidToken as failure:
        raise SecretLost from failure


class SecretLost(Exception):
    """A secret was sealed under a key that neither SECRET_KEY nor a fallback is any more."""


def _fernet() -> MultiFernet:
    return MultiFernet(
        [_key_of(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    )


def _key_of(secret_key: str) -> Fernet:
    digest = hashlib.sha256(b"events.signing\0" + secret_key.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
