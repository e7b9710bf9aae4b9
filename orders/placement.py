"""The ways to place an order: alone, and together with those that wait."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from secrets import randbits
from typing import NamedTuple
from uuid import UUID

import orjson
from django.conf import settings
from django.db import IntegrityError

from events.usecases import (
    Answer,
    KeyedRequest,
    LockNotHad,
    NewEvent,
    OutcomeUnknown,
    TemporarilyUnavailable,
    ask_keys,
    commit,
    connect,
    current_traceparent,
    is_kept,
    keep_answers,
    let_go_of_frames,
    record_events,
    repeat_answer,
    use_case,
)
from inventory.usecases import (
    Demand,
    Grant,
    Hold,
    HoldNotLive,
    Provenance,
    Sku,
    allocate,
    carry_out,
    find_holds,
    is_shortage,
    lock_stock,
    plan_plenty,
    read_stock,
)
from orders import storage
from orders.documents import address, etag, placed_document
from orders.lanes import Lanes, StockBusy
from orders.reading import OrderText, keep_texts
from orders.rules import (
    NewOrder,
    OrderDraft,
    OrderInvalid,
    out_of_stock,
    quote,
    unknown_hold,
    waiting_by_line,
)
from orders.scarcity import Scarce
from rollout.codepath import ERROR, IGNORED, OK, REJECT, outcome_of, serving


class Placement(NamedTuple):
    """One order to place: the draft, the key that makes it one order, and who asks."""

    draft: OrderDraft
    request: KeyedRequest
    provenance: Provenance
    now: datetime
    traceparent: str = ""


Told = Answer | Exception
NO_HOLDS: Mapping[UUID, Hold] = {}

# Longer than most batches keep the stock locked that another one wants too, and not much more than
# others may wait behind an order for stock that a forgotten session keeps locked.
LOCK_WAIT_MS = min(50, settings.DB_LOCK_TIMEOUT_MS)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# What is written of an order besides its lines: the order, its event, its key.
ORDER_WEIGHT_MIN = 5


def weight_of(placement: Placement) -> int:
    """Return how many lines' worth of writing an order is."""
    return max(ORDER_WEIGHT_MIN, len(placement.draft.lines))


@use_case("orders.place_order")
def place_alone(placements: Sequence[Placement]) -> list[Told]:
    """Place orders one after the other, each in a transaction of its own."""
    served = _served(placements)
    told = [told for placement in served for told in place_together([placement])]
    remember(served, told)
    return told


@use_case("orders.place_order")
def place_in_group(placements: Sequence[Placement]) -> list[Told]:
    """Place orders in the next transaction of this process, with all that wait for it."""
    return lanes.submit(_served(placements))


def _served(placements: Sequence[Placement]) -> list[Placement]:
    decision = serving("orders.place")
    here = current_traceparent()
    version, generation = decision.version, decision.generation
    return [
        # Not replace, which looks through all fields and costs ten times as much.
        Placement(
            placement.draft,
            placement.request,
            placement.provenance.served_by(version, generation),
            placement.now,
            here,
        )
        for placement in placements
    ]


def whose_orders(placements: Sequence[Placement]) -> dict[str, str]:
    """Return who asks, and for which customer if it is for one: what a rollout may go by."""
    about = {"account": str(placements[0].request.account_id)}
    customers = {placement.draft.customer for placement in placements}
    return about | ({"customer": customers.pop()} if len(customers) == 1 else {})


def outcome_of_batch(failure: BaseException | None, told: object) -> str:
    """
    Return how a version did, for its breaker: by what it told, since it raises for no order.

    What is neither an answer nor a refusal is an error: the version broke its contract. Trouble
    that one transaction had is told to every order in it and is one error all the same.
    """
    if failure is not None:
        return outcome_of(failure, None)
    if not isinstance(told, list) or not all(isinstance(one, Answer | Exception) for one in told):
        return ERROR
    refusals = [one for one in told if isinstance(one, Exception)]
    errors = [one for one in refusals if outcome_of(one, None) == ERROR]
    if errors:
        fresh = [one for one in errors if not getattr(one, "is_counted", False)]
        for one in fresh:
            one.is_counted = True  # type: ignore[attr-defined]
        return ERROR if fresh else IGNORED
    return REJECT if refusals and len(refusals) == len(told) else OK


def place_together(placements: Sequence[Placement], *, is_patient: bool = True) -> list[Told]:
    """
    Place orders in one transaction, as if each came after the one before it.

    Returns an answer or a refusal for each, in order; never raises what one of them is refused
    for. TemporarilyUnavailable and OutcomeUnknown are told to all of a batch, but LockNotHad only
    to the orders whose stock somebody else keeps locked. is_patient: without it, that is StockBusy
    and after a short while.
    """
    told: dict[int, Told] = {}
    waiting = list(range(len(placements)))
    while waiting:
        firsts, repeats = _split_repeats(placements, waiting)
        outcomes = _commit([placements[n] for n in firsts], is_patient=is_patient)
        told.update(zip(firsts, outcomes, strict=True))
        told.update((n, _repeat(placements[n], placements[m], told[m])) for n, m in repeats)
        waiting = waiting[len(firsts) + len(repeats) :]
    return [told[n] for n in range(len(placements))]


def _split_repeats(
    placements: Sequence[Placement], waiting: Sequence[int]
) -> tuple[list[int], list[tuple[int, int]]]:
    """
    Return whose keys come first, and who repeats whom, up to a key that comes with another body.

    That one may run if the first left its key unused; until this is known, those after it wait.
    """
    first_by_key: dict[tuple[int, str], int] = {}
    repeats = []
    for n in waiting:
        request = placements[n].request
        first = first_by_key.setdefault((request.account_id, request.key), n)
        if request.fingerprint != placements[first].request.fingerprint:
            break
        if n != first:
            repeats.append((n, first))
    return list(first_by_key.values()), repeats


def _repeat(again: Placement, first: Placement, told: Told) -> Told:
    """Return what the same request is told the second time in one batch."""
    return repeat_answer(again.request, first=first.request, told=told) or told


def _commit(placements: Sequence[Placement], *, is_patient: bool, waits: bool = True) -> list[Told]:
    """Run one batch; split it when an order breaks it, so that it harms no other."""
    try:
        return _run(placements, is_patient=is_patient, waits=waits)
    except LockNotHad as trouble:
        if not waits or (is_patient and len(placements) == 1):
            # Not a level then, but a table: a migration has it for a moment, and all may wait.
            # Told and not raised, here and below: its frames hold the batch, which would hold it.
            busy = trouble.with_traceback(None) if is_patient else StockBusy(frozenset())
            return [busy] * len(placements)
        # Somebody keeps a level locked. Whoever does not need it is served now.
        return _commit(placements, is_patient=is_patient, waits=False)
    except (TemporarilyUnavailable, OutcomeUnknown) as trouble:
        return [trouble.with_traceback(None)] * len(placements)
    except Exception as failure:  # noqa: BLE001  # Answered: to the one order that it belongs to.
        if len(placements) == 1:
            return [failure]
        half = len(placements) // 2
        halves = placements[:half], placements[half:]
        return [told for each in halves for told in _commit(each, is_patient=is_patient)]


def _run(placements: Sequence[Placement], *, is_patient: bool, waits: bool) -> list[Told]:
    """Place orders in one transaction: at first in the hope that there is plenty for all."""

    def run(*, hopes: bool) -> list[Told]:
        return commit(
            lambda: _write(placements, is_patient=is_patient, waits=waits, hopes=hopes),
            in_flight=True,
        )

    # Who is patient wants stock that is kept locked, who does not wait stock that is locked now.
    if is_patient or not waits or not _may_hope(placements):
        return run(hopes=False)
    try:
        return run(hopes=True)
    except IntegrityError as failure:
        if not is_shortage(failure):
            raise
        let_go_of_frames(failure)
    return run(hopes=False)


def _may_hope(placements: Sequence[Placement]) -> bool:
    """Tell whether orders want free units alone, and no SKU that is known to be scarce."""
    drafts = [placement.draft for placement in placements]
    if any(draft.hold is not None or draft.allow_backorder for draft in drafts):
        return False
    return scarce.isdisjoint({line.sku for draft in drafts for line in draft.lines})


scarce = Scarce()


def codes_of(placement: Placement) -> set[str]:
    """Return the SKUs that an order names."""
    return {line.sku for line in placement.draft.lines}


def _write(
    placements: Sequence[Placement], *, is_patient: bool, waits: bool, hopes: bool
) -> list[Told]:
    """
    Claim the keys, decide, write: in the caller's transaction.

    Two round trips, however many orders: one to read, and the rest travels with COMMIT. hopes: the
    stock is read without a lock, which is had by the last statement before COMMIT; so others wait
    for it as short as can be. Where there is not plenty of it, it is locked first after all, by a
    third round trip.
    Without hope the stock is locked before it is known whose keys have an answer; but who waits
    for long looks at the keys first, for these must not wait with it. Orders on holds read those
    twice, before and after their levels are locked.
    """
    lock_wait_ms = None if is_patient else LOCK_WAIT_MS
    numbers = storage.ask_numbers(len(placements), lock_wait_ms=lock_wait_ms)
    keys = ask_keys([placement.request for placement in placements])
    told: Sequence[Told | None] | None = None
    if hopes:
        codes = {code for placement in placements for code in codes_of(placement)}
        skus, levels, busy = read_stock(sorted(codes))
        told = keys()
        claimed = _claimed(placements, told)
        priced: list[NewOrder | Exception] = [
            _priced(placement, number, asked_us, skus)
            for placement, (number, asked_us) in zip(claimed, numbers(), strict=False)
        ]
        plan = plan_plenty(_demands(claimed, priced), levels)
        if not (busy or plan.lacking):
            outcomes = _keep(claimed, priced, plan.grants)
            carry_out(plan)
            return _filled(told, outcomes)
        scarce.add(plan.lacking)
    elif is_patient:
        told = keys()
    wanting = placements if told is None else _claimed(placements, told)
    holds = find_holds({p.draft.hold for p in wanting if p.draft.hold is not None})
    codes = {code for placement in wanting for code in _codes_of(placement, holds)}
    skus, levels, busy = lock_stock(sorted(codes), waits=waits)
    # Read again: a hold may have ended before its levels were locked, from now on it cannot.
    holds_now = find_holds(holds)
    if told is None:
        told = keys()
    claimed = _claimed(placements, told)
    trouble = StockBusy(busy)  # One for all: to a breaker it is one outcome.
    priced = [
        trouble
        if busy and not busy.isdisjoint(_codes_of(placement, holds))
        else _priced(placement, number, asked_us, skus, holds_now)
        for placement, (number, asked_us) in zip(claimed, numbers(), strict=False)
    ]
    grants = allocate(_demands(claimed, priced, holds_now), levels)
    return _filled(told, _keep(claimed, priced, grants))


def _claimed(placements: Sequence[Placement], told: Sequence[Told | None]) -> Sequence[Placement]:
    """Return the orders whose keys have no answer yet."""
    return [p for p, settled in zip(placements, told, strict=True) if settled is None]


def _filled(told: Sequence[Told | None], outcomes: Sequence[Told]) -> list[Told]:
    """Return what each order is told: what its key has had before, or how it came out now."""
    claimed = iter(outcomes)
    return [next(claimed) if settled is None else settled for settled in told]


def _demands(
    placements: Sequence[Placement],
    priced: Sequence[NewOrder | Exception],
    holds: Mapping[UUID, Hold] = NO_HOLDS,
) -> list[Demand]:
    return [
        _demand(placement, order, holds)
        for placement, order in zip(placements, priced, strict=True)
        if isinstance(order, NewOrder)
    ]


def _keep(
    placements: Sequence[Placement],
    priced: Sequence[NewOrder | Exception],
    granted: Sequence[Grant],
) -> list[Told]:
    """Write what was decided on orders whose keys are claimed; return what each is told."""
    grants = iter(granted)
    told: list[Told] = []
    placed: list[NewOrder] = []
    for order in priced:
        if not isinstance(order, NewOrder):
            told.append(order)
        elif refusal := _refusal(order.draft, grant := next(grants)):
            told.append(refusal)
        else:
            placed.append(_waiting(order, grant))
            told.append(_answer(placed[-1]))
    if placed:
        storage.add_orders(placed)
        record_events([placed_event(order) for order in placed])
    keep_answers(
        [
            (placement.request, outcome)
            for placement, outcome in zip(placements, told, strict=True)
            if isinstance(outcome, Answer) or is_kept(outcome)
        ]
    )
    return told


def _codes_of(placement: Placement, holds: Mapping[UUID, Hold]) -> set[str]:
    """Return the SKUs whose stock must be locked for an order: its own, and those of its hold."""
    codes = codes_of(placement)
    hold = _hold_of(placement, holds)
    if hold is not None:
        codes.update(line.sku for line in hold.lines)
    return codes


def _hold_of(placement: Placement, holds: Mapping[UUID, Hold]) -> Hold | None:
    """Return the hold that an order names, None for no hold and for another account's."""
    if placement.draft.hold is None:
        return None
    hold = holds.get(placement.draft.hold)
    return hold if hold and hold.account_id == placement.request.account_id else None


def _demand(placement: Placement, order: NewOrder, holds: Mapping[UUID, Hold]) -> Demand:
    return Demand(
        order.id,
        order.draft.units_by_sku(),
        placement.provenance,
        at=placement.now,
        allow_backorder=order.draft.allow_backorder,
        hold=_hold_of(placement, holds),
    )


def _refusal(draft: OrderDraft, granted: Grant) -> Exception | None:
    if draft.hold is not None and granted.is_hold_used:
        return HoldNotLive(draft.hold, "converted")
    return out_of_stock(draft, granted.shortages) if granted.shortages else None


def _priced(
    placement: Placement,
    number: int,
    asked_us: int,
    skus: Mapping[str, Sku],
    holds: Mapping[UUID, Hold] = NO_HOLDS,
) -> NewOrder | OrderInvalid | HoldNotLive:
    try:
        price = quote(placement.draft, skus)
    except OrderInvalid as refusal:
        # Told and not raised: with its frames it would hold all of this batch, which hold it.
        return refusal.with_traceback(None)
    # Nobody pays for what costs nothing, so nobody can be late with it.
    pay_within_s = placement.draft.pay_within_s if price.total_minor else None
    if placement.draft.hold is not None:
        hold = _hold_of(placement, holds)
        if hold is None:
            return unknown_hold(placement.draft.hold)
        if hold.state != "live":
            return HoldNotLive(hold.id, hold.state)
    return NewOrder(
        id=new_id(placement.now, number),
        number=number,
        account_id=placement.request.account_id,
        draft=placement.draft,
        quote=price,
        placed_at=placement.now,
        served_version=placement.provenance.served_version,
        rules_generation=placement.provenance.rules_generation,
        trace_id=placement.provenance.trace_id,
        pay_before=None
        if pay_within_s is None
        else EPOCH + timedelta(microseconds=asked_us, seconds=pay_within_s),
        traceparent=placement.traceparent,
    )


def new_id(placed_at: datetime, number: int) -> UUID:
    """
    Return a UUIDv7 of the moment of placing: by id is by time, also for sales of long ago.

    Those of one millisecond are in the order of their numbers, 42 bits of which take the place of
    random ones; 32 stay random.
    """
    placed_ms = max(0, int(placed_at.timestamp() * 1000))
    first, last = number >> 30 & 0xFFF, number & 0x3FFFFFFF
    # Version 7, variant 2.
    bits = placed_ms << 80 | 7 << 76 | first << 64 | 2 << 62 | last << 32 | randbits(32)
    return UUID(int=bits)


def _waiting(order: NewOrder, granted: Grant) -> NewOrder:
    if not order.draft.allow_backorder:
        return order
    waiting = {sku: sum(pick.waiting for pick in picks) for sku, picks in granted.picks.items()}
    return order._replace(waiting_units=waiting_by_line(order.draft.lines, waiting))


def _answer(order: NewOrder) -> Answer:
    body = orjson.dumps(placed_document(order)).decode()
    return Answer(201, body, etag=etag(1), location=address(order.id))


def placed_event(order: NewOrder) -> NewEvent:
    """Return what is told of an order that is placed."""
    # Thin on purpose: what a subscriber wants to know of the lines it asks for, by the id.
    order_id = str(order.id)
    return NewEvent(
        "order.placed",
        "order",
        order_id,
        1,
        {
            "id": order_id,
            "number": order.number,
            "status": "placed",
            "reference": order.draft.reference or None,
            "currency": order.quote.currency,
            "total_minor": order.quote.total_minor,
            "served_version": order.served_version,
            "version": 1,
        },
        at=order.placed_at,
        account_id=order.account_id,
        traceparent=order.traceparent,
    )


def remember(placements: Sequence[Placement], told: Sequence[Told]) -> None:
    """Write the orders that were placed to the cache, in one round trip, after their COMMIT."""
    keep_texts(
        (placement.request.account_id, outcome.location, OrderText(outcome.body, outcome.etag))
        for placement, outcome in zip(placements, told, strict=True)
        if isinstance(outcome, Answer) and not outcome.is_replayed
    )


lanes: Lanes[Placement, Answer] = Lanes(
    place_together,
    codes_of=codes_of,
    beside=max(1, settings.DB_POOL_SIZE // 3),
    weigh=weight_of,
    batch_weight_max=settings.ORDERS_BATCH_LINES_MAX,
    beforehand=connect,
    afterwards=remember,
)
