"""How Django REST framework reads and writes here: JSON in, JSON out, nothing to negotiate."""

from collections.abc import Iterable, Mapping
from typing import IO, Any

import orjson
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.functional import Promise
from rest_framework.metadata import BaseMetadata
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from config.strict_json import parse_json


class StrictJsonParser(BaseParser):
    """Reads a body with parse_json. The edge has checked its length, type and charset."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return parse_json(stream.read())


class JsonRenderer(BaseRenderer):
    """Writes JSON in UTF-8; instants in RFC 3339, UTC as Z."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        if data is None:
            return b""
        return orjson.dumps(data, default=_plain, option=orjson.OPT_UTC_Z)


class JsonOnly(BaseContentNegotiation):
    """Takes the first parser and the first renderer, whatever Accept says: there is one of each."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        # For let_go, once the answer is there.
        request._request.answered_by = request.parser_context["view"]  # type: ignore[attr-defined]
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


def let_go(request: HttpRequest, response: HttpResponseBase) -> None:
    """
    Take apart the view that has answered, so that all it held is freed now.

    A viewset holds its own methods, with its request each holds the other, and an answer is held by
    what it was written with: a hundred objects of each call, and all that it tells, which only the
    garbage collector could free, and did, in pauses.
    """
    view = request.__dict__.pop("answered_by", None)
    if view is not None:
        view.request.parser_context.clear()
        view.__dict__.clear()
    written_with: dict[str, Any] | None = getattr(response, "renderer_context", None)
    if written_with is not None:
        written_with.clear()


class AllowedMethods(BaseMetadata):
    """Answers OPTIONS with the verbs of the address; the rest is in the schema."""

    def determine_metadata(self, request: Request, view: Any) -> dict[str, Any]:
        return {"allow": view.allowed_methods}


def _plain(value: object) -> str:
    if isinstance(value, Promise):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
