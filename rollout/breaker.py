"""
The breaker of one version of one code path.

    CLOSED     every call is admitted and counted; a rule that is met opens
    OPEN       nothing is admitted until the retry time; then the first call is probe 1
    HALF_OPEN  a few probes; enough good ones close, a bad or lost one opens again

Every transition begins a new epoch, and a call that was admitted in an earlier one changes no
state any more. No method yields to another greenlet (no I/O, no logging): transitions are handed
to notify, which must only queue them. The lock is for threads; it is never held around a call.
"""

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rollout.policies import CONSECUTIVE_ERRORS, BreakerPolicy
from rollout.window import NS_OF_MS, Window

CLOSED, HALF_OPEN, OPEN = 0, 1, 2  # Sentinel's numbers
STATE_NAMES = ("closed", "half_open", "open")

OK, ERROR, REJECT, IGNORED = "ok", "error", "reject", "ignored"


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state, as told to notify."""

    path: str
    version: str
    from_state: int
    to_state: int
    epoch: int
    cause: str
    total: int
    errors: int
    slow: int


@dataclass(frozen=True, slots=True)
class BreakerView:
    """A breaker as it stood at one instant."""

    path: str
    version: str
    state: int
    mode: str
    epoch: int
    total: int
    errors: int
    slow: int
    in_flight: int
    probes_in_flight: int
    probes_succeeded: int
    retry_in_ms: int
    is_governed: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What a breaker tells the fleet: counts since the last time, and what it is short of."""

    total: int
    errors: int
    slow: int
    good_probes: int
    bad_probes: int
    probes_in_flight: int
    refused: int
    is_open_alone: bool


class Token:
    """
    One admitted call. Complete it once; later completions do nothing.

    It holds its breaker and what was agreed when it was admitted, so that a new rule set during
    the call changes nothing for it.
    """

    __slots__ = (
        "allowed_ns",
        "breaker",
        "epoch",
        "is_counted",
        "is_done",
        "is_probe",
        "started_ns",
    )

    def __init__(
        self, breaker: "Breaker", epoch: int, started_ns: int, allowed_ns: int, *, is_probe: bool
    ) -> None:
        self.breaker = breaker
        self.epoch = epoch
        self.started_ns = started_ns
        # For a probe the end of its lease, else the time after which it counts as slow.
        self.allowed_ns = allowed_ns
        self.is_probe = is_probe
        self.is_counted = False
        self.is_done = False

    def complete(self, outcome: str, *, rt_ns: int | None = None) -> None:
        """
        Tell how the call ended: ok, error, reject (the caller's fault) or ignored (client gone).

        rt_ns: how long it took, when the version ended earlier than now.
        """
        self.breaker.complete(self, outcome, rt_ns=rt_ns)

    def hand_back(self) -> int:
        """
        Return how long the version took, in ns, when it has answered but is not judged yet.

        From here on the call does not hang any more; whether it was good is still open.
        """
        return self.breaker.hand_back(self)


class Observer(Protocol):
    """Whoever counts calls for people; it must not wait, and moves no state."""

    def count_end(self, outcome: str, rt_ns: int) -> None:
        """Take note of a call that ended."""

    def count_probe(self, result: str) -> None:
        """Take note of a probe: good, bad, lost or ignored."""


class Nobody:
    """Counts nothing."""

    def count_end(self, outcome: str, rt_ns: int) -> None:
        """Let it pass."""

    def count_probe(self, result: str) -> None:
        """Let it pass."""


NOBODY = Nobody()


class Breaker:
    """The state machine of one (path, version); it lives as long as the process."""

    def __init__(
        self,
        path: str,
        version: str,
        policy: BreakerPolicy,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        dice: Callable[[], float] = random.random,
        notify: Callable[[Transition], object] | None = None,
        observer: Observer = NOBODY,
    ) -> None:
        self.path = path
        self.version = version
        self.policy = policy
        self.state = CLOSED
        self.epoch = 0
        # While a fleet view is fresh it says when to probe and when to close (see sharing).
        self.is_governed = False
        self.probe_chance = 1.0
        self._granted_probes = 0
        self._clock_ns = clock_ns
        self._dice = dice
        self._notify = notify
        self._observer = observer
        self._lock = threading.Lock()
        self._window = Window(policy.stat_interval_ms, policy.stat_sliding_window_bucket_count)
        self._consecutive = 0
        self._retry_at_ns = 0
        self._failed_probes = 0
        self._probes: OrderedDict[Token, None] = OrderedDict()
        self._succeeded = 0
        # Oldest first, and only calls of this epoch; an OrderedDict because taking the oldest
        # from a dict walks over every gap before it.
        self._in_flight: OrderedDict[Token, None] = OrderedDict()
        self._ramp_from_ns: int | None = None
        self._unsent = [0, 0, 0]
        self._unsent_probes = [0, 0]
        self._refused = 0
        self._settle_policy()

    # --- Calls --------------------------------------------------------------------------------

    def admit(self) -> Token | None:
        """Admit a call, or return None: another version must serve it."""
        with self._lock:
            now_ns = self._clock_ns()
            if not self._is_auto:
                return None if self.policy.mode == "forced_open" else self._token(now_ns)
            if self._in_flight or self._probes:
                self._look_at_the_time(now_ns)
            if self.state == CLOSED:
                if self._ramp_from_ns is not None and self._is_held_back(now_ns):
                    return None
                return self._token(now_ns)
            token = None
            if self.state == HALF_OPEN or self._may_begin_to_probe(now_ns):
                token = self._probe(now_ns)
            if token is None:
                self._refused += 1
            return token

    def complete(self, token: Token, outcome: str, *, rt_ns: int | None = None) -> None:
        """Take the end of a call into account; see Token.complete."""
        with self._lock:
            if token.is_done:
                return
            token.is_done = True
            now_ns = self._clock_ns()
            if self._is_auto:
                self._look_at_the_time(now_ns)
            self._in_flight.pop(token, None)
            if rt_ns is None:
                rt_ns = now_ns - token.started_ns
            self._observer.count_end(outcome, rt_ns)
            if token.epoch != self.epoch:
                return  # Admitted under another state: it is measured, but it moves nothing.
            if token.is_probe:
                self._complete_probe(token, outcome, rt_ns, now_ns)
            elif outcome != IGNORED:
                self._count(token, outcome, rt_ns, now_ns)

    def hand_back(self, token: Token) -> int:
        """See Token.hand_back."""
        with self._lock:
            now_ns = self._clock_ns()
            if self._is_auto:
                self._look_at_the_time(now_ns)
            self._in_flight.pop(token, None)
            return now_ns - token.started_ns

    def tick(self) -> None:
        """Notice calls that hang and probes that never came back, also when no call comes."""
        with self._lock:
            if self._is_auto:
                self._look_at_the_time(self._clock_ns())

    def retry_after_s(self) -> float:
        """Return the seconds until a call may be admitted again; 0 when it may be now."""
        with self._lock:
            return self._retry_in_ns(self._clock_ns()) / 1e9

    # --- Rules and modes ----------------------------------------------------------------------

    def apply(self, policy: BreakerPolicy) -> None:
        """
        Go on under another policy.

        State, epoch and retry time stay: looser rules close nothing, probes do. The window stays
        when its shape is the same, else it begins empty.
        """
        with self._lock:
            old, self.policy = self.policy, policy
            if old == policy:
                return
            shape = (policy.stat_interval_ms, policy.stat_sliding_window_bucket_count)
            if shape != (old.stat_interval_ms, old.stat_sliding_window_bucket_count):
                self._window = Window(*shape)
            if old.mode != policy.mode:
                self._change_mode(old.mode)
            self._settle_policy()

    def view(self) -> BreakerView:
        """Return how the breaker stands now."""
        with self._lock:
            now_ns = self._clock_ns()
            self._window.roll(now_ns)
            return BreakerView(
                path=self.path,
                version=self.version,
                state=self.shown_state,
                mode=self.policy.mode,
                epoch=self.epoch,
                total=self._window.total,
                errors=self._window.errors,
                slow=self._window.slow,
                in_flight=len(self._in_flight) + len(self._probes),
                probes_in_flight=len(self._probes),
                probes_succeeded=self._succeeded,
                retry_in_ms=self._retry_in_ns(now_ns) // NS_OF_MS,
                is_governed=self.is_governed,
            )

    @property
    def shown_state(self) -> int:
        """Return the state that callers meet: the mode's where a mode overrides it."""
        if self._is_auto:
            return self.state
        return OPEN if self.policy.mode == "forced_open" else CLOSED

    # --- The fleet (rollout.sharing) ------------------------------------------------------------

    def report(self) -> "Report":
        """Return what happened since the last report; grants that were not used are given back."""
        with self._lock:
            calls, probes = self._unsent, self._unsent_probes
            refused, self._refused = self._refused, 0
            self._unsent, self._unsent_probes = [0, 0, 0], [0, 0]
            self._granted_probes = 0
            return Report(
                total=calls[0],
                errors=calls[1],
                slow=calls[2],
                good_probes=probes[0],
                bad_probes=probes[1],
                probes_in_flight=len(self._probes) if self.is_governed else 0,
                refused=refused,
                is_open_alone=self._is_auto and not self.is_governed and self.state != CLOSED,
            )

    def follow(self, state: int, *, retry_in_ms: int, granted_probes: int) -> None:
        """
        Do as the fleet does: open with it, probe when it grants a probe, close with it.

        A breaker that opened by itself while the fleet stayed closed is not closed by this.
        """
        with self._lock:
            if not self._is_auto:
                return
            now_ns = self._clock_ns()
            self.probe_chance = 1.0
            if state == CLOSED:
                self._granted_probes = 0
                if self.is_governed:
                    self.is_governed = False
                    if self.state != CLOSED:
                        self._close("fleet", now_ns)
                return
            self.is_governed = True
            self._granted_probes = granted_probes
            if self.state == CLOSED or (self.state == HALF_OPEN and state == OPEN):
                self._move(OPEN, "fleet")
            if self.state == OPEN:
                self._retry_at_ns = now_ns + retry_in_ms * NS_OF_MS

    def go_alone(self, probe_chance: float) -> None:
        """
        Decide without the fleet, because its view is lost.

        probe_chance: how often this worker probes when it is time, 1 / live workers, so that a
        whole fleet on its own sends as many probes as before.
        """
        with self._lock:
            self.is_governed = False
            self._granted_probes = 0
            self.probe_chance = probe_chance

    # --- Inside: the lock is held ---------------------------------------------------------------

    def _settle_policy(self) -> None:
        policy = self.policy
        self._is_auto = policy.mode == "auto"
        self._slow_ns = policy.max_allowed_rt_ms * NS_OF_MS
        self._lease_ns = policy.lease_ms * NS_OF_MS
        self._counts_slow = policy.counts_slow

    def _change_mode(self, old_mode: str) -> None:
        # Calls under way belong to the old mode; probes that it began are asked anew.
        state = OPEN if self.state == HALF_OPEN else self.state
        self._move(state, f"mode {old_mode} -> {self.policy.mode}")

    def _token(self, now_ns: int) -> Token:
        token = Token(self, self.epoch, now_ns, now_ns + self._slow_ns, is_probe=False)
        if self._counts_slow and self._is_auto:
            self._in_flight[token] = None
        return token

    def _probe(self, now_ns: int) -> Token | None:
        if self.is_governed:
            if self._granted_probes < 1:
                return None
            self._granted_probes -= 1
        elif (
            len(self._probes) >= self.policy.max_concurrent_probes
            or len(self._probes) + self._succeeded >= self.policy.probe_num
        ):
            return None
        if self.state == OPEN:
            self._move(HALF_OPEN, "probe")
        token = Token(self, self.epoch, now_ns, now_ns + self._lease_ns, is_probe=True)
        self._probes[token] = None
        return token

    def _may_begin_to_probe(self, now_ns: int) -> bool:
        if self.is_governed:
            return self._granted_probes > 0
        if now_ns < self._retry_at_ns:
            return False
        if self.probe_chance < 1 and self._dice() >= self.probe_chance:
            self._retry_at_ns = now_ns + self.policy.retry_timeout_ms * NS_OF_MS
            return False
        return True

    def _is_held_back(self, now_ns: int) -> bool:
        ramp_ns = self.policy.recovery_ramp_ms * NS_OF_MS
        passed_ns = now_ns - (self._ramp_from_ns or 0)
        if passed_ns >= ramp_ns:
            self._ramp_from_ns = None
            return False
        return self._dice() * ramp_ns >= passed_ns

    def _look_at_the_time(self, now_ns: int) -> None:
        if self._probes and next(iter(self._probes)).allowed_ns <= now_ns:
            self._unsent_probes[1] += 1
            self._observer.count_probe("lost")
            self._reopen("probe lost", now_ns)
        overdue = 0
        while self._in_flight:
            oldest = next(iter(self._in_flight))
            if oldest.allowed_ns >= now_ns:
                break
            del self._in_flight[oldest]
            oldest.is_counted = True
            overdue += 1
        if overdue:
            self._window.roll(now_ns)
            self._window.add(total=overdue, errors=0, slow=overdue)
            self._unsent[0] += overdue
            self._unsent[2] += overdue
            self._open_if_met(now_ns)

    def _count(self, token: Token, outcome: str, rt_ns: int, now_ns: int) -> None:
        is_error = outcome == ERROR
        # A call that hung was counted as slow already; only its error is news.
        is_new = not token.is_counted
        is_slow = is_new and rt_ns > token.allowed_ns - token.started_ns
        self._window.roll(now_ns)
        self._window.add(total=is_new, errors=is_error, slow=is_slow)
        unsent = self._unsent
        unsent[0] += is_new
        unsent[1] += is_error
        unsent[2] += is_slow
        self._consecutive = self._consecutive + 1 if is_error else 0
        if self.state == CLOSED and self._is_auto:
            self._open_if_met(now_ns)

    def _open_if_met(self, now_ns: int) -> None:
        window = self._window
        is_enough = window.total >= self.policy.min_request_amount
        for rule in self.policy.rules:
            if (is_enough or rule.strategy == CONSECUTIVE_ERRORS) and rule.is_met(
                total=window.total,
                errors=window.errors,
                slow=window.slow,
                consecutive=self._consecutive,
            ):
                self._open(rule.strategy, now_ns)
                return

    def _complete_probe(self, token: Token, outcome: str, rt_ns: int, now_ns: int) -> None:
        self._probes.pop(token, None)
        if outcome == IGNORED:
            # Nothing was learned: somebody else may probe.
            self._granted_probes += self.is_governed
            self._observer.count_probe("ignored")
            return
        if outcome == ERROR or (self._counts_slow and rt_ns > self._slow_ns):
            self._unsent_probes[1] += 1
            self._observer.count_probe("bad")
            self._reopen("probe failed", now_ns)
            return
        self._unsent_probes[0] += 1
        self._observer.count_probe("good")
        self._succeeded += 1
        if not self.is_governed and self._succeeded >= self.policy.probe_num:
            self._close("probes", now_ns)

    def _open(self, cause: str, now_ns: int) -> None:
        self._move(OPEN, cause)
        retry_in_ms = self.policy.retry_in_ms(failed_probes=self._failed_probes, dice=self._dice())
        self._retry_at_ns = now_ns + retry_in_ms * NS_OF_MS

    def _reopen(self, cause: str, now_ns: int) -> None:
        self._failed_probes += 1
        self._open(cause, now_ns)

    def _close(self, cause: str, now_ns: int) -> None:
        self._move(CLOSED, cause)
        self._window.clear()
        self._failed_probes = 0
        self._ramp_from_ns = now_ns if self.policy.recovery_ramp_ms else None

    def _move(self, to_state: int, cause: str) -> None:
        from_state, self.state = self.state, to_state
        self.epoch += 1
        self._in_flight.clear()
        self._probes.clear()
        self._succeeded = 0
        self._consecutive = 0
        self._ramp_from_ns = None
        if self._notify is not None:
            window = self._window
            self._notify(
                Transition(
                    self.path,
                    self.version,
                    from_state,
                    to_state,
                    self.epoch,
                    cause,
                    window.total,
                    window.errors,
                    window.slow,
                )
            )

    def _retry_in_ns(self, now_ns: int) -> int:
        if not self._is_auto:
            is_open = self.policy.mode == "forced_open"
            return self.policy.retry_timeout_ms * NS_OF_MS if is_open else 0
        if self.state == CLOSED:
            return 0
        if self.state == HALF_OPEN:
            return NS_OF_MS * 1_000
        return max(0, self._retry_at_ns - now_ns)
