"""The ways to change an order: each one transaction, one version, one event."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from events.usecases import Answer, KeyedRequest, NewEvent, answer_once, commit, record_events
from inventory.usecases import (
    Demand,
    Draw,
    Drawn,
    Provenance,
    Return,
    allocate,
    draw_units,
    lock_stock,
    release_orders,
    take_back,
)
from orders import lifecycle, storage
from orders.documents import address, etag, stored_document
from orders.lifecycle import Comeback, Cut, LineChange, Payment, PaymentEventReused, Pick
from orders.models import Order
from orders.reading import OrderText, keep_texts
from orders.states import OrderState, Status

EVENT_BY_PAYMENT_KIND = {
    "authorized": "order.payment_authorized",
    "captured": "order.paid",
    "failed": "order.payment_failed",
    "refunded": "order.refunded",
}


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """
    Who asks for a change of which order, under which key.

    account_id: whose order it must be, None for anybody's. versions: the ones that it may be at,
    None for any.
    """

    order_id: UUID
    account_id: int | None
    request: KeyedRequest
    provenance: Provenance
    now: datetime
    versions: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """What an order became: the state after, what its event tells, what became of units."""

    after: OrderState
    event: str
    told: dict[str, Any]
    unit_changes: Sequence[LineChange] = field(default=())


def cancel_order(asked: ChangeRequest, *, cuts: Sequence[Cut] | None, reason: str) -> Answer:
    """
    Cancel units of an order, all that are open when cuts is None; they may be sold again.

    Raises OrderNotFound, OrderChanged, OrderStateConflict, ValidationFailed, and what answer_once
    raises.
    """

    return _change(
        asked,
        lambda order: cancelled(
            order, cuts, reason=reason, provenance=asked.provenance, now=asked.now
        ),
    )


def cancelled(
    order: OrderState,
    cuts: Sequence[Cut] | None,
    *,
    reason: str,
    provenance: Provenance,
    now: datetime,
) -> Changed:
    """Give the units back that cancel_order cancels, in the caller's transaction."""
    after = lifecycle.cancel(order, cuts)
    gone = lifecycle.whole_cut(order) if cuts is None else cuts
    draws = [Draw(order.id, _sku(order, cut), cut.units, "release") for cut in gone]
    draw_units(draws, provenance=provenance, now=now, reason="cancelled")
    lines = [_line_told(order, cut, quantity=cut.units) for cut in gone]
    changes = [LineChange(cut.position, "cancelled", cut.units) for cut in gone]
    return Changed(after, "order.cancelled", {"reason": reason, "lines": lines}, changes)


def fulfill_order(
    asked: ChangeRequest, *, picks: Sequence[Pick] | None, reference: str = ""
) -> Answer:
    """
    Send units of an order, all that are open when picks is None; they leave the stock.

    Units that nobody found are cancelled and wait in quarantine until they are counted.
    reference: the parcel's. Raises NotAllocated, NotOnHand, and what cancel_order raises.
    """

    def fulfill(order: OrderState) -> Changed:
        after = lifecycle.fulfill(order, picks)
        sent = lifecycle.whole_pick(order) if picks is None else picks
        draws = [draw for pick in sent for draw in _draws_of(order, pick)]
        drawn = draw_units(draws, provenance=asked.provenance, now=asked.now, reason="fulfilled")
        told = {
            "parcel": reference or None,
            "lines": [
                _line_told(order, pick, quantity=pick.units, short=pick.short) for pick in sent
            ],
            "stock": [_stock_told(taken) for taken in drawn],
        }
        changes = [change for pick in sent for change in _changes_of(pick)]
        return Changed(after, "order.fulfilled", told, changes)

    return _change(asked, fulfill)


def _draws_of(order: OrderState, pick: Pick) -> list[Draw]:
    sku = _sku(order, pick)
    draws = []
    if pick.units:
        draws.append(Draw(order.id, sku, pick.units, "ship", pick.location))
    if pick.short:
        draws.append(Draw(order.id, sku, pick.short, "quarantine", pick.location))
    return draws


def _changes_of(pick: Pick) -> list[LineChange]:
    location = pick.location or ""
    changes = []
    if pick.units:
        changes.append(LineChange(pick.position, "fulfilled", pick.units, location))
    if pick.short:
        changes.append(LineChange(pick.position, "short", pick.short, location))
    return changes


def return_units(asked: ChangeRequest, *, comebacks: Sequence[Comeback], reason: str) -> Answer:
    """
    Take units back that an order was sent: to the shelf, into quarantine, or to be scrapped.

    Raises LocationNotFound, StockAboveLimit, and what cancel_order raises.
    """

    return _change(
        asked,
        lambda order: returned(
            order, comebacks, reason=reason, provenance=asked.provenance, now=asked.now
        ),
    )


def returned(
    order: OrderState,
    comebacks: Sequence[Comeback],
    *,
    reason: str,
    provenance: Provenance,
    now: datetime,
) -> Changed:
    """Take the units back that return_units does, in the caller's transaction."""
    after = lifecycle.take_back(order, comebacks)
    returns = [
        Return(_sku(order, back), back.units, back.disposition, back.location) for back in comebacks
    ]
    take_back(order.id, returns, provenance=provenance, now=now)
    lines = [
        _line_told(
            order,
            back,
            quantity=back.units,
            disposition=back.disposition,
            location=back.location,
        )
        for back in comebacks
    ]
    changes = [
        LineChange(back.position, "returned", back.units, back.location, back.disposition)
        for back in comebacks
    ]
    return Changed(after, "order.returned", {"reason": reason, "lines": lines}, changes)


def record_payment(asked: ChangeRequest, *, payment: Payment) -> Answer:
    """
    Record what a provider of payments says happened, once for each of its events.

    An event that was recorded before changes nothing and is answered with the order as it is.
    Money for an expired order brings it back to life if its units are still to be had; else the
    order asks for attention. Raises PaymentEventReused, and what cancel_order raises.
    """

    def pay(order: OrderState) -> Changed | None:
        after = lifecycle.pay(order, payment)
        if not storage.take_payment_event(
            order.id, payment, order_version=after.version, now=asked.now
        ):
            _check_repeat(order, payment)
            return None
        is_late = order.status == Status.EXPIRED and payment.is_promise
        if is_late and after.is_covered and _allocate_again(order, asked):
            after = lifecycle.reinstate(after, attention=order.attention)
        told = {
            "kind": payment.kind,
            "provider": payment.provider,
            "provider_event_id": payment.provider_event_id,
            "amount_minor": payment.amount_minor,
            "is_reinstated": after.status != order.status and order.status == Status.EXPIRED,
        }
        return Changed(after, EVENT_BY_PAYMENT_KIND[payment.kind], told)

    return _change(asked, pay)


def _check_repeat(order: OrderState, payment: Payment) -> None:
    before = storage.get_payment_event(payment.provider, payment.provider_event_id)
    then = (before.order_id, before.kind, before.amount_minor, before.currency)
    if then != (order.id, payment.kind, payment.amount_minor, payment.currency):
        raise PaymentEventReused(payment.provider, payment.provider_event_id)


def _allocate_again(order: OrderState, asked: ChangeRequest) -> bool:
    """Promise an expired order its units again; return False when they were sold meanwhile."""
    units: dict[str, int] = {}
    for line in order.lines:
        if line.open:
            units[line.sku] = units.get(line.sku, 0) + line.open
    _, levels, busy = lock_stock(sorted(units))
    if busy:
        return False
    demand = Demand(order.id, units, asked.provenance, at=asked.now)
    return not allocate([demand], levels)[0].shortages


def add_note(asked: ChangeRequest, *, text: str, resolves_attention: bool = False) -> Answer:
    """
    Write something down about an order; resolves_attention: what asked for attention is settled.

    The text stays in the note: the event says only that there is one. Raises OrderNotFound,
    OrderChanged, and what answer_once raises.
    """

    def write(order: OrderState) -> Changed:
        after = lifecycle.note(order, resolves_attention=resolves_attention)
        storage.add_note(after, text, author=asked.provenance.actor, now=asked.now)
        return Changed(after, "order.noted", {"resolves_attention": resolves_attention})

    return _change(asked, write)


def expire_orders(*, provenance: Provenance, now: datetime, limit: int) -> int:
    """
    Expire at most limit orders that were not paid in time; return how many there were.

    Their units may be sold again. Several may run at once, and beside everything else. Raises
    what commit raises.
    """

    def expire() -> list[Order]:
        order_ids = storage.expire_orders(limit=limit, now=now)
        if not order_ids:
            return []
        release_orders(order_ids, provenance=provenance, now=now, reason="expired")
        orders = list(storage.list_by_id(order_ids))
        record_events(
            [change_event(order, "order.expired", {}, provenance, now) for order in orders]
        )
        return orders

    expired = commit(expire)
    keep_texts((order.account_id, address(order.id), text_of(order)) for order in expired)
    return len(expired)


def _change(asked: ChangeRequest, work: Callable[[OrderState], Changed | None]) -> Answer:
    """
    Lock the order, have it changed, and tell what it became; None changed nothing.

    The cache is written after COMMIT, as for a placement.
    """
    account_ids = []

    def change() -> Answer:
        order = storage.lock_order(asked.order_id, account_id=asked.account_id)
        account_ids.append(order.account_id)
        before = order.state
        lifecycle.check_version(before, asked.versions)
        changed = work(before)
        if changed is None:
            return _answer(order).replayed()
        return _answer(carry_out(before, changed, provenance=asked.provenance, now=asked.now))

    answer = answer_once(asked.request, change)
    if account_ids and not answer.is_replayed:
        text = OrderText(answer.body, answer.etag)
        keep_texts([(account_ids[-1], address(asked.order_id), text)])
    return answer


def carry_out(
    before: OrderState, changed: Changed, *, provenance: Provenance, now: datetime
) -> Order:
    """Write what a locked order became, and tell of it; return it. Joins a transaction."""
    storage.save_order(before, changed.after, now=now)
    storage.add_unit_changes(changed.after, changed.unit_changes, now=now)
    after = storage.get_order(before.id, account_id=None)
    record_events([change_event(after, changed.event, changed.told, provenance, now)])
    return after


def _answer(order: Order) -> Answer:
    # No Location: only the key that placed an order answers with where it is.
    text = text_of(order)
    return Answer(201, text.body, etag=text.etag)


def text_of(order: Order) -> OrderText:
    """Return an order as it is answered and cached."""
    return OrderText(orjson.dumps(stored_document(order)).decode(), etag(order.version))


def change_event(
    order: Order, name: str, told: dict[str, Any], provenance: Provenance, now: datetime
) -> NewEvent:
    """Return the event of a change: the order as it is now, who changed it, and what is told."""
    return NewEvent(
        name,
        "order",
        str(order.id),
        order.version,
        {
            "id": str(order.id),
            "number": order.number,
            "status": order.status,
            "payment_status": order.payment_status,
            "fulfillment_status": order.fulfillment_status,
            "reference": order.reference or None,
            "attention": order.attention or None,
            "currency": order.currency,
            "total_minor": order.total_minor,
            "due_minor": order.state.due_minor,
            "version": order.version,
            "actor": provenance.actor,
            **told,
        },
        at=now,
        account_id=order.account_id,
    )


def _sku(order: OrderState, asked: lifecycle.Asked) -> str:
    return next(line.sku for line in order.lines if line.position == asked.position)


def _line_told(order: OrderState, asked: lifecycle.Asked, **told: Any) -> dict[str, Any]:
    return {"position": asked.position, "sku": _sku(order, asked), **told}


def _stock_told(taken: Drawn) -> dict[str, Any]:
    promise = taken.promise
    return {
        "sku": promise.level.sku,
        "location": promise.location,
        "quantity": taken.units,
        "fate": taken.fate,
    }
