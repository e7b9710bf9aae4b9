"""
The public door for code: a path with versions, one of which serves.

A version is a name in code; which of them is stable, canary or fallback, and who meets it, is data.
"""

import contextlib
import inspect
import logging
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase

from rollout import metrics
from rollout.breaker import ERROR, IGNORED, OK, REJECT, Token
from rollout.context import NOTHING, BaseContext, CallContext, current
from rollout.errors import CodePathMistake, PathUnavailable
from rollout.rules import (
    PATH_KEY,
    ROLES,
    VERSION_NAME,
    Decision,
    Effects,
    Fallback,
    PathFacts,
    Reason,
    Release,
)
from rollout.runtime import runtime
from rollout.snapshot import CompiledPath, Snapshot
from rollout.tracing import decision_span

__all__ = [
    "ERROR",
    "IGNORED",
    "OK",
    "REJECT",
    "CodePath",
    "Decision",
    "outcome_of",
    "override",
    "serving",
    "version_view",
]

Function = TypeVar("Function", bound=Callable[..., Any])
Classify = Callable[[BaseException | None, Any], str]

# Kinds of refusal that are the server's fault; every other one is the caller's.
SERVER_KINDS = frozenset({"internal", "unavailable"})

log = logging.getLogger("rollout")

_overrides: ContextVar[Mapping[str, str]] = ContextVar("rollout_overrides", default=NOTHING)
_serving: ContextVar[Mapping[str, Decision]] = ContextVar("rollout_serving", default=NOTHING)


class CodePath:
    """
    One way through the code that has versions with one signature.

    Calling it runs the version that serves.

    effects: what a version does besides answering: read, write, external.
    fallback: "admission": a version that its breaker cut off is replaced before it starts, which
    is always safe. "rerun": besides, one that fails is followed by what it falls to; only for a
    path whose failed version leaves nothing behind. "never": a refusal instead.
    expected: exceptions that are answers. classify: sees exception and answer, see outcome_of.
    stickiness: whose bucket counts by default, as ("account+customer", "account").
    attributes: what the arguments of a call say about it, for rules and stickiness.
    Raises CodePathMistake for a key that is malformed or taken, and for an external rerun.
    """

    def __init__(
        self,
        key: str,
        *,
        effects: Effects,
        fallback: Fallback = "admission",
        expected: tuple[type[Exception], ...] = (),
        classify: Classify | None = None,
        stickiness: Sequence[str] = (),
        attributes: Callable[..., Mapping[str, Any]] | None = None,
        owner: str = "",
    ) -> None:
        if not PATH_KEY.match(key):
            raise CodePathMistake(f"{key!r}: name a code path as in orders.place")
        if fallback == "rerun" and effects == "external":
            raise CodePathMistake(f"{key}: what went out cannot be rolled back and run again")
        self.key = key
        self.effects: Effects = effects
        self.fallback: Fallback = fallback
        self.expected = expected
        self.versions: dict[str, Callable[..., Any]] = {}
        self._classify = classify or partial(outcome_of, expected=expected)
        self._stickiness = tuple(stickiness)
        self._attributes = attributes
        self._owner = owner
        runtime.declare(self)

    # --- Declaring ----------------------------------------------------------------------------

    def version(self, name: str) -> Callable[[Function], Function]:
        """
        Return a decorator that declares a function as the version called name.

        Raises CodePathMistake for a name that is taken or is a role, and for a function whose
        parameters are not those of the other versions.
        """
        if not VERSION_NAME.match(name) or name in ROLES:
            raise CodePathMistake(f"{self.key}: {name!r} cannot name a version; write as v2")
        if name in self.versions:
            raise CodePathMistake(f"{self.key} has a version {name} already")

        def declare(function: Function) -> Function:
            for other in self.versions.values():
                if _shape_of(function) != _shape_of(other):
                    raise CodePathMistake(
                        f"{self.key}: {name} takes {inspect.signature(function)}, but another"
                        f" version {inspect.signature(other)}"
                    )
            self.versions[name] = function
            runtime.unsettle()
            return function

        return declare

    def facts(self) -> PathFacts:
        """Return what code says; raises CodePathMistake where settings contradict it."""
        return PathFacts(
            key=self.key,
            versions=tuple(self.versions),
            release=self.release_in_settings(),
            effects=self.effects,
            fallback=self.fallback,
            stickiness=self._stickiness,
            owner=self._owner,
        )

    def release_in_settings(self) -> Release:
        """
        Return the release that serves as long as data says nothing.

        ROLLOUT_RELEASES: {"orders.place": {"stable": "v2", "fallback": "v1"}}, or only "v2".
        Without an entry the version declared first is stable.
        Raises CodePathMistake for a version that no code declares.
        """
        told = getattr(settings, "ROLLOUT_RELEASES", {}).get(self.key, next(iter(self.versions)))
        roles = {"stable": told} if isinstance(told, str) else told
        for role, version in roles.items():
            if role not in ROLES or (version is not None and version not in self.versions):
                raise CodePathMistake(
                    f"ROLLOUT_RELEASES: {self.key} has no {role} {version!r},"
                    f" only {', '.join(self.versions)}"
                )
        return Release(**roles)

    # --- Serving ------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Serve a call in the context of the current request, or on its own outside one."""
        context = current.get()
        if context is not None:
            return self._serve(context, args, kwargs)
        return self._serve_in(CallContext(runtime.snapshot), *args, **kwargs)

    def given(self, context: BaseContext) -> Callable[..., Any]:
        """Return this path for calls in a context of one's own, as in jobs and tests."""
        return partial(self._serve_in, context)

    def decide(self, context: BaseContext | None = None) -> Decision:
        """Return which version would serve now, before breakers are asked."""
        context = context or current.get() or CallContext(runtime.snapshot)
        return self._decide(context, self._in(context.snapshot)[0])

    def _serve_in(self, context: BaseContext, /, *args: Any, **kwargs: Any) -> Any:
        token = current.set(context)
        try:
            return self._serve(context, args, kwargs)
        finally:
            current.reset(token)

    def _serve(self, context: BaseContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        snapshot, path = self._in(context.snapshot)
        if self._attributes is None or not path.rules:
            # Only rules ask what a call is about.
            decision = self._decide(context, snapshot)
        else:
            decision = self._decide_about(context, snapshot, args, kwargs)
        chain = path.chains[decision.version]
        if self.fallback == "never":
            chain = chain[:1]
        last_failure: Exception | None = None
        for version in chain:
            token = snapshot.breakers[self.key, version].admit()
            if token is None:
                metrics.count_rejection(self.key, version, has_next=version != chain[-1])
                continue
            try:
                return self._run(context, _served(decision, version, token), args, kwargs)
            except _RunNext as next_one:
                last_failure = next_one.failure
        if last_failure is not None:
            raise last_failure
        metrics.decisions_by(self.key, decision.version, Reason.BREAKER_503).inc()
        raise self._unavailable(snapshot, chain)

    def _run(
        self,
        context: BaseContext,
        served: Decision,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        token: Token = served.breaker_token
        context.served[self.key] = served
        metrics.decisions_by(self.key, served.version, served.reason).inc()
        serving_before = _serving.set({**_serving.get(), self.key: served})
        try:
            with decision_span(served):
                answer = self.versions[served.version](*args, **kwargs)
        except Exception as failure:
            outcome = self._outcome(failure, None)
            self._settle(context, token, outcome)
            if outcome == ERROR and self.fallback == "rerun":
                log.exception(
                    "a version failed, what it falls to runs instead",
                    extra={"path": self.key, "version": served.version},
                )
                raise _RunNext(failure) from failure
            raise
        except BaseException:
            # The greenlet is being killed or the process ends: the version is not to blame.
            token.complete(IGNORED)
            raise
        finally:
            _serving.reset(serving_before)
        self._settle(context, token, self._outcome(None, answer))
        return answer

    def _decide(
        self, context: BaseContext, snapshot: Snapshot, said: tuple[Any, ...] = ()
    ) -> Decision:
        overridden = _overrides.get().get(self.key)
        if overridden is not None:
            if overridden not in self.versions:
                raise KeyError(f"{self.key} has no version {overridden}")
            return Decision(self.key, overridden, Reason.OVERRIDE, snapshot.generation)
        key = (self.key, *said) if said else self.key
        decision = context.decisions.get(key)
        if decision is None:
            denied_before = len(context.denied)
            decision = context.decisions[key] = snapshot.decide(self.key, context)  # type: ignore[arg-type]
            for source in context.denied[denied_before:]:
                metrics.count_denial(self.key, source)
        return decision

    def _decide_about(
        self,
        context: BaseContext,
        snapshot: Snapshot,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Decision:
        """Decide on what the arguments say besides; only this decision sees it."""
        before = context.attributes
        try:
            attributes = self._attributes(*args, **kwargs) if self._attributes else {}
            said = tuple(sorted(attributes.items()))
            hash(said)
        except Exception:
            log.exception("a call could not say what it is about", extra={"path": self.key})
            return self._decide(context, snapshot)
        context.attributes = {**before, **attributes}
        try:
            return self._decide(context, snapshot, said)
        finally:
            context.attributes = before

    def _in(self, snapshot: Snapshot) -> tuple[Snapshot, CompiledPath]:
        path = snapshot.paths.get(self.key)
        if path is not None:
            return snapshot, path
        # Declared after the context began: a test, or a module that is imported late.
        if not self.versions:
            raise CodePathMistake(f"{self.key} has no version")
        snapshot = runtime.snapshot
        return snapshot, snapshot.paths[self.key]

    def _outcome(self, failure: Exception | None, answer: Any) -> str:
        try:
            return self._classify(failure, answer)
        except Exception:
            log.exception("a classifier failed", extra={"path": self.key})
            return OK if failure is None else ERROR

    def _settle(self, context: BaseContext, token: Token, outcome: str) -> None:
        if outcome == OK and context.pending is not None:
            # The request may still fail: at COMMIT, while it is rendered, in its stream.
            context.pending.append((token, outcome, token.hand_back()))
            return
        if outcome == ERROR:
            context.has_failed = True
        token.complete(outcome)

    def _unavailable(self, snapshot: Snapshot, chain: Sequence[str]) -> PathUnavailable:
        wait_s = min(snapshot.breakers[self.key, version].retry_after_s() for version in chain)
        # Spread, so that callers who obey do not come back in one instant.
        return PathUnavailable(
            self.key, retry_after_s=max(1, math.ceil(wait_s * (0.8 + 0.4 * random.random())))
        )


class _RunNext(Exception):
    """A version failed and another may run in its place."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self.failure = failure


def _served(decision: Decision, version: str, token: Token) -> Decision:
    reason, base_reason = decision.reason, None
    if version != decision.version:
        reason, base_reason = Reason.BREAKER_FALLBACK, reason
    elif token.is_probe:
        reason, base_reason = Reason.BREAKER_PROBE, reason
    return Decision(
        decision.path,
        version,
        reason,
        decision.generation,
        decision.rule_id,
        decision.bucket,
        decision.mode,
        base_reason,
        decision.stale,
        token,
    )


def _shape_of(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default) for one in parameters]


def outcome_of(
    failure: BaseException | None, answer: Any, *, expected: tuple[type[Exception], ...] = ()
) -> str:
    """
    Return how a call ended for the breaker: ok, error, reject or ignored.

    An exception is an error unless it is expected, or says by its kind or status that the caller
    is at fault: then it is a reject, which opens nothing. A refusal of another breaker is ignored.
    An answer with a status is judged by it.
    """
    if failure is None:
        status = getattr(answer, "status_code", 200)
        return ERROR if status >= 500 else REJECT if status >= 400 else OK
    if isinstance(failure, PathUnavailable):
        return IGNORED
    if isinstance(failure, (*expected, Http404, PermissionDenied)):
        return REJECT
    kind = getattr(failure, "kind", None)
    if isinstance(kind, str):
        return ERROR if kind in SERVER_KINDS else REJECT
    status = getattr(failure, "status_code", 500)
    return REJECT if isinstance(status, int) and status < 500 else ERROR


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


def version_view(key: str, *, effects: Effects, **versions: Any) -> Callable[..., HttpResponseBase]:
    """
    Return a view that is a code path, for urls.py: each version is a view of its own.

    version_view("orders.detail", effects="read", v1=V1.as_view(), v2=V2.as_view())
    """
    path = CodePath(key, effects=effects)
    for name, one in versions.items():
        path.version(name)(_plain_view(one))

    def view(request: HttpRequest, /, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response: HttpResponseBase = path(request, *args, **kwargs)
        return response

    # A version that checks the CSRF token itself would be checked twice, one that must not be
    # checked not at all: the strictest wins.
    view.csrf_exempt = all(getattr(one, "csrf_exempt", False) for one in versions.values())  # type: ignore[attr-defined]
    return view


def _plain_view(one: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    def view(request: HttpRequest, /, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return one(request, *args, **kwargs)

    return view
