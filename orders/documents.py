"""An order as its account reads it: one shape, from a placement and from the tables."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from orders.models import Order
from orders.rules import NewOrder
from orders.states import FulfillmentStatus, LineState, PaymentStatus, Status

ETAG = re.compile(r'"[0-9]{1,9}"')


def placed_document(order: NewOrder) -> dict[str, Any]:
    """Return the document of an order that is being placed; orjson writes what is no text yet."""
    draft, quote = order.draft, order.quote
    placed_at = instant(order.placed_at)
    return {
        "id": order.id,
        "number": order.number,
        "status": Status.PLACED,
        "payment_status": PaymentStatus.UNPAID,
        "fulfillment_status": FulfillmentStatus.UNFULFILLED,
        "attention": None,
        "customer": draft.customer,
        "reference": draft.reference or None,
        "currency": quote.currency,
        "subtotal_minor": quote.subtotal_minor,
        "charges": [
            {"code": charge.code, "name": charge.name, "amount_minor": charge.amount_minor}
            for charge in draft.charges
        ],
        "total_minor": quote.total_minor,
        "due_minor": quote.total_minor,
        "authorized_minor": 0,
        "captured_minor": 0,
        "refunded_minor": 0,
        "pay_before": None if order.pay_before is None else instant(order.pay_before),
        "ship_to": draft.ship_to,
        "metadata": draft.metadata,
        "lines": [
            _line_document(LineState(n, line.sku, line.quantity, price, backordered=waiting))
            for n, (line, price, waiting) in enumerate(
                zip(
                    draft.lines,
                    quote.unit_prices_minor,
                    order.waiting_units or (0,) * len(draft.lines),
                    strict=True,
                )
            )
        ],
        "served_version": order.served_version,
        "placed_at": placed_at,
        "updated_at": placed_at,
        "version": 1,
    }


def stored_document(order: Order) -> dict[str, Any]:
    """Return the document of a row that came with its lines."""
    state = order.state
    return {
        "id": str(order.pk),
        "number": order.number,
        "status": order.status,
        "payment_status": order.payment_status,
        "fulfillment_status": order.fulfillment_status,
        "attention": order.attention or None,
        "customer": order.customer,
        "reference": order.reference or None,
        "currency": order.currency,
        "subtotal_minor": order.subtotal_minor,
        "charges": [
            {name: charge[name] for name in ("code", "name", "amount_minor")}
            for charge in order.charges
        ],
        "total_minor": order.total_minor,
        "due_minor": state.due_minor,
        "authorized_minor": order.authorized_minor,
        "captured_minor": order.captured_minor,
        "refunded_minor": order.refunded_minor,
        "pay_before": None if order.pay_before is None else instant(order.pay_before),
        "ship_to": order.ship_to,
        "metadata": order.metadata,
        "lines": [_line_document(line) for line in state.lines],
        "served_version": order.served_version,
        "placed_at": instant(order.placed_at),
        "updated_at": instant(order.updated_at),
        "version": order.version,
    }


def _line_document(line: LineState) -> dict[str, Any]:
    return {
        "position": line.position,
        "sku": line.sku,
        "quantity": line.quantity,
        "unit_price_minor": line.unit_price_minor,
        "total_minor": line.quantity * line.unit_price_minor,
        "backordered": line.backordered,
        "cancelled_quantity": line.cancelled,
        "fulfilled_quantity": line.fulfilled,
        "returned_quantity": line.returned,
    }


def address(order_id: UUID) -> str:
    """Return where an order is read."""
    return f"/api/v1/orders/{order_id}"


def etag(version: int) -> str:
    """Return the ETag of an order's version."""
    return f'"{version}"'


def versions_of(if_match: str | None) -> frozenset[int] | None:
    """
    Return the versions that an If-Match header allows, None for any.

    What is not an ETag of ours is one that no order has, so that it allows nothing.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    tags = (tag.strip() for tag in if_match.split(","))
    return frozenset(int(tag[1:-1]) for tag in tags if ETAG.fullmatch(tag))


def instant(moment: datetime) -> str:
    """Return an instant as RFC 3339 writes it, in UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
