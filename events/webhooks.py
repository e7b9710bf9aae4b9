"""What one endpoint is sent, and how."""

import time
from collections.abc import Sequence

from django.conf import settings

from events.addresses import read_address
from events.egress import Egress
from events.envelope import MEDIA_TYPE, StoredEvent, compose
from events.errors import AddressRefused
from events.retries import Attempt
from events.signing import SecretLost, sign, unseal
from events.tracing import current_traceparent, delivery_span, tell_attempt

USER_AGENT = "Sluice-Webhooks/1"


class Webhook:
    """
    Sends events to one endpoint, signed, over connections that are kept for a while.

    sealed_secrets: newest first; every one signs.
    """

    def __init__(self, url: str, sealed_secrets: Sequence[str]) -> None:
        self._url = url
        self._sealed_secrets = tuple(sealed_secrets)
        self._secrets: list[str] = []
        self._egress = Egress(allowed=settings.WEBHOOKS_PRIVATE_NETWORKS)

    def is_still(self, url: str, sealed_secrets: Sequence[str]) -> bool:
        """Test whether this is what the endpoint is now."""
        return (self._url, self._sealed_secrets) == (url, tuple(sealed_secrets))

    def send(self, event: StoredEvent) -> Attempt:
        """Make one attempt. The address is read anew: what was public once may be so no more."""
        with delivery_span(event.id, event.traceparent) as span:
            attempt = self._send(event)
            tell_attempt(
                span, is_success=attempt.is_success, status=attempt.status, error=attempt.error
            )
        return attempt

    def _send(self, event: StoredEvent) -> Attempt:
        try:
            address = read_address(
                self._url,
                allows_http=settings.WEBHOOKS_ALLOW_HTTP,
                allowed=settings.WEBHOOKS_PRIVATE_NETWORKS,
            )
            self._secrets = self._secrets or [unseal(text) for text in self._sealed_secrets]
        except AddressRefused:
            return Attempt(error="address_refused")
        except SecretLost:
            return Attempt(error="secret_lost")
        body = compose(event, source=settings.EVENTS_SOURCE)
        timestamp_s = int(time.time())
        headers = {
            "Content-Type": MEDIA_TYPE,
            "User-Agent": USER_AGENT,
            "webhook-id": str(event.id),
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": sign(
                body, event_id=event.id, timestamp_s=timestamp_s, secrets=self._secrets
            ),
        }
        if event.traceparent:
            headers["traceparent"] = current_traceparent() or event.traceparent
        return self._egress.post(address, headers, body)

    def close(self) -> None:
        """Hang up."""
        self._egress.close()
