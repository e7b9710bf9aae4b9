"""Who may read and change rules, in a project with scopes and in one without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:
    from rest_framework.views import APIView

READ, WRITE = "rollout:read", "rollout:write"
PERMISSIONS: Mapping[str, str] = {
    READ: "rollout.view_rulesetrevision",
    WRITE: "rollout.publish",
}


class MayRollout(BasePermission):
    """
    Open an action to the scope that the view declares for it, or to a permission of Django.

    A scope counts where what authenticated the request has scopes (`request.auth.has`); everybody
    else needs the permission: of the view's `permissions` for the action, else view_rulesetrevision
    to read and publish to write. It stands beside the project's own permission classes.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Test whether the caller may; what the view does not declare is open to nobody."""
        action = getattr(view, "action", None)
        if action is None:
            return True  # OPTIONS, or a verb that the view lacks and answers 405.
        scope = getattr(view, "scopes", {}).get(action)
        has = getattr(request.auth, "has", None)
        if has is not None:
            return scope is not None and bool(has(scope))
        user = request.user
        permission = getattr(view, "permissions", {}).get(action) or PERMISSIONS.get(scope or "")
        return permission is not None and user is not None and user.has_perm(permission)
