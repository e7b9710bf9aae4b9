"""The edge: what is checked before, and mended after, anything else looks at a request."""

from collections.abc import Callable
from time import perf_counter

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from config import errors
from config.health import PROBES
from config.problems import is_for_people, problem_response, refusal_of_status
from config.queries import StrictQuery
from config.request_ids import (
    bind_request_id,
    forget_request_id,
    request_id_from,
    trace_id_from,
)
from config.request_log import RequestLog
from config.rest import let_go

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
BULK_PATHS = frozenset({"/api/v1/orders/bulk"})
JSON_TYPES = frozenset(
    {"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"}
)
PROBLEM = "application/problem+json"
# What a refusal of Django's own says that the caller can act on.
KEPT_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate")
HOSTS_KNOWN_MAX = 1000

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class Edge:
    """
    Names the request, refuses what no view should see, and gives every answer its shape.

    One middleware instead of five, because it runs on every order. HTML under /admin/ stays
    HTML; every other answer from 400 up is a problem, whoever made it.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.csp = "; ".join(
            f"{directive} {' '.join(sources)}" for directive, sources in settings.SECURE_CSP.items()
        )
        self.log = RequestLog(settings.LOG_FORMAT) if settings.LOG_REQUESTS else None

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        probe = PROBES.get(request.path_info)
        if probe is not None:
            # Before anything that could refuse it: an orchestrator asks by address, over http.
            return probe(request)
        began = perf_counter()
        meta = request.META
        request.trace_id = trace_id = trace_id_from(meta.get("HTTP_TRACEPARENT"))  # type: ignore[attr-defined]
        request.request_id = request_id = request_id_from(  # type: ignore[attr-defined]
            meta.get("HTTP_X_REQUEST_ID"), trace_id=trace_id
        )
        bind_request_id(request_id, trace_id=trace_id)
        try:
            refusal = fault_of(request)
            if refusal is not None:
                response: HttpResponseBase = problem_response(request, refusal)
            else:
                response = self.get_response(request)
                if response.status_code >= 400:
                    response = as_problem(request, response)
            self.mark(request, response)
            if self.log is not None:
                self.log.tell(request, response, seconds=perf_counter() - began)
            return response
        finally:
            forget_request_id()

    def mark(self, request: HttpRequest, response: HttpResponseBase) -> None:
        """Set the headers that every answer carries, and those of its kind."""
        headers = response.headers
        headers["X-Request-Id"] = request.request_id  # type: ignore[attr-defined]
        if "traceresponse" in request.__dict__:
            headers["traceresponse"] = request.__dict__["traceresponse"]
        headers["X-Content-Type-Options"] = "nosniff"
        if request.path_info.startswith("/api/"):
            headers.setdefault("Cache-Control", "no-store")
        if not response.streaming:
            if "Content-Length" not in headers:
                # Without a length the server would send chunks.
                headers["Content-Length"] = str(len(response.content))  # type: ignore[attr-defined]
            if request.method == "HEAD":
                response.content = b""  # type: ignore[attr-defined]
        if headers.get("Content-Type", "").startswith("text/html"):
            headers.setdefault("Content-Security-Policy", self.csp)


class StraightToApi:
    """
    Takes requests for the API past the middlewares that serve browsers.

    Sessions, CSRF, messages, redirects and frames mean nothing to a program with a key, and cost
    as much as a view does. What the API needs of them is done here: the Host is one of ours,
    the key did not come in the clear, and HSTS. What stands in MIDDLEWARE before this runs for
    all; what stands after it, for all but the API.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.view = innermost(get_response)
        self.is_https_only = settings.SECURE_SSL_REDIRECT
        self.hsts = hsts_header()
        self.hosts: set[str | None] = set()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith("/api/v1/"):
            return self.get_response(request)
        self.check_host(request)
        if self.is_https_only and not request.is_secure():
            # No redirect: the key has been seen by whoever listens, and its owner should learn it.
            return problem_response(request, errors.HttpsRequired("Call by https"))
        if query := request.META["QUERY_STRING"]:
            request.GET = StrictQuery(query)
        response = self.view(request)
        if not response.streaming:
            let_go(request, response)
        if self.hsts:
            response.headers["Strict-Transport-Security"] = self.hsts
        return response

    def check_host(self, request: HttpRequest) -> None:
        """Raise DisallowedHost unless the caller means one of our hosts."""
        host = request.META.get("HTTP_HOST")
        if host in self.hosts:
            return
        request.get_host()
        # With "*." in ALLOWED_HOSTS there may be any number of them.
        if host is not None and len(self.hosts) < HOSTS_KNOWN_MAX:
            self.hosts.add(host)


def innermost(get_response: GetResponse) -> GetResponse:
    """Return the last step of a chain of middlewares: the one that finds and calls the view."""
    step = get_response
    while (following := getattr(step, "get_response", None)) is not None:
        step = following
    return step


def hsts_header() -> str:
    """Return Strict-Transport-Security as the settings want it; empty for none."""
    if not settings.SECURE_HSTS_SECONDS:
        return ""
    directives = [f"max-age={settings.SECURE_HSTS_SECONDS}"]
    if settings.SECURE_HSTS_INCLUDE_SUBDOMAINS:
        directives.append("includeSubDomains")
    if settings.SECURE_HSTS_PRELOAD:
        directives.append("preload")
    return "; ".join(directives)


def fault_of(request: HttpRequest) -> errors.AppError | None:
    """
    Return what is wrong with a request's line, headers or length, or None.

    The body has not been read yet, and for a refused request it never will be.
    """
    meta = request.META
    if request.method not in METHODS:
        refusal = errors.MethodNotAllowed(f"Verbs are {', '.join(METHODS)}")
        refusal.headers = {"Allow": ", ".join(METHODS)}
        return refusal
    if "HTTP_TRANSFER_ENCODING" in meta:
        # Without a length nobody can say in advance whether the body is too long.
        return errors.LengthRequired("Send the body whole, with its Content-Length")
    if "\0" in request.path_info or "%00" in meta.get("QUERY_STRING", ""):
        # PostgreSQL cannot store it, so nothing can have such a name.
        return errors.MalformedRequest("The address holds a NUL")
    length = meta.get("CONTENT_LENGTH")
    if length and length != "0" and request.path_info.startswith("/api/"):
        return _fault_of_body(request.path_info, meta, length)
    return None


def _fault_of_body(path: str, meta: dict[str, str], length: str) -> errors.AppError | None:
    if not (length.isascii() and length.isdigit()):
        return errors.MalformedRequest("Content-Length: write a number of bytes")
    bytes_max = settings.BULK_BODY_BYTES_MAX if path in BULK_PATHS else settings.BODY_BYTES_MAX
    if len(length) > 19 or int(length) > bytes_max:
        return errors.BodyTooLarge(bytes_max=bytes_max)
    if meta.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        return errors.UnsupportedMediaType("Send the body without Content-Encoding")
    content_type = meta.get("CONTENT_TYPE", "")
    if content_type not in JSON_TYPES and not _is_json_in_utf8(content_type):
        return errors.UnsupportedMediaType("Send application/json in UTF-8")
    return None


def _is_json_in_utf8(content_type: str) -> bool:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    return media_type == "application/json" and all(
        parameter in ("", "charset=utf-8", 'charset="utf-8"') for parameter in parameters
    )


def as_problem(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """
    Return an answer from 400 up as a problem, unless it is one or is for people.

    Mends what Django answers by itself: a wrong Host, a verb that a plain view does not have,
    the pages of DEBUG.
    """
    content_type = response.headers.get("Content-Type", "")
    is_page = is_for_people(request) and content_type.startswith("text/html")
    if is_page or content_type.startswith(PROBLEM):
        return response
    refusal = refusal_of_status(response.status_code, method=request.method or "GET")
    refusal.headers = {
        name: response.headers[name] for name in KEPT_HEADERS if name in response.headers
    } or refusal.headers
    problem = problem_response(request, refusal)
    # The answer that is thrown away may hold open files: they are closed with the new one.
    problem._resource_closers.extend(response._resource_closers)  # type: ignore[attr-defined]
    return problem
