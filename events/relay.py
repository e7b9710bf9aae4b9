"""
The relay: takes up what happened, and brings it to whoever wants to know.

One thread asks the database and decides; others send. Any number of relays may run, and any of them
may die or sleep at any moment: what they know is in the database, one row for each delivery, and
whatever was not settled there is done again.
"""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from django.conf import settings
from django.db import Error, connection
from django.utils import timezone

from events import endpoints, metrics, storage
from events import queue as statements
from events.envelope import compose
from events.lanes import Lane
from events.models import Delivery, Endpoint
from events.queue import Due, HeldLane
from events.retries import DELAYS_S, Attempt, delay_s
from events.sinks import Outgoing, Sink
from events.webhooks import Webhook

logger = logging.getLogger(__name__)

# A stopped relay keeps its lanes for as long as this; a killed one for no time at all.
LEASE_S = 1.2
RENEW_EVERY_S = 0.2
FAN_OUT_MAX = 1000
SINK_BATCH_MAX = 1000
SINK_REST_S_MAX = 5.0
THREADS_MAX = 200
STATEMENT_TIMEOUT_S = 30
# Polled, not notified: NOTIFY takes one lock for the whole server until its COMMIT is flushed, and
# every order would wait for the one before it.
IDLE_S, BUSY_S = 0.05, 0.01
MEASURE_EVERY_S = 5.0
TIDY_EVERY_S = 60.0
# Beyond its share a relay takes so many lanes at a time, and gives one up this often.
TAKEN_MIN = 2
SHARE_EVERY_S = 30.0
LOOK_AT_ALL_EVERY_S = 10.0
OVERLAP = timedelta(seconds=30)
STOP_S_MAX = 20.0


@dataclass(eq=False, slots=True)
class Way:
    """A lane and what it leads to: a webhook, or a sink."""

    lane: Lane
    name: str
    webhook: Webhook | None = None
    sink: Sink | None = None
    endpoint_id: UUID | None = None
    is_leaving: bool = False
    looked_at_all: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended for one delivery, or for the batch of a sink."""

    way: Way
    deliveries: Sequence[Due]
    attempt: Attempt
    delay_s: float | None = None


class Relay:
    """One relay. delays_s: from attempt to attempt; as many as an event gets."""

    def __init__(self, sinks: Mapping[str, Sink], *, delays_s: Sequence[float] = DELAYS_S) -> None:
        self._me = uuid4()
        self._sinks = sinks
        self._delays_s = delays_s
        self._ways: dict[int, Way] = {}
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._unsettled: list[Outcome] = []
        self._senders = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="sender")
        self._stop = threading.Event()
        self._woken = threading.Event()
        self._is_open = False
        self._next = {"lanes": 0.0, "share": 0.0, "measure": 0.0, "tidy": 0.0}

    def stop(self) -> None:
        """Finish what is under way and end; may be called from a signal handler."""
        self._stop.set()
        self._woken.set()

    def run(self) -> None:
        """Relay until told to stop. Trouble with the database is waited for."""
        self._next["share"] = time.monotonic() + SHARE_EVERY_S
        while not self._stop.is_set():
            try:
                is_busy = self.step()
            except (Error, psycopg.Error, OSError) as trouble:
                logger.warning("the database cannot be used: %s", trouble)
                self._close_session()
                self._stop.wait(random.uniform(0.2, 1.0))
                continue
            if not is_busy:
                self._woken.wait(IDLE_S)
                self._woken.clear()
            self._stop.wait(BUSY_S)
        self._finish()

    def step(self) -> bool:
        """Do once whatever is to be done; return whether there may be more at once."""
        self._open_session()
        self._settle()
        if self._is_time("lanes", RENEW_EVERY_S):
            self._keep_lanes()
        taken, _ = statements.fan_out(limit=FAN_OUT_MAX)
        self._load()
        for way in self._ways.values():
            self._send_from(way)
        if self._is_time("measure", MEASURE_EVERY_S):
            self._measure()
        if self._is_time("tidy", TIDY_EVERY_S):
            endpoints.disable_failing(now=timezone.now())
        return taken > 0

    def _finish(self) -> None:
        """Let senders end, tell the database how they did, and leave the lanes to others."""
        for way in self._ways.values():
            self._leave(way)
        self._senders.shutdown(wait=False)
        deadline = time.monotonic() + STOP_S_MAX
        while time.monotonic() < deadline and not all(
            w.lane.is_idle() for w in self._ways.values()
        ):
            try:
                self._settle()
            except (Error, psycopg.Error, OSError):
                break
            time.sleep(BUSY_S)
        try:
            self._settle()
            statements.release_lanes(self._me, list(self._ways))
        except (Error, psycopg.Error, OSError) as trouble:
            logger.warning("lanes are left to run out: %s", trouble)
        for lane_id in list(self._ways):
            self._lose(lane_id)
        self._close_session()

    # --- The session ------------------------------------------------------------------------

    def _open_session(self) -> None:
        if not self._is_open:
            statements.open_session(statement_timeout_s=STATEMENT_TIMEOUT_S)
            statements.open_sinks(list(self._sinks))
            self._is_open = True

    def _close_session(self) -> None:
        self._is_open = False
        connection.close()

    def _is_time(self, name: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._next[name]:
            return False
        self._next[name] = now + every_s
        return True

    # --- Lanes ------------------------------------------------------------------------------

    def _keep_lanes(self) -> None:
        sinks = list(self._sinks)
        wanted, relays = statements.count_lanes(sinks=sinks)
        share = -(-wanted // max(relays, 1))
        missing = max(share - len(self._ways), TAKEN_MIN)
        statements.take_lanes(self._me, sinks=sinks, limit=missing, lease_s=LEASE_S)
        # Counted from before the question: the lease began later than that, never earlier.
        valid_until = time.monotonic() + LEASE_S
        held = {
            lane.id: lane for lane in statements.hold_lanes(self._me, sinks=sinks, lease_s=LEASE_S)
        }
        for lane in held.values():
            self._have(lane, valid_until)
        for lane_id in set(self._ways) - set(held):
            self._lose(lane_id)
        if len(held) > share and self._is_time("share", SHARE_EVERY_S):
            self._leave(next(iter(self._ways.values())))
        self._release({lane.id for lane in held.values() if not lane.is_wanted})

    def _leave(self, way: Way) -> None:
        """Let others have a lane, once what is under way has ended."""
        way.is_leaving = True
        way.lane.leave()

    def _release(self, unwanted: set[int]) -> None:
        left = {way.lane.id for way in self._ways.values() if way.is_leaving and way.lane.is_idle()}
        for lane_id in left | unwanted:
            self._lose(lane_id)
        if left or unwanted:
            statements.release_lanes(self._me, sorted(left | unwanted))

    def _have(self, held: HeldLane, valid_until: float) -> None:
        way = self._ways.get(held.id)
        if way is not None and way.lane.token != held.token:
            self._lose(held.id)
            way = None
        if way is None:
            way = self._ways[held.id] = self._new_way(held)
            way.lane.inherit(failures_in_row=held.failures_in_row, rest_s=held.rest_s)
        if not way.is_leaving:
            way.lane.renew(valid_until=valid_until)
        if held.url is not None:
            secrets = [s for s in (held.sealed_secret, held.sealed_former_secret) if s]
            if way.webhook is None or not way.webhook.is_still(held.url, secrets):
                if way.webhook is not None:
                    way.webhook.close()
                way.webhook = Webhook(held.url, secrets)

    def _new_way(self, held: HeldLane) -> Way:
        if held.sink is not None:
            lane = Lane(
                held.id,
                held.token,
                window=SINK_BATCH_MAX,
                concurrency=1,
                rest_s_max=SINK_REST_S_MAX,
            )
            return Way(lane, held.sink, sink=self._sinks[held.sink])
        lane = Lane(held.id, held.token)
        return Way(lane, str(held.endpoint_id), endpoint_id=held.endpoint_id)

    def _lose(self, lane_id: int) -> None:
        way = self._ways.pop(lane_id, None)
        if way is not None:
            way.lane.leave()
            if way.webhook is not None:
                way.webhook.close()

    # --- Deliveries -------------------------------------------------------------------------

    def _load(self) -> None:
        """Have what is due at hand for every lane that has room."""
        asked = []
        for way in self._ways.values():
            room = way.lane.room()
            if room:
                asked.append(
                    {
                        "lane_id": way.lane.id,
                        "size": room,
                        "held": way.lane.held_ids(),
                        "since": self._look_since(way),
                    }
                )
        if asked:
            for lane_id, deliveries in statements.load_due(asked).items():
                self._ways[lane_id].lane.add(deliveries)

    def _look_since(self, way: Way) -> str:
        """
        Return where the search for what is due begins.

        What is done leaves dead entries behind in the index; as long as some old snapshot keeps
        the server from clearing them away, looking past them all takes longer and longer.
        """
        now = time.monotonic()
        if now - way.looked_at_all >= LOOK_AT_ALL_EVERY_S:
            way.looked_at_all = now
            return "-infinity"
        oldest = way.lane.oldest_due() or timezone.now()
        return (min(oldest, timezone.now()) - OVERLAP).isoformat()

    def _send_from(self, way: Way) -> None:
        while way.lane.hire():
            if way.sink is not None:
                self._senders.submit(self._guarded, way, self._send_batches, way.sink)
            else:
                self._senders.submit(self._guarded, way, self._send_events, way.webhook)

    def _guarded(self, way: Way, send: Callable[[Way, Any], None], through: Any) -> None:
        try:
            send(way, through)
        except Exception:
            logger.exception("a sender of lane %s failed", way.name)
        finally:
            way.lane.quit()
            self._woken.set()

    def _send_events(self, way: Way, webhook: Webhook) -> None:
        while (due := way.lane.take()) is not None:
            attempt = _attempt(way, webhook, due)
            delay = None
            if attempt.is_success:
                way.lane.succeed([due])
            else:
                delay = delay_s(
                    due.attempts + 1,
                    dice=random.random(),
                    retry_after_s=attempt.retry_after_s,
                    delays_s=self._delays_s,
                )
                way.lane.fail(attempt)
                if delay is None:
                    way.lane.succeed([due], is_answered=False)
            self._outcomes.put(Outcome(way, [due], attempt, delay))
            self._woken.set()

    def _send_batches(self, way: Way, sink: Sink) -> None:
        while batch := way.lane.take_batch(SINK_BATCH_MAX):
            try:
                sink.send([_outgoing(due) for due in batch])
                attempt = Attempt(status=200)
                way.lane.succeed(batch)
            except Exception as failure:  # noqa: BLE001 - a sink may raise what it likes
                logger.warning("sink %s took nothing: %s", way.name, failure)
                attempt = Attempt(error=type(failure).__name__[:32])
                # One batch stands for many events: it rests at once, not after twenty batches.
                way.lane.fail(Attempt(status=503, retry_after_s=1.0))
            self._outcomes.put(Outcome(way, batch, attempt, 0.0))
            self._woken.set()

    def _settle(self) -> None:
        """Tell the database how attempts ended; what cannot be told now is told the next time."""
        while not self._outcomes.empty():
            self._unsettled.append(self._outcomes.get())
        taken_by_sinks = [
            due.id
            for outcome in self._unsettled
            if outcome.way.sink is not None and outcome.attempt.is_success
            for due in outcome.deliveries
        ]
        if taken_by_sinks:
            statements.drop_sent(taken_by_sinks)
        rows = [_settlement(o) for o in self._unsettled if o.way.webhook is not None]
        lanes = self._standings()
        if rows or lanes:
            statements.settle(rows, lanes)
        settled, self._unsettled = self._unsettled, []
        for outcome in settled:
            is_over = outcome.attempt.is_success or outcome.delay_s is None
            outcome.way.lane.settled(outcome.deliveries, is_over=is_over)
            _count(outcome)
        self._disable_gone(settled)

    def _standings(self) -> list[dict[str, Any]]:
        standings = []
        for way in {outcome.way for outcome in self._unsettled} | set(self._ways.values()):
            news = way.lane.news()
            if news is not None:
                standings.append(
                    {
                        "id": way.lane.id,
                        "token": way.lane.token,
                        "failures_in_row": news[0],
                        "rest_s": news[1],
                    }
                )
        return standings

    def _disable_gone(self, settled: Sequence[Outcome]) -> None:
        for endpoint_id in {o.way.endpoint_id for o in settled if o.attempt.is_gone}:
            if endpoint_id is not None:
                endpoints.disable_endpoint(
                    endpoint_id, reason=Endpoint.Disabled.GONE, now=timezone.now()
                )

    # --- Figures ----------------------------------------------------------------------------

    def _measure(self) -> None:
        metrics.show_outbox(*storage.measure_outbox())
        for name, pending, age_s, is_resting in statements.measure_lanes():
            metrics.show_lane(name, pending=pending, age_s=age_s, is_resting=is_resting)


def _attempt(way: Way, webhook: Webhook, due: Due) -> Attempt:
    try:
        return webhook.send(due.event)
    except Exception:
        # Ours to mend, but a failure like any other until then: what nobody settles keeps its
        # aggregate shut for as long as this relay lives.
        logger.exception("event %s could not be sent through lane %s", due.event.id, way.name)
        return Attempt(error="internal_error")


def _outgoing(due: Due) -> Outgoing:
    event = due.event
    envelope = compose(event, source=settings.EVENTS_SOURCE)
    return Outgoing(event.id, event.type, event.subject, envelope)


def _settlement(outcome: Outcome) -> dict[str, Any]:
    (due,) = outcome.deliveries
    attempt = outcome.attempt
    if attempt.is_success:
        state = Delivery.State.DELIVERED
    else:
        state = Delivery.State.DEAD if outcome.delay_s is None else Delivery.State.PENDING
    return {
        "id": due.id,
        "lane_id": outcome.way.lane.id,
        "token": outcome.way.lane.token,
        "state": str(state),
        "delay_s": outcome.delay_s or 0.0,
        "status": attempt.status,
        "error": attempt.error,
        "answer": attempt.answer,
        "duration_ms": attempt.duration_ms,
    }


def _count(outcome: Outcome) -> None:
    if outcome.attempt.is_success:
        name = "delivered"
    else:
        name = "dead" if outcome.delay_s is None else "failed"
    metrics.count_delivery(
        outcome.way.name,
        name,
        events=len(outcome.deliveries),
        duration_s=outcome.attempt.duration_ms / 1000,
    )
