"""Orders that were over before they came here: kept with what became of them, stock apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from events.usecases import Answer, KeyedRequest, answer_once, record_events
from inventory.usecases import Provenance
from orders import lifecycle, storage
from orders.changes import Changed, carry_out
from orders.documents import address
from orders.lifecycle import LineChange, Payment
from orders.placement import new_id, placed_event
from orders.rules import NewOrder, OrderDraft, quote_as_told
from orders.states import OrderState

# What served such an order. Its units never were in the stock of this shop, so nothing of it is
# allocated, and reconcile asks for none.
HISTORY = "history"


@dataclass(frozen=True, slots=True)
class PastOrder:
    """An order that is over. Each line of the draft has its price, in minor units of currency."""

    draft: OrderDraft
    currency: str
    status: Literal["closed", "cancelled"]


def keep_past_order(
    past: PastOrder, *, request: KeyedRequest, provenance: Provenance, now: datetime
) -> Answer:
    """
    Keep an order that was placed at now and is over, once for its key; no stock is touched.

    A closed one was sent and paid in full. The answer names its id. Raises OrderInvalid for a
    total below 0 or too large, and what answer_once raises.
    """
    price = quote_as_told(past.draft, past.currency)

    def keep() -> Answer:
        ((number, _),) = storage.ask_numbers(1)()
        order = NewOrder(
            id=new_id(now, number),
            number=number,
            account_id=request.account_id,
            draft=past.draft,
            quote=price,
            placed_at=now,
            served_version=HISTORY,
            trace_id=request.trace_id,
        )
        storage.add_orders([order])
        record_events([placed_event(order)])
        state = storage.get_order(order.id, account_id=None).state
        for changed in _what_became(state, past.status, now):
            carry_out(state, changed, provenance=provenance, now=now)
            state = changed.after
        return Answer(201, f'{{"id":"{order.id}"}}', location=address(order.id))

    return answer_once(request, keep)


def _what_became(order: OrderState, status: str, now: datetime) -> Iterator[Changed]:
    if status == "cancelled":
        yield _ended(order, lifecycle.cancel(order, None), "cancelled")
        return
    if order.total_minor:
        payment = Payment("captured", HISTORY, str(order.id), order.total_minor, order.currency)
        after = lifecycle.pay(order, payment)
        storage.take_payment_event(order.id, payment, order_version=after.version, now=now)
        told: dict[str, Any] = {
            "kind": payment.kind,
            "provider": payment.provider,
            "provider_event_id": payment.provider_event_id,
            "amount_minor": payment.amount_minor,
            "is_reinstated": False,
        }
        yield Changed(after, "order.paid", told)
        order = after
    yield _ended(order, lifecycle.fulfill(order, None), "fulfilled")


def _ended(
    order: OrderState, after: OrderState, kind: Literal["cancelled", "fulfilled"]
) -> Changed:
    told = {
        "reason": HISTORY,
        "lines": [
            {"position": line.position, "sku": line.sku, "quantity": line.quantity}
            for line in order.lines
        ],
    }
    changes = [LineChange(line.position, kind, line.quantity) for line in order.lines]
    return Changed(after, f"order.{kind}", told, changes)
