"""
What an order is at one moment, as far as it decides what may become of it. Pure.

Of its three axes only the status is kept as it is; how far it is paid and how far it is fulfilled
follow from facts: sums of money, and units of each line.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID


class Status(StrEnum):
    """Where an order stands."""

    PLACED = "placed"
    CONFIRMED = "confirmed"
    CLOSED = "closed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class PaymentStatus(StrEnum):
    """How far an order is paid."""

    UNPAID = "unpaid"
    AUTHORIZED = "authorized"
    PARTIALLY_PAID = "partially_paid"
    PAID = "paid"
    REFUNDED = "refunded"
    FAILED = "failed"


class FulfillmentStatus(StrEnum):
    """How far an order is fulfilled."""

    UNFULFILLED = "unfulfilled"
    PARTIAL = "partial"
    FULFILLED = "fulfilled"
    RETURNED = "returned"


class Attention(StrEnum):
    """Why somebody should look at an order."""

    LATE_PAYMENT = "late_payment"
    PAID_AFTER_CANCELLATION = "paid_after_cancellation"
    OVERPAID = "overpaid"
    REFUND_EXCEEDS_PAYMENT = "refund_exceeds_payment"
    SHORT = "short"


class LineState(NamedTuple):
    """
    One line of an order and what became of its units, each count 0 … quantity.

    backordered: units that were not there when the order was placed.
    """

    position: int
    sku: str
    quantity: int
    unit_price_minor: int
    cancelled: int = 0
    fulfilled: int = 0
    returned: int = 0
    backordered: int = 0

    @property
    def open(self) -> int:
        """The units that are neither fulfilled nor cancelled."""
        return self.quantity - self.cancelled - self.fulfilled


@dataclass(frozen=True, slots=True)
class OrderState:
    """All of an order that decides what may become of it. Sums in minor units of currency."""

    id: UUID
    account_id: int
    version: int
    status: Status
    currency: str
    total_minor: int
    lines: tuple[LineState, ...]
    authorized_minor: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0
    has_failed_payment: bool = False
    attention: Attention | None = None

    @property
    def open_units(self) -> int:
        """The units that are still to be sent."""
        return sum(line.open for line in self.lines)

    @property
    def fulfilled_units(self) -> int:
        """The units that were sent, whether they came back or not."""
        return sum(line.fulfilled for line in self.lines)

    @property
    def due_minor(self) -> int:
        """What the buyer owes in all: the total less what was cancelled; nothing if all was."""
        if not (self.open_units or self.fulfilled_units):
            return 0
        cancelled = sum(line.cancelled * line.unit_price_minor for line in self.lines)
        return max(0, self.total_minor - cancelled)

    @property
    def is_covered(self) -> bool:
        """Whether what is due was promised or paid, and not given back."""
        had = max(self.authorized_minor, self.captured_minor) - self.refunded_minor
        return had >= self.due_minor

    @property
    def is_settled(self) -> bool:
        """Whether what is due was paid; a refund afterwards is another matter."""
        return self.captured_minor >= self.due_minor

    @property
    def payment_status(self) -> PaymentStatus:
        """How far it is paid. A refund of a part leaves it paid."""
        if self.refunded_minor and self.refunded_minor >= self.captured_minor:
            return PaymentStatus.REFUNDED
        if self.captured_minor:
            return PaymentStatus.PAID if self.is_settled else PaymentStatus.PARTIALLY_PAID
        if self.authorized_minor:
            return PaymentStatus.AUTHORIZED
        return PaymentStatus.FAILED if self.has_failed_payment else PaymentStatus.UNPAID

    @property
    def fulfillment_status(self) -> FulfillmentStatus:
        """How far it is fulfilled; what was cancelled is not waited for."""
        if not self.fulfilled_units:
            return FulfillmentStatus.UNFULFILLED
        if self.open_units:
            return FulfillmentStatus.PARTIAL
        if self.fulfilled_units == sum(line.returned for line in self.lines):
            return FulfillmentStatus.RETURNED
        return FulfillmentStatus.FULFILLED
