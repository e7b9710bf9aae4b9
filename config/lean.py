"""A short way to the verbs that most calls are, past what REST framework does for every call."""

from collections.abc import Callable, Mapping
from functools import update_wrapper
from importlib import import_module
from typing import Any, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern
from django.utils.functional import cached_property
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from config.problems import answer_to
from config.strict_json import parse_json

View = Callable[..., HttpResponseBase]


class LeanRequest(Request):
    """A request of which the caller is known, and nothing else was found out that nobody asks."""

    # Plain attributes, where REST framework has properties that authenticate and parse.
    user: Any = None
    auth: Any = None

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self.META = request.META
        self.method = request.method

    @cached_property
    def data(self) -> Any:
        """The body; an object without members when there is none."""
        body = self._request.body
        return parse_json(body) if body else {}


class LeanVerb:
    """
    One verb of a viewset, called with what it declares and no more.

    Authentication, permissions, the verb and the shape of refusals are the viewset's own. What
    REST framework does besides for each call - wrap, negotiate, instantiate all classes, finalize -
    costs as much as an order does. The viewset is made once: a lean verb keeps nothing on self, and
    answers with an HttpResponse.
    """

    def __init__(self, viewset: type[Any], actions: Mapping[str, str], action: str) -> None:
        self._view = viewset()
        self._view.action_map = actions
        self._view.action = action
        for method, name in actions.items():
            setattr(self._view, method, getattr(self._view, name))
        self._verb: View = getattr(self._view, action)
        (self._authenticator,) = self._view.get_authenticators()
        self._permissions = self._view.get_permissions()

    def __call__(self, request: HttpRequest, **found: Any) -> HttpResponseBase:
        """Answer a call. found: what the address says."""
        call = LeanRequest(request)
        is_begun = False
        try:
            identified = self._authenticator.authenticate(call)
            if identified is not None:
                call.user, call.auth = request.user, request.auth = identified  # type: ignore[attr-defined]
            for permission in self._permissions:
                if not permission.has_permission(call, self._view):
                    raise PermissionDenied  # Ours raise by themselves, and say why.
            is_begun = True
            return self._verb(call, **found)
        except Exception as failure:  # noqa: BLE001 - answered, and logged where it is a bug
            return answer_to(failure, request, is_begun=is_begun)


def lean(urls: str) -> list[URLPattern]:
    """
    Return the patterns of a module of addresses, with its lean verbs called as LeanVerb does.

    A viewset names them: lean = {"create", "retrieve"}.
    """
    return [
        URLPattern(found.pattern, _leaned(found.callback), found.default_args, found.name)
        for found in import_module(urls).urlpatterns
    ]


def _leaned(usual: Any) -> View:
    names = getattr(usual.cls, "lean", ())
    verbs = {
        method.upper(): LeanVerb(usual.cls, usual.actions, action)
        for method, action in usual.actions.items()
        if action in names
    }
    if not verbs:
        return cast(View, usual)

    def view(request: HttpRequest, **found: Any) -> HttpResponseBase:
        verb: View = verbs.get(str(request.method), usual)
        return verb(request, **found)

    # For config.handler, which calls them without what Django does around any view.
    view.lean_verbs = verbs  # type: ignore[attr-defined]
    # Also what REST framework's schema and Django's CSRF read there.
    return update_wrapper(view, usual)
