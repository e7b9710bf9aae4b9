"""Orders, as they were placed, and what became of them."""

from collections.abc import Iterable
from enum import StrEnum

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from orders.states import Attention, FulfillmentStatus, LineState, OrderState, PaymentStatus, Status


def _choices(names: type[StrEnum]) -> list[tuple[str, str]]:
    return [(name.value, name.value.replace("_", " ").capitalize()) for name in names]


class Order(models.Model):
    """
    What an account ordered for a customer.

    Written by orders.storage. account has no constraint in the database: checking it would lock
    the account's row, the same row for every order of a shop.
    """

    id = models.UUIDField(primary_key=True)
    number = models.BigIntegerField(unique=True)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_constraint=False, db_index=False
    )
    customer = models.CharField(max_length=128)
    reference = models.CharField(max_length=128, blank=True)
    status = models.CharField(max_length=16, choices=_choices(Status))
    payment_status = models.CharField(max_length=24, choices=_choices(PaymentStatus))
    fulfillment_status = models.CharField(max_length=16, choices=_choices(FulfillmentStatus))
    currency = models.CharField(max_length=3)
    subtotal_minor = models.BigIntegerField()
    charges = models.JSONField()
    total_minor = models.BigIntegerField()
    ship_to = models.JSONField(null=True)
    metadata = models.JSONField(null=True)
    served_version = models.CharField(max_length=32)
    rules_generation = models.BigIntegerField(null=True)
    trace_id = models.CharField(max_length=32, blank=True)
    placed_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    version = models.IntegerField(default=1)
    # Each has a default in the database: what places orders writes none of them.
    authorized_minor = models.BigIntegerField(db_default=0)
    captured_minor = models.BigIntegerField(db_default=0)
    refunded_minor = models.BigIntegerField(db_default=0)
    attention = models.CharField(
        max_length=32, blank=True, choices=_choices(Attention), db_default=""
    )
    pay_before = models.DateTimeField(null=True)

    # Of an order that was read to be shown: no line that holds its order, and is held by it.
    read_state: OrderState | None = None

    class Meta:
        permissions = [
            ("cancel_order", "Can cancel units of orders"),
            ("fulfill_order", "Can fulfil orders"),
            ("return_order", "Can take back units of orders"),
            ("note_order", "Can write notes on orders"),
        ]
        constraints = [
            models.CheckConstraint(name="orders_total", condition=Q(total_minor__gte=0)),
        ]
        # An id is a UUIDv7: by id is by time. Every list of the API is one account's, newest first.
        indexes = [
            models.Index(fields=["account", "-id"], name="orders_by_account"),
            models.Index(fields=["account", "customer", "-id"], name="orders_by_customer"),
            models.Index(fields=["account", "updated_at"], name="orders_by_update"),
            models.Index(
                fields=["account", "reference"],
                name="orders_by_reference",
                condition=~Q(reference=""),
            ),
            models.Index(fields=["account", "status", "-id"], name="orders_by_status"),
            # What a canary took is looked for while it has taken few.
            models.Index(fields=["account", "served_version", "-id"], name="orders_by_version"),
            models.Index(
                fields=["account", "-id"],
                name="orders_by_attention",
                condition=~Q(attention=""),
            ),
            # The back office's list is of all accounts. What was imported was placed long before.
            models.Index(fields=["-placed_at", "-id"], name="orders_by_day"),
            # What the sweeper reads: it is empty but for what waits for its money.
            models.Index(
                fields=["pay_before"],
                name="orders_by_deadline",
                condition=Q(status=Status.PLACED, pay_before__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"Order {self.number}"

    @property
    def state(self) -> OrderState:
        """All that decides what may become of it; reads its lines unless it was read with them."""
        return self.read_state or self.state_with(line.state for line in self.lines.all())

    def state_with(self, lines: Iterable[LineState]) -> OrderState:
        """Return all that decides what may become of it, with lines that were read already."""
        return OrderState(
            id=self.id,
            account_id=self.account_id,
            version=self.version,
            status=Status(self.status),
            currency=self.currency,
            total_minor=self.total_minor,
            lines=tuple(lines),
            authorized_minor=self.authorized_minor,
            captured_minor=self.captured_minor,
            refunded_minor=self.refunded_minor,
            has_failed_payment=self.payment_status == PaymentStatus.FAILED,
            attention=Attention(self.attention) if self.attention else None,
        )


class Line(models.Model):
    """One line of an order, as it was sent and priced. sku: a SKU's code, which never changes."""

    pk = models.CompositePrimaryKey("order_id", "position")
    # No index of its own: the primary key begins with it.
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="lines", db_index=False)
    position = models.IntegerField()
    sku = models.CharField(max_length=64)
    quantity = models.IntegerField()
    unit_price_minor = models.BigIntegerField()
    total_minor = models.BigIntegerField()
    # Units that were not there when the order was placed.
    backordered = models.IntegerField(default=0, db_default=0)
    cancelled_quantity = models.IntegerField(db_default=0)
    fulfilled_quantity = models.IntegerField(db_default=0)
    returned_quantity = models.IntegerField(db_default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="orders_line_adds_up",
                condition=Q(quantity__gte=1, total_minor=F("quantity") * F("unit_price_minor")),
            ),
            models.CheckConstraint(
                name="orders_line_units",
                condition=Q(
                    quantity__gte=F("cancelled_quantity") + F("fulfilled_quantity"),
                    fulfilled_quantity__gte=F("returned_quantity"),
                    cancelled_quantity__gte=0,
                    returned_quantity__gte=0,
                ),
            ),
        ]
        indexes = [models.Index(fields=["sku", "-order"], name="orders_lines_by_sku")]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.sku}"

    @property
    def state(self) -> LineState:
        """What became of its units."""
        return LineState(
            position=self.position,
            sku=self.sku,
            quantity=self.quantity,
            unit_price_minor=self.unit_price_minor,
            cancelled=self.cancelled_quantity,
            fulfilled=self.fulfilled_quantity,
            returned=self.returned_quantity,
            backordered=self.backordered,
        )


class UnitChange(models.Model):
    """
    What became of units of one line, in one change of its order. Never changed.

    location: where they were taken from or brought to; empty for wherever they were.
    """

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="unit_changes")
    order_version = models.IntegerField()
    position = models.IntegerField()
    kind = models.CharField(max_length=16)
    quantity = models.IntegerField()
    location = models.CharField(max_length=32, blank=True)
    disposition = models.CharField(max_length=16, blank=True)
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="orders_unit_change",
                condition=Q(
                    quantity__gte=1, kind__in=["cancelled", "fulfilled", "short", "returned"]
                ),
            )
        ]

    def __str__(self) -> str:
        return f"{self.quantity} {self.kind}"


class PaymentEvent(models.Model):
    """What a provider of payments said of an order. Never changed."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="payment_events")
    order_version = models.IntegerField()
    provider = models.CharField(max_length=64)
    provider_event_id = models.CharField(max_length=128)
    kind = models.CharField(max_length=16)
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "provider_event_id"], name="orders_payment_event_once"
            ),
            models.CheckConstraint(
                name="orders_payment_event",
                condition=Q(
                    amount_minor__gte=0,
                    kind__in=["authorized", "captured", "failed", "refunded"],
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount_minor} {self.currency}"


class Note(models.Model):
    """What somebody wrote down about an order."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="notes")
    order_version = models.IntegerField()
    author = models.CharField(max_length=150)
    text = models.TextField()
    written_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"Note on version {self.order_version}"


class Erasure(models.Model):
    """
    That the data of a person were erased: when, by whom, how much. Not whose.

    customer: what stands in its place since then.
    """

    account_id = models.BigIntegerField()
    customer = models.CharField(max_length=128)
    orders = models.IntegerField()
    notes = models.IntegerField()
    events = models.IntegerField()
    answers = models.IntegerField()
    actor = models.CharField(max_length=150)
    reason = models.CharField(max_length=255)
    erased_at = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.orders} orders of {self.customer}"


class Reconciliation(models.Model):
    """A comparison of the books: when, and how much was not as it must be."""

    ran_at = models.DateTimeField()
    discrepancies = models.IntegerField()

    class Meta:
        indexes = [models.Index(fields=["-ran_at"], name="orders_reconciliation_latest")]

    def __str__(self) -> str:
        return f"{self.discrepancies} discrepancies at {self.ran_at}"
