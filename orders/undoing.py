"""Undo sales of which nobody says which they were, in one transaction."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import orjson

from events.usecases import Answer, KeyedRequest, answer_once
from inventory.usecases import MAIN_LOCATION, Provenance, lock_stock
from orders import storage
from orders.changes import Changed, cancelled, carry_out, returned, text_of
from orders.documents import address
from orders.matching import Undoing, Wanted, match
from orders.models import Order
from orders.reading import keep_texts
from orders.states import OrderState


def undo_sales(
    wanted: Sequence[Wanted],
    *,
    request: KeyedRequest,
    customer: str,
    reason: str,
    provenance: Provenance,
    now: datetime,
) -> Answer:
    """
    Take units out of a customer's latest orders before now, as matching.match finds them, once.

    The answer names the orders, and by its place in wanted each that no line was left for:
    {"orders": [ids], "unmatched": {"0": units that there were}}. Raises what answer_once raises.
    """
    changed: list[Order] = []

    def undo() -> Answer:
        changed.clear()  # Another try, after a deadlock.
        orders = storage.lock_earlier(
            request.account_id, customer=customer, skus={want.sku for want in wanted}, before=now
        )
        # Of one moment the last that was placed: an id tells no more than the moment.
        orders.sort(key=lambda order: (order.placed_at, order.number), reverse=True)
        states = [order.state for order in orders]
        undoings, unmatched = match(wanted, states, location=MAIN_LOCATION)
        # All levels at once, by ascending id: order by order they would be locked crosswise.
        lock_stock(sorted({line.sku for undoing in undoings for line in undoing.order.lines}))
        undoings.sort(key=lambda undoing: undoing.order.id)
        changed.extend(_undo(undoing, reason, provenance, now) for undoing in undoings)
        told = {
            "orders": [str(order.id) for order in changed],
            "unmatched": {str(n): units for n, units in unmatched.items()},
        }
        return Answer(201, orjson.dumps(told).decode())

    answer = answer_once(request, undo)
    if not answer.is_replayed:
        keep_texts((order.account_id, address(order.id), text_of(order)) for order in changed)
    return answer


def _undo(undoing: Undoing, reason: str, provenance: Provenance, now: datetime) -> Order:
    about: dict[str, Any] = {"reason": reason, "provenance": provenance, "now": now}
    works: list[Callable[[OrderState], Changed]] = []
    if undoing.cuts:
        works.append(lambda order: cancelled(order, undoing.cuts, **about))
    if undoing.comebacks:
        works.append(lambda order: returned(order, undoing.comebacks, **about))
    state = undoing.order
    for work in works:
        order = carry_out(state, work(state), provenance=provenance, now=now)
        state = order.state
    return order
