"""Django's handler, with a short way for calls of the API."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch

from config.calls import ApiRequest

UUID_TEXT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# More than there are addresses without a variable part.
ADDRESSES_MAX = 1000
NONE: Mapping[str, Any] = MappingProxyType({})


class Handler(WSGIHandler):
    """
    Answers calls of the API without Django's signals, and remembers addresses: those that never
    change, and those that end with an id, by what stands before it.

    What listens to request_started and request_finished closes connections and caches, and resets
    lists that only DEBUG fills: config.overload has given the connection back by then, and the
    cache keeps its own. The signals, and what they look up for each call, cost a tenth of an order.
    """

    def __init__(self) -> None:
        super().__init__()
        self._addresses: dict[str, ResolverMatch] = {}
        self._before_ids: dict[str, ResolverMatch] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer a call."""
        path = environ["PATH_INFO"]
        # A file is handed to the server as only Django's way does.
        if not path.startswith("/api/v1/") or path.endswith("/export"):
            return super().__call__(environ, start_response)
        response = self._middleware_chain(ApiRequest(environ))  # type: ignore[attr-defined]
        response._handler_class = type(self)
        # Names and values are kept as pairs; items() looks each of them up again.
        start_response(
            f"{response.status_code} {response.reason_phrase}",
            list(response.headers._store.values()),
        )
        if response.streaming:
            return response
        for close in response._resource_closers:
            close()
        return [response.content]

    def _get_response(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a call once all middlewares have seen it."""
        match = self.resolve_request(request)
        view, found = match.func, match.kwargs
        verb = getattr(view, "lean_verbs", NONE).get(request.method or "")
        if verb is None:
            return cast(HttpResponseBase, super()._get_response(request))  # type: ignore[misc]
        for look in self._view_middleware:  # type: ignore[attr-defined]
            refusal: HttpResponseBase | None = look(request, view, (), found)
            if refusal is not None:
                return refusal
        # Nothing else, as it raises nothing and leaves nothing to render.
        return cast(HttpResponseBase, verb(request, **found))

    def resolve_request(self, request: HttpRequest) -> Any:
        """Return the view of a request, and what its address says."""
        if request.resolver_match is not None:
            return request.resolver_match  # Asked for once more, by Django's way.
        path = request.path_info
        known = self._addresses.get(path) or self._with_id(path)
        if known is not None:
            request.resolver_match = known
            return known
        found = super().resolve_request(request)
        if len(self._addresses) + len(self._before_ids) < ADDRESSES_MAX:
            self._remember(path, found)
        return found

    def _with_id(self, path: str) -> ResolverMatch | None:
        """Return what is known of addresses that begin so and end with an id."""
        before, _, end = path.rpartition("/")
        known = self._before_ids.get(before)
        if known is None or not UUID_TEXT.fullmatch(end):
            return None
        (name,) = known.kwargs
        found = ResolverMatch.__new__(ResolverMatch)
        found.__dict__.update(known.__dict__, kwargs={name: UUID(end)})
        return found

    def _remember(self, path: str, found: ResolverMatch) -> None:
        before, _, end = path.rpartition("/")
        if not (found.args or found.kwargs):
            self._addresses[path] = found
        elif UUID_TEXT.fullmatch(end) and list(found.kwargs.values()) == [UUID(end)]:
            self._before_ids[before] = found
