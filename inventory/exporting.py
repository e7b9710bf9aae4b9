"""The ledger as a file. Part of the door: inventory.usecases."""

from collections.abc import Iterator
from typing import BinaryIO, Literal

from inventory.copying import AS_CSV, AS_LINES, copy_rows, find_row, guarded_sql, instant_sql
from inventory.stockfiles import csv_line

Form = Literal["csv", "ndjson"]

MOVEMENTS_AT_ONCE = 10_000

COUNTERS = ("on_hand", "unavailable", "held", "allocated", "waiting", "incoming", "shortfall")
_PLAIN = (
    *("kind", *(f"{name}_change" for name in COUNTERS), *(f"{name}_after" for name in COUNTERS)),
    *("order_id", "hold_id", "source", "served_version", "rules_generation", "trace_id"),
)
# What people wrote, and so could be a formula.
_WRITTEN = ("reason", "reference", "note", "actor")
COLUMNS = ("id", "at", "sku", "location", "level_version", *_PLAIN, *_WRITTEN)

LAST_OF_BLOCK = """
SELECT max(id), count(*)
  FROM (SELECT id FROM inventory_movement WHERE id > %(after)s ORDER BY id LIMIT %(limit)s) AS block
"""


def _block(*, is_guarded: bool) -> str:
    written = (
        f"{guarded_sql(f'm.{name}')} AS {name}" if is_guarded else f"m.{name}" for name in _WRITTEN
    )
    sku = f"{guarded_sql('s.code')} AS sku" if is_guarded else "s.code AS sku"
    columns = ", ".join([*(f"m.{name}" for name in _PLAIN), *written])
    return f"""
        SELECT m.id, {instant_sql("m.created_at")} AS at, {sku}, p.code AS location,
               m.level_version, {columns}
          FROM inventory_movement m
          JOIN inventory_stocklevel l ON l.id = m.level_id
          JOIN inventory_sku s ON s.id = l.sku_id
          JOIN inventory_location p ON p.id = l.location_id
         WHERE m.id > %(after)s AND m.id <= %(last)s
         ORDER BY m.id"""


AS_ROWS = _block(is_guarded=True)
AS_DOCUMENTS = f"SELECT row_to_json(r) FROM ({_block(is_guarded=False)}) AS r"


def export_movements(file: BinaryIO, *, form: Form, after_id: int = 0) -> Iterator[tuple[int, int]]:
    """
    Write the ledger after a movement to a file, block by block, first to last.

    Yields after each block how many movements that were, and the id of the last.
    """
    if form == "csv":
        file.write(csv_line(COLUMNS).encode())
    while True:
        last, count = find_row(LAST_OF_BLOCK, {"after": after_id, "limit": MOVEMENTS_AT_ONCE})
        if not count:
            return
        bounds = {"after": after_id, "last": last}
        if form == "csv":
            copy_rows(AS_ROWS, AS_CSV, bounds, file)
        else:
            copy_rows(AS_DOCUMENTS, AS_LINES, bounds, file)
        yield count, last
        after_id = last
