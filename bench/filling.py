"""
Very many goods and orders, fast: copies of one that came through the API, in all its tables.

What is not named here is copied as it is, so that a new column needs no change.
"""

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg

from tests.load import Address, send_all
from tests.server import Database, Server, serving

CHUNK = 50_000
CUSTOMERS = 50_000
WRITERS = 2

# n: the number of the copy, from 0. Copies are a tenth of a second apart, the last is of now: an
# id is a UUIDv7. k: the number of its SKU, from 1.
NEW = """
SELECT n, k, at, 'BENCH-' || k AS sku, n / %(skus)s + 1 AS nth,
       (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || '8000'
        || lpad(to_hex(n), 12, '0'))::uuid AS id
  FROM (SELECT n, n %% %(skus)s + 1 AS k,
               %(until)s::timestamptz - (%(orders)s - n) * interval '100 milliseconds' AS at
          FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n) AS numbered
"""
# Of each table that an order fills: how its template is found, and what a copy has of its own.
ORDER_TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "orders_order": (
        "t.id = %(order)s",
        {
            "id": "new.id",
            "number": "t.number + 1 + new.n",
            "customer": f"'c-' || new.n * 7919 %% {CUSTOMERS}",
            "placed_at": "new.at",
            "updated_at": "new.at",
        },
    ),
    "orders_line": ("t.order_id = %(order)s", {"order_id": "new.id", "sku": "new.sku"}),
    "events_event": (
        "t.aggregate_id = %(order)s::text",
        {
            "id": "new.id",
            "aggregate_id": "new.id::text",
            "data": "t.data || jsonb_build_object('id', new.id, 'number', %(number)s + 1 + new.n)",
            "occurred_at": "new.at",
            "position": "nextval('events_event_position')",
        },
    ),
    "events_idempotencykey": (
        "t.location = %(location)s",
        {
            # Random, as the keys of callers are.
            "key": "md5(new.n::text)::uuid::text",
            "body": "replace(replace(t.body, %(order)s::text, new.id::text), 'BENCH-1', new.sku)",
            "location": "replace(t.location, %(order)s::text, new.id::text)",
            "created_at": "new.at",
        },
    ),
    "inventory_movement": (
        "t.order_id = %(order)s",
        {
            "order_id": "new.id",
            "level_id": "(%(levels)s::bigint[])[new.k]",
            "level_version": "(%(versions)s::bigint[])[new.k] + new.nth",
            "allocated_after": "(%(allocated)s::bigint[])[new.k] + new.nth",
            "created_at": "new.at",
        },
    ),
    "inventory_allocation": (
        "t.order_id = %(order)s",
        {"order_id": "new.id", "level_id": "(%(levels)s::bigint[])[new.k]"},
    ),
}
# The same of goods, besides where the new rows come from.
FIRST_SKU = "(SELECT id FROM inventory_sku WHERE code = 'BENCH-1')"
GOODS_TABLES: dict[str, tuple[str, str, dict[str, str]]] = {
    "inventory_sku": (
        f"t.id = {FIRST_SKU}",
        "SELECT n FROM generate_series(2, %(skus)s) AS n",
        {"code": "'BENCH-' || new.n", "name": "'BENCH-' || new.n"},
    ),
    "inventory_stocklevel": (
        f"t.sku_id = {FIRST_SKU}",
        f"SELECT id FROM inventory_sku WHERE id <> {FIRST_SKU}",
        {"sku_id": "new.id"},
    ),
    "inventory_movement": (
        f"t.level_id = (SELECT id FROM inventory_stocklevel WHERE sku_id = {FIRST_SKU})",
        f"SELECT id FROM inventory_stocklevel WHERE sku_id <> {FIRST_SKU}",
        {"level_id": "new.id"},
    ),
}
# What PostgreSQL numbers by itself is left to it.
COLUMNS = """
SELECT column_name FROM information_schema.columns
 WHERE table_schema = current_schema() AND table_name = %s AND is_identity = 'NO'
"""
LEVELS = """
SELECT array_agg(l.id ORDER BY k), array_agg(l.version ORDER BY k),
       array_agg(l.allocated ORDER BY k)
  FROM generate_series(1, %s) AS k
  JOIN inventory_sku s ON s.code = 'BENCH-' || k
  JOIN inventory_stocklevel l ON l.sku_id = s.id
"""
# Every SKU has had the orders of its remainder.
COUNT_UNITS = """
UPDATE inventory_stocklevel l
   SET allocated = l.allocated + more, version = l.version + more
  FROM (SELECT s.id, (%(orders)s - k) / %(skus)s + 1 AS more
          FROM generate_series(1, least(%(skus)s, %(orders)s)) AS k
          JOIN inventory_sku s ON s.code = 'BENCH-' || k) AS ordered
 WHERE l.sku_id = ordered.id
"""


def fill_goods(database: Database, *, skus: int, on_hand: int) -> None:
    """Make tables and BENCH-1 to BENCH-skus: the first through the API, the others like it."""
    database.manage("migrate", "--verbosity=0")
    with serving(database, WEB_CONCURRENCY="1") as server:
        server.given_stock("BENCH-1", on_hand=on_hand)
    with database.connect() as connection:
        for table, (template, new, own) in GOODS_TABLES.items():
            _copy(connection, table, {"skus": skus}, template=template, new=new, own=own)
        # Not the others: of an empty table that was analysed PostgreSQL expects that it stays
        # empty, and plans that read all of it outlive its first ten thousand rows.
        connection.execute(f"VACUUM ANALYZE {', '.join(GOODS_TABLES)}")


def fill_orders(database: Database, *, orders: int, skus: int) -> None:
    """Add so many one-line orders for BENCH-1 to BENCH-skus, all delivered: no outbox is full."""
    if not orders:
        return
    with serving(database, WEB_CONCURRENCY="1") as server:
        told = {**_template(server), "orders": orders, "skus": skus}
    with database.connect() as connection:
        names = ("levels", "versions", "allocated")
        told |= dict(zip(names, connection.execute(LEVELS, [skus]).fetchone() or (), strict=True))
        told["until"] = database.value("SELECT now()")
    firsts = range(0, orders, CHUNK)
    with ThreadPoolExecutor(WRITERS) as writers:
        chunks = [{"first": n, "last": min(n + CHUNK, orders) - 1} for n in firsts]
        list(writers.map(lambda chunk: _fill_chunk(database, told | chunk), chunks))
    with database.connect() as connection:
        connection.execute(COUNT_UNITS, told)
        connection.execute(
            "SELECT setval('orders_number_seq', (SELECT max(number) FROM orders_order))"
        )
        connection.execute("DELETE FROM events_outbox")
        connection.execute("VACUUM ANALYZE")


def _template(server: Server) -> dict[str, Any]:
    """Place the order that is copied; return where it is found."""
    address = Address(server.port, server.api_key)
    request = address.order(secrets.token_hex(8), [("BENCH-1", 1)])
    (reply,) = send_all(server.port, [request], callers=1)
    assert reply.status == 201, reply.body
    document = reply.document
    return {
        "order": document["id"],
        "number": document["number"],
        "location": reply.headers["location"],
    }


def _fill_chunk(database: Database, told: Mapping[str, Any]) -> None:
    with closing(database.connect()) as connection, connection.transaction():
        for table, (template, own) in ORDER_TABLES.items():
            _copy(connection, table, told, template=template, new=NEW, own=own)


def _copy(
    connection: psycopg.Connection[Any],
    table: str,
    told: Mapping[str, Any],
    *,
    template: str,
    new: str,
    own: Mapping[str, str],
) -> None:
    """Insert a copy of the template for each new row; own: what a copy has instead, by column."""
    columns = [name for (name,) in connection.execute(COLUMNS, [table])]
    unknown = own.keys() - set(columns)
    assert not unknown, f"{table} has no {unknown}"
    statement = f"""
        INSERT INTO {table} ({", ".join(columns)})
        SELECT {", ".join(own.get(name, f"t.{name}") for name in columns)}
          FROM {table} AS t, ({new}) AS new WHERE {template}
    """
    copied = psycopg.ClientCursor(connection).execute(statement, told).rowcount
    assert copied, f"{table}: nothing was like {template}"
