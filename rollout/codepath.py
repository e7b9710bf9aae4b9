"""
The public door for code: a path with versions, one of which serves.

A version is a name in code; which of them serves is data.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from django.conf import settings

Function = TypeVar("Function", bound=Callable[..., Any])
Effects = Literal["read", "write", "external"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Which version of a path serves this call, and by which generation of the rules."""

    path: str
    version: str
    generation: int | None = None


_overrides: ContextVar[Mapping[str, str]] = ContextVar(
    "rollout_overrides", default=MappingProxyType({})
)
_serving: ContextVar[Mapping[str, Decision]] = ContextVar(
    "rollout_serving", default=MappingProxyType({})
)


class CodePath:
    """
    One way through the code that has versions with one signature.

    Calling it runs the version that serves. effects: what a version does besides answering.
    """

    def __init__(self, key: str, *, effects: Effects) -> None:
        self.key = key
        self.effects = effects
        self.versions: dict[str, Callable[..., Any]] = {}

    def version(self, name: str) -> Callable[[Function], Function]:
        """Return a decorator that declares a function as the version called name."""

        def declare(function: Function) -> Function:
            if name in self.versions:
                raise ValueError(f"{self.key} has a version {name} already")
            self.versions[name] = function
            return function

        return declare

    def decide(self) -> Decision:
        """
        Return which version serves now: an override, else the one that settings name.

        Raises KeyError for a version that no code declares.
        """
        name = _overrides.get().get(self.key) or settings.ROLLOUT_RELEASES[self.key]
        if name not in self.versions:
            raise KeyError(f"{self.key} has no version {name}")
        return Decision(self.key, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        decision = self.decide()
        token = _serving.set({**_serving.get(), self.key: decision})
        try:
            return self.versions[decision.version](*args, **kwargs)
        finally:
            _serving.reset(token)


def serving(key: str) -> Decision:
    """Return the decision under which the current call of a path runs; LookupError outside one."""
    return _serving.get()[key]


@contextlib.contextmanager
def override(**versions: str) -> Iterator[None]:
    """
    Serve the versions named, whatever the data says: for tests.

    A path is written with underscores: override(orders_place="v1").
    """
    paths = {name.replace("_", ".", 1): version for name, version in versions.items()}
    token = _overrides.set({**_overrides.get(), **paths})
    try:
        yield
    finally:
        _overrides.reset(token)
