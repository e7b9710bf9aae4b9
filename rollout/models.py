"""The rules as they were published, one row a generation, and who did it."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class RuleSetRevision(models.Model):
    """One published rule set. Rows are never changed: going back publishes the old one anew."""

    generation = models.BigIntegerField(primary_key=True)
    payload = models.JSONField()
    checksum = models.CharField(max_length=64)
    schema_version = models.PositiveSmallIntegerField()
    author = models.CharField(max_length=150)
    comment = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name, verbose_name_plural = "rule set", "rule sets"
        default_permissions = ("view",)
        permissions = [
            ("override", "May ask for a version by x-deploy-version"),
            ("publish", "May publish rules, promote and roll back"),
            ("kill", "May pull the kill switch"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(generation__gte=1), name="rollout_revision_generation_from_1"
            )
        ]

    def __str__(self) -> str:
        return f"generation {self.generation}"


class RolloutState(models.Model):
    """The one row that says which generation is in force; locked to publish."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    generation = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = verbose_name_plural = "overview"
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="rollout_state_is_one_row"),
        ]

    def __str__(self) -> str:
        return f"generation {self.generation}"


class AuditEvent(models.Model):
    """
    Who changed what, why, and on which evidence.

    The database numbers the rows without a gap and chains them: hash covers the row and the
    row before. Nothing here is ever changed or deleted.
    """

    class ActorKind(models.TextChoices):
        USER = "user"
        CONTROLLER = "controller"
        BREAKER = "breaker"
        CLI = "cli"

    at = models.DateTimeField(db_default=Now())
    actor = models.CharField(max_length=150)
    actor_kind = models.CharField(max_length=10, choices=ActorKind)
    action = models.CharField(max_length=40)
    path = models.CharField(max_length=140, blank=True)
    from_generation = models.BigIntegerField(null=True)
    to_generation = models.BigIntegerField(null=True)
    diff = models.JSONField(default=list)
    reason = models.CharField(max_length=500, blank=True)
    evidence = models.JSONField(default=dict)
    request_id = models.CharField(max_length=128, blank=True)
    ip = models.GenericIPAddressField(null=True)
    prev_hash = models.CharField(max_length=64, default="", editable=False)
    hash = models.CharField(max_length=64, default="", editable=False)

    class Meta:
        verbose_name, verbose_name_plural = "audit event", "audit events"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.action} by {self.actor}"


class BreakerTransition(models.Model):
    """
    One change of state of one worker's breaker, kept for a month.

    Apart from the audit trail: a flapping breaker writes many, and nobody decided them.
    """

    at = models.DateTimeField()
    worker = models.CharField(max_length=150)
    path = models.CharField(max_length=140)
    version = models.CharField(max_length=32)
    from_state = models.CharField(max_length=9)
    to_state = models.CharField(max_length=9)
    epoch = models.BigIntegerField()
    cause = models.CharField(max_length=60)
    total = models.PositiveIntegerField()
    errors = models.PositiveIntegerField()
    slow = models.PositiveIntegerField()

    class Meta:
        default_permissions = ("view",)
        indexes = [models.Index(fields=["path", "id"], name="rollout_transition_path")]

    def __str__(self) -> str:
        return f"{self.path} {self.version}: {self.from_state} -> {self.to_state}"
