"""The queue of group commit: nobody waits for ever, whatever becomes of the leader."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

from django.db import transaction
from django.test import SimpleTestCase, TestCase

from events.usecases import OutcomeUnknown, TemporarilyUnavailable
from orders import intake
from orders.intake import Intake

PATIENCE_S = 20


class Gate:
    """A run that waits at a gate and keeps what it was given."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[Any]] = []

    def __call__(self, works: Sequence[Any]) -> list[Any]:
        self.batches.append(list(works))
        self.entered.set()
        assert self.opened.wait(PATIENCE_S)
        return [f"did {work}" for work in works]


class Caller(threading.Thread):
    """A thread that submits works and keeps what it was told."""

    def __init__(self, queue: Intake[Any, Any], *works: Any) -> None:
        super().__init__(daemon=True)
        self.queue, self.works = queue, works
        self.told: Sequence[Any] | BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.told = self.queue.submit(self.works)
        except BaseException as failure:  # noqa: BLE001 - an outcome like another
            self.told = failure

    def outcome(self) -> Any:
        """Return what it was told, as soon as that is known."""
        self.join(PATIENCE_S)
        assert not self.is_alive(), "waits for ever"
        return self.told


def queue_before(
    run: Callable[[Sequence[Any]], Sequence[Any]],
    *,
    weight_max: int = 100,
    beforehand: Callable[[], None] | None = None,
) -> Intake[Any, Any]:
    return Intake(run, weigh=lambda _: 1, batch_weight_max=weight_max, beforehand=beforehand)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def queued(queue: Intake[Any, Any]) -> int:
    return len(queue._queue)


class IntakeTests(SimpleTestCase):
    def callers_behind_a_leader(self, gate, queue, *works_of_each):
        """Let a leader stand at the gate and the others queue behind it, in their order."""
        leader = Caller(queue, "first")
        assert gate.entered.wait(PATIENCE_S)
        followers = []
        for n, works in enumerate(works_of_each):
            followers.append(Caller(queue, *works))
            wait_until(lambda n=n: queued(queue) == n + 1)
        return leader, followers

    def test_who_comes_alone_waits_for_nobody(self):
        batches = []
        queue = queue_before(lambda works: batches.append(works) or works)

        self.assertEqual(list(queue.submit(["a"])), ["a"])
        self.assertEqual(list(queue.submit(["b"])), ["b"])
        self.assertEqual(batches, [["a"], ["b"]])

    def batch_of_two(self, queue: Intake[Any, Any], gate: Gate) -> None:
        leader, followers = self.callers_behind_a_leader(gate, queue, ["a"], ["b"])
        gate.opened.set()
        for caller in (leader, *followers):
            caller.outcome()
        self.assertEqual(gate.batches, [["first"], ["a", "b"]])

    def test_who_comes_right_after_a_few_waits_a_moment_for_more(self):
        gate = Gate()
        queue = queue_before(gate)
        self.batch_of_two(queue, gate)

        with patch.object(intake, "time", wraps=time) as clock:
            queue.submit(["c"])
            queue.submit(["d"])  # After one that was alone.

        clock.sleep.assert_called_once_with(intake.WAIT_FOR_COMPANY_S)

    def test_who_comes_long_after_a_few_waits_for_nobody(self):
        gate = Gate()
        queue = queue_before(gate)
        self.batch_of_two(queue, gate)
        queue._ended_s -= 2 * intake.COMPANY_LATELY_S

        with patch.object(intake, "time") as clock:
            queue.submit(["c"])

        clock.sleep.assert_not_called()

    def test_a_batch_has_no_more_callers_than_can_be_answered_soon(self):
        gate = Gate()
        queue = queue_before(gate)
        more = intake.CALLERS_MAX + 5
        _, followers = self.callers_behind_a_leader(gate, queue, *([n] for n in range(more)))
        gate.opened.set()

        for n, follower in enumerate(followers):
            self.assertEqual(list(follower.outcome()), [f"did {n}"])
        self.assertEqual([len(batch) for batch in gate.batches], [1, intake.CALLERS_MAX, 5])

    def test_nobody_gets_an_outcome_when_there_is_not_one_for_each(self):
        gate = Gate()
        queue = queue_before(lambda works: gate(works)[:1])
        leader, followers = self.callers_behind_a_leader(gate, queue, ["a"], ["b"])
        gate.opened.set()

        self.assertEqual(list(leader.outcome()), ["did first"])
        for follower in followers:
            (told,) = follower.outcome()
            self.assertIsInstance(told, RuntimeError)

    def test_those_who_wait_share_the_next_run_in_their_order(self):
        gate = Gate()
        leader, followers = self.callers_behind_a_leader(
            gate, queue_before(gate), ["a"], ["b"], ["c"]
        )
        gate.opened.set()

        self.assertEqual(leader.outcome(), ["did first"])
        self.assertEqual([f.outcome() for f in followers], [["did a"], ["did b"], ["did c"]])
        self.assertEqual(gate.batches, [["first"], ["a", "b", "c"]])

    def test_works_of_one_caller_stay_together_and_each_gets_its_own_outcome(self):
        gate = Gate()
        _, followers = self.callers_behind_a_leader(
            gate, queue_before(gate, weight_max=3), ["a", "b"], ["c", "d"], ["e"]
        )
        gate.opened.set()

        self.assertEqual(
            [f.outcome() for f in followers], [["did a", "did b"], ["did c", "did d"], ["did e"]]
        )
        self.assertEqual(gate.batches, [["first"], ["a", "b"], ["c", "d", "e"]])

    def test_a_caller_with_more_than_a_batch_is_never_split_and_never_stuck(self):
        gate = Gate()
        _, followers = self.callers_behind_a_leader(
            gate, queue_before(gate, weight_max=2), ["a"], ["b", "c", "d"], ["e"]
        )
        gate.opened.set()

        self.assertEqual(followers[1].outcome(), ["did b", "did c", "did d"])
        self.assertEqual(followers[2].outcome(), ["did e"])
        self.assertEqual(gate.batches, [["first"], ["a"], ["b", "c", "d"], ["e"]])

    def test_a_run_that_fails_is_the_outcome_of_its_whole_batch_and_of_no_other(self):
        gate = Gate()

        def run(works):
            done = gate(works)
            if "poison" in works:
                raise ValueError("no")
            return done

        queue = queue_before(run, weight_max=2)
        leader, followers = self.callers_behind_a_leader(gate, queue, ["a"], ["poison"], ["b"])
        gate.opened.set()

        self.assertEqual(leader.outcome(), ["did first"])
        self.assertIsInstance(followers[0].outcome()[0], ValueError)
        self.assertIsInstance(followers[1].outcome()[0], ValueError)
        self.assertEqual(followers[2].outcome(), ["did b"])

    def test_nobody_knows_the_outcome_of_a_leader_that_died(self):
        gate = Gate()

        def run(works):
            done = gate(works)
            if "a" in works:
                raise SystemExit  # What kills a thread, or a greenlet: no Exception.
            return done

        queue = queue_before(run, weight_max=2)
        _, followers = self.callers_behind_a_leader(gate, queue, ["a"], ["b"], ["c"])
        gate.opened.set()

        self.assertIsInstance(followers[0].outcome(), SystemExit)
        self.assertIsInstance(followers[1].outcome()[0], OutcomeUnknown)
        self.assertEqual(followers[2].outcome(), ["did c"])
        self.assertEqual(list(queue.submit(["later"])), ["did later"])

    def test_who_waits_in_vain_for_a_turn_was_not_begun(self):
        gate = Gate()
        queue = queue_before(gate)

        with patch.object(intake, "TURN_S_MAX", 0.1):
            leader, followers = self.callers_behind_a_leader(gate, queue, ["a"])
            outcome = followers[0].outcome()[0]

        self.assertIsInstance(outcome, TemporarilyUnavailable)
        self.assertEqual(outcome.effect, "none")
        gate.opened.set()
        self.assertEqual(leader.outcome(), ["did first"])
        self.assertEqual(gate.batches, [["first"]])

    def test_who_is_in_a_run_waits_on_when_a_turn_may_take_no_longer(self):
        gates = {"first": Gate(), "a": Gate()}
        queue = queue_before(lambda works: gates[works[0]](works))

        with patch.object(intake, "TURN_S_MAX", 0.3):
            _, followers = self.callers_behind_a_leader(gates["first"], queue, ["a"], ["b"])
            gates["first"].opened.set()
            assert gates["a"].entered.wait(PATIENCE_S)
            time.sleep(0.4)
            gates["a"].opened.set()

            self.assertEqual([f.outcome() for f in followers], [["did a"], ["did b"]])

    def test_who_is_in_a_run_that_takes_too_long_does_not_know(self):
        gates = {"first": Gate(), "a": Gate()}
        queue = queue_before(lambda works: gates[works[0]](works))

        with patch.multiple(intake, TURN_S_MAX=0.2, WAIT_S_MAX=0.3):
            _, followers = self.callers_behind_a_leader(gates["first"], queue, ["a"], ["b"])
            gates["first"].opened.set()
            outcome = followers[1].outcome()[0]

        self.assertIsInstance(outcome, OutcomeUnknown)
        self.assertEqual(gates["a"].batches, [["a", "b"]])
        gates["a"].opened.set()
        self.assertEqual(followers[0].outcome(), ["did a"])
        self.assertEqual(list(queue.submit(["first"])), ["did first"])

    def test_who_comes_before_a_leader_has_what_it_needs_is_in_its_batch(self):
        batches = []
        leader, followers = self.callers_who_wait_beforehand(
            lambda works: batches.append(list(works)) or works
        )

        self.assertEqual(batches, [["first", "a", "b"]])
        self.assertEqual(
            [leader.outcome(), *(f.outcome() for f in followers)], [["first"], ["a"], ["b"]]
        )

    def test_a_leader_that_does_not_get_what_it_needs_refuses_all_who_wait(self):
        trouble = TemporarilyUnavailable()
        batches = []
        leader, followers = self.callers_who_wait_beforehand(batches.append, trouble)

        # One refusal for all: to a breaker it is one outcome.
        self.assertEqual([c.outcome() for c in (leader, *followers)], [[trouble]] * 3)
        self.assertEqual(batches, [])

    def callers_who_wait_beforehand(self, run, trouble=None):
        """Let a leader wait for what it needs until two more have come; return all, answered."""
        entered, opened = threading.Event(), threading.Event()

        def beforehand():
            entered.set()
            assert opened.wait(PATIENCE_S)
            if trouble is not None:
                raise trouble

        queue = queue_before(run, beforehand=beforehand)
        leader = Caller(queue, "first")
        assert entered.wait(PATIENCE_S)
        followers = [Caller(queue, "a")]
        wait_until(lambda: queued(queue) == 1)
        followers.append(Caller(queue, "b"))
        wait_until(lambda: queued(queue) == 2)
        opened.set()
        leader.outcome()
        return leader, followers

    def test_many_threads_each_get_their_own_outcome(self):
        largest = []

        def run(works):
            largest.append(len(works))
            time.sleep(0.001)
            return [work * 2 for work in works]

        queue = queue_before(run, weight_max=10)
        told = {}

        def work(n):
            for m in range(10):
                told[n, m] = list(queue.submit([n * 100 + m]))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)

        self.assertEqual(told, {(n, m): [2 * (n * 100 + m)] for n in range(200) for m in range(10)})
        self.assertEqual(sum(largest), 2000)
        self.assertEqual(max(largest), 10)
        self.assertEqual(queued(queue), 0)


class InsideTransactionTests(TestCase):
    def test_refuses_to_queue_inside_a_transaction(self):
        done = []

        with self.assertRaises(RuntimeError), transaction.atomic():
            queue_before(done.append).submit(["a"])

        self.assertEqual(done, [])


# Threads cannot be killed from outside, greenlets can, and gevent does it when a worker stops.
UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import django; django.setup()
import gevent
from orders.intake import Intake

batches = []

def run(works):
    batches.append(list(works))
    gevent.sleep(0.05)
    return [work * 2 for work in works]

queue = Intake(run, weigh=lambda _: 1, batch_weight_max=3)

def submit(n):
    (outcome,) = queue.submit([n])
    return outcome if isinstance(outcome, int) else type(outcome).__name__

def start(*numbers):
    greenlets = []
    for n in numbers:
        greenlets.append(gevent.spawn(submit, n))
        gevent.sleep(0.001)
    return greenlets

def tell(*greenlets):
    gevent.joinall(greenlets, timeout=5)
    print(*(g.value if g.dead else "waits for ever" for g in greenlets), str(batches), submit(100))
"""


class UnderGeventTests(SimpleTestCase):
    def told(self, program):
        """Return the line that the program tells: outcomes, batches, and a later outcome."""
        ran = subprocess.run(
            [sys.executable, "-c", UNDER_GEVENT + program],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return ran.stdout.strip()

    def test_two_hundred_greenlets_each_get_their_own_outcome(self):
        program = """
queue._batch_weight_max = 30
greenlets = [gevent.spawn(submit, n) for n in range(200)]
gevent.joinall(greenlets, timeout=20)
print([g.value for g in greenlets] == [2 * n for n in range(200)])
"""

        self.assertEqual(self.told(program), "True")

    def test_a_leader_that_is_killed_leaves_nobody_waiting(self):
        program = """
first, leader, follower, other, later = start(1, 2, 3, 4, 5)
first.join()
gevent.sleep(0.01)
leader.kill()
tell(first, follower, other, later)
"""

        self.assertEqual(
            self.told(program), "2 OutcomeUnknown OutcomeUnknown 10 [[1], [2, 3, 4], [5]] 200"
        )

    def test_a_leader_that_is_killed_when_called_passes_the_lead_on(self):
        program = """
first, heir, follower = start(1, 2, 3)
# The heir is called when the first is done, but it is killed before it wakes up.
pass_on = queue._pass_on
def kill_and_pass_on():
    queue._pass_on = pass_on
    heir.kill(block=False)
    pass_on()
queue._pass_on = kill_and_pass_on
tell(first, follower)
"""

        self.assertEqual(self.told(program), "2 6 [[1], [3]] 200")

    def test_a_leader_that_is_killed_beforehand_harms_only_itself(self):
        program = """
queue._beforehand = lambda: gevent.sleep(0.05)
leader, follower, other = start(1, 2, 3)
leader.kill()
tell(follower, other)
"""

        self.assertEqual(self.told(program), "4 6 [[2, 3]] 200")

    def test_a_follower_that_is_killed_while_it_waits_is_not_begun(self):
        program = """
first, victim, follower = start(1, 2, 3)
victim.kill()
tell(first, follower)
"""

        self.assertEqual(self.told(program), "2 6 [[1], [3]] 200")

    def test_a_follower_that_is_killed_in_a_run_harms_no_other(self):
        program = """
first, leader, victim, follower = start(1, 2, 3, 4)
first.join()
gevent.sleep(0.01)
victim.kill()
tell(leader, follower)
"""

        self.assertEqual(self.told(program), "4 8 [[1], [2, 3, 4]] 200")
