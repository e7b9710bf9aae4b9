"""What happened, and what was answered."""

from django.db import models


class Event(models.Model):
    """A fact, written in the transaction that made it true. Timeline, feed and outbox in one."""

    id = models.UUIDField(primary_key=True)
    type = models.CharField(max_length=64)
    aggregate_type = models.CharField(max_length=32)
    aggregate_id = models.CharField(max_length=160)
    aggregate_version = models.BigIntegerField()
    data = models.JSONField()
    traceparent = models.CharField(max_length=55, blank=True)
    occurred_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["aggregate_type", "aggregate_id", "aggregate_version"],
                name="events_one_event_per_version",
            )
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.aggregate_id}"


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
