"""Promise units to orders, with what holds keep for them. Part of the door: inventory.usecases."""

from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from events.usecases import NewEvent, record_events
from inventory import holdstore, storage
from inventory.booking import book
from inventory.granting import Demand, Grant, Pick, grant
from inventory.holding import Journal
from inventory.holdstore import Closing
from inventory.rules import Change, Hold, Level

# What is decided without a lock is a tenth of what is free: others take some meanwhile.
PLENTY = 10


class Plan(NamedTuple):
    """
    What demands were granted, and the picks of all of them in order.

    lacking: SKUs of which there is not plenty. With any, this is not carried out.
    """

    grants: Sequence[Grant]
    picks: Sequence[tuple[Demand, Pick]]
    lacking: Set[str]


def allocate(demands: Sequence[Demand], levels: Mapping[str, Sequence[Level]]) -> list[Grant]:
    """
    Decide demands in their order, each whole or not at all, and promise what was granted.

    levels: locked by lock_stock in this transaction, those of the demands' holds among them; the
    holds were found live under that lock. Returns for each demand where its units come from and
    how many of them it waits for, or what it was refused for. Joins the caller's transaction;
    reads only where somebody is short of units that holds keep, or sets some free.
    """
    grants = grant_demands(demands, levels)
    journal = Journal(level for of_sku in levels.values() for level in of_sku)
    allocations: list[tuple[UUID, Pick]] = []
    for demand, granted in zip(demands, grants, strict=True):
        journal.give_back("expire", granted.let_go, at=demand.at, provenance=demand.provenance)
        for pick in (pick for picks in granted.picks.values() for pick in picks):
            journal.add(
                "allocate",
                pick.level_id,
                Change(held=-pick.held, allocated=pick.units, waiting=pick.waiting),
                at=demand.at,
                provenance=demand.provenance,
                order_id=demand.order_id,
                hold_id=demand.hold.id if demand.hold and pick.held else None,
            )
            allocations.append((demand.order_id, pick))
        journal.give_back("release", granted.left, at=demand.at, provenance=demand.provenance)
    if allocations:
        storage.add_allocations(allocations)
    write_journal(journal, sets_free=any(each.let_go or each.left for each in grants))
    _close_used(demands, grants)
    return grants


def plan_plenty(demands: Sequence[Demand], levels: Mapping[str, Sequence[Level]]) -> Plan:
    """
    Decide demands as allocate does, by levels that may move on, and say where that may go wrong.

    It may where a level would be left with little, and where somebody would wait. No demand may
    have a hold. Pure.
    """
    grants = grant(demands, levels)
    lacking = {shortage.sku for granted in grants for shortage in granted.shortages}
    free = {level.id: level.free for of_sku in levels.values() for level in of_sku}
    picks = []
    for demand, granted in zip(demands, grants, strict=True):
        for code, of_sku in granted.picks.items():
            for pick in of_sku:
                picks.append((demand, pick))
                free[pick.level_id] -= PLENTY * pick.units
                if pick.waiting or free[pick.level_id] < 0:
                    lacking.add(code)
    return Plan(grants, picks, lacking)


def carry_out(plan: Plan) -> None:
    """
    Promise what was planned of plenty. Joins the caller's transaction; locks the levels only now.

    The transaction fails where a level has fewer free units by then than it takes: see is_shortage.
    """
    if plan.picks:
        storage.take_free_units(plan.picks)


def grant_demands(demands: Sequence[Demand], levels: Mapping[str, Sequence[Level]]) -> list[Grant]:
    """
    Grant demands; where one is short of units that holds keep, look for those past their deadline
    and decide once more.
    """
    grants = grant(demands, levels)
    short = {shortage.sku for granted in grants for shortage in granted.shortages}
    # While nothing is held of what is short this costs no query: the common case of sold out.
    if any(level.held for sku in short for level in levels[sku]):
        spared = [demand.hold.id for demand in demands if demand.hold is not None]
        expired = holdstore.find_expired(_wanted(demands, levels), spared=spared)
        if expired:
            return grant(demands, levels, expired)
    return grants


def _wanted(demands: Sequence[Demand], levels: Mapping[str, Sequence[Level]]) -> dict[Level, int]:
    """Return the most that may have to be let go at each level at which something is held."""
    wanted: dict[Level, int] = {}
    for demand in demands:
        for sku, units in demand.units.items():
            for level in levels.get(sku, ()):
                if level.held:
                    wanted[level] = wanted.get(level, max(0, -level.free)) + units
    return wanted


def write_journal(journal: Journal, *, sets_free: bool) -> None:
    """Write movements; what they set free goes to who waits."""
    if sets_free:
        book(journal.movements)
    elif journal.movements:
        storage.move_levels(journal.movements)


def _close_used(demands: Sequence[Demand], grants: Sequence[Grant]) -> None:
    """Write down what became of the holds that demands used or needed."""
    closed = [line for granted in grants for line in granted.let_go]
    used = [
        (demand.hold, demand)
        for demand, granted in zip(demands, grants, strict=True)
        if demand.hold is not None and not (granted.shortages or granted.is_hold_used)
    ]
    closed += [line for hold, _ in used for line in hold.lines]
    if closed:
        holdstore.close_lines(closed)
    if used:
        holdstore.close_holds(
            [
                Closing(hold.id, "converted", hold.version + 1, demand.order_id)
                for hold, demand in used
            ]
        )
        record_events(
            [
                ended_event("hold.converted", hold, at=demand.at, order_id=demand.order_id)
                for hold, demand in used
            ]
        )


def ended_event(event: str, hold: Hold, *, at: datetime, order_id: UUID | None = None) -> NewEvent:
    """Return what is told of a hold's end; event: hold.converted, hold.released, hold.expired."""
    version = hold.version + 1
    told = {
        "id": str(hold.id),
        "state": event.removeprefix("hold."),
        "order_id": str(order_id) if order_id else None,
        "version": version,
    }
    return NewEvent(event, "hold", str(hold.id), version, told, at=at, account_id=hold.account_id)
