"""What cannot work, told before the first request."""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_network
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, DatabaseError
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.module_loading import import_string

from rollout import storage
from rollout.context import header_trust
from rollout.document import read_document
from rollout.errors import CodePathMistake, InvalidRuleSet, UnknownSchema
from rollout.models import RolloutState
from rollout.rules import PATH_KEY
from rollout.runtime import runtime

MIDDLEWARE = "rollout.middleware.RolloutMiddleware"
API = "rollout.api.views"


@checks.register("rollout")
def check_paths(*, app_configs: Any = None, **_: Any) -> Sequence[checks.CheckMessage]:
    """Check that each code path has a version and a release that exists."""
    found: list[checks.CheckMessage] = []
    for path in runtime.paths.values():
        if not path.versions:
            found.append(
                checks.Error(
                    f"The code path {path.key} has no version.",
                    hint=f"Declare one: @{path.key.rpartition('.')[2]}.version('v1').",
                    id="rollout.E001",
                )
            )
            continue
        try:
            path.facts()
        except CodePathMistake as mistake:
            found.append(
                checks.Error(
                    str(mistake),
                    hint="Name versions that are declared, under stable, canary, fallback.",
                    id="rollout.E002",
                )
            )
    return found


@checks.register("rollout")
def check_settings(*, app_configs: Any = None, **_: Any) -> Sequence[checks.CheckMessage]:
    """Check the settings that are only read when a request comes."""
    found: list[checks.CheckMessage] = []
    try:
        header_trust()
    except ImproperlyConfigured as failure:
        found.append(checks.Error(str(failure), id="rollout.E003"))
    dotted = dict(getattr(settings, "ROLLOUT_IDENTITIES", {}))
    if permission_test := getattr(settings, "ROLLOUT_PERMISSION_TEST", None):
        dotted["ROLLOUT_PERMISSION_TEST"] = permission_test
    for name, path in dotted.items():
        try:
            import_string(path)
        except ImportError as failure:
            found.append(
                checks.Error(
                    f"{name}: {failure}", hint="Name a function by its path.", id="rollout.E004"
                )
            )
    for network in getattr(settings, "ROLLOUT_INTERNAL_CIDRS", ()):
        try:
            ip_network(network)
        except ValueError as failure:
            found.append(checks.Error(f"ROLLOUT_INTERNAL_CIDRS: {failure}", id="rollout.E005"))
    found.extend(
        checks.Error(f"ROLLOUT_RELEASES: {key!r} is no code path", id="rollout.E006")
        for key in getattr(settings, "ROLLOUT_RELEASES", {})
        if not PATH_KEY.match(key)
    )
    return found


@checks.register("rollout")
def check_middleware(*, app_configs: Any = None, **_: Any) -> Sequence[checks.CheckMessage]:
    """Check that requests get a snapshot, and that it stands outside of what may still fail."""
    names = list(settings.MIDDLEWARE)
    if MIDDLEWARE not in names:
        return [
            checks.Warning(
                "RolloutMiddleware is not installed: no request has a subject.",
                hint=f"Add {MIDDLEWARE!r} at the top of MIDDLEWARE.",
                id="rollout.W001",
            )
        ]
    return []


@checks.register("rollout")
def check_api(*, app_configs: Any = None, **_: Any) -> Sequence[checks.CheckMessage]:
    """Check that somebody tells who calls the API, where it is served."""
    for callback in _callbacks(get_resolver().url_patterns):
        view: Any = getattr(callback, "cls", None)
        if getattr(view, "__module__", "") == API and not view.authentication_classes:
            return [
                checks.Warning(
                    "Nothing authenticates the callers of rollout's API, so it is open to nobody.",
                    hint="Name a class in REST_FRAMEWORK['DEFAULT_AUTHENTICATION_CLASSES'].",
                    id="rollout.W002",
                )
            ]
    return []


def _callbacks(patterns: Iterable[URLPattern | URLResolver]) -> Iterator[Any]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _callbacks(pattern.url_patterns)
        else:
            yield pattern.callback


@checks.register("rollout", checks.Tags.database)
def check_rules(
    *, app_configs: Any = None, databases: Sequence[str] | None = None, **_: Any
) -> Sequence[checks.CheckMessage]:
    """
    Check that the rules in force name what this code has: check --database default.

    Warnings, because migrate runs this as well, and rules that are skipped stop no deploy.
    """
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    try:
        published = storage.get_published(storage.get_generation())
        read_document(dict(published.payload), paths=runtime.facts)
    except (DatabaseError, RolloutState.DoesNotExist):
        return []  # Before the first migration there are no rules.
    except UnknownSchema as refusal:
        return [_of_rules(str(refusal))]
    except InvalidRuleSet as refusal:
        return [_of_rules(f"{fault['pointer']}: {fault['message']}") for fault in refusal.errors]
    return []


def _of_rules(told: str) -> checks.CheckMessage:
    return checks.Warning(
        f"The rules in force do not fit this code. {told}",
        hint="What is unknown is skipped: publish rules that fit, or deploy the code.",
        id="rollout.W003",
    )
