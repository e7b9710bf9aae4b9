"""What an order is worth, and when it is none. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from config.errors import AppError

LINES_MAX = 1_000
QUANTITY_MAX = 1_000_000
BULK_ORDERS_MAX = 500
CHARGE_MINOR_MAX = 1_000_000_000_000
# What a JavaScript client can still read exactly: 2**53 - 1.
TOTAL_MINOR_MAX = 9_007_199_254_740_991


class OrderNotFound(AppError):
    """The account has no order with this id."""

    code, kind = "order_not_found", "not_found"

    def __init__(self) -> None:
        super().__init__("There is no such order.")


class CustomerNotFound(AppError):
    """The account has no order of this customer."""

    code, kind = "customer_not_found", "not_found"

    def __init__(self) -> None:
        super().__init__("There is no order of this customer.")


class CustomerHasOpenOrders(AppError):
    """Orders of the customer are still to be sent or paid: who sends them needs the address."""

    code, kind = "customer_has_open_orders", "conflict"
    facts = ("numbers",)

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(f"{len(numbers)} orders of this customer are not finished.")
        self.numbers = list(numbers)


class OrderInvalid(AppError):
    """An order that is well formed but cannot be: unknown SKU, two currencies, a total below 0."""

    code, kind = "validation_failed", "invalid"

    def __init__(self, errors: Sequence[dict[str, Any]]) -> None:
        super().__init__("The order is well formed but cannot be placed.")
        self.errors = errors


class InsufficientStock(AppError):
    """Fewer units are available than were asked for. Expected in normal trade."""

    code, kind = "insufficient_stock", "conflict"

    def __init__(self, errors: Sequence[dict[str, Any]]) -> None:
        super().__init__("There is not enough stock for this order.")
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Charge:
    """Postage, tax or discount on an order. amount_minor: negative for a discount."""

    code: str
    name: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class LineDraft:
    """
    One line as it was sent. quantity: 1 … QUANTITY_MAX.

    unit_price_minor: only the importer names one; None is the SKU's own price.
    """

    sku: str
    quantity: int
    unit_price_minor: int | None = None


@dataclass(frozen=True, slots=True)
class OrderDraft:
    """
    An order as its sender wants it.

    lines: 1 … LINES_MAX, kept as sent, also two of one SKU. ship_to and metadata: as sent.
    allow_backorder: the buyer agrees to wait for units, where the SKU may be sold so.
    pay_within_s: how long it waits for its money before it expires; None for ever.
    hold: whose units the order takes before it asks for others.
    """

    customer: str
    lines: tuple[LineDraft, ...]
    reference: str = ""
    charges: tuple[Charge, ...] = ()
    ship_to: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    allow_backorder: bool = False
    pay_within_s: int | None = None
    hold: UUID | None = None

    def units_by_sku(self) -> dict[str, int]:
        """Return what the order takes from stock: units by SKU, summed over its lines."""
        units: dict[str, int] = {}
        for line in self.lines:
            units[line.sku] = units.get(line.sku, 0) + line.quantity
        return units


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders a list is of; None does not narrow it."""

    status: str | None = None
    customer: str | None = None
    reference: str | None = None
    sku: str | None = None
    placed_after: datetime | None = None
    placed_before: datetime | None = None
    updated_since: datetime | None = None
    served_version: str | None = None
    attention: str | None = None


class Priced(Protocol):
    """What an order must know of a SKU."""

    @property
    def price_minor(self) -> int: ...
    @property
    def currency(self) -> str: ...
    @property
    def is_active(self) -> bool: ...


class Quote(NamedTuple):
    """An order's money, in minor units of one currency; unit prices in the order of its lines."""

    currency: str
    unit_prices_minor: tuple[int, ...]
    subtotal_minor: int
    total_minor: int


def quote(draft: OrderDraft, skus: Mapping[str, Priced]) -> Quote:
    """
    Price an order with its SKUs as they are now.

    The total is the sum of the lines and the charges. Raises OrderInvalid, telling every fault:
    a SKU that is unknown or not active, more than one currency, a total below 0 or above
    TOTAL_MINOR_MAX.
    """
    errors = [fault for n, line in enumerate(draft.lines) if (fault := _fault(n, line, skus))]
    if errors:
        raise OrderInvalid(errors)
    currencies = {skus[line.sku].currency for line in draft.lines}
    if len(currencies) > 1:
        raise OrderInvalid(
            [
                {
                    "pointer": "/lines",
                    "code": "mixed_currencies",
                    "message": f"One order, one currency, not {', '.join(sorted(currencies))}.",
                }
            ]
        )
    prices = tuple(
        skus[line.sku].price_minor if line.unit_price_minor is None else line.unit_price_minor
        for line in draft.lines
    )
    return _summed(draft, currencies.pop(), prices)


def quote_as_told(draft: OrderDraft, currency: str) -> Quote:
    """
    Price an order by its own lines, each of which has a price, whatever its SKUs are today.

    Raises OrderInvalid for a total below 0 or above TOTAL_MINOR_MAX.
    """
    return _summed(draft, currency, tuple(line.unit_price_minor or 0 for line in draft.lines))


def _summed(draft: OrderDraft, currency: str, prices: tuple[int, ...]) -> Quote:
    subtotal = sum(price * line.quantity for price, line in zip(prices, draft.lines, strict=True))
    total = subtotal + sum(charge.amount_minor for charge in draft.charges)
    if not 0 <= total <= TOTAL_MINOR_MAX:
        raise OrderInvalid(
            [
                {
                    "pointer": "/charges" if total < 0 else "/lines",
                    "code": "total_out_of_range",
                    "message": f"The total is {total}: 0 to {TOTAL_MINOR_MAX} is possible.",
                }
            ]
        )
    return Quote(currency, prices, subtotal, total)


def _fault(position: int, line: LineDraft, skus: Mapping[str, Priced]) -> dict[str, Any] | None:
    sku = skus.get(line.sku)
    if sku is not None and sku.is_active:
        return None
    code, why = ("sku_unknown", "unknown") if sku is None else ("sku_inactive", "not active")
    return {
        "pointer": f"/lines/{position}/sku",
        "code": code,
        "message": f"SKU {line.sku} is {why}.",
        "sku": line.sku,
    }


def unknown_hold(hold_id: UUID) -> OrderInvalid:
    """Return the refusal of an order on a hold that its account does not have."""
    return OrderInvalid(
        [
            {
                "pointer": "/hold",
                "code": "hold_unknown",
                "message": f"There is no hold {hold_id}.",
                "hold": str(hold_id),
            }
        ]
    )


class Short(Protocol):
    """A SKU of which an order wanted more than was available."""

    @property
    def sku(self) -> str: ...
    @property
    def requested(self) -> int: ...
    @property
    def available(self) -> int: ...


def out_of_stock(draft: OrderDraft, shortages: Sequence[Short]) -> InsufficientStock:
    """Return the refusal of an order, with an entry for each line whose SKU is short."""
    short = {shortage.sku: shortage for shortage in shortages}
    return InsufficientStock(
        [
            {
                "pointer": f"/lines/{n}",
                "code": "insufficient_stock",
                "message": f"SKU {line.sku}: {short[line.sku].requested} requested, "
                f"{short[line.sku].available} available.",
                "sku": line.sku,
                "requested": short[line.sku].requested,
                "available": short[line.sku].available,
            }
            for n, line in enumerate(draft.lines)
            if line.sku in short
        ]
    )


class NewOrder(NamedTuple):
    """
    A draft that has a price: all that is written of it, but for the version.

    waiting_units: of each line, in their order; empty when none waits.
    pay_before: by the database's clock, which is the one that expires it.
    """

    id: UUID
    number: int
    account_id: int
    draft: OrderDraft
    quote: Quote
    placed_at: datetime
    served_version: str
    rules_generation: int | None = None
    trace_id: str = ""
    traceparent: str = ""
    waiting_units: tuple[int, ...] = ()
    pay_before: datetime | None = None


def waiting_by_line(lines: Sequence[LineDraft], waiting: Mapping[str, int]) -> tuple[int, ...]:
    """
    Return how many units of each line wait; waiting: units by SKU code.

    What is there goes to the first of two lines of one SKU.
    """
    left = dict(waiting)
    units = []
    for line in reversed(lines):
        units.append(min(line.quantity, left.get(line.sku, 0)))
        left[line.sku] = left.get(line.sku, 0) - units[-1]
    return tuple(reversed(units))
