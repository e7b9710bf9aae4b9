"""What `manage.py check` says about views and scopes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.permissions import HasScope
from accounts.usecases import known_scopes


def check_declared_scopes(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Find actions behind HasScope that declare no scope, or one that no key can have."""
    return [
        fault
        for callback in _list_callbacks(get_resolver().url_patterns)
        if HasScope in _permissions_of(callback)
        for fault in _check_view(callback)
    ]


def _check_view(callback: Any) -> Iterator[CheckMessage]:
    declared, known = getattr(callback.cls, "scopes", {}), known_scopes()
    for action in _actions_of(callback):
        name = f"{callback.cls.__qualname__}.{action}"
        scope = declared.get(action)
        if scope is None:
            yield Error(
                f"{name} declares no scope, so it is open to no key.",
                hint=f'Write scopes = {{"{action}": "…"}} in the view.',
                id="accounts.E001",
            )
        elif scope not in known:
            yield Error(
                f"{name} declares the scope {scope!r}, which no key can have.",
                hint="Choose one that ACCOUNTS_SCOPES lists, or add it there.",
                id="accounts.E002",
            )


def _actions_of(callback: Any) -> list[str]:
    """Return the actions of a viewset's route, the methods of a plain view."""
    actions: dict[str, str] | None = getattr(callback, "actions", None)
    if actions is not None:
        return sorted(set(actions.values()))
    methods = set(callback.cls.http_method_names) - {"head", "options"}
    return sorted(method for method in methods if hasattr(callback.cls, method))


def _permissions_of(callback: Any) -> Sequence[type]:
    view = getattr(callback, "cls", None)  # Only views of REST framework have it.
    kept: Sequence[type] = getattr(view, "permission_classes", ())
    initial = getattr(callback, "initkwargs", {})  # As @action(permission_classes=…) leaves it.
    chosen: Sequence[type] = initial.get("permission_classes", kept)
    return chosen


def _list_callbacks(patterns: Iterable[URLPattern | URLResolver]) -> Iterator[Any]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _list_callbacks(pattern.url_patterns)
        else:
            yield pattern.callback
