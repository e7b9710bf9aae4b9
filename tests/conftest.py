"""What every test stands on."""

import os
from urllib.parse import parse_qsl, urlencode

from django.conf import settings


def in_database(url: str, number: int) -> str:
    """Return the URL of another database of the same Redis."""
    # urlunsplit would take two of the three slashes from a unix:/// without a password.
    server, _, query = url.partition("?")
    return f"{server}?{urlencode(dict(parse_qsl(query)) | {'db': str(number)})}"


# Each process of a parallel run has a Redis database of its own, as it has one in PostgreSQL:
# a test may empty it.
_process = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
settings.CACHES["default"]["LOCATION"] = in_database(settings.REDIS_URL, int(_process) + 1)
