"""Lets each statement say which function sent it and for which route, and reads that again."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.module_loading import import_string

from config.deadlines import check_deadline
from config.slow_statements import SENDER, function_that_sent


def serve(method: str, route: str) -> None:
    """Let what this greenlet sends from now on be sent for a route."""
    _note_route()(f"{method} {route}")


def sign_statements(connection: BaseDatabaseWrapper, **_: object) -> None:
    """
    Let Django's statements on a connection be signed, and their deadline be kept.

    What listens to connection_created.
    """
    wrappers = connection.execute_wrappers
    # The list outlives the connection, of which each greenlet takes many. First in it: who has
    # added another for a while takes the last one away again.
    if _sign not in wrappers:
        wrappers.insert(0, _sign)


def sender_of(statement: str) -> tuple[str, str]:
    """Return the function and the route that a statement names, each empty where it names none."""
    said = SENDER.search(statement)
    return (said[1], said[2] or "") if said else ("", "")


def _sign(execute: Callable[..., Any], statement: str, *call: Any) -> Any:
    check_deadline()  # All of Django's statements come by here.
    return execute(_signed()(statement, function_that_sent(sys._getframe(1))), *call)


# By their names: config knows no app. Hot statements, which Django never sees, are signed there.
@cache
def _note_route() -> Callable[[str], None]:
    return import_string("events.naming.note_route")  # type: ignore[no-any-return]


@cache
def _signed() -> Callable[[str, str | None], str]:
    return import_string("events.naming.signed")  # type: ignore[no-any-return]
