"""Units kept for a while, and what becomes of them. Part of the door: inventory.usecases."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID

from django.conf import settings
from uuid_utils.compat import uuid7

from events.usecases import (
    Answer,
    KeyedRequest,
    LockNotHad,
    NewEvent,
    answer_once,
    commit,
    record_events,
)
from inventory import holdstore, storage
from inventory.allocating import ended_event, grant_demands, write_journal
from inventory.granting import Demand
from inventory.holding import (
    HoldChanged,
    HoldFilter,
    HoldInvalid,
    HoldLifeExceeded,
    HoldLimitReached,
    HoldLine,
    HoldNotFound,
    HoldNotLive,
    Journal,
    too_few,
    units_by_sku,
)
from inventory.holdstore import Closing
from inventory.models import Hold as HoldRow
from inventory.rules import Change, Hold, Level, Provenance, Sku, instant

# One transaction of the sweeper: few enough to be over before anybody notices.
SWEEP_HOLDS_MAX = 100


def place_hold(
    *,
    request: KeyedRequest,
    lines: Sequence[HoldLine],
    expires_in_s: int,
    provenance: Provenance,
    now: datetime,
    reference: str = "",
) -> Answer:
    """
    Keep units for an account until a deadline, all of them or none.

    expires_in_s: seconds from now, by the database's clock.
    Raises HoldInvalid, TooFewToHold, HoldLimitReached, and what answer_once raises.
    """

    def keep() -> Answer:
        units = units_by_sku(lines)
        _check_limits(request.account_id, more_units=sum(units.values()))
        skus, levels, busy = storage.lock_stock(sorted(units))
        if busy:
            raise LockNotHad
        _check_lines(lines, skus)
        hold_id = uuid7()
        (granted,) = grant_demands([Demand(hold_id, units, provenance, at=now)], levels)
        if granted.shortages:
            raise too_few(lines, granted.shortages)
        picks = [pick for of_sku in granted.picks.values() for pick in of_sku]
        holdstore.add_hold(
            hold_id,
            account_id=request.account_id,
            reference=reference,
            expires_in_s=expires_in_s,
            life_s_max=settings.HOLD_LIFE_S_MAX,
            units={pick.level_id: pick.units for pick in picks},
        )
        journal = Journal(level for of_sku in levels.values() for level in of_sku)
        journal.give_back("expire", granted.let_go, at=now, provenance=provenance)
        for pick in picks:
            held = Change(held=pick.units)
            journal.add("hold", pick.level_id, held, at=now, provenance=provenance, hold_id=hold_id)
        write_journal(journal, sets_free=bool(granted.let_go))
        if granted.let_go:
            holdstore.close_lines(granted.let_go)
        return _told("hold.placed", hold_id, now=now, status=201)

    return answer_once(request, keep)


def extend_hold(
    hold_id: UUID,
    *,
    request: KeyedRequest,
    expires_in_s: int,
    now: datetime,
    expected_versions: Sequence[int] | None = None,
) -> Answer:
    """
    Let a hold of the caller's account end expires_in_s seconds from now, but never earlier.

    expected_versions: at which it must be; None for any. Raises HoldNotFound, HoldChanged,
    HoldNotLive, HoldLifeExceeded, and what answer_once raises.
    """

    def extend() -> Answer:
        _lock_live(hold_id, request.account_id, expected_versions)
        if not holdstore.extend_hold(hold_id, expires_in_s=expires_in_s):
            row = holdstore.get_hold_row(hold_id)
            raise HoldLifeExceeded(hold_id, instant(row.extendable_until))
        return _told("hold.extended", hold_id, now=now)

    return answer_once(request, extend)


def release_hold(
    hold_id: UUID,
    *,
    request: KeyedRequest,
    provenance: Provenance,
    now: datetime,
    expected_versions: Sequence[int] | None = None,
    is_of_anybody: bool = False,
) -> Answer:
    """
    Give back what a hold keeps, before its deadline.

    It must be of the caller's account unless it may be anybody's. Raises HoldNotFound,
    HoldChanged, HoldNotLive, and what answer_once raises.
    """

    def release() -> Answer:
        account_id = None if is_of_anybody else request.account_id
        hold, levels = _lock_live(hold_id, account_id, expected_versions)
        _end("release", [hold], levels, provenance=provenance, now=now)
        holdstore.close_holds([Closing(hold.id, "released", hold.version + 1)])
        return _told("hold.released", hold_id, now=now)

    return answer_once(request, release)


def get_hold(hold_id: UUID, *, account_id: int | None) -> HoldRow:
    """Return a hold with its lines; raises HoldNotFound. account_id None sees all accounts."""
    row = holdstore.list_holds(account_id=account_id).filter(pk=hold_id).first()
    if row is None:
        raise HoldNotFound
    return row


def list_holds(
    *, account_id: int | None, where: HoldFilter, before_id: UUID | None = None, limit: int
) -> tuple[list[HoldRow], UUID | None]:
    """
    Return at most limit holds with their lines, newest first, and the id to go on before.

    account_id None sees all accounts.
    """
    holds = holdstore.list_holds(account_id=account_id, where=where)
    if before_id is not None:
        holds = holds.filter(pk__lt=before_id)
    rows = list(holds[: limit + 1])
    return rows[:limit], rows[limit - 1].pk if len(rows) > limit else None


def find_holds(hold_ids: Iterable[UUID]) -> dict[UUID, Hold]:
    """
    Return holds as they are now, by id, without a query when none is asked for.

    Whoever has locked the levels of a live hold's lines knows that it stays as it is told now.
    Joins the caller's transaction; one round trip inside a pipeline.
    """
    asked = list(hold_ids)
    return holdstore.find_holds(asked) if asked else {}


def expire_holds(*, provenance: Provenance, now: datetime) -> int:
    """
    Write down that holds have expired, SWEEP_HOLDS_MAX at most; return how many it was.

    Any number of sweepers may run at once. Those whose levels are busy are taken at the end, one
    by one: a sweeper that waits keeps nobody else waiting for long. Raises what commit raises.
    """
    due = holdstore.list_due(limit=SWEEP_HOLDS_MAX)
    if not due:
        return 0
    sweep = partial(_expire, provenance=provenance, now=now)
    expired = commit(partial(sweep, due, waits=False))
    for hold_id in due:
        if hold_id not in expired:
            expired |= commit(partial(sweep, [hold_id], waits=True))
    return len(expired)


def _expire(
    hold_ids: Sequence[UUID], *, waits: bool, provenance: Provenance, now: datetime
) -> set[UUID]:
    """Sweep those whose levels can be locked, if they are still due; return them."""
    levels = storage.lock_hold_levels(hold_ids, waits=waits)
    ended = [
        hold
        for hold in holdstore.find_holds(hold_ids).values()
        if hold.state == "expired" and not hold.is_ended and levels.keys() >= set(hold.level_ids)
    ]
    if ended:
        _end("expire", ended, levels, provenance=provenance, now=now)
        holdstore.close_holds([Closing(hold.id, "expired", hold.version + 1) for hold in ended])
        record_events([ended_event("hold.expired", hold, at=now) for hold in ended])
    return {hold.id for hold in ended}


def _end(
    ending: Literal["release", "expire"],
    holds: Sequence[Hold],
    levels: Mapping[int, Level],
    *,
    provenance: Provenance,
    now: datetime,
) -> None:
    """Give back what holds keep, whose levels are all locked."""
    lines = [line for hold in holds for line in hold.lines]
    journal = Journal(levels.values())
    journal.give_back(ending, lines, at=now, provenance=provenance)
    write_journal(journal, sets_free=True)
    if lines:
        holdstore.close_lines(lines)


def hold_document(row: HoldRow) -> dict[str, Any]:
    """Return a hold as its account reads it."""
    is_over = row.state == HoldRow.State.LIVE and row.is_due
    return {
        "id": str(row.pk),
        "state": HoldRow.State.EXPIRED.value if is_over else row.state,
        "reference": row.reference or None,
        "lines": [
            {
                "sku": line.level.sku.code,
                "location": line.level.location.code,
                "quantity": line.units,
            }
            for line in row.lines.all()
        ],
        "expires_at": instant(row.expires_at),
        "extendable_until": instant(row.extendable_until),
        "order_id": str(row.order_id) if row.order_id else None,
        "created_at": instant(row.created_at),
        "updated_at": instant(row.updated_at),
        "version": row.version,
    }


def _check_limits(account_id: int, *, more_units: int) -> None:
    """Raise HoldLimitReached; until the transaction ends the account can place no other hold."""
    holdstore.lock_account(account_id)
    holds_open, units_held = holdstore.count_open(account_id)
    if holds_open >= settings.HOLDS_OPEN_MAX or units_held + more_units > settings.HOLD_UNITS_MAX:
        raise HoldLimitReached(
            holds_open=holds_open,
            holds_open_max=settings.HOLDS_OPEN_MAX,
            units_held=units_held,
            units_held_max=settings.HOLD_UNITS_MAX,
        )


def _check_lines(lines: Sequence[HoldLine], skus: Mapping[str, Sku]) -> None:
    errors = []
    for n, line in enumerate(lines):
        sku = skus.get(line.sku)
        fault = (
            ("sku_unknown", "unknown")
            if sku is None
            else ("sku_inactive", "not active")
            if not sku.is_active
            else ("sku_untracked", "not tracked: it has no stock to hold")
            if not sku.is_tracked
            else None
        )
        if fault is not None:
            errors.append(
                {
                    "pointer": f"/lines/{n}/sku",
                    "code": fault[0],
                    "message": f"SKU {line.sku} is {fault[1]}.",
                    "sku": line.sku,
                }
            )
    if errors:
        raise HoldInvalid(errors)


def _lock_live(
    hold_id: UUID, account_id: int | None, expected_versions: Sequence[int] | None
) -> tuple[Hold, dict[int, Level]]:
    """Return a live hold whose levels are locked, and they."""
    # Asked before anything is locked: nobody can keep others' stock busy by naming their holds.
    before = holdstore.find_holds([hold_id]).get(hold_id)
    if before is None or account_id not in (None, before.account_id):
        raise HoldNotFound
    levels = storage.lock_hold_levels([hold_id])
    hold = holdstore.find_holds([hold_id])[hold_id]
    if expected_versions is not None and hold.version not in expected_versions:
        raise HoldChanged(hold_id, hold.version)
    if hold.state != HoldRow.State.LIVE:
        raise HoldNotLive(hold_id, hold.state)
    return hold, levels


def _told(event: str, hold_id: UUID, *, now: datetime, status: int = 200) -> Answer:
    """Tell of a hold as it is now: the event, and the answer to whoever asked."""
    row = holdstore.get_hold_row(hold_id)
    document = hold_document(row)
    told = {name: document[name] for name in ("id", "state", "reference", "expires_at", "version")}
    record_events(
        [
            NewEvent(
                event,
                "hold",
                str(hold_id),
                row.version,
                told,
                at=now,
                account_id=row.account_id,
            )
        ]
    )
    return Answer(
        status,
        json.dumps(document, ensure_ascii=False, separators=(",", ":")),
        etag=f'"{row.version}"',
        location=f"/api/v1/holds/{hold_id}" if status == 201 else "",
    )
