"""The public door of webhooks: where an account is told of what, and what became of it."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from events import storage, subscribing
from events.addresses import read_address
from events.durable import hot_cursor
from events.errors import EndpointDisabled, EndpointNotFound, TooManyEndpoints, TypesForbidden
from events.models import Delivery, Endpoint, Event
from events.rules import Audience, NewEvent
from events.signing import new_secret, seal, unseal

logger = logging.getLogger(__name__)

ENDPOINTS_MAX = 20
REPLAYED_MAX = 10_000
OVERLAP_HOURS = 24
FAILING_DAYS_MAX = 5


@dataclass(frozen=True, slots=True)
class Replayed:
    """
    What is delivered again.

    deliveries: how many are due again. has_more: there was more than one call replays; goes_on_at
    is where the next call begins, None for dead letters.
    """

    deliveries: int
    has_more: bool
    goes_on_at: datetime | None = None


def create_endpoint(
    *, audience: Audience, url: str, types: Sequence[str], description: str, now: datetime
) -> tuple[Endpoint, str]:
    """
    Add an endpoint; return it and its secret, which is told once.

    It is told of what happens from now on. Raises AddressRefused, TypesForbidden and
    TooManyEndpoints.
    """
    _check_url(url)
    _check_types(audience, types)
    secret = new_secret()
    with transaction.atomic():
        _lock_account(audience.account_id)
        if subscribing.list_endpoints(audience.account_id).count() >= ENDPOINTS_MAX:
            raise TooManyEndpoints(endpoints_max=ENDPOINTS_MAX)
        endpoint = subscribing.add_endpoint(
            audience,
            url=url,
            types=types,
            description=description,
            sealed_secret=seal(secret),
            now=now,
        )
    return endpoint, secret


def list_endpoints(account_id: int) -> list[Endpoint]:
    """Return an account's endpoints, oldest first: ENDPOINTS_MAX at most."""
    return list(subscribing.list_endpoints(account_id))


def get_endpoint(endpoint_id: UUID, *, account_id: int) -> Endpoint:
    """Return an endpoint; raises EndpointNotFound."""
    return subscribing.get_endpoint(endpoint_id, account_id=account_id)


def update_endpoint(
    endpoint_id: UUID, *, audience: Audience, now: datetime, **changes: Any
) -> Endpoint:
    """
    Change an endpoint's url, types, description or is_enabled; return it.

    From then on it sees what the key that changes it sees, which is never less than before. One
    that is enabled begins anew, with what was left undone. Raises EndpointNotFound, AddressRefused
    and TypesForbidden.
    """
    if "url" in changes:
        _check_url(changes["url"])
    with transaction.atomic():
        endpoint = subscribing.lock_endpoint(endpoint_id, account_id=audience.account_id)
        is_enabled = changes.pop("is_enabled", None)
        if changes:
            _check_sight(audience, endpoint)
            for name, value in changes.items():
                setattr(endpoint, name, value)
            _check_types(audience, endpoint.types)
            endpoint.sees_shared, endpoint.sees_all = audience.sees_shared, audience.sees_all
        if is_enabled is not None and is_enabled != endpoint.is_enabled:
            _switch(endpoint, "" if is_enabled else Endpoint.Disabled.ASKED, now)
        endpoint.updated_at = now
        endpoint.save()
    return endpoint


def delete_endpoint(endpoint_id: UUID, *, account_id: int, now: datetime) -> None:
    """Take an endpoint away; its log stays for a while. Raises EndpointNotFound."""
    with transaction.atomic():
        endpoint = subscribing.lock_endpoint(endpoint_id, account_id=account_id)
        _switch(endpoint, Endpoint.Disabled.DELETED, now)
        endpoint.save()


def disable_endpoint(endpoint_id: UUID, *, reason: str, now: datetime) -> bool:
    """
    Send nothing to an endpoint any more, and tell its account by an event and operators by a log.

    Returns False when it was disabled or deleted already.
    """
    with transaction.atomic():
        try:
            endpoint = subscribing.lock_endpoint(endpoint_id, account_id=None)
        except EndpointNotFound:
            return False
        if not endpoint.is_enabled:
            return False
        _switch(endpoint, reason, now)
        endpoint.save()
        storage.add_events([_disabled_event(endpoint, now)])
    # Not its address, here and in the event: to many receivers the address is the secret.
    logger.warning(
        "webhook %s of account %s is disabled: %s", endpoint.pk, endpoint.account_id, reason
    )
    return True


def disable_failing(*, now: datetime, days: int = FAILING_DAYS_MAX) -> int:
    """Disable the endpoints that have taken nothing for so many days; return how many."""
    failing = subscribing.list_failing(days=days)
    return sum(
        disable_endpoint(endpoint_id, reason=Endpoint.Disabled.FAILING, now=now)
        for endpoint_id in failing
    )


def rotate_secret(
    endpoint_id: UUID, *, account_id: int, overlap_hours: int = OVERLAP_HOURS, now: datetime
) -> tuple[Endpoint, str]:
    """
    Give an endpoint a new secret, which is told once; the former one signs too for a while.

    Raises EndpointNotFound.
    """
    secret = new_secret()
    with transaction.atomic():
        endpoint = subscribing.lock_endpoint(endpoint_id, account_id=account_id)
        endpoint.sealed_former_secret = endpoint.sealed_secret
        endpoint.former_secret_until = now + timedelta(hours=overlap_hours)
        endpoint.sealed_secret = seal(secret)
        endpoint.updated_at = now
        endpoint.save()
    return endpoint, secret


def ping_endpoint(endpoint_id: UUID, *, account_id: int, now: datetime) -> UUID:
    """
    Send an event of type webhook.test through an endpoint's lane; return the event's id.

    Raises EndpointNotFound and EndpointDisabled.
    """
    with transaction.atomic():
        endpoint = subscribing.lock_endpoint(endpoint_id, account_id=account_id)
        if not endpoint.is_enabled:
            raise EndpointDisabled
        return subscribing.add_ping(
            endpoint,
            event_type="webhook.test",
            data=json.dumps({"webhook_id": str(endpoint.pk)}),
            now=now,
        )


def list_deliveries(
    endpoint_id: UUID,
    *,
    account_id: int,
    state: str = "",
    before_id: int | None = None,
    limit: int,
) -> tuple[list[tuple[Delivery, Event | None]], int | None]:
    """
    Return at most limit deliveries with their events, newest first, and the id to go on before.

    Raises EndpointNotFound.
    """
    endpoint = subscribing.get_endpoint(endpoint_id, account_id=account_id)
    rows = list(
        subscribing.list_deliveries(endpoint.lane_id, state=state, before_id=before_id)[: limit + 1]
    )
    page = rows[:limit]
    events = subscribing.find_events([row.event_id for row in page])
    told = [(row, events.get(row.event_id)) for row in page]
    return told, page[-1].pk if len(rows) > limit else None


def replay_dead(endpoint_id: UUID, *, account_id: int) -> Replayed:
    """
    Deliver the dead letters of an endpoint again, oldest first, REPLAYED_MAX at most.

    Raises EndpointNotFound and EndpointDisabled.
    """
    with transaction.atomic():
        endpoint = _lock_enabled(endpoint_id, account_id)
        again = subscribing.replay_dead(endpoint.lane_id, limit=REPLAYED_MAX)
    return Replayed(again, has_more=again == REPLAYED_MAX)


def replay_delivery(delivery_id: int) -> bool:
    """
    Deliver one event to its endpoint again; return False when it is on its way already.

    Raises EndpointNotFound and EndpointDisabled.
    """
    with transaction.atomic():
        endpoint_id = subscribing.find_lane_endpoint(delivery_id)
        if endpoint_id is None:
            raise EndpointNotFound
        _lock_enabled(endpoint_id, None)
        return subscribing.replay_one(delivery_id)


def replay_range(
    endpoint_id: UUID, *, account_id: int, since: datetime, until: datetime
) -> Replayed:
    """
    Deliver again what was recorded from since until before until, delivered or not.

    An event that is told again may come after later ones of its subject. Raises EndpointNotFound
    and EndpointDisabled.
    """
    with transaction.atomic():
        endpoint = _lock_enabled(endpoint_id, account_id)
        again, chosen, reached = subscribing.replay_range(
            endpoint, first=first_id_at(since), last=first_id_at(until), limit=REPLAYED_MAX
        )
    has_more = chosen == REPLAYED_MAX and reached is not None
    return Replayed(again, has_more, time_of_id(reached) if has_more and reached else None)


def first_id_at(at: datetime) -> UUID:
    """Return the lowest UUIDv7 of a millisecond."""
    return UUID(int=max(0, int(at.timestamp() * 1000)) << 80)


def time_of_id(event_id: UUID) -> datetime:
    """Return the millisecond in which an event was recorded."""
    return datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC)


def secrets_of(sealed: Sequence[str | None]) -> list[str]:
    """Return the secrets that sign, newest first; raises SecretLost."""
    return [unseal(text) for text in sealed if text]


def _lock_enabled(endpoint_id: UUID, account_id: int | None) -> Endpoint:
    endpoint = subscribing.lock_endpoint(endpoint_id, account_id=account_id)
    if not endpoint.is_enabled:
        raise EndpointDisabled
    return endpoint


def _lock_account(account_id: int) -> None:
    """Let two endpoints of one account not be added at the same moment."""
    hot_cursor().execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('events.endpoint', %s))", (account_id,)
    )


def _check_url(url: str) -> None:
    read_address(
        url,
        allows_http=settings.WEBHOOKS_ALLOW_HTTP,
        allowed=settings.WEBHOOKS_PRIVATE_NETWORKS,
    )


def _check_types(audience: Audience, types: Sequence[str]) -> None:
    families = {name.split(".")[0] for name in types}
    if not audience.sees_shared and not families.isdisjoint(settings.EVENTS_SHARED_TYPES):
        raise TypesForbidden(settings.EVENTS_SHARED_SCOPE)


def _check_sight(audience: Audience, endpoint: Endpoint) -> None:
    # What waits, and what is replayed, was chosen by what the endpoint sees: a key that sees less
    # could else lead it to an address of its own.
    if endpoint.sees_shared and not audience.sees_shared:
        raise TypesForbidden(settings.EVENTS_SHARED_SCOPE)
    if endpoint.sees_all and not audience.sees_all:
        raise TypesForbidden(settings.EVENTS_ALL_SCOPE)


def _switch(endpoint: Endpoint, reason: str, now: datetime) -> None:
    endpoint.is_enabled = not reason
    endpoint.disabled_reason = reason
    endpoint.disabled_at = now if reason else None
    endpoint.updated_at = now
    if not reason:
        subscribing.forget_failures(endpoint.lane_id)
        endpoint.lane.refresh_from_db()


def _disabled_event(endpoint: Endpoint, now: datetime) -> NewEvent:
    return NewEvent(
        "webhook.disabled",
        "webhook",
        str(endpoint.pk),
        subscribing.next_version(str(endpoint.pk)),
        {"webhook_id": str(endpoint.pk), "reason": endpoint.disabled_reason},
        at=now,
        account_id=endpoint.account_id,
    )
