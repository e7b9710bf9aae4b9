"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

_django = get_wsgi_application()  # Sets Django up; before it no module that reads settings.

from config.overload import Admission  # noqa: E402

application = Admission(_django)
