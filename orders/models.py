"""Orders, as they were placed."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q


class Order(models.Model):
    """
    What an account ordered for a customer.

    Written by orders.storage. account has no constraint in the database: checking it would lock
    the account's row, the same row for every order of a shop.
    """

    class Status(models.TextChoices):
        PLACED = "placed"

    class PaymentStatus(models.TextChoices):
        UNPAID = "unpaid"

    class FulfillmentStatus(models.TextChoices):
        UNFULFILLED = "unfulfilled"

    id = models.UUIDField(primary_key=True)
    number = models.BigIntegerField(unique=True)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_constraint=False, db_index=False
    )
    customer = models.CharField(max_length=128)
    reference = models.CharField(max_length=128, blank=True)
    status = models.CharField(max_length=16, choices=Status)
    payment_status = models.CharField(max_length=24, choices=PaymentStatus)
    fulfillment_status = models.CharField(max_length=16, choices=FulfillmentStatus)
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

    class Meta:
        constraints = [
            models.CheckConstraint(name="orders_total", condition=Q(total_minor__gte=0)),
        ]
        # An id is a UUIDv7: by id is by time. Every list is one account's, newest first.
        indexes = [
            models.Index(fields=["account", "-id"], name="orders_by_account"),
            models.Index(fields=["account", "customer", "-id"], name="orders_by_customer"),
            models.Index(fields=["account", "updated_at"], name="orders_by_update"),
            models.Index(
                fields=["account", "reference"],
                name="orders_by_reference",
                condition=~Q(reference=""),
            ),
        ]

    def __str__(self) -> str:
        return f"Order {self.number}"


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

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="orders_line_adds_up",
                condition=Q(quantity__gte=1, total_minor=F("quantity") * F("unit_price_minor")),
            )
        ]
        indexes = [models.Index(fields=["sku", "-order"], name="orders_lines_by_sku")]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.sku}"
