from django.apps import AppConfig
from django.core import checks


class AccountsConfig(AppConfig):
    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models can be imported only from here on.
        from accounts.checks import check_declared_scopes  # noqa: PLC0415

        checks.register(check_declared_scopes, checks.Tags.security)
