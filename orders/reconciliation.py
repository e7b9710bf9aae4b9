"""
Do the books balance: ledger, counters, allocations, lines, money, events and keys.

It lives in orders because it sees everything; it reads other apps' tables by name, and only reads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

from orders.metrics import show_reconciliation
from orders.models import Reconciliation


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """
    One thing that is not as it must be.

    check: a name of CHECKS. subject: what it is about. found: the two sides that differ.
    """

    check: str
    subject: str
    found: str


COUNTERS = ("on_hand", "unavailable", "held", "allocated", "waiting", "incoming", "shortfall")

_SUMS = ", ".join(f"coalesce(sum(m.{name}_change), 0) AS {name}" for name in COUNTERS)
_LEVEL_ROW = ", ".join(f"l.{name}" for name in COUNTERS)
_LEDGER_ROW = ", ".join(f"s.{name}" for name in COUNTERS)
_STEPS = " OR ".join(
    f"{name}_after <> coalesce(lag({name}_after) OVER w, 0) + {name}_change" for name in COUNTERS
)

# Each statement returns (subject, found) of what is wrong; nothing when all is well.
CHECKS = {
    "counters equal the ledger": f"""
        SELECT 'level ' || l.id,
               format('level %s, ledger %s', ROW({_LEVEL_ROW}), ROW({_LEDGER_ROW}))
          FROM inventory_stocklevel l
          JOIN LATERAL (SELECT {_SUMS} FROM inventory_movement m WHERE m.level_id = l.id) s ON true
         WHERE ({_LEVEL_ROW}) IS DISTINCT FROM ({_LEDGER_ROW})""",
    "the ledger has no gap": """
        SELECT 'level ' || l.id, format('version %s, %s movements up to %s',
                                        l.version, count(m.id), coalesce(max(m.level_version), 0))
          FROM inventory_stocklevel l LEFT JOIN inventory_movement m ON m.level_id = l.id
         GROUP BY l.id
        HAVING l.version <> count(m.id) OR l.version <> coalesce(max(m.level_version), 0)""",
    "each movement leads to its balances": f"""
        SELECT 'movement ' || id, 'balances are not the ones before plus the change'
          FROM (SELECT id, ({_STEPS}) AS is_wrong FROM inventory_movement
                WINDOW w AS (PARTITION BY level_id ORDER BY level_version)) AS step
         WHERE is_wrong""",
    "allocated units are promised to orders": """
        SELECT 'level ' || l.id,
               format('level %s, allocations %s', l.allocated, coalesce(sum(
                      a.units - a.released_units - a.shipped_units), 0))
          FROM inventory_stocklevel l LEFT JOIN inventory_allocation a ON a.level_id = l.id
         GROUP BY l.id
        HAVING l.allocated <> coalesce(sum(a.units - a.released_units - a.shipped_units), 0)""",
    "waiting units are waited for by orders": """
        SELECT 'level ' || l.id,
               format('level %s, allocations %s', l.waiting, coalesce(sum(a.waiting_units), 0))
          FROM inventory_stocklevel l LEFT JOIN inventory_allocation a ON a.level_id = l.id
         GROUP BY l.id HAVING l.waiting <> coalesce(sum(a.waiting_units), 0)""",
    "nobody waits for units that are there": """
        SELECT 'level ' || id, format('waiting %s, free %s', waiting,
                      on_hand - unavailable - safety - held - (allocated - waiting))
          FROM inventory_stocklevel
         WHERE waiting > 0
           AND on_hand - unavailable - safety - held - (allocated - waiting) > 0""",
    "held units are kept by holds": """
        SELECT 'level ' || l.id,
               format('level %s, holds %s', l.held, coalesce(sum(x.units), 0))
          FROM inventory_stocklevel l
          LEFT JOIN inventory_holdline x ON x.level_id = l.id AND x.is_open
         GROUP BY l.id
        HAVING l.held <> coalesce(sum(x.units), 0)""",
    "each hold keeps what the ledger says": """
        SELECT format('hold %s, level %s', coalesce(x.hold_id, m.hold_id),
                      coalesce(x.level_id, m.level_id)),
               format('hold %s, ledger %s', coalesce(x.units, 0), coalesce(m.units, 0))
          FROM (SELECT hold_id, level_id, units FROM inventory_holdline WHERE is_open) AS x
          FULL JOIN (SELECT hold_id, level_id, sum(held_change) AS units FROM inventory_movement
                      WHERE hold_id IS NOT NULL GROUP BY hold_id, level_id) AS m
            USING (hold_id, level_id)
         WHERE coalesce(x.units, 0) <> coalesce(m.units, 0)""",
    "each hold keeps all until its end and nothing after it": """
        SELECT 'hold ' || h.id,
               format('%s until %s, %s of %s units kept', h.state, h.expires_at,
                      coalesce(sum(x.units) FILTER (WHERE x.is_open), 0), h.units)
          FROM inventory_hold h LEFT JOIN inventory_holdline x ON x.hold_id = h.id
         GROUP BY h.id
        HAVING sum(x.units) IS DISTINCT FROM h.units
            OR bool_or(x.expires_at <> h.expires_at)
            OR bool_or(x.is_open AND h.state <> 'live')
            OR bool_or(NOT x.is_open AND h.state = 'live' AND h.expires_at > now())""",
    "each hold was told once": """
        SELECT 'hold ' || h.id, format('%s, events %s', h.state, string_agg(e.type, ' '))
          FROM inventory_hold h
          LEFT JOIN events_event e ON e.aggregate_type = 'hold' AND e.aggregate_id = h.id::text
         GROUP BY h.id
        HAVING count(*) FILTER (WHERE e.type = 'hold.placed') <> 1
            OR count(*) FILTER (WHERE e.type = 'hold.' || h.state) <> (h.state <> 'live')::int
            OR count(*) FILTER (WHERE e.type IN ('hold.converted', 'hold.released',
                                                 'hold.expired')) <> (h.state <> 'live')::int""",
    "incoming units are under way": """
        SELECT 'level ' || l.id, format('level %s, transfers %s', l.incoming, coalesce(sum(
                      t.units - t.received_units - t.returned_units - t.missing_units), 0))
          FROM inventory_stocklevel l LEFT JOIN inventory_transfer t
            ON t.sku_id = l.sku_id AND t.destination_id = l.location_id AND t.closed_at IS NULL
         GROUP BY l.id
        HAVING l.incoming <> coalesce(sum(
                      t.units - t.received_units - t.returned_units - t.missing_units), 0)""",
    "each variance is booked once": """
        SELECT format('stocktake %s, level %s', n.stocktake_id, n.level_id),
               format('variance %s, ledger %s', n.variance, coalesce(m.units, 0))
          FROM (SELECT stocktake_id, level_id,
                       CASE s.status WHEN 'approved'
                       THEN coalesce(counted_units - books_units, 0) ELSE 0 END AS variance
                  FROM inventory_stocktakeline JOIN inventory_stocktake s ON s.id = stocktake_id
               ) AS n
          LEFT JOIN LATERAL (SELECT sum(on_hand_change) AS units FROM inventory_movement
                              WHERE level_id = n.level_id AND kind = 'count'
                                AND reference = 'stocktake ' || n.stocktake_id) AS m ON true
         WHERE n.variance <> coalesce(m.units, 0)""",
    "each line has its units": """
        SELECT format('order %s, SKU %s', coalesce(l.order_id, a.order_id),
                      coalesce(l.sku, a.sku)),
               format('lines %s of which sent %s, allocated %s of which shipped %s',
                      l.units, l.sent, a.units, a.shipped)
          FROM (SELECT n.order_id, n.sku, sum(n.fulfilled_quantity) AS sent,
                       sum(CASE o.status WHEN 'expired' THEN 0
                           ELSE n.quantity - n.cancelled_quantity END) AS units
                  FROM orders_line n
                  JOIN orders_order o ON o.id = n.order_id
                  JOIN inventory_sku s ON s.code = n.sku AND s.is_tracked
                 WHERE o.served_version <> 'history'
                 GROUP BY n.order_id, n.sku) AS l
          FULL JOIN (SELECT a.order_id, s.code AS sku, sum(a.shipped_units) AS shipped,
                            sum(a.units - a.released_units) AS units
                       FROM inventory_allocation a
                       JOIN inventory_stocklevel v ON v.id = a.level_id
                       JOIN inventory_sku s ON s.id = v.sku_id
                      GROUP BY a.order_id, s.code) AS a USING (order_id, sku)
         WHERE (l.units, l.sent) IS DISTINCT FROM (a.units, a.shipped)""",
    "each allocation is what the ledger says": """
        SELECT format('order %s, level %s', coalesce(a.order_id, m.order_id),
                      coalesce(a.level_id, m.level_id)),
               format('allocation %s, ledger %s', ROW(a.units, a.released, a.shipped),
                      ROW(m.units, m.released, m.shipped))
          FROM (SELECT order_id, level_id, units::numeric, released_units::numeric AS released,
                       shipped_units::numeric AS shipped
                  FROM inventory_allocation) AS a
          FULL JOIN (SELECT order_id, level_id,
                            sum(greatest(allocated_change, 0)) AS units,
                            sum(CASE WHEN kind <> 'ship' THEN greatest(-allocated_change, 0)
                                ELSE 0 END) AS released,
                            sum(CASE WHEN kind = 'ship' THEN -allocated_change
                                ELSE 0 END) AS shipped
                       FROM inventory_movement
                      WHERE order_id IS NOT NULL AND allocated_change <> 0
                      GROUP BY order_id, level_id) AS m USING (order_id, level_id)
         WHERE (a.units, a.released, a.shipped)
               IS DISTINCT FROM (m.units, m.released, m.shipped)""",
    "each line is what became of its units": """
        SELECT format('order %s, line %s', l.order_id, l.position),
               format('line %s, changes %s',
                      ROW(l.cancelled_quantity, l.fulfilled_quantity, l.returned_quantity),
                      ROW(c.cancelled, c.fulfilled, c.returned))
          FROM orders_line l
          LEFT JOIN (SELECT order_id, position,
                            sum(CASE WHEN kind IN ('cancelled', 'short') THEN quantity ELSE 0 END)
                              AS cancelled,
                            sum(CASE WHEN kind = 'fulfilled' THEN quantity ELSE 0 END) AS fulfilled,
                            sum(CASE WHEN kind = 'returned' THEN quantity ELSE 0 END) AS returned
                       FROM orders_unitchange
                      GROUP BY order_id, position) AS c USING (order_id, position)
         WHERE (l.cancelled_quantity, l.fulfilled_quantity, l.returned_quantity)
            <> (coalesce(c.cancelled, 0), coalesce(c.fulfilled, 0), coalesce(c.returned, 0))""",
    "what came back is in the ledger": """
        SELECT format('order %s, SKU %s', coalesce(c.order_id, m.order_id),
                      coalesce(c.sku, m.sku)),
               format('returned %s, ledger %s', coalesce(c.units, 0), coalesce(m.units, 0))
          FROM (SELECT c.order_id, n.sku, sum(c.quantity) AS units
                  FROM orders_unitchange c
                  JOIN orders_line n USING (order_id, position)
                  JOIN inventory_sku s ON s.code = n.sku AND s.is_tracked
                 WHERE c.kind = 'returned' AND c.disposition <> 'scrap'
                 GROUP BY c.order_id, n.sku) AS c
          FULL JOIN (SELECT m.order_id, s.code AS sku, sum(m.on_hand_change) AS units
                       FROM inventory_movement m
                       JOIN inventory_stocklevel v ON v.id = m.level_id
                       JOIN inventory_sku s ON s.id = v.sku_id
                      WHERE m.kind = 'return' AND m.on_hand_change <> 0
                      GROUP BY m.order_id, s.code) AS m USING (order_id, sku)
         WHERE c.units IS DISTINCT FROM m.units""",
    "each sum of money is what providers said": """
        SELECT 'order ' || o.id,
               format('order %s, providers %s',
                      ROW(o.authorized_minor, o.captured_minor, o.refunded_minor),
                      ROW(p.authorized, p.captured, p.refunded))
          FROM orders_order o
          LEFT JOIN (SELECT order_id,
                            sum(CASE kind WHEN 'authorized' THEN amount_minor ELSE 0 END)
                              AS authorized,
                            sum(CASE kind WHEN 'captured' THEN amount_minor ELSE 0 END)
                              AS captured,
                            sum(CASE kind WHEN 'refunded' THEN amount_minor ELSE 0 END)
                              AS refunded
                       FROM orders_paymentevent GROUP BY order_id) AS p ON p.order_id = o.id
         WHERE (o.authorized_minor, o.captured_minor, o.refunded_minor)
            <> (coalesce(p.authorized, 0), coalesce(p.captured, 0), coalesce(p.refunded, 0))""",
    "each status follows from the facts": """
        SELECT 'order ' || o.id,
               format('%s, %s, %s; sent %s, open %s', o.status, o.payment_status,
                      o.fulfillment_status, n.sent, n.open)
          FROM orders_order o
          JOIN LATERAL (SELECT sum(fulfilled_quantity) AS sent, sum(returned_quantity) AS returned,
                               sum(quantity - cancelled_quantity - fulfilled_quantity) AS open
                          FROM orders_line WHERE order_id = o.id) n ON true
         WHERE o.fulfillment_status <> CASE WHEN n.sent = 0 THEN 'unfulfilled'
                                            WHEN n.open > 0 THEN 'partial'
                                            WHEN n.sent = n.returned THEN 'returned'
                                            ELSE 'fulfilled' END
            OR (o.status = 'cancelled') <> (n.open + n.sent = 0)
            OR (o.status = 'closed' AND n.open > 0)
            OR (o.status IN ('placed', 'expired') AND n.sent > 0)
            OR (o.payment_status IN ('unpaid', 'failed'))
               <> (o.authorized_minor + o.captured_minor + o.refunded_minor = 0)""",
    "each total is the sum of its lines and charges": """
        SELECT 'order ' || o.id,
               format('subtotal %s, lines %s; total %s, charges %s',
                      o.subtotal_minor, n.subtotal, o.total_minor, c.charges)
          FROM orders_order o
          JOIN LATERAL (SELECT coalesce(sum(total_minor), -1) AS subtotal
                          FROM orders_line WHERE order_id = o.id) n ON true
          JOIN LATERAL (SELECT coalesce(sum((charge ->> 'amount_minor')::bigint), 0) AS charges
                          FROM jsonb_array_elements(o.charges) AS charge) c ON true
         WHERE o.subtotal_minor <> n.subtotal OR o.total_minor <> o.subtotal_minor + c.charges""",
    "each order was told once": """
        SELECT 'order ' || coalesce(o.id::text, e.aggregate_id),
               format('order %s, event %s', o.id IS NOT NULL, e.id IS NOT NULL)
          FROM orders_order o
          FULL JOIN (SELECT id, aggregate_id FROM events_event WHERE type = 'order.placed') AS e
            ON e.aggregate_id = o.id::text
         WHERE o.id IS NULL OR e.id IS NULL""",
    "each change of an order was told": """
        SELECT 'order ' || o.id, format('version %s, events %s', o.version, e.events)
          FROM orders_order o
          LEFT JOIN (SELECT aggregate_id, count(*) AS events FROM events_event
                      WHERE aggregate_type = 'order' GROUP BY aggregate_id) AS e
            ON e.aggregate_id = o.id::text
         WHERE e.events IS DISTINCT FROM o.version""",
    "each order is the answer of one key": """
        SELECT 'order ' || coalesce(o.id::text, k.location),
               format('order %s, keys %s', o.id IS NOT NULL, coalesce(k.keys, 0))
          FROM orders_order o
          FULL JOIN (SELECT location, account_id, count(*) AS keys FROM events_idempotencykey
                      WHERE location LIKE '/api/v1/orders/%' GROUP BY location, account_id) AS k
            ON k.location = '/api/v1/orders/' || o.id AND k.account_id = o.account_id
         WHERE o.id IS NULL OR k.keys IS DISTINCT FROM 1""",
    "each key has its answer": """
        SELECT format('account %s, key %s', account_id, key), 'no answer'
          FROM events_idempotencykey WHERE status IS NULL""",
}


def find_discrepancies() -> Iterator[Discrepancy]:
    """
    Return what is not as it must be, check by check; nothing is what a healthy shop has.

    Everything is read in one snapshot, so it may run while orders come in. Must not run inside
    a transaction.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for check, statement in CHECKS.items():
            cursor.execute(statement)
            for subject, found in cursor.fetchall():
                yield Discrepancy(check, subject, found)


def keep_result(discrepancies: int, *, now: datetime) -> None:
    """Remember what a comparison found, for whoever asks when the books balanced last."""
    Reconciliation.objects.create(ran_at=now, discrepancies=discrepancies)


def show_last_run() -> None:
    """Show Prometheus what the last comparison found; nothing before the first one."""
    last = Reconciliation.objects.order_by("-ran_at").first()
    if last is not None:
        show_reconciliation(last.discrepancies, last.ran_at)
