"""API keys of accounts, and links that log a person in once."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from accounts import rules


class ApiKey(models.Model):
    """
    A key of an account, which is a user that calls. The secret itself is stored nowhere.

    Keys are never deleted: who could call, and until when, stays known.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="api_keys"
    )
    name = models.CharField(max_length=100, help_text="What the key is for.")
    prefix = models.CharField(max_length=15, unique=True)
    digest = models.CharField(max_length=64)
    scopes = ArrayField(models.CharField(max_length=100))
    calls_per_s = models.PositiveIntegerField(
        null=True, blank=True, help_text="Calls a second at most; empty: the setting's."
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    replaced_by = models.OneToOneField(
        "self", on_delete=models.PROTECT, related_name="replaces", null=True, blank=True
    )

    class Meta:
        verbose_name = "API key"
        default_permissions = ("view", "add", "change")
        constraints = [
            models.CheckConstraint(
                condition=Q(prefix__regex=f"^{rules.PREFIX_PATTERN}$"),
                name="accounts_apikey_prefix_form",
            ),
            models.CheckConstraint(
                condition=Q(digest__regex="^[0-9a-f]{64}$"), name="accounts_apikey_digest_form"
            ),
            models.CheckConstraint(condition=~Q(name=""), name="accounts_apikey_has_a_name"),
            models.CheckConstraint(
                condition=Q(scopes__len__gt=0), name="accounts_apikey_opens_something"
            ),
            models.CheckConstraint(
                condition=Q(expires_at__gte=F("created_at")),
                name="accounts_apikey_expires_after_its_creation",
            ),
            models.CheckConstraint(condition=Q(calls_per_s__gt=0), name="accounts_apikey_may_call"),
            models.CheckConstraint(
                condition=~Q(replaced_by=F("id")), name="accounts_apikey_replaced_by_another"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.prefix} ({self.name})"


class LoginLink(models.Model):
    """A link that logs a person into the admin once, soon after it was made."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                condition=Q(digest__regex="^[0-9a-f]{64}$"), name="accounts_loginlink_digest_form"
            ),
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("created_at")),
                name="accounts_loginlink_expires_after_its_creation",
            ),
        ]
