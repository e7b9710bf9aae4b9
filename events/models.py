"""What happened, and what was answered."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Cast


def _transaction_id() -> Cast:
    return Cast(
        Cast(models.Func(function="pg_current_xact_id"), models.TextField()),
        models.BigIntegerField(),
    )


class Event(models.Model):
    """
    A fact, written in the transaction that made it true. Timeline and feed in one.

    account_id: whose it is; without a foreign key, as that of a key and for the same reason.
    (feed_xid, position) is the order of the feed. feed_xid is the transaction that wrote the event,
    or that of the aggregate's event before it if that is higher: whoever waits for an aggregate's
    lock may have begun before the one it waits for. Transactions count from events_feed_offset,
    which is raised when a backup is restored: another server has other transactions.
    """

    id = models.UUIDField(primary_key=True)
    type = models.CharField(max_length=64)
    aggregate_type = models.CharField(max_length=32)
    aggregate_id = models.CharField(max_length=160)
    aggregate_version = models.BigIntegerField()
    data = models.JSONField()
    traceparent = models.CharField(max_length=55, blank=True)
    occurred_at = models.DateTimeField()
    account_id = models.BigIntegerField(null=True)
    feed_xid = models.BigIntegerField(db_default=_transaction_id())
    position = models.BigIntegerField(
        db_default=models.Func(models.Value("events_event_position"), function="nextval")
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["aggregate_type", "aggregate_id", "aggregate_version"],
                name="events_one_event_per_version",
            )
        ]
        indexes = [models.Index(fields=["feed_xid", "position"], name="events_event_feed")]

    def __str__(self) -> str:
        return f"{self.type} {self.aggregate_id}"


class Outbox(models.Model):
    """
    An event that no relay has taken up yet; written with the event, deleted by the relay.

    A row for each event and not a mark "up to here": what commits late is still found.
    """

    position = models.BigIntegerField(primary_key=True)
    event_id = models.UUIDField()

    def __str__(self) -> str:
        return str(self.event_id)


class IdempotencyKey(models.Model):
    """
    One key of one account, and its one answer.

    Claim and answer are written in the transaction of what they stand for: there is nothing to
    lease and nothing stuck "in progress". account_id has no foreign key: checking one locks the
    account's row, the same row for every order of a shop.
    """

    pk = models.CompositePrimaryKey("account_id", "key")
    account_id = models.BigIntegerField()
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32)
    status = models.SmallIntegerField(null=True)
    body = models.TextField(default="")
    etag = models.CharField(max_length=64, default="")
    location = models.CharField(max_length=128, default="")
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.key


class Lane(models.Model):
    """
    The way to one receiver: a webhook endpoint, or a sink of the installation.

    One relay at a time serves a lane. holder has it until lease_until, or until the session that
    took it (holder_pid, holder_since) is gone; token rises whenever it changes hands. After
    failures the lane rests until paused_until.
    """

    sink = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001 - unique if any
    holder = models.UUIDField(null=True)
    holder_pid = models.IntegerField(null=True)
    holder_since = models.DateTimeField(null=True)
    token = models.BigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    failures_in_row = models.IntegerField(default=0)
    failing_since = models.DateTimeField(null=True)
    paused_until = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.sink or f"lane {self.pk}"


class Endpoint(models.Model):
    """
    Where an account wants to be told of events, and of which.

    types: exact or `order.*`; empty for all. sees_shared and sees_all are what the key that asked
    may see. Secrets are sealed; the former one signs too until former_secret_until. A deleted
    endpoint stays for its log.
    """

    class Disabled(models.TextChoices):
        """Why nothing is sent."""

        ASKED = "asked"
        GONE = "gone"
        FAILING = "failing"
        DELETED = "deleted"

    id = models.UUIDField(primary_key=True)
    lane = models.OneToOneField(Lane, on_delete=models.PROTECT)
    account_id = models.BigIntegerField(db_index=True)
    sees_shared = models.BooleanField(default=False)
    sees_all = models.BooleanField(default=False)
    url = models.CharField(max_length=2048)
    description = models.CharField(max_length=200, blank=True)
    types = ArrayField(models.CharField(max_length=64), default=list)
    sealed_secret = models.TextField()
    sealed_former_secret = models.TextField(default="")
    former_secret_until = models.DateTimeField(null=True)
    is_enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=8, choices=Disabled, blank=True, default="")
    disabled_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        default_permissions = ("view", "change")
        verbose_name = "webhook endpoint"
        constraints = [
            models.CheckConstraint(
                condition=(
                    models.Q(is_enabled=True, disabled_reason="")
                    | (models.Q(is_enabled=False) & ~models.Q(disabled_reason=""))
                ),
                name="events_endpoint_disabled_for_a_reason",
            )
        ]

    def __str__(self) -> str:
        return self.url


class Delivery(models.Model):
    """
    One event on its way through one lane, and how the last attempt ended.

    aggregate: a digest of what the event is about; two events of one aggregate go one after the
    other, in the order of position. A webhook's deliveries stay as its log, a sink's go when done.
    """

    class State(models.TextChoices):
        """Where it stands."""

        PENDING = "pending"
        DELIVERED = "delivered"
        DEAD = "dead"

    # Without constraints: checking one would lock the lane's row, the same for every delivery.
    lane = models.ForeignKey(Lane, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False)
    event_id = models.UUIDField()
    position = models.BigIntegerField()
    aggregate = models.BigIntegerField()
    state = models.CharField(max_length=9, choices=State, default=State.PENDING)
    attempts = models.SmallIntegerField(default=0)
    due_at = models.DateTimeField()
    created_at = models.DateTimeField()
    attempted_at = models.DateTimeField(null=True)
    status = models.SmallIntegerField(null=True)
    error = models.CharField(max_length=32, default="")
    answer = models.TextField(default="")
    duration_ms = models.IntegerField(null=True)

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["lane", "event_id"], name="events_delivery_once"),
        ]
        indexes = [
            models.Index(
                fields=["lane", "due_at", "position"],
                condition=models.Q(state="pending"),
                name="events_delivery_due",
            ),
            models.Index(
                fields=["lane", "aggregate", "position"],
                condition=models.Q(state="pending"),
                name="events_delivery_in_order",
            ),
            models.Index(
                fields=["lane", "id"],
                condition=models.Q(state="dead"),
                name="events_delivery_dead",
            ),
            models.Index(fields=["lane", "id"], name="events_delivery_log"),
        ]

    def __str__(self) -> str:
        return f"{self.event_id} through lane {self.lane_id}"
