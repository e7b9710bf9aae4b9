"""The project as an app, for its system checks."""

from django.apps import AppConfig
from django.core import checks

from config.checks import check_variables


class ProjectConfig(AppConfig):
    """config holds no models; its migrations join what apps do not know of each other."""

    name = "config"

    def ready(self) -> None:
        checks.register(check_variables)
