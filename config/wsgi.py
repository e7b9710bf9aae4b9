"""The WSGI application that gunicorn serves."""

import os

import django
from django.conf import settings
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

if settings.IS_TRACED:
    # By its name: without an endpoint there is no reason to load OpenTelemetry's SDK.
    import_string("config.telemetry.instrument")()

django.setup(set_prefix=False)  # Before it no module that reads settings.

from config.handler import Handler  # noqa: E402
from config.overload import Admission  # noqa: E402

application = Admission(Handler())
