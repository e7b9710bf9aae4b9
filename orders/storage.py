"""Every query on orders. What writes joins the caller's transaction."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
from django.db.models import Exists, OuterRef, Prefetch, QuerySet

from events.usecases import document, hot_cursor
from orders.models import Line, Order
from orders.rules import NewOrder, OrderFilter, OrderNotFound

EVERY_ORDER = OrderFilter()

NEXT_NUMBERS = "SELECT nextval('orders_number_seq') FROM generate_series(1, %s)"

ADD_ORDERS = """
INSERT INTO orders_order
       (id, number, account_id, customer, reference, status, payment_status, fulfillment_status,
        currency, subtotal_minor, charges, total_minor, ship_to, metadata,
        served_version, rules_generation, trace_id, placed_at, updated_at, version)
SELECT id, number, account, customer, reference, 'placed', 'unpaid', 'unfulfilled',
       currency, subtotal, charges, total, ship_to, metadata,
       served, generation, trace, placed, placed, 1
  FROM jsonb_to_recordset(%s::jsonb)
    AS r(id uuid, number bigint, account bigint, customer text, reference text,
         currency text, subtotal bigint, charges jsonb, total bigint, ship_to jsonb,
         metadata jsonb, served text, generation bigint, trace text, placed timestamptz)
"""

ADD_LINES = """
INSERT INTO orders_line
       (order_id, position, sku, quantity, unit_price_minor, total_minor, backordered)
SELECT o, n, sku, q, p, q * p, coalesce(w, 0)
  FROM jsonb_to_recordset(%s::jsonb) AS r(o uuid, n int, sku text, q int, p bigint, w int)
"""

# Statements that the server prepares; a test prepares each against the migrated schema.
HOT_STATEMENTS = (NEXT_NUMBERS, ADD_ORDERS, ADD_LINES)


def ask_numbers(count: int) -> psycopg.Cursor[tuple[Any, ...]]:
    """Ask for the numbers of count orders; fetch them when the pipeline has gone out."""
    return hot_cursor().execute(NEXT_NUMBERS, (count,))


def add_orders(orders: Sequence[NewOrder]) -> None:
    """Write orders and their lines. Joins a pipeline."""
    hot_cursor().execute(ADD_ORDERS, (document([_order_row(order) for order in orders]),))
    lines = [
        {"o": order.id, "n": n, "sku": line.sku, "q": line.quantity, "p": price}
        | ({"w": order.waiting_units[n]} if order.waiting_units else {})
        for order in orders
        for n, (line, price) in enumerate(
            zip(order.draft.lines, order.quote.unit_prices_minor, strict=True)
        )
    ]
    hot_cursor().execute(ADD_LINES, (document(lines),))


def _order_row(order: NewOrder) -> dict[str, Any]:
    draft, quote = order.draft, order.quote
    return {
        "id": order.id,
        "number": order.number,
        "account": order.account_id,
        "customer": draft.customer,
        "reference": draft.reference,
        "currency": quote.currency,
        "subtotal": quote.subtotal_minor,
        "charges": list(draft.charges),
        "total": quote.total_minor,
        "ship_to": draft.ship_to,
        "metadata": draft.metadata,
        "served": order.served_version,
        "generation": order.rules_generation,
        "trace": order.trace_id,
        "placed": order.placed_at,
    }


def get_order(order_id: UUID, *, account_id: int | None) -> Order:
    """Return an order with its lines; raises OrderNotFound, also for another account's order."""
    order = list_orders(account_id=account_id).filter(pk=order_id).first()
    if order is None:
        raise OrderNotFound
    return order


def list_orders(*, account_id: int | None, where: OrderFilter = EVERY_ORDER) -> QuerySet[Order]:
    """Return orders with their lines, newest first; account_id None sees every account's."""
    orders = Order.objects.order_by("-id").prefetch_related(
        Prefetch("lines", queryset=Line.objects.order_by("position"))
    )
    wanted = {
        "account_id": account_id,
        "status": where.status,
        "customer": where.customer,
        "reference": where.reference,
        "placed_at__gt": where.placed_after,
        "placed_at__lt": where.placed_before,
        "updated_at__gte": where.updated_since,
        "served_version": where.served_version,
    }
    orders = orders.filter(**{name: value for name, value in wanted.items() if value is not None})
    if where.sku is not None:
        orders = orders.filter(Exists(Line.objects.filter(order_id=OuterRef("pk"), sku=where.sku)))
    return orders
