"""The ways to read an order: from the database, and from the cache."""

import hmac
from collections.abc import Iterable
from functools import cache as once
from typing import NamedTuple
from uuid import UUID

import orjson
from django.conf import settings
from django.core.cache import cache

from events.usecases import use_case
from orders import storage
from orders.documents import address, etag, stored_document

# Part of each cache key: raise it when the text below changes its shape, so that two releases
# that run side by side never read each other's.
FORMAT = 3


class OrderText(NamedTuple):
    """An order's document as JSON text, and its ETag."""

    body: str
    etag: str


@use_case("orders.read_order")
def read_from_database(order_id: UUID, *, account_id: int | None, is_fresh: bool) -> OrderText:
    """Return an order as it is now; raises OrderNotFound. account_id None sees all accounts."""
    order = storage.read_order(order_id, account_id=account_id)
    return OrderText(orjson.dumps(stored_document(order)).decode(), etag(order.version))


@use_case("orders.read_order")
def read_from_cache(order_id: UUID, *, account_id: int | None, is_fresh: bool) -> OrderText:
    """
    Return an order as it was at most ORDER_CACHE_S ago; raises OrderNotFound.

    is_fresh: the caller wants it as it is now. Whoever sees all accounts reads the database.
    """
    if is_fresh or account_id is None:
        return read_from_database(order_id, account_id=account_id, is_fresh=True)
    key = _key(account_id, address(order_id))
    sealed = cache.get(key)
    found = _opened(key, sealed)
    if found is not None:
        return found
    text = read_from_database(order_id, account_id=account_id, is_fresh=True)
    # Added where nothing was: a change that was committed since this was read may have written a
    # newer text there. What is no text of ours is replaced all the same.
    write = cache.add if sealed is None else cache.set
    write(key, _sealed(key, text), timeout=settings.ORDER_CACHE_S)
    return text


def keep_texts(texts: Iterable[tuple[int, str, OrderText]]) -> None:
    """
    Write orders to the cache, in one round trip: (account id, address, text) each.

    Only after their transaction was committed. A write that fails leaves an older text for
    ORDER_CACHE_S at most.
    """
    keyed = ((_key(account_id, where), text) for account_id, where, text in texts)
    sealed = {key: _sealed(key, text) for key, text in keyed}
    if sealed:
        cache.set_many(sealed, timeout=settings.ORDER_CACHE_S)


def _key(account_id: int, where: str) -> str:
    return f"order:{FORMAT}:{account_id}:{where}"


def _sealed(key: str, text: OrderText) -> str:
    said = f"{text.etag}\n{text.body}"
    return f"{_seal(key, said, settings.SECRET_KEY)}\n{said}"


def _opened(key: str, sealed: object) -> OrderText | None:
    if not isinstance(sealed, str):
        return None
    seal, _, said = sealed.partition("\n")
    is_ours = _is_seal(seal, key, said, settings.SECRET_KEY) or any(
        _is_seal(seal, key, said, secret) for secret in settings.SECRET_KEY_FALLBACKS
    )
    if not is_ours:
        return None
    tag, _, body = said.partition("\n")
    return OrderText(body, tag)


def _is_seal(seal: str, key: str, said: str, secret: str) -> bool:
    return hmac.compare_digest(seal.encode(), _seal(key, said, secret).encode())


def _seal(key: str, said: str, secret: str) -> str:
    # The key, and so the account and the order, is part of it: what Redis holds is shown to nobody
    # else, whoever put it there and under whichever name. One key for all, not one derived for
    # each as django.core.signing does: that costs ten times the rest.
    message = f"{key}\n{said}".encode()
    return hmac.digest(_derived(secret), message, "sha256").hex()


@once
def _derived(secret: str) -> bytes:
    return hmac.digest(secret.encode(), b"orders.reading", "sha256")
