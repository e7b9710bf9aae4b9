"""Who calls: the user of the API key in the Authorization header, and nothing else."""

import logging

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts import rules, usecases
from accounts.errors import TooManyRequests, Unauthenticated, authenticate_header
from accounts.keyring import Keyring
from accounts.limits import TokenBuckets
from accounts.rules import Grant
from accounts.tracing import authentication_span, is_traced, tell_caller

logger = logging.getLogger(__name__)

keyring = Keyring()
calls = TokenBuckets()
failures = TokenBuckets()

# A person who mistypes is let be; a program that guesses is not.
FAILURES_PER_S, FAILURES_BURST = 10 / 60, 10


class ApiKeyAuthentication(BaseAuthentication):
    """
    `Authorization: Bearer sk_…`; cookies and query strings are never looked at.

    Sets request.user to the user and request.auth to the key's Grant.
    """

    keyring = keyring
    calls = calls
    failures = failures

    def authenticate(self, request: Request) -> tuple[User, Grant] | None:
        """
        Return who calls, None without a header.

        Raises Unauthenticated for a bad key, TooManyRequests for one that is over its limit and
        for whoever failed too often.
        """
        # Request.META goes through Request.__getattr__, which costs more than all the rest here.
        header = request._request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        try:
            if is_traced():
                with authentication_span() as span:
                    caller = self._identify(header, request)
                    tell_caller(span, account_id=caller.user.pk, prefix=caller.grant.prefix)
            else:
                caller = self._identify(header, request)  # An empty block costs as much again.
        except Unauthenticated as refusal:
            self._note_failure(refusal, request)
            raise
        self._count_call(caller)
        return caller.user, caller.grant

    def authenticate_header(self, request: Request) -> str:
        """Return the WWW-Authenticate header of a 401."""
        return authenticate_header()

    def _count_call(self, caller: usecases.Caller) -> None:
        usual_per_s: int = getattr(settings, "ACCOUNTS_CALLS_PER_S", 10_000)
        per_s = usual_per_s if caller.calls_per_s is None else caller.calls_per_s
        # Each process counts by itself and grants its part.
        part_per_s = per_s / getattr(settings, "ACCOUNTS_PROCESSES", 1)
        wait_s = self.calls.take(caller.grant.key_id, per_s=part_per_s, burst=max(1.0, part_per_s))
        if wait_s:
            raise TooManyRequests(wait_s)

    def _note_failure(self, refusal: Unauthenticated, request: Request) -> None:
        log_refusal(refusal, request)
        if refusal.prefix is None:
            return  # Malformed: it was never looked up.
        name = (refusal.prefix, address_of(request))
        self.failures.take(name, per_s=FAILURES_PER_S, burst=FAILURES_BURST)
        if self.failures.wait_s(name, per_s=FAILURES_PER_S, burst=FAILURES_BURST):
            # From here on refused unlooked-at and unlogged: neither costs whoever guesses.
            logger.warning(
                "API key %s failed too often from %s",
                *name,
                extra={"event": "authentication_limited", "key_prefix": refusal.prefix},
            )

    def _refuse_who_fails_too_often(self, prefix: str, request: Request) -> None:
        wait_s = self.failures.wait_s(
            (prefix, address_of(request)), per_s=FAILURES_PER_S, burst=FAILURES_BURST
        )
        if wait_s:
            raise TooManyRequests(wait_s)

    def _identify(self, header: str, request: Request) -> usecases.Caller:
        presented = rules.parse_bearer(header)
        if presented is None:
            raise Unauthenticated("malformed")
        # The keyring knows digests, not keys: a dump of this process's memory opens nothing.
        digest = rules.digest_of(presented.key_text)
        caller = self.keyring.find(digest)
        if caller is None:
            # The right key goes on to open while somebody guesses beside it.
            if not self.keyring.has_met(digest):
                self._refuse_who_fails_too_often(presented.prefix, request)
            caller = self.keyring.ask(
                digest, lambda: usecases.admit(presented, digest=digest, now=timezone.now())
            )
        if caller.expires_at is not None and caller.expires_at <= timezone.now():
            raise Unauthenticated("expired", prefix=presented.prefix)
        return caller


def address_of(request: Request) -> str:
    """Return from where a request came, behind the proxies that ACCOUNTS_PROXIES counts."""
    meta = request._request.META
    return rules.client_address(
        meta.get("REMOTE_ADDR", ""),
        meta.get("HTTP_X_FORWARDED_FOR", ""),
        proxies=getattr(settings, "ACCOUNTS_PROXIES", 0),
    )


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
            "client_address": address_of(request),
        },
    )
