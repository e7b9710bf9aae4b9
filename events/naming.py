"""Says in each statement which function sent it and for which route, where PostgreSQL shows it."""

import re
from contextvars import ContextVar
from functools import lru_cache

# Behind the first word: who tidies statements up may drop a comment that stands before them, and of
# a long statement pg_stat_activity shows the beginning only.
FIRST_WORD = re.compile(r"\s*\(*\w+")
UNSAFE = re.compile(r"[^\w ./{}-]", re.ASCII)

_route: ContextVar[str] = ContextVar("route", default="")


def note_route(route: str) -> None:
    """Let what this greenlet or thread sends from now on be for a route; empty for none."""
    _route.set(route)


def signed(statement: str, function: str | None) -> str:
    """
    Return a statement with a comment that says which function sends it, and for which route.

    Functions and routes are few, so a statement has few texts and the server can prepare each.
    What is no text, or begins with no word, is returned as it is.
    """
    if not isinstance(statement, str) or function is None:
        return statement
    return _signed(statement, function, _route.get())


@lru_cache(maxsize=4096)
def _signed(statement: str, function: str, route: str) -> str:
    begun = FIRST_WORD.match(statement)
    if begun is None:
        return statement
    said = f"function='{UNSAFE.sub('', function)}'"
    if route:
        said += f",route='{UNSAFE.sub('', route)}'"
    return f"{statement[: begun.end()]} /*{said}*/{statement[begun.end() :]}"
