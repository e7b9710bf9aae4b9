"""What is in stock, and every movement that made it so."""

from django.db import models
from django.db.models import F, Q
from django.db.models.lookups import LessThanOrEqual

from inventory.rules import available_units


class Sku(models.Model):
    """
    What is sold. Its code is its name everywhere and never changes.

    An untracked SKU is a service: it can be ordered without end.
    """

    class SellPolicy(models.TextChoices):
        DENY = "deny"
        BACKORDER = "backorder"

    code = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=255)
    price_minor = models.BigIntegerField("price in minor units")
    currency = models.CharField(max_length=3, help_text="ISO 4217, for example EUR.")
    is_active = models.BooleanField("active", default=True, help_text="May be ordered.")
    is_tracked = models.BooleanField("tracked", default=True, help_text="Has stock that runs out.")
    sell_policy = models.CharField(
        max_length=16,
        choices=SellPolicy,
        default=SellPolicy.DENY,
        db_default=SellPolicy.DENY,
        help_text="Whether orders may wait for units that are not there.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "SKU"
        constraints = [
            models.CheckConstraint(
                name="inventory_sku_code", condition=Q(code__regex=r"^[A-Za-z0-9._-]{1,64}$")
            ),
            models.CheckConstraint(
                name="inventory_sku_price",
                condition=Q(price_minor__gte=0, price_minor__lte=1_000_000_000),
            ),
            models.CheckConstraint(
                name="inventory_sku_currency", condition=Q(currency__regex=r"^[A-Z]{3}$")
            ),
        ]

    def __str__(self) -> str:
        return self.code


class Location(models.Model):
    """A place where stock lies. Orders ask those of a low priority first, and only active ones."""

    code = models.CharField(max_length=32, unique=True)
    name = models.CharField(max_length=255)
    priority = models.IntegerField(default=0, db_default=0)
    is_active = models.BooleanField("active", default=True, db_default=True)

    def __str__(self) -> str:
        return self.code


class StockLevel(models.Model):
    """
    The units of one SKU at one location.

    Never saved by Django: save() writes every column and would undo what was allocated
    meanwhile. inventory.storage moves the counters, each time with a row of the ledger.
    """

    sku = models.ForeignKey(Sku, on_delete=models.PROTECT, related_name="levels")
    location = models.ForeignKey(Location, on_delete=models.PROTECT, related_name="levels")
    on_hand = models.BigIntegerField(default=0)
    unavailable = models.BigIntegerField(default=0)
    safety = models.BigIntegerField(default=0)
    held = models.BigIntegerField(default=0)
    allocated = models.BigIntegerField(default=0)
    # How many of the allocated units orders wait for.
    waiting = models.BigIntegerField(default=0, db_default=0)
    incoming = models.BigIntegerField(default=0)
    backorder_limit = models.BigIntegerField(default=0)
    shortfall = models.BigIntegerField(default=0)
    # Fewer available than this want somebody's attention; no column that orders write is in its
    # index, or none of their updates would be heap-only.
    low_at = models.BigIntegerField(default=0, db_default=0)
    version = models.BigIntegerField(default=0)

    class Meta:
        permissions = [
            ("receive_stock", "Can receive stock"),
            ("adjust_stock", "Can adjust and count stock"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["sku", "location"], name="inventory_one_level"),
            models.CheckConstraint(
                name="inventory_level_not_negative",
                condition=Q(
                    on_hand__gte=0,
                    unavailable__gte=0,
                    safety__gte=0,
                    held__gte=0,
                    allocated__gte=0,
                    waiting__gte=0,
                    low_at__gte=0,
                    incoming__gte=0,
                    backorder_limit__gte=0,
                    shortfall__gte=0,
                    version__gte=0,
                ),
            ),
            # The last wall against overselling. Safety stock is policy: it is in the decision.
            models.CheckConstraint(
                name="inventory_level_not_oversold",
                condition=LessThanOrEqual(
                    F("held") + F("allocated"),
                    F("on_hand") - F("unavailable") + F("backorder_limit") + F("shortfall"),
                ),
            ),
            # Tighter where there is a limit: what nobody waits for is there or short.
            models.CheckConstraint(
                name="inventory_level_waits_within_limit",
                condition=Q(
                    LessThanOrEqual(
                        F("held") + F("allocated") - F("waiting"),
                        F("on_hand") - F("unavailable") + F("shortfall"),
                    ),
                    Q(waiting__lte=F("backorder_limit")),
                    waiting__lte=F("allocated"),
                ),
            ),
        ]
        indexes = [
            models.Index(fields=["id"], name="inventory_level_low", condition=Q(low_at__gt=0)),
            models.Index(fields=["id"], name="inventory_level_short", condition=Q(shortfall__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.sku} at {self.location}"

    @property
    def available(self) -> int:
        """The units that an order may take, 0 or more."""
        return available_units(self) if self.location.is_active else 0


class Movement(models.Model):
    """
    One row of the ledger; a trigger refuses to change or delete it.

    The level's version is unique for each level: a lost update cannot be committed.
    order_id belongs to another app and has no foreign key; hold_id outlives its hold.
    """

    # No index of its own: the unique constraint begins with it.
    level = models.ForeignKey(
        StockLevel, on_delete=models.PROTECT, related_name="movements", db_index=False
    )
    level_version = models.BigIntegerField()
    kind = models.CharField(max_length=16)
    on_hand_change = models.BigIntegerField()
    unavailable_change = models.BigIntegerField()
    held_change = models.BigIntegerField()
    allocated_change = models.BigIntegerField()
    incoming_change = models.BigIntegerField()
    shortfall_change = models.BigIntegerField()
    waiting_change = models.BigIntegerField(default=0, db_default=0)
    on_hand_after = models.BigIntegerField()
    unavailable_after = models.BigIntegerField()
    held_after = models.BigIntegerField()
    allocated_after = models.BigIntegerField()
    incoming_after = models.BigIntegerField()
    shortfall_after = models.BigIntegerField()
    waiting_after = models.BigIntegerField(default=0, db_default=0)
    reason = models.CharField(max_length=32, blank=True)
    reference = models.CharField(max_length=128, blank=True)
    note = models.CharField(max_length=255, blank=True, default="", db_default="")
    order_id = models.UUIDField(null=True, blank=True)
    hold_id = models.UUIDField(null=True, blank=True)
    actor = models.CharField(max_length=150, blank=True)
    source = models.CharField(max_length=16)
    served_version = models.CharField(max_length=32, blank=True)
    rules_generation = models.BigIntegerField(null=True, blank=True)
    trace_id = models.CharField(max_length=32, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["level", "level_version"], name="inventory_one_movement_per_version"
            )
        ]
        indexes = [
            models.Index(
                fields=["order_id"],
                name="inventory_movement_order",
                condition=Q(order_id__isnull=False),
            ),
            models.Index(
                fields=["hold_id"],
                name="inventory_movement_hold",
                condition=Q(hold_id__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    @property
    def change_text(self) -> str:
        """The counters that changed, as people read them: allocated +3."""
        changes = (
            ("on hand", self.on_hand_change),
            ("unavailable", self.unavailable_change),
            ("held", self.held_change),
            ("allocated", self.allocated_change),
            ("waiting", self.waiting_change),
            ("incoming", self.incoming_change),
            ("shortfall", self.shortfall_change),
        )
        return ", ".join(f"{name} {units:+,}" for name, units in changes if units)


class Allocation(models.Model):
    """
    The units of a level that one order has been promised. order_id belongs to another app.

    waiting_units: those that are not there yet; only the others can ship.
    """

    order_id = models.UUIDField()
    level = models.ForeignKey(
        StockLevel, on_delete=models.PROTECT, related_name="allocations", db_index=False
    )
    units = models.BigIntegerField()
    released_units = models.BigIntegerField(default=0)
    shipped_units = models.BigIntegerField(default=0)
    waiting_units = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["order_id", "level"], name="inventory_one_allocation_per_level"
            ),
            models.CheckConstraint(
                name="inventory_allocation_adds_up",
                condition=Q(
                    units__gte=F("released_units") + F("shipped_units"),
                    released_units__gte=0,
                    shipped_units__gte=0,
                )
                & Q(units__gte=1),
            ),
            models.CheckConstraint(
                name="inventory_allocation_waits_for_open_units",
                condition=Q(waiting_units__gte=0)
                & Q(units__gte=F("released_units") + F("shipped_units") + F("waiting_units")),
            ),
        ]
        # Who waits at a level, the oldest first.
        indexes = [
            models.Index(
                fields=["level", "id"],
                name="inventory_allocation_waiting",
                condition=Q(waiting_units__gt=0),
            )
        ]

    def __str__(self) -> str:
        return f"{self.units} for {self.order_id}"


class Hold(models.Model):
    """
    Units kept for an account until a deadline by the database's clock.

    Changed only by who has locked every level of its lines: that is its lock. A hold past its
    deadline keeps nothing, whatever state says: the sweeper writes it down later. account_id and
    order_id belong to other apps.
    """

    class State(models.TextChoices):
        LIVE = "live"
        CONVERTED = "converted"
        RELEASED = "released"
        EXPIRED = "expired"

    id = models.UUIDField(primary_key=True)
    account_id = models.BigIntegerField()
    state = models.CharField(max_length=16, choices=State)
    reference = models.CharField(max_length=128, blank=True)
    units = models.BigIntegerField()
    expires_at = models.DateTimeField()
    extendable_until = models.DateTimeField()
    order_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    version = models.IntegerField(default=1)
    is_due: bool  # Of a hold that was listed: whether its deadline has passed.

    class Meta:
        permissions = [("release_hold", "Can release holds of any account")]
        constraints = [
            models.CheckConstraint(
                name="inventory_hold_of_one_order",
                condition=Q(state="converted", order_id__isnull=False)
                | (~Q(state="converted") & Q(order_id__isnull=True)),
            ),
            models.CheckConstraint(
                name="inventory_hold_life", condition=Q(expires_at__lte=F("extendable_until"))
            ),
        ]
        # An id is a UUIDv7: by id is by time. Every list is one account's, newest first.
        indexes = [
            models.Index(fields=["account_id", "-id"], name="inventory_holds_by_account"),
            models.Index(
                fields=["account_id", "expires_at"],
                name="inventory_holds_open",
                condition=Q(state="live"),
            ),
            models.Index(
                fields=["expires_at"], name="inventory_holds_due", condition=Q(state="live")
            ),
        ]

    def __str__(self) -> str:
        return f"Hold {self.pk}"


class HoldLine(models.Model):
    """
    The units of one level that a hold keeps as long as it is open.

    Guarded by the level's lock: whoever is short of units closes the expired lines of that level
    and leaves the rest of the hold to the sweeper. expires_at is the hold's, for the index.
    """

    # No index of its own: the unique constraint begins with it.
    hold = models.ForeignKey(Hold, on_delete=models.CASCADE, related_name="lines", db_index=False)
    level = models.ForeignKey(
        StockLevel, on_delete=models.PROTECT, related_name="hold_lines", db_index=False
    )
    units = models.BigIntegerField()
    is_open = models.BooleanField(default=True)
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["hold", "level"], name="inventory_one_hold_line_per_level"
            ),
            models.CheckConstraint(name="inventory_hold_line_units", condition=Q(units__gte=1)),
        ]
        indexes = [
            models.Index(
                fields=["level", "expires_at"],
                name="inventory_hold_lines_open",
                condition=Q(is_open=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.units} for {self.hold_id}"


class Transfer(models.Model):
    """
    Units of a SKU on their way from one location to another.

    missing_units never arrived and went nowhere else; surplus_units arrived and were never sent.
    """

    id = models.UUIDField(primary_key=True)
    sku = models.ForeignKey(Sku, on_delete=models.PROTECT, related_name="transfers")
    source = models.ForeignKey(Location, on_delete=models.PROTECT, related_name="+")
    destination = models.ForeignKey(Location, on_delete=models.PROTECT, related_name="+")
    units = models.BigIntegerField()
    received_units = models.BigIntegerField(default=0)
    returned_units = models.BigIntegerField(default=0)
    missing_units = models.BigIntegerField(default=0)
    surplus_units = models.BigIntegerField(default=0)
    reference = models.CharField(max_length=128, blank=True)
    note = models.CharField(max_length=255, blank=True)
    actor = models.CharField(max_length=150)
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        permissions = [("transfer_stock", "Can send and receive transfers")]
        constraints = [
            models.CheckConstraint(
                name="inventory_transfer_adds_up",
                condition=Q(
                    units__gte=F("received_units") + F("returned_units") + F("missing_units"),
                    received_units__gte=0,
                    returned_units__gte=0,
                    missing_units__gte=0,
                    surplus_units__gte=0,
                )
                & Q(units__gte=1)
                & ~Q(source=F("destination")),
            ),
            # Closed is what has nothing under way, and nothing else is.
            models.CheckConstraint(
                name="inventory_transfer_closed_when_done",
                condition=Q(
                    closed_at__isnull=False,
                    units=F("received_units") + F("returned_units") + F("missing_units"),
                )
                | Q(
                    closed_at__isnull=True,
                    units__gt=F("received_units") + F("returned_units") + F("missing_units"),
                ),
            ),
        ]
        indexes = [
            models.Index(
                fields=["-id"], name="inventory_transfer_open", condition=Q(closed_at__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return f"{self.units} from {self.source} to {self.destination}"

    @property
    def under_way_units(self) -> int:
        """The units that were sent and of which nothing is known yet."""
        return self.units - self.received_units - self.returned_units - self.missing_units


class Stocktake(models.Model):
    """People count a location, or some of it, while sales go on."""

    class Status(models.TextChoices):
        OPEN = "open"
        APPROVED = "approved"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True)
    location = models.ForeignKey(Location, on_delete=models.PROTECT, related_name="stocktakes")
    status = models.CharField(max_length=16, choices=Status, default=Status.OPEN)
    reference = models.CharField(max_length=128, blank=True)
    opened_by = models.CharField(max_length=150)
    closed_by = models.CharField(max_length=150, blank=True)
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        permissions = [
            ("count_stock", "Can begin stocktakes and enter counts"),
            ("approve_stocktake", "Can approve stocktakes"),
        ]

    def __str__(self) -> str:
        return f"Stocktake of {self.location}"


class StocktakeLine(models.Model):
    """
    What one level should have and what was counted.

    expected_units: on hand when the stocktake began. books_units: on hand when the count came in,
    that is expected_units and what moved since; the variance is against these.
    """

    stocktake = models.ForeignKey(
        Stocktake, on_delete=models.CASCADE, related_name="lines", db_index=False
    )
    level = models.ForeignKey(StockLevel, on_delete=models.PROTECT, related_name="+")
    is_open = models.BooleanField(default=True)
    expected_units = models.BigIntegerField()
    books_units = models.BigIntegerField(null=True)
    counted_units = models.BigIntegerField(null=True)
    counted_by = models.CharField(max_length=150, blank=True)
    counted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["stocktake", "level"], name="inventory_one_line_per_level"
            ),
            # Two stocktakes of one level would book one variance twice.
            models.UniqueConstraint(
                fields=["level"], condition=Q(is_open=True), name="inventory_one_open_count"
            ),
            models.CheckConstraint(
                name="inventory_counted_against_books",
                condition=Q(counted_units__isnull=True, books_units__isnull=True)
                | Q(counted_units__gte=0, books_units__gte=0),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.level} in {self.stocktake_id}"

    @property
    def variance(self) -> int | None:
        """What was counted more or less than the books had; None before anybody counted."""
        if self.counted_units is None or self.books_units is None:
            return None
        return self.counted_units - self.books_units


class StockImport(models.Model):
    """
    A file of SKUs and stock, and how far it has been worked off.

    rows_done rises in the transaction that does what these rows want: whoever dies in the middle
    has done a row and told of it, or neither. attempt: 0 of a trial; the file is imported again
    only under a further one.
    """

    class Status(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"

    id = models.UUIDField(primary_key=True)
    name = models.CharField(max_length=255)
    digest = models.CharField(max_length=64)
    attempt = models.IntegerField()
    text = models.TextField()
    is_dry_run = models.BooleanField()
    status = models.CharField(max_length=16, choices=Status, default=Status.WAITING)
    rows = models.IntegerField(null=True)
    rows_done = models.IntegerField(default=0)
    rows_changed = models.IntegerField(default=0)
    rows_rejected = models.IntegerField(default=0)
    actor = models.CharField(max_length=150)
    source = models.CharField(max_length=16)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        permissions = [("import_stock", "Can import SKUs and stock from a file")]
        constraints = [
            # However often a form is sent, or a command is run: one file is one import.
            models.UniqueConstraint(
                fields=["digest", "attempt"],
                name="inventory_one_import_per_attempt",
                condition=Q(is_dry_run=False),
            ),
            models.CheckConstraint(
                name="inventory_import_progress",
                condition=Q(
                    rows_done__gte=F("rows_changed") + F("rows_rejected"),
                    rows_changed__gte=0,
                    rows_rejected__gte=0,
                ),
            ),
        ]
        indexes = [
            models.Index(fields=["id"], name="inventory_import_open", condition=~Q(status="done"))
        ]

    def __str__(self) -> str:
        return self.name


class StockImportRow(models.Model):
    """What became of one row of a file. text: the row, of one that was rejected."""

    class Outcome(models.TextChoices):
        ADDED = "added"
        CHANGED = "changed"
        MOVED = "moved"
        UNCHANGED = "unchanged"
        REJECTED = "rejected"

    pk = models.CompositePrimaryKey("stock_import_id", "line")
    stock_import = models.ForeignKey(
        StockImport, on_delete=models.CASCADE, related_name="outcomes", db_index=False
    )
    line = models.IntegerField()
    sku = models.CharField(max_length=64, blank=True)
    outcome = models.CharField(max_length=16, choices=Outcome)
    on_hand_change = models.BigIntegerField(default=0)
    why = models.CharField(max_length=32, blank=True)
    detail = models.TextField(blank=True)
    text = models.TextField(blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["stock_import", "line"],
                name="inventory_import_rejected",
                condition=Q(outcome="rejected"),
            ),
            # Which SKUs a trial would have added before.
            models.Index(
                fields=["stock_import", "sku"],
                name="inventory_import_added",
                condition=Q(outcome="added"),
            ),
        ]

    def __str__(self) -> str:
        return f"line {self.line}: {self.outcome}"
