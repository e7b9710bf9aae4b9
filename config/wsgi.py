"""The WSGI application that gunicorn serves."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

if settings.IS_TRACED:
    # By its name: without an endpoint there is no reason to load OpenTelemetry's SDK.
    import_string("config.telemetry.instrument")()

_django = get_wsgi_application()  # Sets Django up; before it no module that reads settings.

from config.overload import Admission  # noqa: E402

application = Admission(_django)
