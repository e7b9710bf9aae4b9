"""What happened, and what was answered."""

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
    lock may have begun before the one it waits for.
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
