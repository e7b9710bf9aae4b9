"""
Do the books balance: ledger, counters, allocations, lines, events and keys against each other.

It lives in orders because it sees everything; it reads other apps' tables by name, and only reads.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection, transaction


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
    "each line has its units": """
        SELECT format('order %s, SKU %s', coalesce(l.order_id, a.order_id),
                      coalesce(l.sku, a.sku)),
               format('lines %s, allocated %s', coalesce(l.units, 0), coalesce(a.units, 0))
          FROM (SELECT n.order_id, n.sku, sum(n.quantity) AS units
                  FROM orders_line n JOIN inventory_sku s ON s.code = n.sku AND s.is_tracked
                 GROUP BY n.order_id, n.sku) AS l
          FULL JOIN (SELECT a.order_id, s.code AS sku, sum(a.units) AS units
                       FROM inventory_allocation a
                       JOIN inventory_stocklevel v ON v.id = a.level_id
                       JOIN inventory_sku s ON s.id = v.sku_id
                      GROUP BY a.order_id, s.code) AS a USING (order_id, sku)
         WHERE l.units IS DISTINCT FROM a.units""",
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
