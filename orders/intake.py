"""
Group commit: requests that arrive while a transaction is under way share the next one.

Leader and followers: whoever finds nobody leading leads, takes what waits, runs it in one
transaction and passes the lead on. A batch grows by itself while COMMIT is waiting.
Greenlets and threads alike: whatever `threading` is in this process.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Generic, TypeVar

from django.conf import settings
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN_CONTEXT

from config.pools import give_back
from events.usecases import OutcomeUnknown, TemporarilyUnavailable, let_go_of_frames
from orders.metrics import note_batch
from orders.tracing import batch_span, link_to_batch

Work = TypeVar("Work")
Outcome = TypeVar("Outcome")
Told = TypeVar("Told")

# A follower waits this long for a leader whose every statement has a shorter limit of its own, and
# for its turn hardly longer than one who wants a connection: what was not begun is refused early.
WAIT_S_MAX = 10.0
TURN_S_MAX = min(1.2 * settings.DB_POOL_TIMEOUT_S, WAIT_S_MAX)

# Where many came together the last time, others can be heard already: they are let in before the
# batch is closed, by so many turns of the event loop. 38 orders a batch instead of 24, and a tenth
# more orders a second; where few come nobody waits for anybody.
CROWD_MIN = 8
TURNS_FOR_CROWD = 2

# Where a few came together just now, a few more are on their way: a batch of three costs as much
# as one of six. As PostgreSQL's commit_delay: a tenth less of all processors at 800 orders a
# second, and no later answers. Who comes alone waits for nobody.
COMPANY_MIN = 2
COMPANY_LATELY_S = 0.05
WAIT_FOR_COMPANY_S = 0.002

# All callers of a batch are answered in one go, and what it decides is decided in one go: for so
# long no other is heard. Twice as many make an order hardly cheaper, and who has to be refused
# waits half as long again (p99 at twice the capacity: 37 to 45 ms, else 50 to 59).
CALLERS_MAX = 48


class Ticket(Generic[Work, Outcome]):
    """What one caller put in the queue, and what became of it."""

    __slots__ = (
        "batch",
        "is_taken",
        "outcomes",
        "queued_s",
        "signal",
        "span",
        "weight",
        "works",
    )

    def __init__(self, works: Sequence[Work], *, weight: int) -> None:
        self.works = works
        self.weight = weight
        self.queued_s = perf_counter()
        self.outcomes: Sequence[Outcome | Exception] | None = None
        self.is_taken = False
        # The span that waits, and where the one of the batch is found: another's greenlet runs it.
        self.span = trace.get_current_span()
        self.batch = INVALID_SPAN_CONTEXT
        # A lock that is held until there is news: half the price of an Event.
        self.signal = threading.Lock()
        self.signal.acquire()

    def refuse(self, refusal: Exception) -> None:
        """Give every work of this ticket the same refusal."""
        self.outcomes = [refusal] * len(self.works)


class Intake(Generic[Work, Outcome]):
    """
    A queue before one function that does the work of many at once.

    run: takes works, oldest first, and returns as many outcomes in that order, an exception for
    a work that is refused. What run itself raises, every work of the batch gets.
    weigh: how much of a batch a work takes. batch_weight_max: what is put together weighs no
    more, and comes from CALLERS_MAX at most; what one caller submits is never split. afterwards:
    what is done with a batch and its outcomes once everybody has them and the next batch is under
    way: there is time for it.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Work]], Sequence[Outcome | Exception]],
        *,
        weigh: Callable[[Work], int],
        batch_weight_max: int,
        beforehand: Callable[[], None] | None = None,
        afterwards: Callable[[Sequence[Work], Sequence[Outcome | Exception]], None] | None = None,
    ) -> None:
        self._run = run
        self._weigh = weigh
        self._batch_weight_max = batch_weight_max
        self._beforehand = beforehand
        self._afterwards = afterwards
        self._mutex = threading.Lock()  # Never held while anything waits.
        self._queue: deque[Ticket[Work, Outcome]] = deque()
        self._is_led = False
        self._crowd = 0
        self._ended_s = 0.0

    def submit(self, works: Sequence[Work]) -> Sequence[Outcome | Exception]:
        """
        Have works done together with others', and return their outcomes in order.

        works: 1 or more. An outcome is TemporarilyUnavailable when the turn did not come in
        TURN_S_MAX, OutcomeUnknown when the batch did not end in WAIT_S_MAX or its leader died.
        Raises RuntimeError inside a transaction: the leader's commit would not be the caller's.
        """
        # Who queues gives its connection back first: else waiting followers hold the whole pool
        # and the leader starves.
        if not give_back():
            raise RuntimeError("group commit inside a transaction")
        ticket: Ticket[Work, Outcome] = Ticket(works, weight=sum(map(self._weigh, works)))
        with self._mutex:
            leads = not self._is_led
            self._is_led = True
            if not leads:
                self._queue.append(ticket)
        if leads or self._is_called_to_lead(ticket):
            self._lead(ticket)
        link_to_batch(ticket.span, ticket.batch)
        assert ticket.outcomes is not None  # noqa: S101  # Led, answered or withdrawn.
        return ticket.outcomes

    def _is_called_to_lead(self, ticket: Ticket[Work, Outcome]) -> bool:
        """Wait for the outcomes or for the lead; tell which it was."""
        is_signalled = False
        try:
            is_signalled = ticket.signal.acquire(timeout=TURN_S_MAX)
            if not is_signalled and not self._leaves_queue(ticket):
                is_signalled = ticket.signal.acquire(timeout=max(0.0, WAIT_S_MAX - TURN_S_MAX))
        finally:
            # Also for a greenlet that is killed here: nobody may hand it the lead.
            if not is_signalled:
                self._withdraw(ticket)
        return ticket.outcomes is None

    def _leaves_queue(self, ticket: Ticket[Work, Outcome]) -> bool:
        """Refuse a ticket whose turn did not come; False when it has come at this very moment."""
        with self._mutex:
            if ticket not in self._queue:
                return False
            self._queue.remove(ticket)
            ticket.refuse(TemporarilyUnavailable())
            return True

    def _withdraw(self, ticket: Ticket[Work, Outcome]) -> None:
        with self._mutex:
            is_answered = ticket.outcomes is not None
            is_waiting = not is_answered and ticket in self._queue
            is_called = not (is_answered or is_waiting or ticket.is_taken)
            if is_waiting:
                self._queue.remove(ticket)
            if not is_answered:
                ticket.refuse(OutcomeUnknown() if ticket.is_taken else TemporarilyUnavailable())
        if is_called:
            # The lead came at the very moment of giving up: it goes on to the next.
            self._pass_on()

    def _lead(self, own: Ticket[Work, Outcome]) -> None:
        """Run one batch, the leader's own ticket first, and pass the lead on whatever happens."""
        trouble = self._trouble_beforehand()
        batch = self._take(own)
        self._crowd = len(batch)
        began_s = perf_counter()
        outcomes: Sequence[Outcome | Exception] = ()
        works = [work for ticket in batch for work in ticket.works]
        try:
            with batch_span([ticket.span for ticket in batch], size=len(works)) as place:
                for ticket in batch:
                    ticket.batch = place
                if trouble is not None:
                    raise trouble
                outcomes = _one_for_each(works, self._run(works))
        except Exception as failure:  # noqa: BLE001  # Answered: to each of the batch.
            if failure is trouble:
                let_go_of_frames(failure)  # This one holds whom it is told to.
            outcomes = [failure] * len(works)
        finally:
            self._ended_s = ended_s = perf_counter()
            # A leader that is killed (GreenletExit) has no outcomes: nobody knows any.
            if not outcomes:
                outcomes = [OutcomeUnknown() for _ in works]
            try:
                give_back()
            finally:
                self._pass_on()
                self._hand_out(batch, outcomes)
        note_batch(
            [began_s - ticket.queued_s for ticket in batch],
            orders=len(works),
            duration_s=ended_s - began_s,
        )
        if self._afterwards is not None:
            self._afterwards(works, outcomes)

    def _trouble_beforehand(self) -> Exception | None:
        try:
            if self._crowd >= CROWD_MIN:
                for _ in range(TURNS_FOR_CROWD):
                    time.sleep(0)
            elif self._crowd >= COMPANY_MIN and perf_counter() - self._ended_s < COMPANY_LATELY_S:
                time.sleep(WAIT_FOR_COMPANY_S)
            if self._beforehand is not None:
                self._beforehand()
        except Exception as trouble:  # noqa: BLE001  # Answered: to each of the batch.
            return trouble
        except BaseException:
            # Killed before it took anything: the others lose nothing by it.
            self._pass_on()
            raise
        return None

    def _take(self, own: Ticket[Work, Outcome]) -> list[Ticket[Work, Outcome]]:
        with self._mutex:
            batch = [own]
            weight = own.weight
            while (
                self._queue
                and len(batch) < CALLERS_MAX
                and weight + self._queue[0].weight <= self._batch_weight_max
            ):
                ticket = self._queue.popleft()
                batch.append(ticket)
                weight += ticket.weight
            for ticket in batch:
                ticket.is_taken = True
        return batch

    def _hand_out(
        self, batch: Sequence[Ticket[Work, Outcome]], outcomes: Sequence[Outcome | Exception]
    ) -> None:
        start = 0
        for ticket in batch:
            end = start + len(ticket.works)
            ticket.outcomes = outcomes[start:end]
            start = end
            ticket.signal.release()

    def _pass_on(self) -> None:
        with self._mutex:
            self._is_led = bool(self._queue)
            heir = self._queue.popleft() if self._queue else None
        if heir is not None:
            heir.signal.release()


def _one_for_each(works: Sequence[Work], outcomes: Sequence[Told]) -> Sequence[Told]:
    # Handed out all the same, they would be another caller's.
    if len(outcomes) != len(works):
        raise RuntimeError(f"{len(works)} works, {len(outcomes)} outcomes")
    return outcomes
