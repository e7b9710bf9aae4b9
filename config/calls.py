"""Requests and answers of the API: Django's, made for a fraction of what they cost it."""

import io
from collections.abc import Mapping
from http.cookies import SimpleCookie
from types import MappingProxyType
from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.http.response import ResponseHeaders

JSON = "application/json"
NONE: Mapping[str, str] = MappingProxyType({})


class ApiRequest(WSGIRequest):
    """
    A request as most calls of the API are: an ASCII path, and JSON or nothing as its body.

    Any other is made as Django makes it. Of a body the gate has read nothing is copied, and its
    length is not looked at again: the edge has refused what is too long.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        path, kind = environ["PATH_INFO"], environ.get("CONTENT_TYPE", "")
        stream = environ["wsgi.input"]
        is_usual = path.isascii() and kind in ("", JSON) and not environ.get("SCRIPT_NAME")
        if not is_usual or type(stream) is not io.BytesIO:
            super().__init__(environ)
            return
        # What HttpRequest sets is found out, or missed, by whoever asks for it.
        self.environ = self.META = environ
        self.path = self.path_info = path
        environ["SCRIPT_NAME"] = ""
        self.method = environ["REQUEST_METHOD"].upper()
        self.content_type: str | None = kind
        self.content_params: dict[str, str] | None = {}
        self.resolver_match = None
        self._stream = stream
        self._read_started = False
        self._body = stream.getvalue()


class ApiHeaders(ResponseHeaders):
    """Headers of which the usual ones, printable ASCII, are taken as they are."""

    def __setitem__(self, name: Any, value: Any) -> None:
        if type(name) is str and type(value) is str:
            both = name + value
            if both.isascii() and both.isprintable():
                self._store[name.lower()] = (name, value)
                return
        super().__setitem__(name, value)

    def __contains__(self, name: Any) -> bool:
        # Found out without the exception by which a mapping usually finds it out.
        return name.lower() in self._store


class ApiAnswer(HttpResponse):
    """An answer that is all there. content: its body. headers: with its Content-Type, or JSON."""

    def __init__(
        self, content: bytes, *, status: int = 200, headers: Mapping[str, str] = NONE
    ) -> None:
        # All that HttpResponse sets, of which nothing has to be looked at.
        self.headers = ApiHeaders(headers)
        self.headers.setdefault("Content-Type", JSON)
        self.status_code = status
        self.cookies: SimpleCookie = SimpleCookie()
        self.closed = False
        self._charset = None
        self._reason_phrase = None
        self._resource_closers: list[Any] = []
        self._handler_class: Any = None
        self._container = [content]
