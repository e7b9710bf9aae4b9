"""The public door of inventory: what is sold, what is there, and every way to move it."""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError
from django.db.models import QuerySet

from inventory import codepaths, storage
from inventory.allocating import allocate, carry_out, plan_plenty
from inventory.allocations import draw_units, release_order, release_orders, take_back
from inventory.booking import book
from inventory.copying import (
    AS_CSV,
    AS_LINES,
    copy_rows,
    find_row,
    guarded_sql,
    instant_sql,
)
from inventory.exporting import export_movements
from inventory.granting import Demand, Grant, Pick, Shortage
from inventory.holding import (
    HoldChanged,
    HoldFilter,
    HoldInvalid,
    HoldLifeExceeded,
    HoldLimitReached,
    HoldLine,
    HoldNotFound,
    HoldNotLive,
    TooFewToHold,
)
from inventory.holds import (
    expire_holds,
    extend_hold,
    find_holds,
    get_hold,
    hold_document,
    list_holds,
    place_hold,
    release_hold,
)
from inventory.keeping import (
    add_location,
    add_sku,
    change_location,
    change_sku,
    create_location,
    create_sku,
    get_location,
    list_locations,
    update_location,
    update_sku,
)
from inventory.models import Allocation
from inventory.models import Movement as MovementRow
from inventory.models import Sku as SkuRow
from inventory.moving import (
    adjust_stock,
    count_stock,
    quarantine_stock,
    receive_stock,
    set_policy,
    set_stock,
)
from inventory.promises import Draw, Drawn, NotAllocated, NotOnHand, Return
from inventory.refusals import (
    BackorderLimitTooLow,
    ImportNotFound,
    LocationExists,
    NoSuchLocation,
    QuarantineOutOfRange,
    ReasonMissing,
    SameLocation,
    SkuBeingCounted,
    SkuNotInStocktake,
    StockNotFree,
    StocktakeClosed,
    StocktakeEmpty,
    StocktakeNotFound,
    StocktakeTooLarge,
    TransferClosed,
    TransferNotFound,
)
from inventory.rules import (
    MAIN_LOCATION,
    PRICE_MINOR_MAX,
    SKU_CODE,
    Availability,
    Hold,
    Level,
    LocationNotFound,
    NothingAllocated,
    Provenance,
    Sku,
    SkuExists,
    SkuNotFound,
    SkuUntracked,
    StockAboveLimit,
    StockBelowZero,
    StockChanged,
    money_text,
)
from inventory.stockfiles import NotAStockFile, csv_line
from inventory.stockimports import (
    apply_import,
    get_import,
    is_small,
    list_import_rows,
    list_imports,
    list_rejected_lines,
    run_import,
    run_imports,
    start_import,
)
from inventory.stocktakes import (
    approve_stocktake,
    cancel_stocktake,
    count_lines,
    list_stocktakes,
    open_stocktake,
    read_stocktake,
    stocktake_head,
)
from inventory.transfers import (
    cancel_transfer,
    get_transfer,
    list_transfers,
    receive_transfer,
    send_transfer,
    transfer_document,
)

__all__ = [
    "AS_CSV",
    "AS_LINES",
    "MAIN_LOCATION",
    "PRICE_MINOR_MAX",
    "SKU_CODE",
    "Availability",
    "BackorderLimitTooLow",
    "Demand",
    "Draw",
    "Drawn",
    "Grant",
    "Hold",
    "HoldChanged",
    "HoldFilter",
    "HoldInvalid",
    "HoldLifeExceeded",
    "HoldLimitReached",
    "HoldLine",
    "HoldNotFound",
    "HoldNotLive",
    "ImportNotFound",
    "Level",
    "LocationExists",
    "LocationNotFound",
    "NoSuchLocation",
    "NotAStockFile",
    "NotAllocated",
    "NotOnHand",
    "NothingAllocated",
    "Pick",
    "Provenance",
    "QuarantineOutOfRange",
    "ReasonMissing",
    "Return",
    "SameLocation",
    "Shortage",
    "Sku",
    "SkuBeingCounted",
    "SkuExists",
    "SkuNotFound",
    "SkuNotInStocktake",
    "SkuUntracked",
    "StockAboveLimit",
    "StockBelowZero",
    "StockChanged",
    "StockNotFree",
    "StocktakeClosed",
    "StocktakeEmpty",
    "StocktakeNotFound",
    "StocktakeTooLarge",
    "TooFewToHold",
    "TransferClosed",
    "TransferNotFound",
    "add_location",
    "add_sku",
    "adjust_stock",
    "allocate",
    "apply_import",
    "approve_stocktake",
    "book",
    "cancel_stocktake",
    "cancel_transfer",
    "carry_out",
    "change_location",
    "change_sku",
    "copy_rows",
    "count_lines",
    "count_stock",
    "create_location",
    "create_sku",
    "csv_line",
    "draw_units",
    "expire_holds",
    "export_movements",
    "extend_hold",
    "find_holds",
    "find_row",
    "find_skus",
    "get_hold",
    "get_import",
    "get_location",
    "get_sku",
    "get_stock",
    "get_transfer",
    "guarded_sql",
    "hold_document",
    "instant_sql",
    "is_shortage",
    "is_small",
    "list_holds",
    "list_import_rows",
    "list_imports",
    "list_locations",
    "list_movements",
    "list_order_allocations",
    "list_order_movements",
    "list_rejected_lines",
    "list_skus",
    "list_stock",
    "list_stocktakes",
    "list_transfers",
    "lock_stock",
    "money_text",
    "open_stocktake",
    "place_hold",
    "plan_plenty",
    "quarantine_stock",
    "read_availability",
    "read_stock",
    "read_stocktake",
    "receive_stock",
    "receive_transfer",
    "release_hold",
    "release_order",
    "release_orders",
    "run_import",
    "run_imports",
    "send_transfer",
    "set_policy",
    "set_stock",
    "start_import",
    "stocktake_head",
    "take_back",
    "transfer_document",
    "update_location",
    "update_sku",
]


def get_sku(code: str) -> SkuRow:
    """Return a SKU; raises SkuNotFound."""
    return storage.get_sku(code)


def find_skus(codes: Iterable[str]) -> dict[str, Sku]:
    """Return SKUs as they are now, by code; a code that does not exist is not in the answer."""
    return storage.find_skus(codes)


def list_skus(*, after: str = "", limit: int) -> tuple[list[SkuRow], str | None]:
    """Return at most limit SKUs whose code comes after another, and the code to go on after."""
    return _page(storage.list_skus(), after=after, limit=limit)


def list_stock(
    *, after: str = "", limit: int, state: str | None = None, location: str | None = None
) -> tuple[list[SkuRow], str | None]:
    """
    Return a page of SKUs as list_skus does, each with its levels; tracked ones only.

    state: those with a level that is low, has a shortfall, or at which orders are waiting.
    location: those with a level there.
    """
    skus = storage.list_stock(state=state, location=location)
    return _page(skus.filter(is_tracked=True), after=after, limit=limit)


def _page(skus: QuerySet[SkuRow], *, after: str, limit: int) -> tuple[list[SkuRow], str | None]:
    rows = list(skus.filter(code__gt=after)[: limit + 1])
    return rows[:limit], rows[limit - 1].code if len(rows) > limit else None


def get_stock(code: str) -> SkuRow:
    """Return a SKU with its levels; raises SkuNotFound."""
    sku = storage.list_stock().filter(code=code).first()
    if sku is None:
        raise SkuNotFound(code)
    return sku


def list_movements(
    code: str, *, location: str = MAIN_LOCATION, before_version: int | None = None, limit: int
) -> tuple[list[MovementRow], str | None]:
    """
    Return at most limit rows of a SKU's ledger, newest first, and the version to go on before.

    Raises SkuNotFound.
    """
    storage.get_sku(code)
    movements = storage.list_movements(code, location=location)
    if before_version is not None:
        movements = movements.filter(level_version__lt=before_version)
    rows = list(movements[: limit + 1])
    return rows[:limit], str(rows[limit - 1].level_version) if len(rows) > limit else None


def list_order_allocations(order_id: UUID) -> list[Allocation]:
    """Return what an order was promised and what became of it; empty for one without stock."""
    return list(storage.list_allocations_of_order(order_id))


def list_order_movements(order_id: UUID) -> list[MovementRow]:
    """Return every ledger row of an order, first to last; empty for an order without stock."""
    return list(storage.list_movements_of_order(order_id))


def read_availability(codes: Sequence[str], *, now: datetime) -> dict[str, Availability]:
    """
    Return what can be ordered of SKUs, by code; unknown codes are not in the answer.

    Each says since when it is known: at most AVAILABILITY_CACHE_S ago.
    """
    found: dict[str, Availability] = codepaths.availability(codes, now=now)
    return found


def read_stock(
    codes: Sequence[str],
) -> tuple[Mapping[str, Sku], Mapping[str, Sequence[Level]], Set[str]]:
    """
    Return the same as lock_stock, and lock nothing: what plan_plenty goes by.

    None is busy that has a level. One round trip inside a pipeline.
    """
    return storage.read_stock(codes)


def is_shortage(failure: IntegrityError) -> bool:
    """Tell whether a transaction failed because carry_out did not find what had been planned."""
    return storage.is_shortage(failure)


def lock_stock(
    codes: Sequence[str], *, waits: bool = True
) -> tuple[Mapping[str, Sku], Mapping[str, Sequence[Level]], Set[str]]:
    """
    Return SKUs as they are now and the locked levels of those that are tracked, both by code.

    Third come the codes that are busy and so in neither: their levels could not be locked now.
    waits: without it, whatever somebody else has locked is busy at once.
    Joins the caller's transaction, in which the levels stay locked; one round trip inside a
    pipeline. Codes that do not exist are not in the answer.
    """
    return storage.lock_stock(codes, waits=waits)
