"""The public door of orders."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from django.conf import settings

from events.usecases import Answer, Event, KeyedRequest, list_events, retell, use_case
from inventory.usecases import Provenance
from orders import codepaths, storage
from orders.changes import (
    ChangeRequest,
    add_note,
    cancel_order,
    expire_orders,
    fulfill_order,
    record_payment,
    return_units,
)
from orders.exporting import (
    ORDERS_MAX,
    ExportFilter,
    ExportsBusy,
    export_file,
    export_orders,
)
from orders.history import PastOrder, keep_past_order
from orders.lifecycle import (
    Comeback,
    Cut,
    OrderChanged,
    OrderStateConflict,
    Payment,
    PaymentEventReused,
    Pick,
)
from orders.matching import Wanted
from orders.metrics import count_told
from orders.models import Note, Order
from orders.personal import erase_customer, export_customer
from orders.placement import Placement, weight_of
from orders.reading import OrderText
from orders.rules import (
    Charge,
    CustomerHasOpenOrders,
    CustomerNotFound,
    InsufficientStock,
    LineDraft,
    OrderDraft,
    OrderFilter,
    OrderInvalid,
    OrderNotFound,
)
from orders.undoing import undo_sales

__all__ = [
    "ORDERS_MAX",
    "ChangeRequest",
    "Charge",
    "Comeback",
    "CustomerHasOpenOrders",
    "CustomerNotFound",
    "Cut",
    "ExportFilter",
    "ExportsBusy",
    "InsufficientStock",
    "LineDraft",
    "OrderChanged",
    "OrderDraft",
    "OrderFilter",
    "OrderInvalid",
    "OrderNotFound",
    "OrderStateConflict",
    "PastOrder",
    "Payment",
    "PaymentEventReused",
    "Pick",
    "Placement",
    "Wanted",
    "add_note",
    "cancel_order",
    "erase_customer",
    "expire_orders",
    "export_customer",
    "export_file",
    "export_orders",
    "fulfill_order",
    "keep_past_order",
    "list_notes",
    "list_orders",
    "list_timeline",
    "place_order",
    "place_orders",
    "read_order",
    "record_payment",
    "return_units",
    "undo_sales",
]


def place_order(
    draft: OrderDraft, *, request: KeyedRequest, provenance: Provenance, now: datetime
) -> Answer:
    """
    Take an order: its stock, its price and its event in one transaction, once for its key.

    The answer is what the account is told, also the second time. Raises OrderInvalid,
    InsufficientStock, RequestInProgress, IdempotencyKeyReused, StoredRefusal,
    TemporarilyUnavailable (nothing was done) and OutcomeUnknown.
    """
    return retell(place_orders([Placement(draft, request, provenance, now)])[0])


def place_orders(placements: Sequence[Placement]) -> list[Answer | Exception]:
    """
    Take orders as place_order does; return an answer or a refusal for each, in order.

    One bad order harms no other. They need not all be in one transaction.
    """
    told = [told for batch in _batches(placements) for told in _place(batch)]
    count_told(told)
    return told


def _place(batch: Sequence[Placement]) -> list[Answer | Exception]:
    try:
        told: list[Answer | Exception] = codepaths.place(batch)
    except Exception as failure:  # noqa: BLE001  # Answered: to this batch, not to those before it.
        return [failure] * len(batch)
    return told


def _batches(placements: Sequence[Placement]) -> Iterator[list[Placement]]:
    """Split orders, in order, into parts that one transaction may hold."""
    batch: list[Placement] = []
    weight = 0
    for placement in placements:
        more = weight_of(placement)
        if batch and weight + more > settings.ORDERS_BATCH_LINES_MAX:
            yield batch
            batch, weight = [], 0
        batch.append(placement)
        weight += more
    if batch:
        yield batch


def read_order(order_id: UUID, *, account_id: int | None, is_fresh: bool = False) -> OrderText:
    """
    Return an order's document and ETag; raises OrderNotFound. account_id None sees all accounts.

    is_fresh: as it is now, whatever a cache holds.
    """
    text: OrderText = codepaths.get(order_id, account_id=account_id, is_fresh=is_fresh)
    return text


@use_case("orders.list_orders")
def list_orders(
    *, account_id: int | None, where: OrderFilter, before_id: UUID | None = None, limit: int
) -> tuple[list[Order], UUID | None]:
    """
    Return at most limit orders with their lines, newest first, and the id to go on before.

    account_id None sees all accounts.
    """
    rows = storage.list_newest(
        account_id=account_id, where=where, before_id=before_id, limit=limit + 1
    )
    return rows[:limit], rows[limit - 1].pk if len(rows) > limit else None


@use_case("orders.list_timeline")
def list_timeline(
    order_id: UUID, *, account_id: int | None, after_version: int = 0, limit: int
) -> tuple[list[Event], int | None]:
    """
    Return at most limit of an order's events, first to last, and the version to go on after.

    Raises OrderNotFound.
    """
    storage.get_order(order_id, account_id=account_id)
    events = list_events("order", str(order_id), after_version=after_version, limit=limit + 1)
    is_more = len(events) > limit
    return events[:limit], events[limit - 1].aggregate_version if is_more else None


def list_notes(
    order_id: UUID, *, account_id: int | None, after_version: int = 0, limit: int
) -> tuple[list[Note], int | None]:
    """
    Return at most limit of an order's notes, first to last, and the version to go on after.

    Raises OrderNotFound.
    """
    storage.get_order(order_id, account_id=account_id)
    notes = storage.list_notes(order_id).filter(order_version__gt=after_version)
    rows = list(notes[: limit + 1])
    return rows[:limit], rows[limit - 1].order_version if len(rows) > limit else None
