"""What the admin pages of all apps are made of."""

from django.apps import AppConfig


class BackOfficeConfig(AppConfig):
    """It has no models and knows no other app: it could be used in another Django project."""

    name = "backoffice"
    verbose_name = "Back office"
