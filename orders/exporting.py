"""Orders as a file: one line of CSV for each line of an order, or one JSON document an order."""

import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Literal
from uuid import UUID

from config.errors import AppError, TemporarilyUnavailable
from inventory.usecases import (
    AS_CSV,
    AS_LINES,
    copy_rows,
    csv_line,
    find_row,
    guarded_sql,
    instant_sql,
)

Form = Literal["csv", "ndjson"]

# So many orders are one statement, of some tens of milliseconds: no timeout of a statement stops an
# export, however long it is, and no snapshot is held for long.
ORDERS_AT_ONCE = 1_000
FIRST_ID = UUID(int=0)
# Of one call; what is more goes on after it, or is written by `manage.py export_orders`.
ORDERS_MAX = 100_000
# In one process, besides its orders: each holds a connection and writes to the disk.
EXPORTS_AT_ONCE = 2
_turns = threading.BoundedSemaphore(EXPORTS_AT_ONCE)

COLUMNS = (
    *("order_id", "number", "account_id", "status", "payment_status", "fulfillment_status"),
    *("attention", "customer", "reference", "currency", "subtotal_minor", "total_minor"),
    *("authorized_minor", "captured_minor", "refunded_minor", "placed_at", "updated_at"),
    *("version", "position", "sku", "quantity", "unit_price_minor", "line_total_minor"),
    *("backordered", "cancelled_quantity", "fulfilled_quantity", "returned_quantity"),
)

# Parameters stand in the text of a statement when it is planned, so that one that narrows nothing
# costs nothing.
_WANTED = """
       o.id > %(after)s
   AND (%(account)s::bigint IS NULL OR o.account_id = %(account)s::bigint)
   AND (%(placed_after)s::timestamptz IS NULL OR o.placed_at > %(placed_after)s::timestamptz)
   AND (%(placed_before)s::timestamptz IS NULL OR o.placed_at < %(placed_before)s::timestamptz)
"""
LAST_OF_BLOCK = f"""
SELECT (array_agg(id ORDER BY id DESC))[1], count(*)
  FROM (SELECT o.id FROM orders_order o WHERE {_WANTED} ORDER BY o.id LIMIT %(limit)s) AS block
"""
# The bounds stand for the lines as well: else all lines there are would be read for each block.
AS_ROWS = f"""
SELECT o.id, o.number, o.account_id, o.status, o.payment_status, o.fulfillment_status, o.attention,
       {guarded_sql("o.customer")}, {guarded_sql("o.reference")}, o.currency, o.subtotal_minor,
       o.total_minor, o.authorized_minor, o.captured_minor, o.refunded_minor,
       {instant_sql("o.placed_at")}, {instant_sql("o.updated_at")}, o.version,
       l.position, {guarded_sql("l.sku")}, l.quantity, l.unit_price_minor, l.total_minor,
       l.backordered, l.cancelled_quantity, l.fulfilled_quantity, l.returned_quantity
  FROM orders_order o JOIN orders_line l ON l.order_id = o.id
 WHERE {_WANTED} AND o.id <= %(last)s AND l.order_id > %(after)s AND l.order_id <= %(last)s
 ORDER BY o.id, l.position
"""
# The same document as orders.documents writes; a test holds them together.
AS_DOCUMENTS = f"""
SELECT json_build_object(
         'id', o.id, 'number', o.number, 'status', o.status,
         'payment_status', o.payment_status, 'fulfillment_status', o.fulfillment_status,
         'attention', nullif(o.attention, ''), 'customer', o.customer,
         'reference', nullif(o.reference, ''), 'currency', o.currency,
         'subtotal_minor', o.subtotal_minor,
         'charges', (SELECT coalesce(json_agg(json_build_object(
                              'code', c ->> 'code', 'name', c ->> 'name',
                              'amount_minor', (c ->> 'amount_minor')::bigint)), '[]')
                       FROM jsonb_array_elements(o.charges) AS c),
         'total_minor', o.total_minor,
         'due_minor', CASE WHEN n.kept = 0 THEN 0
                           ELSE greatest(0, o.total_minor - n.cancelled_minor) END,
         'authorized_minor', o.authorized_minor, 'captured_minor', o.captured_minor,
         'refunded_minor', o.refunded_minor, 'pay_before', {instant_sql("o.pay_before")},
         'ship_to', o.ship_to, 'metadata', o.metadata, 'lines', n.lines,
         'served_version', o.served_version, 'placed_at', {instant_sql("o.placed_at")},
         'updated_at', {instant_sql("o.updated_at")}, 'version', o.version)
  FROM orders_order o
  JOIN LATERAL (
       SELECT sum(quantity - cancelled_quantity) AS kept,
              sum(cancelled_quantity * unit_price_minor)::bigint AS cancelled_minor,
              json_agg(json_build_object(
                'position', position, 'sku', sku, 'quantity', quantity,
                'unit_price_minor', unit_price_minor, 'total_minor', total_minor,
                'backordered', backordered, 'cancelled_quantity', cancelled_quantity,
                'fulfilled_quantity', fulfilled_quantity,
                'returned_quantity', returned_quantity) ORDER BY position) AS lines
         FROM orders_line WHERE order_id = o.id) AS n ON true
 WHERE {_WANTED} AND o.id <= %(last)s
 ORDER BY o.id
"""


@dataclass(frozen=True, slots=True)
class ExportFilter:
    """Whose orders, and of when; None does not narrow it."""

    account_id: int | None = None
    placed_after: datetime | None = None
    placed_before: datetime | None = None


def export_orders(
    file: BinaryIO,
    *,
    form: Form,
    where: ExportFilter,
    after_id: UUID | None = None,
    limit: int | None = None,
) -> Iterator[tuple[int, UUID]]:
    """
    Write orders to a file, block by block, in the order of their ids, which is that of time.

    Yields after each block how many orders that were, and the id to go on after; limit: no more
    orders than that. Each block is as the database has it when it is written.
    Raises the errors of django.db.
    """
    if form == "csv":
        file.write(csv_line(COLUMNS).encode())
    query, how = (AS_ROWS, AS_CSV) if form == "csv" else (AS_DOCUMENTS, AS_LINES)
    wanted: dict[str, Any] = {
        "account": where.account_id,
        "placed_after": where.placed_after,
        "placed_before": where.placed_before,
        "after": after_id or FIRST_ID,
    }
    left = limit
    while left is None or left > 0:
        at_once = ORDERS_AT_ONCE if left is None else min(left, ORDERS_AT_ONCE)
        last, count = find_row(LAST_OF_BLOCK, wanted | {"limit": at_once})
        if not count:
            return
        copy_rows(query, how, wanted | {"last": last}, file)
        yield count, last
        wanted["after"] = last
        left = None if left is None else left - count


class ExportsBusy(AppError):
    """As many exports are being written here as may be: ask again in a while."""

    code, kind, retryable = "exports_busy", "unavailable", True
    retry_after_s = 5

    def __init__(self) -> None:
        super().__init__(f"{EXPORTS_AT_ONCE} exports are being written. Nothing was done.")


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file that is gone when it is closed. next_id: where to go on, None at the end."""

    file: BinaryIO
    next_id: UUID | None


def export_file(
    *, form: Form, where: ExportFilter, after_id: UUID | None, limit: int
) -> ExportFile:
    """
    Return at most limit orders as a file, at its beginning.

    Raises ExportsBusy, TemporarilyUnavailable when there is no room for it, and the errors of
    django.db.
    """
    if not _turns.acquire(blocking=False):
        raise ExportsBusy
    # Without a name: whatever becomes of this process, the file is gone.
    file = tempfile.TemporaryFile(prefix="sluice-export-")  # noqa: SIM115  # Its reader closes it.
    try:
        told = 0
        for count, last_id in export_orders(
            file, form=form, where=where, after_id=after_id, limit=limit
        ):
            told += count
            after_id = last_id
        file.flush()
        file.seek(0)
    except OSError as failure:
        file.close()
        raise TemporarilyUnavailable(f"The export cannot be kept: {failure.strerror}") from failure
    except BaseException:
        file.close()
        raise
    finally:
        _turns.release()
    return ExportFile(file, after_id if told == limit else None)
