"""Who calls: the user of the API key in the Authorization header, and nothing else."""

import logging

from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts import rules, usecases
from accounts.errors import Unauthenticated, authenticate_header
from accounts.keyring import Keyring
from accounts.rules import Grant
from accounts.tracing import authentication_span, tell_caller

logger = logging.getLogger(__name__)

keyring = Keyring()


class ApiKeyAuthentication(BaseAuthentication):
    """
    `Authorization: Bearer sk_…`; cookies and query strings are never looked at.

    Sets request.user to the user and request.auth to the key's Grant.
    """

    keyring = keyring

    def authenticate(self, request: Request) -> tuple[User, Grant] | None:
        """Return who calls, None without a header; raises Unauthenticated for a bad key."""
        # Request.META goes through Request.__getattr__, which costs more than all the rest here.
        header = request._request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        try:
            with authentication_span() as span:
                caller = self._identify(header)
                tell_caller(span, account_id=caller.user.pk, prefix=caller.grant.prefix)
        except Unauthenticated as refusal:
            log_refusal(refusal, request)
            raise
        return caller.user, caller.grant

    def authenticate_header(self, request: Request) -> str:
        """Return the WWW-Authenticate header of a 401."""
        return authenticate_header()

    def _identify(self, header: str) -> usecases.Caller:
        presented = rules.parse_bearer(header)
        if presented is None:
            raise Unauthenticated("malformed")
        # The keyring knows digests, not keys: a dump of this process's memory opens nothing.
        digest = rules.digest_of(presented.key_text)
        now = timezone.now()
        caller = self.keyring.find(digest) or self.keyring.ask(
            digest, lambda: usecases.admit(presented, digest=digest, now=now)
        )
        if caller.expires_at is not None and caller.expires_at <= now:
            raise Unauthenticated("expired", prefix=presented.prefix)
        return caller


def log_refusal(refusal: Unauthenticated, request: Request) -> None:
    """Log who was refused and why; the prefix is public, the secret is never logged."""
    logger.warning(
        "Refused API key %s: %s",
        refusal.prefix or "(none)",
        refusal.reason,
        extra={
            "event": "authentication_refused",
            "key_prefix": refusal.prefix,
            "reason": refusal.reason,
            "client_address": request._request.META.get("REMOTE_ADDR"),
        },
    )
