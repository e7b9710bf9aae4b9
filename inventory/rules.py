"""Stock as arithmetic on plain values. Pure."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol
from uuid import UUID

from config.errors import AppError

# /api/v1/stock/availability is an address; clients and proxies take a path's dots away.
RESERVED_CODES = frozenset({"availability", ".", ".."})
SKU_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
# No text of ours has them: they break files, labels and terminals.
CONTROL_CHARACTERS = r"\x00-\x1f\x7f-\x9f"
MAIN_LOCATION = "main"
# 10 million in a currency with cents: 1,000 lines of 1,000,000 units stay below 2**63.
PRICE_MINOR_MAX = 1_000_000_000
UNITS_MAX = 1_000_000_000_000

MovementKind = Literal[
    "receive", "hold", "expire", "allocate", "fill", "release", "ship", "return", "adjust",
    "count", "quarantine", "transfer_out", "transfer_in", "policy",
]  # fmt: skip
# ISO 4217: how many decimals the minor unit of a currency is, where it is not 2. Compared with
# babel 2.18.0 of 2026, which has fewer for 13 of which nobody uses the minor unit any more.
DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
REASONS = (
    *("count", "damage", "loss", "theft", "expired", "recall", "inspection"),
    *("sample", "found", "correction", "other"),
)


class SkuNotFound(AppError):
    """No SKU has this code."""

    code, kind, facts = "sku_not_found", "not_found", ("sku",)

    def __init__(self, sku: str) -> None:
        super().__init__(f"There is no SKU {sku}.")
        self.sku = sku


class SkuExists(AppError):
    """Another SKU, or an address of the API, has this code."""

    code, kind, facts = "sku_exists", "conflict", ("sku",)

    def __init__(self, sku: str) -> None:
        super().__init__(f"SKU {sku} exists already.")
        self.sku = sku


class SkuUntracked(AppError):
    """The SKU is a service: it has no stock to move."""

    code, kind, facts = "sku_untracked", "conflict", ("sku",)

    def __init__(self, sku: str) -> None:
        super().__init__(f"SKU {sku} is not tracked: it has no stock.")
        self.sku = sku


class LocationNotFound(AppError):
    """No location has this code."""

    code, kind, facts = "location_not_found", "invalid", ("location",)

    def __init__(self, location: str) -> None:
        super().__init__(f"There is no location {location}.")
        self.location = location


class StockBelowZero(AppError):
    """An adjustment takes more units than are on hand."""

    code, kind, facts = "stock_below_zero", "conflict", ("sku", "on_hand", "delta")

    def __init__(self, sku: str, *, on_hand: int, delta: int) -> None:
        super().__init__(f"{sku}: {on_hand} on hand, {-delta} cannot be taken.")
        self.sku = sku
        self.on_hand = on_hand
        self.delta = delta


class StockAboveLimit(AppError):
    """A level would hold more units than any level may."""

    code, kind, facts = "stock_above_limit", "conflict", ("sku", "on_hand")

    def __init__(self, sku: str, *, on_hand: int) -> None:
        super().__init__(f"{sku}: a level holds at most {UNITS_MAX} units.")
        self.sku = sku
        self.on_hand = on_hand


class StockChanged(AppError):
    """A count was made against another number than the one on the books."""

    code, kind, facts = "precondition_failed", "precondition", ("sku", "on_hand")

    def __init__(self, sku: str, *, on_hand: int) -> None:
        super().__init__(f"{sku}: {on_hand} on hand, not what you expected. Count again.")
        self.sku = sku
        self.on_hand = on_hand


class NothingAllocated(AppError):
    """The order has no allocated units to release."""

    code, kind, facts = "nothing_allocated", "conflict", ("order_id",)

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"Order {order_id} has no allocated units.")
        self.order_id = str(order_id)


@dataclass(frozen=True, slots=True)
class Sku:
    """What is sold, and for how much. price_minor: minor units of currency, 0 or more."""

    id: int
    code: str
    name: str
    price_minor: int
    currency: str
    is_active: bool
    is_tracked: bool
    sell_policy: str = "deny"


@dataclass(frozen=True, slots=True)
class Availability:
    """What could be ordered of a SKU at as_of; available is None for one that is not tracked."""

    is_active: bool
    available: int | None
    as_of: datetime


def money_text(amount_minor: int, currency: str) -> str:
    """
    Return an amount as people read it: 1,234.50 EUR.

    amount_minor: minor units of currency, as many to the unit as ISO 4217 says.
    """
    decimals = next((n for n, codes in DECIMALS.items() if currency in codes), 2)
    return f"{Decimal(amount_minor).scaleb(-decimals):,f} {currency}"


def instant(moment: datetime) -> str:
    """Return an instant as RFC 3339 writes it, in UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Counters(Protocol):
    """What decides how many units of a level are free."""

    @property
    def on_hand(self) -> int: ...
    @property
    def unavailable(self) -> int: ...
    @property
    def safety(self) -> int: ...
    @property
    def held(self) -> int: ...
    @property
    def allocated(self) -> int: ...


def available_units(level: Counters, *, promised: int | None = None) -> int:
    """
    Return the units that an order may take from a level, 0 or more.

    Units that orders wait for are allocated too: what comes in is theirs before anybody else's.
    promised: other than all that is allocated.
    """
    allocated = level.allocated if promised is None else promised
    return max(0, level.on_hand - level.unavailable - level.safety - level.held - allocated)


# Level, Change and Movement are named tuples: every line of every order makes one of each, and a
# frozen dataclass takes six times as long to make.
class Level(NamedTuple):
    """
    The units of one SKU at one location, each 0 or more.

    waiting: how many of the allocated units are backordered, to be filled from what comes in.
    version counts the movements of this level: each has the version it led to. Levels with a low
    priority are asked first; one that is not is_open gives nothing to orders.
    """

    id: int
    sku: str
    on_hand: int = 0
    unavailable: int = 0
    safety: int = 0
    held: int = 0
    allocated: int = 0
    waiting: int = 0
    incoming: int = 0
    backorder_limit: int = 0
    shortfall: int = 0
    version: int = 0
    location: str = MAIN_LOCATION
    priority: int = 0
    is_open: bool = True
    sell_policy: str = "deny"

    @property
    def available(self) -> int:
        """The units that an order may take, 0 or more."""
        return available_units(self) if self.is_open else 0

    @property
    def free(self) -> int:
        """The units that nobody has a claim on; below 0 where claims outnumber what is there."""
        return self.on_hand - self.unavailable - self.safety - self.held - self.allocated

    @property
    def fillable(self) -> int:
        """The units that could go to orders that wait, 0 or more."""
        return min(self.waiting, available_units(self, promised=self.allocated - self.waiting))


class Change(NamedTuple):
    """How a movement changes its level's counters, in units."""

    on_hand: int = 0
    unavailable: int = 0
    held: int = 0
    allocated: int = 0
    waiting: int = 0
    incoming: int = 0


class Provenance(NamedTuple):
    """
    Who changed stock, through what, and in which request.

    actor: an account's or a person's name. source: api, admin, import or command.
    served_version and rules_generation: the version of the code path that decided, and the rules
    that chose it; empty and None outside one.
    """

    actor: str
    source: str
    served_version: str = ""
    trace_id: str = ""
    rules_generation: int | None = None

    def served_by(self, version: str, generation: int | None) -> "Provenance":
        """Return the same, with the version that decided."""
        return Provenance(self.actor, self.source, version, self.trace_id, generation)


class Movement(NamedTuple):
    """One row of the ledger: a change, the level after it, when and why."""

    kind: MovementKind
    change: Change
    after: Level
    at: datetime
    shortfall_change: int = 0
    reason: str = ""
    reference: str = ""
    note: str = ""
    order_id: UUID | None = None
    hold_id: UUID | None = None
    provenance: Provenance = Provenance("", "")


@dataclass(frozen=True, slots=True)
class HeldUnits:
    """The units of one level that a hold still keeps, 1 or more."""

    hold_id: UUID
    level_id: int
    sku: str
    units: int


@dataclass(frozen=True, slots=True)
class Hold:
    """
    What an account has kept for it, as the database has it.

    state: live, converted, released or expired; a hold whose deadline has passed is expired,
    swept or not. is_ended: whether its end was written down. lines: what it still keeps.
    level_ids: the levels of all its lines; who has locked them all may change the hold.
    """

    id: UUID
    account_id: int
    state: str
    is_ended: bool
    version: int
    lines: tuple[HeldUnits, ...] = ()
    level_ids: tuple[int, ...] = ()


def moved(level: Level, change: Change) -> Level:
    """Return a level after a movement that may neither create nor hide a shortfall."""
    # Not by _replace, which takes three times as long: every line of every order comes by here.
    return Level(
        level.id,
        level.sku,
        level.on_hand + change.on_hand,
        level.unavailable + change.unavailable,
        level.safety,
        level.held + change.held,
        level.allocated + change.allocated,
        level.waiting + change.waiting,
        level.incoming + change.incoming,
        level.backorder_limit,
        level.shortfall,
        level.version + 1,
        level.location,
        level.priority,
        level.is_open,
        level.sell_policy,
    )


def shortfall_of(level: Level) -> int:
    """Return the promised units that are not there and that nobody agreed to wait for."""
    promised = level.held + level.allocated - level.waiting
    return max(0, promised - (level.on_hand - level.unavailable))


def settled(level: Level, change: Change) -> Level:
    """
    Return a level after a change of what is physically there, its shortfall as it then is.

    Raises StockBelowZero when fewer than 0 units would be on hand, StockAboveLimit when too many
    would. Promises may outnumber what is left: that shows as shortfall, and the more that comes
    in the less of it remains. Only what tells of the physical stock may change it: for an order
    it would hide the very mistake that the database's constraint is there to catch.
    """
    after = moved(level, change)
    if after.on_hand < 0:
        raise StockBelowZero(level.sku, on_hand=level.on_hand, delta=change.on_hand)
    if after.on_hand > UNITS_MAX:
        raise StockAboveLimit(level.sku, on_hand=level.on_hand)
    return after._replace(shortfall=shortfall_of(after))


def difference(level: Level, on_hand_delta: int) -> Change:
    """
    Return how a level changes when on_hand_delta units come in, or are found to be missing.

    No more units are in quarantine than are there.
    """
    there = max(0, level.on_hand + on_hand_delta)
    return Change(
        on_hand=on_hand_delta, unavailable=min(level.unavailable, there) - level.unavailable
    )
