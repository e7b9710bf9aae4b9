"""
What an Online Retail file says: its rows, their invoices, and the orders these are. Pure.

One line of the file is one row, so a stray quote spoils its own line and no other.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property

from orders.rules import LINES_MAX, QUANTITY_MAX, Charge, LineDraft, OrderDraft

COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
REJECTED_COLUMNS = ("Line", "Reason", "Detail", *COLUMNS)

# What the shop books under a stock code and never had on a shelf: postage, carriage, discount,
# manual entries, samples, debts, donations, fees. A list, not a pattern: goods have odd codes too
# (DCGS0076, SP1002), and a new code taken for goods is refused aloud, where the other way round
# its stock would silently not count.
CHARGE_CODES = frozenset(
    {
        "AMAZONFEE",
        "B",
        "BANK CHARGES",
        "C2",
        "CRUK",
        "D",
        "DOT",
        "M",
        "PADS",
        "POST",
        "S",
    }
)
VOUCHER_PREFIX = "GIFT_0001_"

# Who bought when the file names nobody.
GUEST = "guest"

CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
WHOLE = re.compile(r"-?[0-9]{1,12}")
PRICE = re.compile(r"-?[0-9]{1,12}(\.[0-9]*)?")
MOMENT = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}) ([0-9]{1,2}):([0-9]{2})")
TEXT_MAX = 128
# As inventory has it: above it create_sku refuses.
PRICE_MINOR_MAX = 1_000_000_000


class NotRetail(ValueError):
    """The first line does not name the columns of an Online Retail file."""


class RowFault(ValueError):
    """Why a row cannot be read. reason: one of the names in docs/import.md."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Row:
    """
    One line of the file. text: its cells, as they stand there. at: the time it names, as UTC.

    quantity: 1 or more, of a charge also less, of a cancellation below 0; price_minor: 0 or more.
    """

    line: int
    text: str
    invoice: str
    code: str
    description: str
    quantity: int
    at: datetime
    price_minor: int
    customer: str
    country: str

    @property
    def total_minor(self) -> int:
        """What the row comes to."""
        return self.quantity * self.price_minor

    @property
    def charge_code(self) -> str | None:
        """The code of a charge, None for goods."""
        return charge_code(self.code)

    @property
    def goods_units(self) -> int:
        """The units of goods; a charge has none."""
        return self.quantity if self.charge_code is None else 0

    def rejected(self, reason: str, detail: str) -> "RejectedRow":
        """Return the rejection of this row."""
        return RejectedRow(self.line, self.text, self.invoice, reason, detail)


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A line of the file that becomes no order, and why. invoice: empty when it names none."""

    line: int
    text: str
    invoice: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """
    What is not done of an invoice or a cancellation: every row of an invoice.

    number: empty for a row that names no invoice. units and total_minor: of the rows that can be
    read. is_whole: False for some rows of a cancellation whose others are done.
    """

    number: str
    rows: tuple[RejectedRow, ...]
    units: int = 0
    total_minor: int = 0
    is_whole: bool = True


@dataclass(frozen=True)
class Invoice:
    """A sale. at: the earliest time that its rows name. rows: one or more, as in the file."""

    number: str
    at: datetime
    rows: tuple[Row, ...]

    @cached_property
    def draft(self) -> OrderDraft:
        """
        The order that the invoice is.

        Goods are lines, with the price of the file. What is no goods is charges; an invoice of
        nothing else has it as lines, because an order has at least one.
        """
        goods = [row for row in self.rows if row.charge_code is None]
        if goods:
            lines = [LineDraft(row.code, row.quantity, row.price_minor) for row in goods]
        else:
            lines = [
                LineDraft(row.charge_code or "", row.quantity, row.price_minor) for row in self.rows
            ]
        charges = [
            Charge(row.charge_code, row.description, row.total_minor)
            for row in self.rows
            if goods and row.charge_code is not None
        ]
        country = self.rows[0].country
        return OrderDraft(
            customer=self.rows[0].customer,
            lines=tuple(lines),
            reference=self.number,
            charges=tuple(charges),
            metadata={"country": country} if country else None,
        )

    @property
    def units(self) -> int:
        """The units of its goods; charges have none."""
        return sum(row.goods_units for row in self.rows)

    @property
    def total_minor(self) -> int:
        """What the invoice comes to."""
        return sum(row.total_minor for row in self.rows)

    def rejected(self, reason: str, detail: str) -> Rejection:
        """Return the rejection of the whole invoice for one reason."""
        rows = tuple(row.rejected(reason, detail) for row in self.rows)
        return Rejection(self.number, rows, self.units, self.total_minor)


@dataclass(frozen=True)
class Cancellation:
    """
    Units of earlier invoices that came back, or that nobody wanted; it does not say of which.

    at: the earliest time that its rows name. rows: one or more, as in the file, quantities below 0.
    """

    number: str
    at: datetime
    rows: tuple[Row, ...]

    @property
    def customer(self) -> str:
        """Whose invoices it is of."""
        return self.rows[0].customer

    def rejected(self, reason: str, detail: str) -> Rejection:
        """Return the rejection of the whole cancellation for one reason."""
        return self.rejected_rows(
            {n: row.rejected(reason, detail) for n, row in enumerate(self.rows)}
        )

    def rejected_rows(self, rejected: Mapping[int, RejectedRow]) -> Rejection:
        """Return the rejection of some rows, by their place in it."""
        rows = [self.rows[n] for n in rejected]
        return Rejection(
            self.number,
            tuple(rejected.values()),
            sum(row.goods_units for row in rows),
            sum(row.total_minor for row in rows),
            is_whole=len(rows) == len(self.rows),
        )


@dataclass
class Sheet:
    """A file's invoices and cancellations: those to replay, by date, and those that cannot be."""

    invoices: list[Invoice] = field(default_factory=list)
    cancellations: list[Cancellation] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Article:
    """What a file tells of one SKU. is_tracked: False for a charge that is sold as a line."""

    code: str
    name: str
    price_minor: int
    is_tracked: bool


def is_cancellation(number: str) -> bool:
    """Test whether an invoice's number is one of a cancellation."""
    return number.upper().startswith("C")


def charge_code(code: str) -> str | None:
    """Return the code of the charge that a stock code means, None when it means goods."""
    upper = code.upper()
    if upper in CHARGE_CODES or upper.startswith(VOUCHER_PREFIX):
        return upper.replace(" ", "_")
    return None


def read_rows(lines: Iterable[str]) -> Iterator[Row | RejectedRow]:
    """
    Read a file's lines; yield its rows in order. Lines without text are no rows.

    The first line names the columns, in any order and with others between them, so that a file
    of rejected rows can be read as well. Raises NotRetail when it does not name all of them.
    """
    numbered = enumerate(lines, start=1)
    _, head = next(numbered, (0, ""))
    names = next(csv.reader([head.removeprefix("\ufeff")]), [])
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise NotRetail(f"The first line does not name the column {missing[0]}.")
    positions = [names.index(column) for column in COLUMNS]
    for number, line in numbered:
        text = line.rstrip("\r\n")
        if text.strip():
            yield _read_row(number, text, positions, names)


def _read_row(
    line: int, text: str, positions: Sequence[int], names: Sequence[str]
) -> Row | RejectedRow:
    try:
        cells = _split(text, len(names))
    except RowFault as fault:
        invoice = _guess_invoice(text, positions[0])
        return RejectedRow(line, text, invoice, fault.reason, str(fault))
    picked = [cells[position] for position in positions]
    # Of a file of rejected rows: without what was said of it the last time.
    own_text = text if tuple(names) == COLUMNS else _join(picked)
    try:
        return _read_cells(line, own_text, [cell.strip() for cell in picked])
    except RowFault as fault:
        invoice = picked[0].strip()
        known_invoice = invoice if CODE.fullmatch(invoice) else ""
        return RejectedRow(line, own_text, known_invoice, fault.reason, str(fault))


def _read_cells(line: int, text: str, cells: Sequence[str]) -> Row:
    invoice, code, description, quantity, at, price, customer, country = cells
    if not CODE.fullmatch(invoice):
        raise RowFault("bad_invoice_number", f"not an invoice number: {invoice!r}")
    charge = charge_code(code)
    if not CODE.fullmatch(charge or code):
        raise RowFault("bad_stock_code", f"not a stock code: {code!r}")
    return Row(
        line=line,
        text=text,
        invoice=invoice,
        code=code,
        description=_read_text(description, "description") or code,
        quantity=_read_quantity(
            quantity, is_charge=charge is not None, is_cancelled=is_cancellation(invoice)
        ),
        at=_read_moment(at),
        price_minor=_read_price(price),
        customer=_read_text(customer, "customer") or GUEST,
        country=_read_text(country, "country"),
    )


def _join(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _split(text: str, width: int) -> list[str]:
    # Control characters among them NUL, which PostgreSQL's text cannot hold.
    if not text.isprintable():
        _refuse_unprintable(text)
    try:
        cells = next(csv.reader([text], strict=True))
    except csv.Error as failure:
        raise RowFault("malformed_csv", str(failure)) from failure
    if len(cells) != width:
        raise RowFault("wrong_column_count", f"{len(cells)} columns where {width} are named")
    return cells


def _refuse_unprintable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as failure:
        raise RowFault("undecodable", "bytes that are no text in the file's encoding") from failure
    if any(character < " " and character != "\t" for character in text):
        raise RowFault("control_character", "a control character in the line")


def _guess_invoice(text: str, position: int) -> str:
    # Also of a line that cannot be split: its invoice must not be placed without it.
    try:
        cells = next(csv.reader([text]))
    except csv.Error:
        cells = text.split(",")
    invoice = cells[position].strip() if position < len(cells) else ""
    return invoice if CODE.fullmatch(invoice) else ""


def _read_text(text: str, what: str) -> str:
    if len(text) > TEXT_MAX:
        raise RowFault("text_too_long", f"the {what} has more than {TEXT_MAX} characters")
    return text


def _read_quantity(text: str, *, is_charge: bool, is_cancelled: bool) -> int:
    if not WHOLE.fullmatch(text):
        raise RowFault("quantity_not_whole", f"not a whole number: {text!r}")
    quantity = int(text)
    if is_cancelled:
        if quantity >= 0:
            raise RowFault("quantity_not_negative", f"a cancellation of {quantity}")
    # A discount is booked as -1 of it.
    elif quantity == 0 or (quantity < 0 and not is_charge):
        raise RowFault("quantity_not_positive", f"a sale of {quantity}")
    if abs(quantity) > QUANTITY_MAX:
        raise RowFault("quantity_too_large", f"{quantity}: a line has at most {QUANTITY_MAX}")
    return quantity


def _read_moment(text: str) -> datetime:
    match = MOMENT.fullmatch(text)
    try:
        if match is None:
            raise ValueError("not M/D/YYYY H:MM")
        month, day, year, hour, minute = map(int, match.groups())
        return datetime(year, month, day, hour, minute, tzinfo=UTC)
    except ValueError as failure:
        raise RowFault("bad_date", f"{text!r}: {failure}") from failure


def _read_price(text: str) -> int:
    if not PRICE.fullmatch(text):
        raise RowFault("bad_price", f"not a price: {text!r}")
    price = Decimal(text)
    if price < 0:
        raise RowFault("price_negative", f"a price of {text}")
    if len(text.partition(".")[2]) > 2:
        raise RowFault("price_not_in_pennies", f"{text} has more than two decimals")
    price_minor = int(price * 100)
    if price_minor > PRICE_MINOR_MAX:
        raise RowFault("price_too_large", f"{text}: at most {PRICE_MINOR_MAX // 100}")
    return price_minor


def group_rows(rows: Iterable[Row | RejectedRow]) -> Sheet:
    """
    Return the invoices and cancellations that rows are of, wherever in the file these stand.

    One bad row rejects its whole invoice: an order is all or nothing. Both stand by date, at one
    time by their place in the file; rejections by place.
    """
    sheet = Sheet()
    by_number: dict[str, list[Row | RejectedRow]] = {}
    for row in rows:
        if not row.invoice:
            assert isinstance(row, RejectedRow)  # noqa: S101  # A row that is read has a number.
            sheet.rejections.append(Rejection("", (row,)))
        else:
            by_number.setdefault(row.invoice, []).append(row)
    for number, members in by_number.items():
        grouped = _group(number, members)
        if isinstance(grouped, Invoice):
            sheet.invoices.append(grouped)
        elif isinstance(grouped, Cancellation):
            sheet.cancellations.append(grouped)
        else:
            sheet.rejections.append(grouped)
    sheet.invoices.sort(key=lambda invoice: invoice.at)
    sheet.cancellations.sort(key=lambda cancellation: cancellation.at)
    sheet.rejections.sort(key=lambda rejection: rejection.rows[0].line)
    return sheet


def _group(number: str, members: Sequence[Row | RejectedRow]) -> Invoice | Cancellation | Rejection:
    good = tuple(row for row in members if isinstance(row, Row))
    bad = [row for row in members if isinstance(row, RejectedRow)]
    if bad:
        detail = f"line {bad[0].line} of this invoice: {bad[0].reason}"
        innocent = [row.rejected("invoice_rejected", detail) for row in good]
        return Rejection(
            number,
            tuple(sorted([*bad, *innocent], key=lambda row: row.line)),
            sum(row.goods_units for row in good),
            sum(row.total_minor for row in good),
        )
    at = min(row.at for row in good)
    is_sale = not is_cancellation(number)
    whole = Invoice(number, at, good) if is_sale else Cancellation(number, at, good)
    customers = {row.customer for row in good}
    if len(customers) > 1:
        return whole.rejected("two_customers", f"of {', '.join(sorted(customers))}")
    if isinstance(whole, Cancellation):
        return whole
    if len(whole.draft.lines) > LINES_MAX:
        return whole.rejected("too_many_lines", f"an order has at most {LINES_MAX} lines")
    if min(line.quantity for line in whole.draft.lines) < 0:
        return whole.rejected("quantity_not_positive", "a sale of nothing but a discount")
    return whole


def list_articles(invoices: Iterable[Invoice]) -> list[Article]:
    """Return what invoices sell, by code: each with its first description and commonest price."""
    names: dict[str, str] = {}
    prices: dict[str, Counter[int]] = {}
    goods: set[str] = set()
    for invoice in invoices:
        for row, line in zip(_lines_of(invoice), invoice.draft.lines, strict=True):
            names.setdefault(line.sku, row.description)
            prices.setdefault(line.sku, Counter())[row.price_minor] += 1
            if row.charge_code is None:
                goods.add(line.sku)
    return [
        Article(code, names[code], prices[code].most_common(1)[0][0], code in goods)
        for code in sorted(names)
    ]


def _lines_of(invoice: Invoice) -> list[Row]:
    goods = [row for row in invoice.rows if row.charge_code is None]
    return goods or list(invoice.rows)


def units_sold(invoices: Iterable[Invoice]) -> Mapping[str, int]:
    """Return the units of goods that invoices sell, by SKU code."""
    units: Counter[str] = Counter()
    for invoice in invoices:
        for row in invoice.rows:
            if row.charge_code is None:
                units[row.code] += row.quantity
    return units
