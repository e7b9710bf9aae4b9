"""Every query on orders. What writes joins the caller's transaction."""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, JSONField, OuterRef, Prefetch, QuerySet

from events.usecases import document, hot_cursor
from orders.lifecycle import LineChange, Payment
from orders.matching import OPEN_STATUSES
from orders.models import Erasure, Line, Note, Order, PaymentEvent
from orders.rules import NewOrder, OrderFilter, OrderNotFound
from orders.states import LineState, OrderState

EVERY_ORDER = OrderFilter()

# With each number the database's time, in microseconds since 1970: what it will compare deadlines
# with, and nobody has to read a date that few orders ask for.
# For the rest of the transaction rows are found by an index, whatever statistics say: the server
# keeps the plan of what it prepared, and that of a young table reads all of it when it has grown.
# The count comes by a sub-select, as do the codes of SKUs elsewhere: a plan for just this value
# would seem cheaper to the server, and cost it more to make than to carry out, each time.
NEXT_NUMBERS = """
SELECT nextval('orders_number_seq'), now_us
  FROM (SELECT set_config('enable_seqscan', 'off', true),
               set_config('enable_hashjoin', 'off', true),
               set_config('enable_mergejoin', 'off', true),
               set_config('jit', 'off', true),
               set_config('lock_timeout', coalesce(%s, current_setting('lock_timeout')), true),
               (extract(epoch FROM now()) * 1000000)::bigint AS now_us
       ) AS settings,
       generate_series(1, (SELECT %s::int))
"""

ADD_ORDERS = """
WITH orders AS (
    INSERT INTO orders_order
           (id, number, account_id, customer, reference, status, payment_status,
            fulfillment_status, currency, subtotal_minor, charges, total_minor, ship_to, metadata,
            served_version, rules_generation, trace_id, placed_at, updated_at, version, pay_before)
    SELECT id, number, account, customer, reference, 'placed', 'unpaid', 'unfulfilled',
           currency, subtotal, charges, total, ship_to, metadata,
           served, generation, trace, placed, placed, 1, pay_before
      FROM jsonb_to_recordset(%s::jsonb)
        AS r(id uuid, number bigint, account bigint, customer text, reference text,
             currency text, subtotal bigint, charges jsonb, total bigint, ship_to jsonb,
             metadata jsonb, served text, generation bigint, trace text, placed timestamptz,
             pay_before timestamptz)
)
INSERT INTO orders_line
       (order_id, position, sku, quantity, unit_price_minor, total_minor, backordered)
SELECT o, n, sku, q, p, q * p, coalesce(w, 0)
  FROM jsonb_to_recordset(%s::jsonb) AS r(o uuid, n int, sku text, q int, p bigint, w int)
"""

# The columns of a line of which LineState is made.
LINE_STATE = (
    "position", "sku", "quantity", "unit_price_minor",
    "cancelled_quantity", "fulfilled_quantity", "returned_quantity", "backordered",
)  # fmt: skip
_COLUMNS = [field for field in Order._meta.concrete_fields if field.column]
_JSON = [n for n, field in enumerate(_COLUMNS) if isinstance(field, JSONField)]
READ_ORDER = f"""
SELECT {", ".join(f"o.{field.column}" for field in _COLUMNS)},
       (SELECT jsonb_agg(jsonb_build_array({", ".join(f"l.{name}" for name in LINE_STATE)})
                         ORDER BY l.position)
          FROM orders_line l WHERE l.order_id = o.id)
  FROM orders_order o
 WHERE o.id = %s
"""  # noqa: S608 - names of our own columns

LINES_OF = f"""
SELECT l.order_id, {", ".join(f"l.{name}" for name in LINE_STATE)}
  FROM orders_line l
 WHERE l.order_id = ANY(%s)
 ORDER BY l.order_id, l.position
"""  # noqa: S608 - names of our own columns

SAVE_ORDER = """
UPDATE orders_order
   SET version = %s, status = %s, payment_status = %s, fulfillment_status = %s, attention = %s,
       authorized_minor = %s, captured_minor = %s, refunded_minor = %s, updated_at = %s
 WHERE id = %s AND version = %s
"""

SAVE_LINES = """
UPDATE orders_line l
   SET cancelled_quantity = r.c, fulfilled_quantity = r.f, returned_quantity = r.r
  FROM jsonb_to_recordset(%s::jsonb) AS r(o uuid, n int, c int, f int, r int)
 WHERE l.order_id = r.o AND l.position = r.n
"""

ADD_UNIT_CHANGES = """
INSERT INTO orders_unitchange
       (order_id, order_version, position, kind, quantity, location, disposition, recorded_at)
SELECT o, v, n, kind, units, location, disposition, at
  FROM jsonb_to_recordset(%s::jsonb)
    AS r(o uuid, v int, n int, kind text, units int, location text, disposition text,
         at timestamptz)
"""

ADD_PAYMENT_EVENT = """
INSERT INTO orders_paymentevent
       (order_id, order_version, provider, provider_event_id, kind, amount_minor, currency,
        recorded_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (provider, provider_event_id) DO NOTHING
"""

# Whoever is being paid, cancelled or sent at this moment is left to the next sweep; whoever was
# meanwhile is not due any more, which is asked again where it is written.
EXPIRE_ORDERS = """
WITH due AS (
    SELECT id FROM orders_order
     WHERE status = 'placed' AND pay_before <= now() AND payment_status IN ('unpaid', 'failed')
     ORDER BY pay_before
     LIMIT %s
       FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE orders_order o
   SET status = 'expired', version = o.version + 1, updated_at = %s
  FROM due
 WHERE o.id = due.id
   AND o.status = 'placed' AND o.pay_before <= now() AND o.payment_status IN ('unpaid', 'failed')
RETURNING o.id
"""

ERASE_ORDERS = """
UPDATE orders_order
   SET customer = %s, ship_to = NULL, metadata = NULL, version = version + 1, updated_at = %s
 WHERE id = ANY(%s)
"""

# DISTINCT would read every order.
LIST_ACCOUNTS = """
WITH RECURSIVE account AS (
    (SELECT account_id FROM orders_order ORDER BY account_id LIMIT 1)
    UNION ALL
    SELECT (SELECT o.account_id FROM orders_order o WHERE o.account_id > account.account_id
             ORDER BY o.account_id LIMIT 1)
      FROM account WHERE account.account_id IS NOT NULL
)
SELECT account_id FROM account WHERE account_id IS NOT NULL
"""

# Statements that the server prepares; a test prepares each against the migrated schema.
HOT_STATEMENTS = (
    NEXT_NUMBERS,
    ADD_ORDERS,
    SAVE_ORDER,
    SAVE_LINES,
    ADD_UNIT_CHANGES,
    ADD_PAYMENT_EVENT,
    EXPIRE_ORDERS,
    LIST_ACCOUNTS,
    ERASE_ORDERS,
)


def ask_numbers(
    count: int, *, lock_wait_ms: int | None = None
) -> Callable[[], list[tuple[Any, ...]]]:
    """
    Ask for the numbers of count orders; return what tells them when they have come.

    With each the database's time, in microseconds since 1970.
    lock_wait_ms: how long the transaction waits for each lock, if not as long as any other does.
    """
    wait = None if lock_wait_ms is None else str(lock_wait_ms)
    return hot_cursor().execute(NEXT_NUMBERS, (wait, count)).fetchall


def add_orders(orders: Sequence[NewOrder]) -> None:
    """Write orders and their lines. Joins a pipeline."""
    rows = [_order_row(order) for order in orders]
    lines = [
        {"o": order.id, "n": n, "sku": line.sku, "q": line.quantity, "p": price}
        | ({"w": order.waiting_units[n]} if order.waiting_units else {})
        for order in orders
        for n, (line, price) in enumerate(
            zip(order.draft.lines, order.quote.unit_prices_minor, strict=True)
        )
    ]
    hot_cursor().execute(ADD_ORDERS, (document(rows), document(lines)))


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
        "pay_before": order.pay_before,
    }


def get_order(order_id: UUID, *, account_id: int | None) -> Order:
    """Return an order with its lines; raises OrderNotFound, also for another account's order."""
    order = list_orders(account_id=account_id).filter(pk=order_id).first()
    if order is None:
        raise OrderNotFound
    return order


def read_order(order_id: UUID, *, account_id: int | None) -> Order:
    """
    Return an order to be shown; raises OrderNotFound, also for another account's order.

    In one statement and a third of the time of get_order, and without work for the collector.
    """
    with connection.cursor() as cursor:
        cursor.execute(READ_ORDER, (order_id,))
        row = cursor.fetchone()
    if row is None:
        raise OrderNotFound
    *values, lines = row
    for n in _JSON:
        values[n] = values[n] if values[n] is None else json.loads(values[n])
    order = Order.from_db(connection.alias, [field.attname for field in _COLUMNS], values)
    if account_id not in (None, order.account_id):
        raise OrderNotFound
    order.read_state = order.state_with(LineState(*line) for line in json.loads(lines))
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
        "attention": where.attention,
    }
    orders = orders.filter(**{name: value for name, value in wanted.items() if value is not None})
    # An id begins with the millisecond of placing: the walk by id begins and ends where it must.
    if where.placed_after is not None:
        orders = orders.filter(pk__gte=first_id_at(where.placed_after))
    if where.placed_before is not None:
        orders = orders.filter(pk__lt=first_id_at(where.placed_before + timedelta(milliseconds=1)))
    if where.sku is not None:
        # A join, not EXISTS: that would be looked for order by order, through a million of them
        # for a SKU that few have.
        orders = orders.filter(lines__sku=where.sku).distinct("pk")
    return orders


def list_newest(
    *, account_id: int | None, where: OrderFilter, before_id: UUID | None, limit: int
) -> list[Order]:
    """
    Return at most limit orders to be shown, newest first, those with an id before before_id.

    account_id None sees every account's: each account's newest are looked for in its own indexes,
    one query whatever their number.
    """
    accounts = [account_id] if account_id is not None else list(list_accounts())
    if not accounts:
        return []
    if len(accounts) == 1:  # Of one alone Django makes no union.
        return _read_orders(_newest(accounts[0], where, before_id)[:limit])
    ids = [_newest(account, where, before_id).values("pk")[:limit] for account in accounts]
    newest = ids[0].union(*ids[1:], all=True).order_by("-pk")[:limit]
    return _read_orders(list_by_id([row["pk"] for row in newest]).prefetch_related(None))


def _newest(account_id: int, where: OrderFilter, before_id: UUID | None) -> QuerySet[Order]:
    orders = list_orders(account_id=account_id, where=where).prefetch_related(None)
    return orders if before_id is None else orders.filter(pk__lt=before_id)


def _read_orders(query: QuerySet[Order]) -> list[Order]:
    orders = {order.pk: order for order in query}
    lines: dict[UUID, list[LineState]] = {order_id: [] for order_id in orders}
    with connection.cursor() as cursor:
        cursor.execute(LINES_OF, (list(orders),))
        for order_id, *line in cursor.fetchall():
            lines[order_id].append(LineState(*line))
    for order_id, order in orders.items():
        order.read_state = order.state_with(lines[order_id])
    return list(orders.values())


def list_accounts() -> list[int]:
    """Return the accounts that have orders: one look into an index for each."""
    return [row[0] for row in hot_cursor().execute(LIST_ACCOUNTS)]


def first_id_at(at: datetime) -> UUID:
    """Return the lowest UUIDv7 of a millisecond."""
    return UUID(int=max(0, int(at.timestamp() * 1000)) << 80)


def lock_order(order_id: UUID, *, account_id: int | None) -> Order:
    """
    Return an order with its lines, locked; raises OrderNotFound, also for another account's.

    Lock order of the whole program: keys, then orders, then levels.
    """
    orders = list_orders(account_id=account_id).select_for_update(no_key=True)
    order = orders.filter(pk=order_id).first()
    if order is None:
        raise OrderNotFound
    return order


def lock_earlier(
    account_id: int, *, customer: str, skus: Collection[str], before: datetime
) -> list[Order]:
    """
    Return a customer's orders of SKUs that were placed before a moment, locked by ascending id.

    Those from which nothing can be taken back any more are left out.
    """
    with_skus = Exists(Line.objects.filter(order_id=OuterRef("pk"), sku__in=skus))
    orders = (
        list_orders(account_id=account_id, where=OrderFilter(customer=customer))
        .filter(with_skus, placed_at__lt=before, status__in=OPEN_STATUSES)
        .order_by("id")
        .select_for_update(no_key=True)
    )
    return list(orders)


def save_order(before: OrderState, after: OrderState, *, now: datetime) -> None:
    """Write what changed of a locked order. Raises RuntimeError when it was not locked."""
    changed = hot_cursor().execute(
        SAVE_ORDER,
        (
            *(after.version, after.status, after.payment_status, after.fulfillment_status),
            after.attention or "",
            *(after.authorized_minor, after.captured_minor, after.refunded_minor, now),
            *(before.id, before.version),
        ),
    )
    if changed.rowcount != 1:
        raise RuntimeError(f"order {before.id} is not at version {before.version}")
    lines = [
        {
            "o": after.id,
            "n": line.position,
            "c": line.cancelled,
            "f": line.fulfilled,
            "r": line.returned,
        }
        for line, was in zip(after.lines, before.lines, strict=True)
        if line != was
    ]
    if lines:
        hot_cursor().execute(SAVE_LINES, (document(lines),))


def add_unit_changes(order: OrderState, changes: Sequence[LineChange], *, now: datetime) -> None:
    """Keep what became of units in the change that led to this order."""
    rows = [
        {
            "o": order.id,
            "v": order.version,
            "n": change.position,
            "kind": change.kind,
            "units": change.units,
            "location": change.location,
            "disposition": change.disposition,
            "at": now,
        }
        for change in changes
    ]
    if rows:
        hot_cursor().execute(ADD_UNIT_CHANGES, (document(rows),))


def take_payment_event(
    order_id: UUID, payment: Payment, *, order_version: int, now: datetime
) -> bool:
    """Keep what a provider said; return False when this event of its was kept before."""
    added = hot_cursor().execute(
        ADD_PAYMENT_EVENT,
        (
            *(order_id, order_version, payment.provider, payment.provider_event_id),
            *(payment.kind, payment.amount_minor, payment.currency, now),
        ),
    )
    return added.rowcount == 1


def get_payment_event(provider: str, provider_event_id: str) -> PaymentEvent:
    """Return what a provider said in one of its events."""
    return PaymentEvent.objects.get(provider=provider, provider_event_id=provider_event_id)


def add_note(order: OrderState, text: str, *, author: str, now: datetime) -> None:
    """Keep a note on an order."""
    Note.objects.create(
        order_id=order.id, order_version=order.version, author=author, text=text, written_at=now
    )


def list_notes(order_id: UUID) -> QuerySet[Note]:
    """Return an order's notes, first to last."""
    return Note.objects.filter(order_id=order_id).order_by("order_version")


def expire_orders(*, limit: int, now: datetime) -> list[UUID]:
    """
    Expire at most limit orders whose time to pay is over by the database's clock.

    Returns their ids; they stay locked. now: what they are told to be updated at.
    """
    return [row[0] for row in hot_cursor().execute(EXPIRE_ORDERS, (limit, now))]


def list_by_id(order_ids: Sequence[UUID]) -> QuerySet[Order]:
    """Return orders with their lines, newest first."""
    return list_orders(account_id=None).filter(pk__in=order_ids)


def lock_customer(customer: str, *, account_id: int) -> list[Order]:
    """Return all orders of a customer of an account with their lines, locked."""
    where = OrderFilter(customer=customer)
    orders = list_orders(account_id=account_id, where=where).select_for_update(no_key=True)
    return list(orders.order_by("pk"))


def erase_orders(order_ids: Sequence[UUID], *, customer: str, now: datetime) -> None:
    """Write another customer into locked orders, one version on, without address and metadata."""
    hot_cursor().execute(ERASE_ORDERS, (customer, now, list(order_ids)))


def erase_notes(order_ids: Sequence[UUID], *, text: str) -> int:
    """Write another text into the notes of orders; return how many there were."""
    return Note.objects.filter(order_id__in=order_ids).update(text=text)


def list_payments(order_id: UUID) -> QuerySet[PaymentEvent]:
    """Return what providers said of an order, first to last."""
    return PaymentEvent.objects.filter(order_id=order_id).order_by("order_version")


def add_erasure(**members: Any) -> Erasure:
    """Note that data were erased."""
    return Erasure.objects.create(**members)
