"""The project as an app, for its system checks."""

from django.apps import AppConfig
from django.core import checks
from django.db.backends.signals import connection_created

from config.checks import check_variables
from config.senders import sign_statements


class ProjectConfig(AppConfig):
    """config holds no models; its migrations join what apps do not know of each other."""

    name = "config"

    def ready(self) -> None:
        checks.register(check_variables)
        connection_created.connect(sign_statements)
