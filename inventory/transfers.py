"""Units go from one location to another, in two steps. Part of the door: inventory.usecases."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from events.usecases import Answer, KeyedRequest, NewEvent, answer_once, record_events
from inventory import rules, storage, worksheets
from inventory.booking import book
from inventory.models import Transfer
from inventory.refusals import ReasonMissing, SameLocation, StockNotFree, TransferClosed
from inventory.rules import Change, Level, Movement, MovementKind, Provenance, instant


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of a transfer: who takes it, when, and what the ledger is told of it."""

    transfer_id: UUID
    provenance: Provenance
    now: datetime
    note: str = ""

    def movement(
        self, kind: MovementKind, change: Change, level: Level, *, reason: str = ""
    ) -> Movement:
        """Return the row of the ledger that changes a level; raises StockAboveLimit."""
        after = rules.settled(level, change)
        return Movement(
            kind,
            change,
            after,
            at=self.now,
            shortfall_change=after.shortfall - level.shortfall,
            reason=reason,
            reference=f"transfer {self.transfer_id}",
            note=self.note,
            provenance=self.provenance,
        )


def send_transfer(
    *,
    request: KeyedRequest,
    sku: str,
    quantity: int,
    source: str,
    destination: str,
    provenance: Provenance,
    now: datetime,
    reference: str = "",
    note: str = "",
) -> Answer:
    """
    Send units that are free away from a location; at the other they are incoming. quantity: 1 up.

    Raises StockNotFree when they are promised or in quarantine, SameLocation, SkuNotFound,
    SkuUntracked, LocationNotFound, and what answer_once raises.
    """

    def work() -> Answer:
        if source == destination:
            raise SameLocation(source)
        here, there = _lock_both(sku, source, destination)
        free = here.on_hand - here.unavailable - here.held - here.allocated + here.waiting
        if quantity > free:
            raise StockNotFree(sku, source, requested=quantity, free=max(0, free))
        transfer = worksheets.add_transfer(
            Transfer(
                id=uuid7(),
                units=quantity,
                reference=reference,
                note=note,
                actor=provenance.actor,
                created_at=now,
            ),
            sku=sku,
            source=source,
            destination=destination,
        )
        step = _Step(transfer.pk, provenance, now, note=note)
        book(
            [
                step.movement("transfer_out", Change(on_hand=-quantity), here),
                step.movement("transfer_out", Change(incoming=quantity), there),
            ]
        )
        return _answer(transfer, "stock.transfer_sent", now=now)

    return answer_once(request, work)


def receive_transfer(
    *,
    request: KeyedRequest,
    transfer_id: UUID,
    quantity: int,
    provenance: Provenance,
    now: datetime,
    is_last: bool = True,
    reason: str = "",
    note: str = "",
) -> Answer:
    """
    Put what arrived on hand; quantity: 0 or more.

    is_last: nothing more will come, so what is missing is written off for reason; without it, it
    stays under way. What came too much is put on hand for reason as well. Raises ReasonMissing,
    TransferNotFound, TransferClosed, StockAboveLimit, and what answer_once raises.
    """

    def work() -> Answer:
        transfer = _lock_open(transfer_id)
        under_way = transfer.under_way_units
        arrived, surplus = min(quantity, under_way), max(0, quantity - under_way)
        missing = under_way - arrived if is_last else 0
        if (missing or surplus) and not reason:
            raise ReasonMissing(under_way=under_way, received=quantity)
        _, level = _lock_both(transfer.sku.code, transfer.source.code, transfer.destination.code)
        step = _Step(transfer_id, provenance, now, note=note)
        changes: list[tuple[MovementKind, Change, str]] = [
            ("transfer_in", Change(on_hand=arrived, incoming=-arrived), ""),
            ("adjust", Change(incoming=-missing), reason),
            ("adjust", Change(on_hand=surplus), reason),
        ]
        movements: list[Movement] = []
        for kind, change, why in changes:
            if change != Change():
                movements.append(step.movement(kind, change, level, reason=why))
                level = movements[-1].after
        book(movements)
        transfer.received_units += arrived
        transfer.missing_units += missing
        transfer.surplus_units += surplus
        return _close(transfer, "stock.transfer_received", now=now)

    return answer_once(request, work)


def cancel_transfer(
    *,
    request: KeyedRequest,
    transfer_id: UUID,
    provenance: Provenance,
    now: datetime,
    note: str = "",
) -> Answer:
    """
    Put what is still under way back where it came from.

    Raises TransferNotFound, TransferClosed, and what answer_once raises.
    """

    def work() -> Answer:
        transfer = _lock_open(transfer_id)
        units = transfer.under_way_units
        here, there = _lock_both(transfer.sku.code, transfer.source.code, transfer.destination.code)
        step = _Step(transfer_id, provenance, now, note=note)
        back = step.movement("transfer_in", Change(on_hand=units), here)
        gone = step.movement("transfer_out", Change(incoming=-units), there)
        book([back, gone])
        transfer.returned_units += units
        return _close(transfer, "stock.transfer_cancelled", now=now)

    return answer_once(request, work)


def list_transfers(
    *, is_open: bool | None = None, before_id: UUID | None = None, limit: int
) -> tuple[list[Transfer], UUID | None]:
    """Return at most limit transfers, newest first, and the id to go on before."""
    transfers = worksheets.list_transfers(is_open=is_open)
    if before_id is not None:
        transfers = transfers.filter(pk__lt=before_id)
    rows = list(transfers[: limit + 1])
    return rows[:limit], rows[limit - 1].pk if len(rows) > limit else None


def get_transfer(transfer_id: UUID) -> Transfer:
    """Return a transfer; raises TransferNotFound."""
    return worksheets.get_transfer(transfer_id)


def _lock_open(transfer_id: UUID) -> Transfer:
    # Before the levels, as an order is: every way to change a transfer begins with its row.
    transfer = worksheets.lock_transfer(transfer_id)
    if transfer.closed_at is not None:
        raise TransferClosed(transfer_id)
    return transfer


def _lock_both(sku: str, source: str, destination: str) -> tuple[Level, Level]:
    """Lock the levels at both ends, in one statement, by ascending id; make what is not there."""
    ends = [(sku, source), (sku, destination)]
    levels = storage.lock_places(ends)
    if len(levels) < len(ends):
        # A level that is made now has the highest id of all: it is locked after the other.
        for end in ends:
            storage.open_place(*end)
        levels = storage.lock_places(ends)
    return levels[ends[0]], levels[ends[1]]


def _close(transfer: Transfer, event: str, *, now: datetime) -> Answer:
    transfer.closed_at = None if transfer.under_way_units else now
    transfer.version += 1
    worksheets.save_progress(transfer)
    return _answer(transfer, event, now=now)


def _answer(transfer: Transfer, event: str, *, now: datetime) -> Answer:
    told = transfer_document(transfer)
    about = ("transfer", str(transfer.pk), transfer.version)
    record_events([NewEvent(event, *about, told, at=now)])
    location = f"/api/v1/transfers/{transfer.pk}" if transfer.version == 1 else ""
    return Answer(201, orjson.dumps(told).decode(), location=location)


def transfer_document(transfer: Transfer) -> dict[str, Any]:
    """Return a transfer as the API tells it; it has its SKU and locations."""
    return {
        "id": str(transfer.pk),
        "sku": transfer.sku.code,
        "from": transfer.source.code,
        "to": transfer.destination.code,
        "status": "open" if transfer.closed_at is None else "closed",
        "quantity": transfer.units,
        "under_way": transfer.under_way_units,
        "received": transfer.received_units,
        "returned": transfer.returned_units,
        "missing": transfer.missing_units,
        "surplus": transfer.surplus_units,
        "reference": transfer.reference,
        "note": transfer.note,
        "actor": transfer.actor,
        "created_at": instant(transfer.created_at),
        "closed_at": transfer.closed_at and instant(transfer.closed_at),
    }
