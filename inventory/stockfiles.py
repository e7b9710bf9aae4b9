"""
What a file of SKUs and stock says, row by row. Pure.

One line of the file is one row, so a stray quote spoils its own line and no other.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from config.errors import AppError
from inventory.iso import CURRENCIES
from inventory.rules import MAIN_LOCATION, PRICE_MINOR_MAX, RESERVED_CODES, SKU_CODE, UNITS_MAX
from inventory.spreadsheets import guarded, unguarded

COLUMNS = (
    *("sku", "name", "price_minor", "currency", "is_active", "is_tracked"),
    *("location", "receive", "on_hand", "reference"),
)
# What a file of rejected rows says besides; read past, so that it can be mended and sent again.
TOLD_COLUMNS = ("line", "why", "detail")
FILE_BYTES_MAX = 10 * 1024 * 1024
ROWS_MAX = 100_000
LOCATION_CODE = re.compile(r"[A-Za-z0-9._-]{1,32}")
WHOLE = re.compile(r"[0-9]{1,13}")
NAME_MAX = 255
REFERENCE_MAX = 128

Read = TypeVar("Read")


class NotAStockFile(AppError):
    """The file is no CSV of SKUs and stock, or is larger than one may be."""

    code, kind = "not_a_stock_file", "invalid"


class RowFault(ValueError):
    """Why a row cannot be imported. why: one of the names in docs/import.md."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail)
        self.why = why


@dataclass(frozen=True, slots=True)
class StockRow:
    """
    What one row wants of a SKU and of its stock at a location; None leaves it as it is.

    price_minor: minor units of currency. receive: units that came in, 1 or more. on_hand: units
    that are there; a row has at most one of the two.
    """

    line: int
    text: str
    sku: str
    name: str | None = None
    price_minor: int | None = None
    currency: str | None = None
    is_active: bool | None = None
    is_tracked: bool | None = None
    location: str = MAIN_LOCATION
    receive: int | None = None
    on_hand: int | None = None
    reference: str = ""

    @property
    def moves_stock(self) -> bool:
        """Whether it says something of units."""
        return self.receive is not None or self.on_hand is not None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be imported, and why."""

    line: int
    text: str
    sku: str
    why: str
    detail: str


@dataclass(frozen=True, slots=True)
class StockFile:
    """The columns that a file names, and its rows in their order; lines without text are none."""

    columns: tuple[str, ...]
    rows: tuple[StockRow | BadRow, ...]


def read_text(content: bytes) -> str:
    """
    Return the text of an uploaded file; raises NotAStockFile.

    Tells only what can be told without reading its rows: size, encoding, the first line.
    """
    if len(content) > FILE_BYTES_MAX:
        raise NotAStockFile(f"A file may have {FILE_BYTES_MAX:,} bytes at most.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        raise NotAStockFile(f"The file is not UTF-8: {failure.reason}.") from failure
    if "\0" in text:
        # PostgreSQL's text cannot hold it.
        raise NotAStockFile("The file holds a NUL.")
    head, _, _ = text.partition("\n")
    _read_columns(head)
    if text.count("\n") > ROWS_MAX + 1:
        raise NotAStockFile(f"A file may have {ROWS_MAX:,} rows at most: split it.")
    return text


def _read_columns(head: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in next(csv.reader([head.rstrip("\r")]), []))
    if "sku" not in names:
        raise NotAStockFile("The first line does not name the column sku.")
    for name in names:
        if name not in COLUMNS + TOLD_COLUMNS:
            raise NotAStockFile(f"The first line names a column that is not known: {name!r}.")
    if len(set(names)) < len(names):
        raise NotAStockFile("The first line names a column twice.")
    return names


def read_file(text: str) -> StockFile:
    """
    Return what a file says that read_text let in.

    Units of one SKU at one location may be set once: of two numbers nobody knows which is right.
    """
    head, *lines = text.split("\n")
    columns = _read_columns(head)
    rows: list[StockRow | BadRow] = []
    counted: dict[tuple[str, str], int] = {}
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        row = _read_row(number, line.rstrip("\r"), columns)
        if isinstance(row, StockRow) and row.on_hand is not None:
            first = counted.setdefault((row.sku, row.location), number)
            if first != number:
                row = BadRow(
                    number, row.text, row.sku, "on_hand_repeated", f"line {first} sets it too"
                )
        rows.append(row)
    return StockFile(columns, tuple(rows))


def _read_row(line: int, text: str, columns: Sequence[str]) -> StockRow | BadRow:
    cells: dict[str, str] = {}
    try:
        cells = dict(zip(columns, _split(text, len(columns)), strict=True))
        return _read_cells(line, text, cells)
    except RowFault as fault:
        return BadRow(line, text, cells.get("sku", "")[:64], fault.why, str(fault))


def _split(text: str, width: int) -> list[str]:
    if any(character < " " and character != "\t" for character in text):
        raise RowFault("control_character", "a control character in the line")
    try:
        cells = next(csv.reader([text], strict=True))
    except csv.Error as failure:
        raise RowFault("malformed_csv", str(failure)) from failure
    if len(cells) != width:
        raise RowFault("wrong_column_count", f"{len(cells)} columns where {width} are named")
    return [unguarded(cell.strip()) for cell in cells]


def _read_cells(line: int, text: str, cells: dict[str, str]) -> StockRow:
    def read(column: str, reader: Callable[[str, str], Read]) -> Read | None:
        cell = cells.get(column, "")
        return reader(column, cell) if cell else None

    sku = cells["sku"]
    if not SKU_CODE.fullmatch(sku) or sku in RESERVED_CODES:
        raise RowFault("bad_sku", f"not a code of a SKU: {sku!r}")
    row = StockRow(
        line=line,
        text=text,
        sku=sku,
        name=read("name", _read_name),
        price_minor=read("price_minor", _read_price),
        currency=read("currency", _read_currency),
        is_active=read("is_active", _read_switch),
        is_tracked=read("is_tracked", _read_switch),
        location=read("location", _read_location) or MAIN_LOCATION,
        receive=read("receive", _read_units),
        on_hand=read("on_hand", _read_units),
        reference=read("reference", _read_reference) or "",
    )
    if row.receive is not None and row.on_hand is not None:
        raise RowFault(
            "receive_and_on_hand", "a row either receives units or sets how many there are"
        )
    if row.receive == 0:
        raise RowFault("bad_units", "receive: 1 or more")
    return row


def _read_name(_: str, cell: str) -> str:
    if len(cell) > NAME_MAX:
        raise RowFault("text_too_long", f"the name has more than {NAME_MAX} characters")
    return cell


def _read_reference(_: str, cell: str) -> str:
    if len(cell) > REFERENCE_MAX:
        raise RowFault("text_too_long", f"the reference has more than {REFERENCE_MAX} characters")
    return cell


def _read_price(_: str, cell: str) -> int:
    if not WHOLE.fullmatch(cell) or int(cell) > PRICE_MINOR_MAX:
        raise RowFault(
            "bad_price", f"{cell!r}: a whole number of minor units, 0 to {PRICE_MINOR_MAX}"
        )
    return int(cell)


def _read_currency(_: str, cell: str) -> str:
    if cell not in CURRENCIES:
        raise RowFault("bad_currency", f"{cell!r}: three capital letters of ISO 4217, as EUR")
    return cell


def _read_switch(column: str, cell: str) -> bool:
    if cell not in ("true", "false"):
        raise RowFault("bad_switch", f"{column}: true or false, not {cell!r}")
    return cell == "true"


def _read_location(_: str, cell: str) -> str:
    if not LOCATION_CODE.fullmatch(cell):
        raise RowFault("location_not_found", f"not a code of a location: {cell!r}")
    return cell


def _read_units(column: str, cell: str) -> int:
    if not WHOLE.fullmatch(cell):
        raise RowFault("bad_units", f"{column}: {cell!r} is no whole number")
    units = int(cell)
    if units > UNITS_MAX:
        raise RowFault("bad_units", f"{column}: a level holds at most {UNITS_MAX:,} units")
    return units


def rejected_line(columns: Sequence[str], row: BadRow) -> str:
    """Return a line of the file of rejected rows: where, why, and the row as it was."""
    own = [name for name in columns if name not in TOLD_COLUMNS]
    try:
        cells = [unguarded(cell) for cell in _split(row.text, len(columns))]
        kept = [cell for name, cell in zip(columns, cells, strict=True) if name in own]
    except RowFault:
        # What cannot be split is mended by hand: it stands whole in the first column.
        kept = [row.text, *[""] * (len(own) - 1)]
    return csv_line([str(row.line), row.why, row.detail, *kept])


def rejected_head(columns: Sequence[str]) -> str:
    """Return the first line of the file of rejected rows."""
    return csv_line([*TOLD_COLUMNS, *(name for name in columns if name not in TOLD_COLUMNS)])


def csv_line(cells: Sequence[str]) -> str:
    """Return cells as one line of CSV that no spreadsheet runs."""
    line = io.StringIO()
    csv.writer(line).writerow([guarded(cell) for cell in cells])
    return line.getvalue()
