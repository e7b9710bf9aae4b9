"""The public door: record what happened, answer a key once."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

from events import queue, storage
from events.durable import commit, connect, document, hot_cursor, let_go_of_frames
from events.errors import (
    EventsError,
    IdempotencyKeyInvalid,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    LockNotHad,
    OutcomeUnknown,
    RequestInProgress,
    StoredRefusal,
    TemporarilyUnavailable,
)
from events.metrics import replayed_answer, replayed_refusal, show_outbox
from events.models import Event
from events.rules import (
    KEPT_KINDS,
    Answer,
    KeyedRequest,
    NewEvent,
    Refusal,
    keyed_request,
    stored_refusal,
)
from events.tracing import current_traceparent, use_case, use_case_behind, use_case_span

__all__ = [
    "Answer",
    "Event",
    "EventsError",
    "IdempotencyKeyInvalid",
    "IdempotencyKeyMissing",
    "IdempotencyKeyReused",
    "KeyedRequest",
    "LockNotHad",
    "NewEvent",
    "OutcomeUnknown",
    "Refusal",
    "RequestInProgress",
    "StoredRefusal",
    "TemporarilyUnavailable",
    "answer_once",
    "ask_keys",
    "commit",
    "connect",
    "current_traceparent",
    "document",
    "hot_cursor",
    "is_kept",
    "keep_answers",
    "keyed_request",
    "let_go_of_frames",
    "list_events",
    "record_events",
    "repeat_answer",
    "retell",
    "rewrite_answers",
    "rewrite_events",
    "use_case",
]

FIRST_REFUSAL_STATUS = 400
# The status under which a refusal is kept says only that it is one: kinds map to HTTP elsewhere.
KEPT_REFUSAL_STATUS = 409


def answer_once(request: KeyedRequest, work: Callable[[], Answer]) -> Answer:
    """
    Run work at most once for a key, in one durable transaction, and return its answer.

    A repeat of the same request gets the stored answer, marked as replayed, or the stored
    refusal. What work refuses as a conflict is kept as the key's answer; any other refusal
    leaves the key unused.
    Raises RequestInProgress, IdempotencyKeyReused, StoredRefusal, what work refuses, and what
    commit raises.
    """

    def claim_and_work() -> Answer | Exception:
        settled = ask_keys([request])()[0]
        if settled is not None:
            return settled
        with storage.savepoint() as undo:
            try:
                answer = work()
            except Exception as failure:
                refusal: Exception = failure
                if not is_kept(failure):
                    raise
                undo()
                keep_answers([(request, failure)])
                return refusal
        keep_answers([(request, answer)])
        return answer

    with use_case_span(use_case_behind(work)):
        return retell(commit(claim_and_work))


def ask_keys(
    requests: Sequence[KeyedRequest],
) -> Callable[[], list[Answer | Exception | None]]:
    """
    Claim each request's key in the caller's transaction; the keys must be distinct.

    What is returned tells of each, when what was sent has gone: None says that the key is the
    caller's until the transaction ends, who may keep an answer for it. Else the answer it has
    (marked as replayed), or the refusal to raise: RequestInProgress, IdempotencyKeyReused,
    StoredRefusal. Nothing is read before, so it joins a pipeline.
    """
    asked = storage.ask_keys(requests)

    def settle() -> list[Answer | Exception | None]:
        return [
            _told_before(request, found) if is_free else RequestInProgress()
            for request, (is_free, found) in zip(requests, asked(), strict=True)
        ]

    return settle


def _told_before(
    request: KeyedRequest, found: tuple[bytes, Answer] | None
) -> Answer | Exception | None:
    if found is None:
        return None
    fingerprint_then, answer = found
    if answer.status is None:
        return RequestInProgress()  # An unanswered row, which nobody writes.
    if fingerprint_then != request.fingerprint:
        return IdempotencyKeyReused()
    if answer.status >= FIRST_REFUSAL_STATUS:
        replayed_refusal.inc()
        return StoredRefusal(json.loads(answer.body))
    replayed_answer.inc()
    return answer.replayed()


def is_kept(refusal: Exception) -> TypeGuard[Refusal]:
    """Test whether a refusal is an answer to keep, rather than a reason to ask again."""
    return getattr(refusal, "kind", None) in KEPT_KINDS and not isinstance(refusal, EventsError)


def keep_answers(answers: Sequence[tuple[KeyedRequest, Answer | Refusal]]) -> None:
    """
    Write the answer or the refusal of each claimed key, in the caller's transaction.

    One statement, whatever their number; nothing is read back, so it joins a pipeline.
    """
    if answers:
        storage.keep_answers(
            [
                (request, answer if isinstance(answer, Answer) else _kept(answer, request))
                for request, answer in answers
            ]
        )


def _kept(refusal: Refusal, request: KeyedRequest) -> Answer:
    body = json.dumps(stored_refusal(refusal, request), ensure_ascii=False)
    return Answer(KEPT_REFUSAL_STATUS, body)


def repeat_answer(
    again: KeyedRequest, *, first: KeyedRequest, told: Answer | Exception
) -> Answer | Exception | None:
    """
    Return what a second request with the key of first is told, None when the key stayed unused.

    For two requests with one key in one transaction: what the database would say of the second.
    """
    if not (isinstance(told, Answer) or is_kept(told)):
        return None
    if again.fingerprint != first.fingerprint:
        return IdempotencyKeyReused()
    if isinstance(told, Answer):
        replayed_answer.inc()
        return told.replayed()
    replayed_refusal.inc()
    return StoredRefusal(stored_refusal(told, first))


def list_events(
    aggregate_type: str, aggregate_id: str, *, after_version: int = 0, limit: int
) -> list[Event]:
    """Return at most limit of an aggregate's events that come after a version, first to last."""
    events = storage.list_events(aggregate_type, aggregate_id)
    return list(events.filter(aggregate_version__gt=after_version)[:limit])


def retell(told: Answer | Exception) -> Answer:
    """Return an answer; raise a refusal."""
    if isinstance(told, Exception):
        try:
            raise told
        finally:
            del told  # What is raised holds this frame, which must not hold it in turn.
    return told


def record_events(events: Sequence[NewEvent]) -> None:
    """
    Write events in the caller's transaction, in the order given.

    One statement, whatever their number; nothing is read back, so it joins a pipeline.
    """
    if events:
        storage.add_events(events)


def rewrite_answers(beginnings: Sequence[str], rewrite: Callable[[str], str]) -> int:
    """
    Change what accepted keys are answered, in the caller's transaction; return how many there were.

    beginnings: with which the bodies begin, all of one length. Reads every key of every account.
    """
    found = storage.find_answers_beginning(beginnings)
    storage.rewrite_answers([(account, key, rewrite(body)) for account, key, body in found])
    return len(found)


def rewrite_events(
    aggregate_type: str,
    aggregate_ids: Sequence[str],
    rewrite: Callable[[dict[str, Any]], dict[str, Any]],
) -> int:
    """
    Change what the events of aggregates tell, in the caller's transaction; return how many changed.

    What is sent from then on is the new form; what receivers answered before is forgotten.
    """
    changed = []
    for event in storage.list_events_of(aggregate_type, aggregate_ids):
        data = rewrite(event.data)
        if data != event.data:
            event.data = data
            changed.append(event)
    storage.rewrite_events(changed)
    storage.forget_receivers_answers(aggregate_type, aggregate_ids)
    return len(changed)


def show_waiting() -> None:
    """Show Prometheus how many events wait for a relay, and for how long."""
    show_outbox(*storage.measure_outbox())


def measure_waiting() -> tuple[int, float, int]:
    """Return how many events wait for a relay, how many s the oldest, and how many relays run."""
    depth, age_s = storage.measure_outbox()
    _, relays = queue.count_lanes(sinks=[])
    return depth, age_s, relays
