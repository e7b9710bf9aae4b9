"""
The life of an order: what may be done to it, and what it becomes. Pure.

The status moves by TRANSITIONS alone; what else an order is follows from facts, in orders.states.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeVar

from config.errors import AppError, ValidationFailed
from orders.rules import TOTAL_MINOR_MAX
from orders.states import Attention, LineState, OrderState, Status


class Action(StrEnum):
    """What is done to an order."""

    PAY = "pay"
    FULFILL = "fulfill"
    CANCEL = "cancel"
    EXPIRE = "expire"
    REINSTATE = "reinstate"
    RETURN = "return"
    NOTE = "note"


PLACED, CONFIRMED, CLOSED, CANCELLED, EXPIRED = Status

# What may be done in which status, and the statuses it may lead to. What is not here is refused.
TRANSITIONS: Mapping[Action, Mapping[Status, frozenset[Status]]] = {
    Action.PAY: {
        PLACED: frozenset({PLACED, CONFIRMED}),
        CONFIRMED: frozenset({CONFIRMED, CLOSED}),
        # Money that has come is a fact, whether it is welcome or not.
        CLOSED: frozenset({CLOSED}),
        CANCELLED: frozenset({CANCELLED}),
        EXPIRED: frozenset({EXPIRED}),
    },
    Action.FULFILL: {
        PLACED: frozenset({PLACED, CONFIRMED, CLOSED, CANCELLED}),
        CONFIRMED: frozenset({CONFIRMED, CLOSED, CANCELLED}),
    },
    Action.CANCEL: {
        PLACED: frozenset({PLACED, CONFIRMED, CANCELLED}),
        CONFIRMED: frozenset({CONFIRMED, CLOSED, CANCELLED}),
    },
    Action.EXPIRE: {PLACED: frozenset({EXPIRED})},
    Action.REINSTATE: {EXPIRED: frozenset({CONFIRMED})},
    Action.RETURN: {CONFIRMED: frozenset({CONFIRMED}), CLOSED: frozenset({CLOSED})},
    Action.NOTE: {status: frozenset({status}) for status in Status},
}

PaymentKind = Literal["authorized", "captured", "failed", "refunded"]


class OrderStateConflict(AppError):
    """What is asked for cannot be done to the order as it stands."""

    code, kind, facts = "order_state_conflict", "conflict", ("order_status", "action")

    def __init__(
        self, action: Action, status: Status, errors: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        why = "not as far as this" if errors else f"not while it is {status}"
        super().__init__(f"The order cannot have this done ({action}): {why}.")
        self.order_status = status.value
        self.action = action.value
        self.errors = errors


class OrderChanged(AppError):
    """The order is not the version that If-Match names: read it again, and decide again."""

    code, kind, facts = "precondition_failed", "precondition", ("version",)

    def __init__(self, version: int) -> None:
        super().__init__(f"The order is at version {version}. Nothing was done.")
        self.version = version


class PaymentEventReused(AppError):
    """The provider's event was recorded before, of another order or with other contents."""

    code, kind, facts = "payment_event_reused", "conflict", ("provider", "provider_event_id")

    def __init__(self, provider: str, provider_event_id: str) -> None:
        super().__init__(f"Event {provider_event_id} of {provider} said something else before.")
        self.provider = provider
        self.provider_event_id = provider_event_id


@dataclass(frozen=True, slots=True)
class Cut:
    """Units of one line to cancel, 1 or more."""

    position: int
    units: int


@dataclass(frozen=True, slots=True)
class Pick:
    """
    Units of one line to send, 0 or more, and units that nobody found, which are cancelled.

    location: None for wherever they are allocated.
    """

    position: int
    units: int
    short: int = 0
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Comeback:
    """Units of one line that came back, 1 or more, and what becomes of them."""

    position: int
    units: int
    disposition: Literal["restock", "quarantine", "scrap"]
    location: str


@dataclass(frozen=True, slots=True)
class Payment:
    """What a provider of payments says happened. amount_minor: 0 or more, of currency."""

    kind: PaymentKind
    provider: str
    provider_event_id: str
    amount_minor: int
    currency: str

    @property
    def is_promise(self) -> bool:
        """Whether money comes by it, or will."""
        return self.kind in ("authorized", "captured")


@dataclass(frozen=True, slots=True)
class LineChange:
    """What became of units of one line; location empty for wherever they were."""

    position: int
    kind: Literal["cancelled", "fulfilled", "short", "returned"]
    units: int
    location: str = ""
    disposition: str = ""


class Asked(Protocol):
    """Something asked of one line."""

    @property
    def position(self) -> int: ...


Ask = TypeVar("Ask", bound=Asked)


def check_version(order: OrderState, versions: frozenset[int] | None) -> None:
    """Raise OrderChanged unless the order is at one of versions; None is any."""
    if versions is not None and order.version not in versions:
        raise OrderChanged(order.version)


def cancel(order: OrderState, cuts: Sequence[Cut] | None) -> OrderState:
    """
    Return the order without some units; cuts None cancels all that are open.

    Raises OrderStateConflict when more is cancelled than is open, ValidationFailed for a line
    that is not there.
    """
    _check(order, Action.CANCEL)
    cuts = whole_cut(order) if cuts is None else cuts
    lines = _lines_after(
        order,
        Action.CANCEL,
        cuts,
        lambda line, cut: line._replace(cancelled=line.cancelled + cut.units),
    )
    return _after(order, Action.CANCEL, lines=lines)


def whole_cut(order: OrderState) -> list[Cut]:
    """Return the cuts that cancel all that is open."""
    return [Cut(line.position, line.open) for line in order.lines if line.open]


def fulfill(order: OrderState, picks: Sequence[Pick] | None) -> OrderState:
    """
    Return the order with units sent, and those that were not found cancelled.

    picks None sends all that is open. Raises OrderStateConflict when more is sent than is open,
    ValidationFailed for a line that is not there.
    """
    _check(order, Action.FULFILL)
    picks = whole_pick(order) if picks is None else picks
    lines = _lines_after(
        order,
        Action.FULFILL,
        picks,
        lambda line, pick: line._replace(
            fulfilled=line.fulfilled + pick.units, cancelled=line.cancelled + pick.short
        ),
    )
    is_short = any(pick.short for pick in picks)
    attention = Attention.SHORT if is_short else order.attention
    return _after(order, Action.FULFILL, lines=lines, attention=attention)


def whole_pick(order: OrderState) -> list[Pick]:
    """Return the picks that send all that is open."""
    return [Pick(line.position, line.open) for line in order.lines if line.open]


def take_back(order: OrderState, comebacks: Sequence[Comeback]) -> OrderState:
    """
    Return the order with units come back.

    Raises OrderStateConflict when more comes back than was sent, ValidationFailed for a line that
    is not there.
    """
    _check(order, Action.RETURN)
    lines = _lines_after(
        order,
        Action.RETURN,
        comebacks,
        lambda line, comeback: line._replace(returned=line.returned + comeback.units),
    )
    return _after(order, Action.RETURN, lines=lines)


def pay(order: OrderState, payment: Payment) -> OrderState:
    """
    Return the order with a fact about money; facts may come in any order, and in any status.

    What does not fit asks for attention. Raises ValidationFailed for another currency, and for an
    amount that no sum of the order can hold.
    """
    _check(order, Action.PAY)
    if payment.currency != order.currency:
        raise _refused_payment("currency", "other_currency", f"The order is in {order.currency}.")
    after = replace(
        order,
        authorized_minor=order.authorized_minor + _amount_of(payment, "authorized"),
        captured_minor=order.captured_minor + _amount_of(payment, "captured"),
        refunded_minor=order.refunded_minor + _amount_of(payment, "refunded"),
        has_failed_payment=order.has_failed_payment or payment.kind == "failed",
    )
    if max(after.authorized_minor, after.captured_minor, after.refunded_minor) > TOTAL_MINOR_MAX:
        raise _refused_payment(
            "amount_minor", "sum_out_of_range", f"No sum may exceed {TOTAL_MINOR_MAX}."
        )
    return _after(after, Action.PAY, attention=_attention_of(after, payment))


def _refused_payment(member: str, code: str, message: str) -> ValidationFailed:
    return ValidationFailed([{"pointer": f"/{member}", "code": code, "message": message}])


def _amount_of(payment: Payment, kind: PaymentKind) -> int:
    return payment.amount_minor if payment.kind == kind else 0


def _attention_of(order: OrderState, payment: Payment) -> Attention | None:
    if payment.is_promise:
        if order.status == EXPIRED:
            return Attention.LATE_PAYMENT
        if order.status == CANCELLED:
            return Attention.PAID_AFTER_CANCELLATION
        if order.captured_minor > order.due_minor:
            return Attention.OVERPAID
    if order.refunded_minor > order.captured_minor:
        return Attention.REFUND_EXCEEDS_PAYMENT
    return order.attention


def expire(order: OrderState) -> OrderState:
    """Return the order expired: nobody paid in time. Raises OrderStateConflict."""
    _check(order, Action.EXPIRE)
    return _after(order, Action.EXPIRE, status=EXPIRED)


def reinstate(order: OrderState, *, attention: Attention | None) -> OrderState:
    """
    Return an expired order confirmed, without a further version: part of a late payment.

    attention: what asked for it before that payment; that money came late has settled itself.
    """
    _check(order, Action.REINSTATE)
    if order.captured_minor > order.due_minor:
        attention = Attention.OVERPAID
    elif attention == Attention.LATE_PAYMENT:
        attention = None
    return replace(order, status=CONFIRMED, attention=attention)


def note(order: OrderState, *, resolves_attention: bool) -> OrderState:
    """Return the order with something noted about it."""
    attention = None if resolves_attention else order.attention
    return _after(order, Action.NOTE, attention=attention)


def _check(order: OrderState, action: Action) -> None:
    if order.status not in TRANSITIONS[action]:
        raise OrderStateConflict(action, order.status)


def _after(order: OrderState, action: Action, **changes: Any) -> OrderState:
    """Return the order after an action, in the status that its facts lead to."""
    after = replace(order, version=order.version + 1, **changes)
    if action in (Action.PAY, Action.FULFILL, Action.CANCEL):
        after = replace(after, status=_status_by_facts(after))
    if after.status not in TRANSITIONS[action][order.status]:
        raise AssertionError(f"{action} led from {order.status} to {after.status}")
    return after


def _status_by_facts(order: OrderState) -> Status:
    if order.status in (CLOSED, CANCELLED, EXPIRED):
        return order.status
    if not order.open_units:
        if not order.fulfilled_units:
            return CANCELLED
        if order.is_settled:
            return CLOSED
    if order.fulfilled_units or order.is_covered:
        return CONFIRMED
    return order.status


def _lines_after(
    order: OrderState,
    action: Action,
    asked: Sequence[Ask],
    change: Callable[[LineState, Ask], LineState],
) -> tuple[LineState, ...]:
    """Return the lines after what is asked of them; refuse all of it for what one cannot give."""
    lines = {line.position: line for line in order.lines}
    unknown = [n for n, ask in enumerate(asked) if ask.position not in lines]
    if unknown:
        raise ValidationFailed([_no_such_line(n, asked[n].position) for n in unknown])
    conflicts = []
    for n, ask in enumerate(asked):
        before = lines[ask.position]
        after = change(before, ask)
        lines[ask.position] = after
        if after.open < 0 or after.returned > after.fulfilled:
            conflicts.append(_too_many(n, before, action))
    if conflicts or not asked:
        raise OrderStateConflict(action, order.status, conflicts)
    return tuple(lines[line.position] for line in order.lines)


def _no_such_line(n: int, position: int) -> dict[str, Any]:
    return {
        "pointer": f"/lines/{n}/position",
        "code": "line_unknown",
        "message": f"The order has no line {position}.",
    }


def _too_many(n: int, line: LineState, action: Action) -> dict[str, Any]:
    possible = line.fulfilled - line.returned if action == Action.RETURN else line.open
    return {
        "pointer": f"/lines/{n}/quantity",
        "code": "too_many_units",
        "message": f"Line {line.position} ({line.sku}): {possible} possible.",
        "position": line.position,
        "possible": max(0, possible),
    }
