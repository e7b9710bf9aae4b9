"""
The data of a person: told to them, and erased.

Orders name a customer by the identifier that the account chose, with an address, metadata and
notes; answers that keys are told again and events repeat some of it. Sums, units and the ledger say
nothing of a person and stay as they are.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import orjson

from events.usecases import commit, list_events, record_events, rewrite_answers, rewrite_events
from inventory.usecases import Provenance
from orders import storage
from orders.changes import change_event
from orders.documents import address, etag, instant, stored_document
from orders.models import Erasure, Order
from orders.reading import OrderText, keep_texts
from orders.rules import CustomerHasOpenOrders, CustomerNotFound, OrderFilter
from orders.states import Status

ERASED = "erased"
# What people write by hand when they change an order, and what leads to an address elsewhere.
FREE_TEXTS = ("reason", "parcel")
OPEN_STATUSES = (Status.PLACED, Status.CONFIRMED)


def export_customer(customer: str, *, account_id: int) -> Iterator[dict[str, Any]]:
    """
    Yield all that is kept about a customer of an account, order by order, newest first.

    Queries for each order. Raises CustomerNotFound before the first.
    """
    orders = storage.list_orders(account_id=account_id, where=OrderFilter(customer=customer))
    order_ids = list(orders.values_list("pk", flat=True))
    if not order_ids:
        raise CustomerNotFound
    return (_export(storage.get_order(each, account_id=account_id)) for each in order_ids)


def _export(order: Order) -> dict[str, Any]:
    events = list_events("order", str(order.pk), limit=order.version)
    return stored_document(order) | {
        "notes": [
            {"author": note.author, "text": note.text, "written_at": instant(note.written_at)}
            for note in storage.list_notes(order.pk)
        ],
        "payments": [
            {
                "kind": said.kind,
                "provider": said.provider,
                "provider_event_id": said.provider_event_id,
                "amount_minor": said.amount_minor,
                "recorded_at": instant(said.recorded_at),
            }
            for said in storage.list_payments(order.pk)
        ],
        "events": [
            {"type": event.type, "at": instant(event.occurred_at), "data": event.data}
            for event in events
        ],
    }


def erase_customer(
    customer: str,
    *,
    account_id: int,
    reason: str,
    provenance: Provenance,
    now: datetime,
    includes_open: bool = False,
) -> Erasure:
    """
    Put a name without meaning in the place of a customer of an account, wherever it lies.

    All of it in one transaction. Each order is one version on, and order.erased tells so. A key
    that was accepted is answered with the order as it is then, and places nothing anew. The new
    name is drawn: nothing leads back from it. includes_open: also where an order is still to be
    sent or paid. Raises CustomerNotFound, CustomerHasOpenOrders, and what commit raises.
    """
    stand_in = f"{ERASED}-{uuid4().hex}"

    def erase() -> tuple[Erasure, list[Order]]:
        order_ids = _lock(customer, account_id, includes_open=includes_open)
        storage.erase_orders(order_ids, customer=stand_in, now=now)
        counts = {
            "orders": len(order_ids),
            "notes": storage.erase_notes(order_ids, text=ERASED),
            "events": rewrite_events("order", [str(each) for each in order_ids], _without_texts),
            "answers": rewrite_answers(
                [_beginning(each) for each in order_ids],
                lambda body: _without_person(body, stand_in),
            ),
        }
        orders = list(storage.list_by_id(order_ids))
        record_events([change_event(each, "order.erased", {}, provenance, now) for each in orders])
        erasure = storage.add_erasure(
            account_id=account_id,
            customer=stand_in,
            actor=provenance.actor,
            reason=reason,
            erased_at=now,
            **counts,
        )
        return erasure, orders

    erasure, orders = commit(erase)
    keep_texts((order.account_id, address(order.pk), _text(order)) for order in orders)
    return erasure


def _lock(customer: str, account_id: int, *, includes_open: bool) -> list[UUID]:
    orders = storage.lock_customer(customer, account_id=account_id)
    if not orders:
        raise CustomerNotFound
    numbers = [order.number for order in orders if order.status in OPEN_STATUSES]
    if numbers and not includes_open:
        raise CustomerHasOpenOrders(numbers)
    return [order.pk for order in orders]


def _beginning(order_id: UUID) -> str:
    """Return how the document of an order begins, in every answer that has one."""
    return f'{{"id":"{order_id}"'


def _without_person(body: str, stand_in: str) -> str:
    told = orjson.loads(body)
    told |= {"customer": stand_in, "ship_to": None, "metadata": None}
    return orjson.dumps(told).decode()


def _without_texts(told: dict[str, Any]) -> dict[str, Any]:
    return {name: ERASED if name in FREE_TEXTS and value else value for name, value in told.items()}


def _text(order: Order) -> OrderText:
    return OrderText(orjson.dumps(stored_document(order)).decode(), etag(order.version))
