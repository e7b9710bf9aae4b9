"""People count a location while sales go on. Part of the door: inventory.usecases."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db import IntegrityError, transaction
from uuid_utils.compat import uuid7

from events.usecases import (
    Answer,
    KeyedRequest,
    LockNotHad,
    NewEvent,
    answer_once,
    record_events,
)
from inventory import rules, storage, worksheets
from inventory.booking import book
from inventory.models import StockLevel, Stocktake, StocktakeLine
from inventory.refusals import (
    SkuBeingCounted,
    SkuNotInStocktake,
    StocktakeClosed,
    StocktakeEmpty,
    StocktakeTooLarge,
)
from inventory.rules import Level, Movement, Provenance, SkuNotFound, instant

# Approving locks all of a stocktake's levels at once: orders of these wait for that long.
LINES_MAX = 1_000


def open_stocktake(
    *,
    request: KeyedRequest,
    location: str,
    provenance: Provenance,
    now: datetime,
    skus: Sequence[str] = (),
    prefix: str = "",
    reference: str = "",
) -> Answer:
    """
    Begin to count a location: some SKUs, those whose code begins with prefix, or all it has.

    Notes what each level should have. Raises LocationNotFound, SkuNotFound, StocktakeEmpty,
    StocktakeTooLarge, SkuBeingCounted, and what answer_once raises.
    """

    def work() -> Answer:
        place = storage.get_location(location)
        levels = list(worksheets.list_levels(location, skus=skus, prefix=prefix)[: LINES_MAX + 1])
        _check(levels, skus)
        stocktake = Stocktake(
            id=uuid7(),
            location=place,
            reference=reference,
            opened_by=provenance.actor,
            created_at=now,
        )
        stocktake.save(force_insert=True)
        try:
            with transaction.atomic():
                worksheets.add_lines(stocktake, levels)
        except IntegrityError as failure:
            # Another stocktake of one of them was opened at the same time, and is there by now.
            counted = worksheets.find_open_counts(level.pk for level in levels)
            raise (SkuBeingCounted(counted[0]) if counted else LockNotHad()) from failure
        return _answer(stocktake, "stocktake.opened", now=now)

    return answer_once(request, work)


def _check(levels: Sequence[StockLevel], skus: Sequence[str]) -> None:
    missing = set(skus) - {level.sku.code for level in levels}
    if missing:
        raise SkuNotFound(min(missing))
    if not levels:
        raise StocktakeEmpty
    if len(levels) > LINES_MAX:
        raise StocktakeTooLarge(lines_max=LINES_MAX)
    if counted := worksheets.find_open_counts(level.pk for level in levels):
        raise SkuBeingCounted(counted[0])


def count_lines(
    *,
    request: KeyedRequest,
    stocktake_id: UUID,
    counted: Mapping[str, int],
    provenance: Provenance,
    now: datetime,
) -> Answer:
    """
    Note what was counted, units by SKU code; counting a SKU again replaces its count.

    Each count is held against what the books say at this moment: what moved since the stocktake
    began is in both. Raises StocktakeNotFound, StocktakeClosed, SkuNotInStocktake, and what
    answer_once raises.
    """

    def work() -> Answer:
        stocktake = _lock_open(stocktake_id)
        lines = {line.level.sku.code: line for line in worksheets.list_lines(stocktake_id)}
        unknown = sorted(counted.keys() - lines.keys())
        if unknown:
            raise SkuNotInStocktake(unknown[0])
        levels = _lock_levels(lines[sku] for sku in counted)
        for sku, units in counted.items():
            worksheets.save_count(
                lines[sku],
                counted=units,
                books=levels[sku].on_hand,
                by=provenance.actor,
                at=now,
            )
        worksheets.raise_version(stocktake)
        return _told(worksheets.get_stocktake(stocktake_id))

    return answer_once(request, work)


def approve_stocktake(
    *,
    request: KeyedRequest,
    stocktake_id: UUID,
    provenance: Provenance,
    now: datetime,
    note: str = "",
) -> Answer:
    """
    Book every variance and close the stocktake. Lines that nobody counted stay as they are.

    A level is moved by its variance, not set to its count: what was sold, shipped or received
    since the count stays so. Raises StocktakeNotFound, StocktakeClosed, StockBelowZero when more
    is missing than there still is, StockAboveLimit, and what answer_once raises.
    """

    def work() -> Answer:
        stocktake = _lock_open(stocktake_id)
        lines = [line for line in worksheets.list_lines(stocktake_id) if line.variance]
        levels = _lock_levels(lines)
        movements = []
        for line in lines:
            level = levels[line.level.sku.code]
            change = rules.difference(level, line.variance or 0)
            after = rules.settled(level, change)
            movements.append(
                Movement(
                    "count",
                    change,
                    after,
                    at=now,
                    shortfall_change=after.shortfall - level.shortfall,
                    reason="count",
                    reference=f"stocktake {stocktake_id}",
                    note=note,
                    provenance=provenance,
                )
            )
        book(movements)
        return _close(stocktake, Stocktake.Status.APPROVED, provenance.actor, now=now)

    return answer_once(request, work)


def cancel_stocktake(
    *, request: KeyedRequest, stocktake_id: UUID, provenance: Provenance, now: datetime
) -> Answer:
    """
    Close a stocktake and book nothing.

    Raises StocktakeNotFound, StocktakeClosed, and what answer_once raises.
    """

    def work() -> Answer:
        stocktake = _lock_open(stocktake_id)
        return _close(stocktake, Stocktake.Status.CANCELLED, provenance.actor, now=now)

    return answer_once(request, work)


def list_stocktakes(
    *, status: str | None = None, before_id: UUID | None = None, limit: int
) -> tuple[list[Stocktake], UUID | None]:
    """Return at most limit stocktakes without lines, newest first, and the id to go on before."""
    stocktakes = worksheets.list_stocktakes(status=status)
    if before_id is not None:
        stocktakes = stocktakes.filter(pk__lt=before_id)
    rows = list(stocktakes[: limit + 1])
    return rows[:limit], rows[limit - 1].pk if len(rows) > limit else None


def read_stocktake(stocktake_id: UUID) -> dict[str, Any]:
    """Return a stocktake with its lines as the API tells it; raises StocktakeNotFound."""
    stocktake = worksheets.get_stocktake(stocktake_id)
    return stocktake_document(stocktake, worksheets.list_lines(stocktake_id))


def _lock_open(stocktake_id: UUID) -> Stocktake:
    # Before the levels, as an order is: every way to change a stocktake begins with its row.
    stocktake = worksheets.lock_stocktake(stocktake_id)
    if stocktake.status != Stocktake.Status.OPEN:
        raise StocktakeClosed(stocktake.status)
    return stocktake


def _lock_levels(lines: Any) -> dict[str, Level]:
    places = [(line.level.sku.code, line.level.location.code) for line in lines]
    return {level.sku: level for level in storage.lock_places(places).values()}


def _close(stocktake: Stocktake, status: str, by: str, *, now: datetime) -> Answer:
    worksheets.close_stocktake(stocktake, status=status, by=by, at=now)
    return _answer(stocktake, f"stocktake.{status}", now=now)


def _answer(stocktake: Stocktake, event: str, *, now: datetime) -> Answer:
    head = stocktake_head(stocktake)
    about = ("stocktake", str(stocktake.pk), stocktake.version)
    record_events([NewEvent(event, *about, head, at=now)])
    return _told(stocktake)


def _told(stocktake: Stocktake) -> Answer:
    told = stocktake_document(stocktake, worksheets.list_lines(stocktake.pk))
    location = f"/api/v1/stocktakes/{stocktake.pk}" if stocktake.version == 1 else ""
    return Answer(201, orjson.dumps(told).decode(), location=location)


def stocktake_head(stocktake: Stocktake) -> dict[str, Any]:
    """Return a stocktake without its lines as the API tells it; it has its location."""
    return {
        "id": str(stocktake.pk),
        "location": stocktake.location.code,
        "status": str(stocktake.status),
        "reference": stocktake.reference,
        "opened_by": stocktake.opened_by,
        "closed_by": stocktake.closed_by,
        "created_at": instant(stocktake.created_at),
        "closed_at": stocktake.closed_at and instant(stocktake.closed_at),
    }


def stocktake_document(stocktake: Stocktake, lines: Sequence[StocktakeLine]) -> dict[str, Any]:
    """Return a stocktake with its lines as the API tells it."""
    told = [
        {
            "sku": line.level.sku.code,
            "expected": line.expected_units,
            "books": line.books_units,
            "counted": line.counted_units,
            "variance": line.variance,
            "counted_by": line.counted_by,
            "counted_at": line.counted_at and instant(line.counted_at),
        }
        for line in lines
    ]
    return stocktake_head(stocktake) | {"lines": told}
