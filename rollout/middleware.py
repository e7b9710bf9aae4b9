"""One snapshot for each request, and the end of the request told to the breakers."""

import logging
from collections.abc import Callable, Iterator
from typing import cast

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from rollout.breaker import ERROR, IGNORED
from rollout.context import RequestContext, current
from rollout.runtime import runtime

log = logging.getLogger("rollout")


class RolloutMiddleware:
    """
    Bind the snapshot in force to the request, and settle its calls when it has ended.

    Stand it outermost: a COMMIT that fails, a later middleware that raises and a stream that
    breaks are then the version's too. Decisions are lazy, so this costs little where no code path
    is asked.
    """

    sync_capable = True
    async_capable = False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        context = RequestContext(runtime.snapshot, request)
        request.rollout = context  # type: ignore[attr-defined]
        # One greenlet serves all requests of a kept connection, one after the other: bind always,
        # never assume that the last one cleaned up.
        current.set(context)
        try:
            response = self.get_response(request)
        except BaseException:
            # Django answers exceptions before they come here; this is a greenlet being killed.
            settle(context, IGNORED)
            raise
        finally:
            current.set(None)
        if context.pending:
            if response.streaming and not getattr(response, "is_async", False):
                stream = cast(StreamingHttpResponse, response)
                stream.streaming_content = _Stream(
                    cast(Iterator[bytes], stream.streaming_content), context, _verdict(response)
                )
            else:
                settle(context, _verdict(response))
        if context.served or "HTTP_X_DEPLOY_VERSION" in context.meta:
            _tell(response, context)
        if not response.streaming:
            # Each holds the other: only the garbage collector could free them, in a pause. The log
            # still asks the request what served it.
            del context.request
        return response


def settle(context: RequestContext, verdict: str | None) -> None:
    """
    Complete the calls that looked good when they returned.

    verdict: what the end of the request says about them: error, ignored, or None for nothing new.
    """
    pending, context.pending = context.pending or [], []
    for token, outcome, rt_ns in pending:
        # Where one call of the request failed already, the failure has its culprit.
        is_blamed = verdict is not None and not (verdict == ERROR and context.has_failed)
        token.complete(verdict if is_blamed and verdict else outcome, rt_ns=rt_ns)


def _verdict(response: HttpResponseBase) -> str | None:
    # 503 is what this service says when it declines work, and that is no version's fault.
    is_failure = response.status_code >= 500 and response.status_code != 503
    return ERROR if is_failure else None


def _tell(response: HttpResponseBase, context: RequestContext) -> None:
    try:
        if not context.is_trusted():
            return
    except Exception:
        # The order is placed: whether the caller may know by what must not undo that.
        log.exception("could not find out whether a caller is trusted")
        return
    served = context.served
    if len(served) == 1:
        response.headers["x-deploy-version"] = next(iter(served.values())).version
    elif served:
        response.headers["x-deploy-version"] = ", ".join(
            f"{key}={decision.version}" for key, decision in sorted(served.items())
        )
    response.headers["x-rollout-generation"] = str(context.snapshot.generation)


class _Stream:
    """A streamed body that settles its request when it ends, breaks, or is left."""

    def __init__(
        self, content: Iterator[bytes], context: RequestContext, verdict: str | None
    ) -> None:
        self._content = content
        self._context = context
        self._verdict = verdict

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        current.set(self._context)
        try:
            return next(self._content)
        except StopIteration:
            settle(self._context, self._verdict)
            raise
        except Exception:
            settle(self._context, ERROR)
            raise
        except BaseException:
            settle(self._context, IGNORED)
            raise
        finally:
            current.set(None)

    def close(self) -> None:
        """Called by the server in any case; when calls are still open, the client went away."""
        settle(self._context, IGNORED)
        close = getattr(self._content, "close", None)
        if close is not None:
            close()
