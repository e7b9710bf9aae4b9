"""An order as its account reads it: one shape, from a placement and from the tables."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from orders.models import Order
from orders.rules import NewOrder


def placed_document(order: NewOrder) -> dict[str, Any]:
    """Return the document of an order that is being placed."""
    draft, quote = order.draft, order.quote
    placed_at = instant(order.placed_at)
    return {
        "id": str(order.id),
        "number": order.number,
        "status": Order.Status.PLACED.value,
        "payment_status": Order.PaymentStatus.UNPAID.value,
        "fulfillment_status": Order.FulfillmentStatus.UNFULFILLED.value,
        "customer": draft.customer,
        "reference": draft.reference or None,
        "currency": quote.currency,
        "subtotal_minor": quote.subtotal_minor,
        "charges": [
            {"code": charge.code, "name": charge.name, "amount_minor": charge.amount_minor}
            for charge in draft.charges
        ],
        "total_minor": quote.total_minor,
        "ship_to": draft.ship_to,
        "metadata": draft.metadata,
        "lines": line_documents(
            (line.sku, line.quantity, price, waiting)
            for line, price, waiting in zip(
                draft.lines,
                quote.unit_prices_minor,
                order.waiting_units or (0,) * len(draft.lines),
                strict=True,
            )
        ),
        "served_version": order.served_version,
        "placed_at": placed_at,
        "updated_at": placed_at,
        "version": 1,
    }


def stored_document(order: Order) -> dict[str, Any]:
    """Return the document of a row that came with its lines."""
    return {
        "id": str(order.pk),
        "number": order.number,
        "status": order.status,
        "payment_status": order.payment_status,
        "fulfillment_status": order.fulfillment_status,
        "customer": order.customer,
        "reference": order.reference or None,
        "currency": order.currency,
        "subtotal_minor": order.subtotal_minor,
        "charges": [
            {name: charge[name] for name in ("code", "name", "amount_minor")}
            for charge in order.charges
        ],
        "total_minor": order.total_minor,
        "ship_to": order.ship_to,
        "metadata": order.metadata,
        "lines": line_documents(
            (line.sku, line.quantity, line.unit_price_minor, line.backordered)
            for line in order.lines.all()
        ),
        "served_version": order.served_version,
        "placed_at": instant(order.placed_at),
        "updated_at": instant(order.updated_at),
        "version": order.version,
    }


def line_documents(lines: Iterable[tuple[str, int, int, int]]) -> list[dict[str, Any]]:
    """Return the documents of lines: a SKU's code, quantity, unit price, units backordered."""
    return [
        {
            "sku": sku,
            "quantity": quantity,
            "unit_price_minor": price,
            "total_minor": quantity * price,
            "backordered": backordered,
        }
        for sku, quantity, price, backordered in lines
    ]


def address(order_id: UUID) -> str:
    """Return where an order is read."""
    return f"/api/v1/orders/{order_id}"


def etag(version: int) -> str:
    """Return the ETag of an order's version."""
    return f'"{version}"'


def instant(moment: datetime) -> str:
    """Return an instant as RFC 3339 writes it, in UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
