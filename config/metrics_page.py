"""
/metrics: what the workers of this server counted, for those who may see it.

On a port of its own, which serves nothing else, or with a token. Any worker answers for all: their
files are added up (config.metrics_directory). Without either setting there is no such address.
"""

import os
import secrets
import socket
from pathlib import Path

import gevent
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django_prometheus.exports import ExportToDjangoView
from gevent import monkey
from prometheus_client import CONTENT_TYPE_LATEST

from config import errors
from config.metrics_directory import VARIABLE, reading
from config.metrics_files import exported
from config.problems import problem_response

PATH = "/metrics"
INTERNET = (socket.AF_INET, socket.AF_INET6)


def page_for(request: HttpRequest) -> HttpResponse | None:
    """Return the metrics, or a refusal, for whoever came for them; None for everybody else."""
    is_asked = request.path_info == PATH
    port = settings.METRICS_PORT
    if port and came_by(port, request):
        return page() if is_asked else problem_response(request, _nothing_here())
    if is_asked and settings.METRICS_TOKEN:
        return page() if has_token(request) else problem_response(request, _who_asks())
    return None


def came_by(port: str, request: HttpRequest) -> bool:
    """
    Test whether the connection was made to a port.

    Behind a unix socket SERVER_PORT is what the Host header claims: the socket itself decides.
    """
    if request.META.get("SERVER_PORT") != port:
        return False
    connection = request.META.get("gunicorn.socket")
    return (
        connection is not None
        and connection.family in INTERNET
        and str(connection.getsockname()[1]) == port
    )


def has_token(request: HttpRequest) -> bool:
    """Test whether the caller shows METRICS_TOKEN."""
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return scheme.lower() == "bearer" and secrets.compare_digest(
        token.strip().encode(), settings.METRICS_TOKEN.encode()
    )


def page() -> HttpResponse:
    """Return what all workers counted."""
    directory = os.environ.get(VARIABLE)
    if directory is None:
        answer: HttpResponse = ExportToDjangoView(None)
    elif monkey.is_module_patched("threading"):
        # A thread of its own: adding up takes milliseconds in which this worker takes orders.
        answer = gevent.get_hub().threadpool.apply(_added_up, (Path(directory),))
    else:
        answer = _added_up(Path(directory))
    answer.headers["Content-Length"] = str(len(answer.content))
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _added_up(directory: Path) -> HttpResponse:
    with reading(directory):
        return HttpResponse(exported(directory), content_type=CONTENT_TYPE_LATEST)


def _nothing_here() -> errors.NotFound:
    return errors.NotFound(f"Here is {PATH} and nothing else")


def _who_asks() -> errors.Unauthenticated:
    return errors.Unauthenticated("Show METRICS_TOKEN as a bearer token")
