"""What a caller may do: the scope that the view declares for the action, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.authentication import log_refusal
from accounts.errors import Forbidden, Unauthenticated
from accounts.rules import Grant
from accounts.tracing import authentication_span

if TYPE_CHECKING:
    # rest_framework.views imports the default permission classes, this one among them.
    from rest_framework.views import APIView


class HasScope(BasePermission):
    """
    Refuse whatever the view's `scopes` does not open.

    A view declares {"create": "orders:write", …} by action, an APIView by lower-case method
    ("get" also opens HEAD). What is not declared is open to no key.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return True; raises Unauthenticated without a key, Forbidden without the scope."""
        if not isinstance(request.auth, Grant):
            refusal = Unauthenticated("missing")
            log_refusal(refusal, request)
            with authentication_span():
                raise refusal
        if _is_harmless(request, view):
            return True

        scope = getattr(view, "scopes", {}).get(_action_of(request, view))
        if scope is None or not request.auth.has(scope):
            raise Forbidden(scope)
        return True


def _is_harmless(request: Request, view: APIView) -> bool:
    # OPTIONS tells which methods there are; a method that the view lacks is answered 405, which
    # REST framework decides only after its permissions.
    method = (request.method or "").lower()
    is_served = method in view.http_method_names and hasattr(view, method)
    return method == "options" or not is_served


def _action_of(request: Request, view: APIView) -> str | None:
    if hasattr(view, "action"):
        action: str | None = view.action
        return action
    method = (request.method or "").lower()
    return "get" if method == "head" else method
