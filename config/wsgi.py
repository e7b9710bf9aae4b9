"""The WSGI application that gunicorn serves."""

import os
import sys
from importlib import import_module

import django
from django.conf import settings
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

if settings.IS_TRACED:
    # By its name: without an endpoint there is no reason to load OpenTelemetry's SDK.
    import_string("config.telemetry.instrument")()

# DRF loads requests where it finds it, for a test client: 5 MB that no server needs. Whatever has
# loaded it before, as tracing does, keeps it; whoever wants it later gets it.
if sys.modules.setdefault("requests", None) is None:  # type: ignore[arg-type]
    import_module("rest_framework.compat")
    del sys.modules["requests"]

django.setup(set_prefix=False)  # Before it no module that reads settings.

from config.handler import Handler  # noqa: E402
from config.overload import Admission  # noqa: E402

application = Admission(Handler())
