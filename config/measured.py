"""
The middleware that counts requests, and tells the counts to whoever may see them.

Labels come from closed lists: the routes of config.urls, the verbs that the edge lets in, statuses.
Whatever a caller can make up is "other". Every child is bound once: looking one up costs more than
counting.
"""

import re
from collections.abc import Callable
from functools import cache, partial
from time import perf_counter

from django.conf import settings
from django.contrib.admindocs.views import simplify_regex
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from prometheus_client import Counter, Gauge, Histogram

from config.health import PROBES
from config.metrics import DURATION, IN_FLIGHT, REQUESTS
from config.metrics_page import page_for
from config.middleware import METHODS
from config.senders import serve

OTHER = "other"
HANDLERS = ("api", "admin", OTHER)
EVENT_STREAM = "text/event-stream"

GetResponse = Callable[[HttpRequest], HttpResponseBase]

_in_flight = {handler: IN_FLIGHT.labels(handler) for handler in HANDLERS}


class Measured:
    """
    Counts each request and how long it took; shows the counts to whoever may see them.

    Outermost, so that what the edge refuses counts as well, with the status that was sent. Probes
    are not counted.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def process_view(self, request: HttpRequest, *_: object) -> None:
        """Let the statements of a request name its route, now that it has one."""
        serve(method_of(request), route_of(request))

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        path = request.path_info
        if path in PROBES:
            return self.get_response(request)
        page = page_for(request)
        if page is not None:
            return page
        in_flight = _in_flight[handler_of(path)]
        in_flight.inc()
        began_s = perf_counter()
        try:
            response = self.get_response(request)
        except BaseException:  # A greenlet that is killed: nobody was answered.
            in_flight.dec()
            raise
        if response.streaming:
            # The server closes an answer when its last byte is sent, or cannot be.
            response._resource_closers.append(partial(end, in_flight, began_s, request, response))  # type: ignore[attr-defined]
        else:
            end(in_flight, began_s, request, response)
        return response


def end(in_flight: Gauge, began_s: float, request: HttpRequest, response: HttpResponseBase) -> None:
    """Count a request that has its answer."""
    in_flight.dec()
    route = route_of(request)
    requests_of(route, method_of(request), response.status_code).inc()
    # A stream of events lasts as long as somebody listens: that says nothing of our speed.
    if not (response.streaming and response.headers.get("Content-Type", "") == EVENT_STREAM):
        durations_of(route).observe(perf_counter() - began_s)


def handler_of(path: str) -> str:
    """Return which part of the service a path belongs to, before anything has looked at it."""
    if path.startswith("/api/"):
        return "api"
    return "admin" if path.startswith("/admin/") else OTHER


def method_of(request: HttpRequest) -> str:
    """Return the verb, or "other" for one that somebody made up."""
    method = request.method
    return method if method in METHODS else OTHER


def route_of(request: HttpRequest) -> str:
    """Return the template of the address that was found, or "other" when none was."""
    found = request.resolver_match
    if found is not None:
        return template_of(found.route)
    # Files are served before anybody looks for a route.
    return settings.STATIC_URL if request.path_info.startswith(settings.STATIC_URL) else OTHER


@cache
def template_of(route: str) -> str:
    """Return a route of config.urls as the documentation writes it; the back office is one."""
    if route.startswith("admin/"):
        return "/admin/"
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", simplify_regex(route))


@cache
def requests_of(route: str, method: str, status: int) -> Counter:
    """Return the count of requests that were answered so."""
    return REQUESTS.labels(settings.SERVICE_NAME, route, method, str(status))


@cache
def durations_of(route: str) -> Histogram:
    """Return the durations of a route."""
    return DURATION.labels(settings.SERVICE_NAME, route)
