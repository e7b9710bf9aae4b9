"""The breaker's states, to the edge of each rule."""

import threading
from dataclasses import replace

import pytest

from rollout.breaker import CLOSED, ERROR, HALF_OPEN, IGNORED, OK, OPEN, REJECT, Breaker
from rollout.policies import BreakerPolicy, BreakerRule
from rollout.window import Window

MS = 1_000_000


class Clock:
    """A clock that stands still until it is moved; it begins at a whole second."""

    def __init__(self):
        self.now_ns = 1_000_000 * MS

    def __call__(self):
        return self.now_ns

    def pass_ms(self, ms):
        self.now_ns += int(ms * MS)


def policy_of(*rules, **changes):
    settings = {
        "min_request_amount": 5,
        "stat_interval_ms": 1000,
        "retry_timeout_ms": 3000,
        "max_allowed_rt_ms": 50,
        "probe_num": 2,
        "retry_jitter": 0.0,
    }
    return BreakerPolicy(rules=rules or (BreakerRule("ErrorCount", 1),), **(settings | changes))


class Rig:
    """A breaker with its clock, and what it told."""

    def __init__(self, *rules, dice=0.5, **changes):
        self.clock = Clock()
        self.told = []
        self.dice = dice
        self.breaker = Breaker(
            "orders.place",
            "v2",
            policy_of(*rules, **changes),
            clock_ns=self.clock,
            dice=lambda: self.dice,
            notify=self.told.append,
        )

    def call(self, outcome=OK, *, took_ms=0, times=1):
        for _ in range(times):
            token = self.breaker.admit()
            assert token is not None
            self.clock.pass_ms(took_ms)
            token.complete(outcome)

    @property
    def state(self):
        return self.breaker.state

    def opened(self):
        """Break it: an error count of 1 after enough calls."""
        self.call(OK, times=4)
        self.call(ERROR)
        assert self.state == OPEN
        return self

    def half_open(self):
        """Open it and let the retry time pass; the next call is the first probe."""
        self.opened()
        self.clock.pass_ms(3000)
        return self


ERROR_RATIO = BreakerRule("ErrorRatio", 0.4)
SLOW_RATIO = BreakerRule("SlowRequestRatio", 0.4)
ERROR_COUNT = BreakerRule("ErrorCount", 3)
CONSECUTIVE = BreakerRule("consecutive_errors", 3)


class StrategyTests:
    """Sentinel's truth table: (rule, calls as (outcome, milliseconds), state after them)."""

    @pytest.mark.parametrize(
        ("rule", "calls", "state"),
        [
            # ErrorRatio 0.4 of at least 5
            (ERROR_RATIO, [(ERROR, 0)] * 4, CLOSED),
            (ERROR_RATIO, [(ERROR, 0)] * 5, OPEN),
            (ERROR_RATIO, [(OK, 0)] * 3 + [(ERROR, 0)] * 2, OPEN),
            (ERROR_RATIO, [(OK, 0)] * 4 + [(ERROR, 0)] * 2, CLOSED),
            (ERROR_RATIO, [(OK, 0)] * 4 + [(ERROR, 0)] * 3, OPEN),
            (ERROR_RATIO, [(ERROR, 0)] * 2 + [(OK, 0)] * 3, OPEN),
            (ERROR_RATIO, [(REJECT, 0)] * 20, CLOSED),
            (ERROR_RATIO, [(IGNORED, 0)] * 20 + [(ERROR, 0)] * 4, CLOSED),
            (ERROR_RATIO, [(OK, 51)] * 9, CLOSED),
            # SlowRequestRatio 0.4 of at least 5, slow is above 50 ms
            (SLOW_RATIO, [(OK, 51)] * 4, CLOSED),
            (SLOW_RATIO, [(OK, 50)] * 5, CLOSED),
            (SLOW_RATIO, [(OK, 50.001)] * 5, OPEN),
            (SLOW_RATIO, [(OK, 0)] * 3 + [(OK, 51)] * 2, OPEN),
            (SLOW_RATIO, [(OK, 0)] * 4 + [(OK, 51)] * 2, CLOSED),
            (SLOW_RATIO, [(ERROR, 0)] * 9, CLOSED),
            (SLOW_RATIO, [(REJECT, 51)] * 5, OPEN),
            # ErrorCount 3 of at least 5
            (ERROR_COUNT, [(ERROR, 0)] * 4, CLOSED),
            (ERROR_COUNT, [(ERROR, 0)] * 5, OPEN),
            (ERROR_COUNT, [(OK, 0)] * 50 + [(ERROR, 0)] * 2, CLOSED),
            (ERROR_COUNT, [(OK, 0)] * 50 + [(ERROR, 0)] * 3, OPEN),
            # consecutive_errors 3, however few calls
            (CONSECUTIVE, [(ERROR, 0)] * 2, CLOSED),
            (CONSECUTIVE, [(ERROR, 0)] * 3, OPEN),
            (CONSECUTIVE, [(ERROR, 0)] * 2 + [(OK, 0)] + [(ERROR, 0)] * 2, CLOSED),
            (CONSECUTIVE, [(ERROR, 0)] * 2 + [(REJECT, 0)] + [(ERROR, 0)] * 2, CLOSED),
            (CONSECUTIVE, [(ERROR, 0)] * 2 + [(IGNORED, 0)] + [(ERROR, 0)], OPEN),
        ],
    )
    def test_opens_at_the_edge(self, rule, calls, state):
        rig = Rig(rule, stat_interval_ms=10_000)

        for outcome, took_ms in calls:
            rig.call(outcome, took_ms=took_ms)

        assert rig.state == state

    def test_reaches_a_threshold_that_no_float_is(self):
        rig = Rig(BreakerRule("ErrorRatio", 0.2), min_request_amount=15)

        rig.call(ERROR, times=3)
        rig.call(OK, times=12)

        assert rig.state == OPEN

    def test_holds_several_rules_in_one_state(self):
        rig = Rig(ERROR_COUNT, SLOW_RATIO)

        rig.call(OK, took_ms=60, times=5)

        assert rig.state == OPEN
        assert [transition.cause for transition in rig.told] == ["SlowRequestRatio"]

    def test_tells_the_counts_that_opened_it(self):
        rig = Rig(ERROR_RATIO)

        rig.call(OK, times=3)
        rig.call(ERROR, times=2)

        (told,) = rig.told
        assert (told.from_state, told.to_state, told.epoch) == (CLOSED, OPEN, 1)
        assert (told.total, told.errors, told.slow) == (5, 2, 0)


class WindowTests:
    def test_forgets_a_bucket_exactly_one_interval_after_it_began(self):
        window = Window(interval_ms=1000, size=10)
        window.roll(5_000 * MS)
        window.add(total=1, errors=1, slow=1)

        window.roll(5_999 * MS + 999_999)
        at_the_end = window.total
        window.roll(6_000 * MS)

        assert at_the_end == 1
        assert (window.total, window.errors, window.slow) == (0, 0, 0)

    def test_forgets_everything_after_any_longer_silence(self):
        for silence in range(10, 40):
            window = Window(interval_ms=1000, size=10)
            window.roll(5_000 * MS)
            window.add(total=1, errors=1, slow=1)

            window.roll((5_000 + 100 * silence) * MS)

            assert (window.total, window.errors, window.slow) == (0, 0, 0)

    def test_counts_into_the_bucket_of_the_moment(self):
        window = Window(interval_ms=1000, size=10)
        for tenth in range(10):
            window.roll((5_000 + 100 * tenth) * MS)
            window.add(total=1, errors=0, slow=0)

        totals = []
        for tenth in range(10, 21):
            window.roll((5_000 + 100 * tenth) * MS)
            totals.append(window.total)

        assert totals == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]

    def test_opens_only_on_calls_of_the_last_interval(self):
        rig = Rig(ERROR_COUNT)
        rig.call(ERROR, times=2)
        rig.call(OK, times=9)

        rig.clock.pass_ms(1000)
        rig.call(ERROR, times=1)
        rig.call(OK, times=9)

        assert rig.state == CLOSED


class OpenTests:
    def test_admits_nothing_before_the_retry_time(self):
        rig = Rig().opened()

        rig.clock.pass_ms(2999.999)

        assert rig.breaker.admit() is None
        assert rig.breaker.retry_after_s() == pytest.approx(0.000001, abs=1e-7)
        assert rig.state == OPEN

    def test_lets_the_first_call_after_it_probe(self):
        rig = Rig().half_open()

        token = rig.breaker.admit()

        assert token.is_probe
        assert rig.state == HALF_OPEN

    def test_spreads_the_retry_time(self):
        early, late = Rig(dice=0.0, retry_jitter=0.2), Rig(dice=1.0, retry_jitter=0.2)
        early.opened()
        late.opened()

        assert early.breaker.retry_after_s() == pytest.approx(2.4)
        assert late.breaker.retry_after_s() == pytest.approx(3.6)

    def test_changes_nothing_for_late_results(self):
        rig = Rig()
        late = [rig.breaker.admit() for _ in range(20)]
        rig.opened()

        for token in late:
            token.complete(ERROR)
        rig.clock.pass_ms(3000)
        rig.call(OK, times=2)
        still_later = rig.breaker.view()

        assert rig.state == CLOSED
        assert (still_later.total, still_later.errors) == (0, 0)


class HalfOpenTests:
    def test_closes_after_enough_good_probes_and_forgets_the_window(self):
        rig = Rig().half_open()

        rig.call(OK)
        after_one = rig.state
        rig.call(REJECT)

        assert after_one == HALF_OPEN
        assert rig.state == CLOSED
        assert rig.breaker.view().errors == 0

    def test_forgets_errors_that_are_younger_than_the_interval_once_closed(self):
        rig = Rig(stat_interval_ms=10_000).half_open()

        rig.call(OK, times=2)

        assert rig.state == CLOSED
        assert rig.breaker.view().total == 0

    def test_probes_one_at_a_time(self):
        rig = Rig().half_open()

        first = rig.breaker.admit()

        assert rig.breaker.admit() is None
        first.complete(OK)
        assert rig.breaker.admit().is_probe

    def test_never_sends_more_probes_than_it_needs(self):
        rig = Rig(max_concurrent_probes=5, probe_num=3).half_open()

        admitted = [rig.breaker.admit() for _ in range(10)]

        assert [token is not None for token in admitted] == [True] * 3 + [False] * 7

    def test_opens_again_for_longer_after_a_bad_probe(self):
        rig = Rig(retry_backoff_multiplier=2.0).half_open()

        rig.call(ERROR)

        assert rig.state == OPEN
        assert rig.breaker.retry_after_s() == 6.0

    def test_judges_a_slow_probe_only_where_slowness_is_a_rule(self):
        without = Rig().half_open()
        without.call(OK, took_ms=51)
        with_rule = Rig(BreakerRule("ErrorCount", 1), SLOW_RATIO).half_open()
        with_rule.call(OK, took_ms=50)
        at_the_edge = with_rule.state
        with_rule.call(OK, took_ms=51)

        assert without.state == HALF_OPEN
        assert at_the_edge == HALF_OPEN
        assert with_rule.state == OPEN

    def test_frees_the_lease_of_an_ignored_probe_and_counts_nothing(self):
        rig = Rig().half_open()

        rig.call(IGNORED, times=50)

        assert rig.state == HALF_OPEN
        rig.call(OK, times=2)
        assert rig.state == CLOSED

    def test_takes_a_probe_that_never_returns_as_failed(self):
        rig = Rig(probe_timeout_ms=5000).half_open()
        lost = rig.breaker.admit()

        rig.clock.pass_ms(4999.9)
        just_before = (rig.breaker.admit(), rig.state)
        rig.clock.pass_ms(0.1)
        rig.breaker.tick()

        assert just_before == (None, HALF_OPEN)
        assert rig.state == OPEN
        lost.complete(OK)
        assert rig.state == OPEN
        rig.clock.pass_ms(4500)
        assert rig.breaker.admit().is_probe

    def test_begins_to_count_its_patience_anew_once_closed(self):
        rig = Rig(retry_backoff_multiplier=2.0).half_open()
        rig.call(ERROR)
        rig.clock.pass_ms(6000)
        rig.call(OK, times=2)

        rig.opened()

        assert rig.breaker.retry_after_s() == 3.0

    def test_ignores_results_of_an_earlier_half_open(self):
        rig = Rig(max_concurrent_probes=2).half_open()
        early, bad = rig.breaker.admit(), rig.breaker.admit()
        bad.complete(ERROR)
        rig.clock.pass_ms(4500)
        rig.breaker.admit()

        early.complete(ERROR)

        assert rig.state == HALF_OPEN
        assert rig.breaker.view().probes_in_flight == 1

    def test_counts_one_result_of_a_token(self):
        rig = Rig().half_open()
        token = rig.breaker.admit()

        token.complete(OK)
        token.complete(OK)
        token.complete(ERROR)

        assert rig.state == HALF_OPEN
        assert rig.breaker.view().probes_succeeded == 1


class HangingCallTests:
    def test_counts_calls_as_slow_while_they_hang(self):
        rig = Rig(SLOW_RATIO)
        tokens = [rig.breaker.admit() for _ in range(5)]

        rig.clock.pass_ms(50)
        rig.breaker.tick()
        at_the_edge = rig.state
        rig.clock.pass_ms(0.001)
        rig.breaker.tick()

        assert at_the_edge == CLOSED
        assert rig.state == OPEN
        for token in tokens:
            token.complete(OK)
        assert rig.breaker.view().slow == 5

    def test_notices_them_when_the_next_call_comes(self):
        rig = Rig(SLOW_RATIO)
        for _ in range(5):
            rig.breaker.admit()

        rig.clock.pass_ms(51)

        assert rig.breaker.admit() is None
        assert rig.state == OPEN

    def test_counts_a_hung_call_once_when_it_ends(self):
        rig = Rig(SLOW_RATIO, min_request_amount=10)
        token = rig.breaker.admit()
        rig.clock.pass_ms(51)
        rig.breaker.tick()

        token.complete(ERROR)

        view = rig.breaker.view()
        assert (view.total, view.slow, view.errors) == (1, 1, 1)

    def test_does_not_count_them_where_slowness_is_no_rule(self):
        rig = Rig(ERROR_RATIO)
        for _ in range(9):
            rig.breaker.admit()

        rig.clock.pass_ms(60_000)
        rig.breaker.tick()

        assert rig.breaker.view().total == 0


class ModeTests:
    def test_forced_open_admits_nothing_and_forced_closed_everything(self):
        rig = Rig()
        rig.breaker.apply(policy_of(mode="forced_open"))
        refused = rig.breaker.admit()
        rig.clock.pass_ms(60_000)
        still_refused = rig.breaker.admit()
        rig.breaker.apply(policy_of(mode="forced_closed"))

        rig.call(ERROR, times=100)

        assert (refused, still_refused) == (None, None)
        assert rig.state == CLOSED
        assert rig.breaker.view().errors == 100

    def test_metrics_only_counts_and_never_opens(self):
        rig = Rig(mode="metrics_only")

        rig.call(ERROR, times=100)

        assert rig.breaker.view().errors == 100
        assert rig.breaker.retry_after_s() == 0

    def test_stays_open_under_a_mode_and_back(self):
        rig = Rig().opened()

        rig.breaker.apply(policy_of(mode="forced_closed"))
        rig.call(OK, times=10)
        rig.breaker.apply(policy_of())

        assert rig.state == OPEN
        assert rig.breaker.admit() is None


class ReloadTests:
    def test_keeps_an_open_breaker_open_under_looser_rules(self):
        rig = Rig().opened()
        epoch = rig.breaker.epoch

        rig.breaker.apply(policy_of(BreakerRule("ErrorCount", 1000)))

        assert rig.state == OPEN
        assert rig.breaker.epoch == epoch
        assert rig.breaker.retry_after_s() == 3.0
        rig.clock.pass_ms(3000)
        rig.call(OK, times=2)
        assert rig.state == CLOSED

    def test_keeps_the_counts_of_a_window_of_the_same_shape(self):
        rig = Rig(ERROR_COUNT)
        rig.call(ERROR, times=2)

        rig.breaker.apply(policy_of(BreakerRule("ErrorCount", 2), min_request_amount=2))
        same_shape = rig.breaker.view().errors
        rig.breaker.apply(policy_of(ERROR_COUNT, stat_interval_ms=2000))

        assert same_shape == 2
        assert rig.breaker.view().errors == 0

    def test_judges_a_call_by_what_was_agreed_when_it_was_admitted(self):
        rig = Rig(SLOW_RATIO)
        token = rig.breaker.admit()
        rig.breaker.apply(policy_of(SLOW_RATIO, max_allowed_rt_ms=10))

        rig.clock.pass_ms(40)
        token.complete(OK)

        assert rig.breaker.view().slow == 0


class RecoveryTests:
    def test_lets_calls_back_little_by_little(self):
        rig = Rig(recovery_ramp_ms=1000, dice=0.5).half_open()
        rig.call(OK, times=2)
        admitted = []

        for _ in range(4):
            admitted.append(rig.breaker.admit() is not None)
            rig.clock.pass_ms(300)

        assert rig.state == CLOSED
        assert admitted == [False, False, True, True]


class FleetTests:
    def test_opens_with_the_fleet_and_probes_only_with_a_grant(self):
        rig = Rig()
        rig.breaker.follow(OPEN, retry_in_ms=500, granted_probes=0)
        rig.clock.pass_ms(60_000)

        without_grant = rig.breaker.admit()
        rig.breaker.follow(HALF_OPEN, retry_in_ms=0, granted_probes=1)
        probe, second = rig.breaker.admit(), rig.breaker.admit()

        assert without_grant is None
        assert probe.is_probe
        assert second is None

    def test_leaves_closing_to_the_fleet(self):
        rig = Rig(probe_num=1)
        rig.breaker.follow(HALF_OPEN, retry_in_ms=0, granted_probes=1)
        rig.call(OK)
        before = rig.state

        rig.breaker.follow(CLOSED, retry_in_ms=0, granted_probes=0)

        assert before == HALF_OPEN
        assert rig.state == CLOSED
        assert rig.breaker.report().good_probes == 1

    def test_stays_open_on_its_own_account_while_the_fleet_is_closed(self):
        rig = Rig().opened()

        rig.breaker.follow(CLOSED, retry_in_ms=0, granted_probes=0)

        assert rig.state == OPEN

    def test_goes_on_alone_when_the_fleet_is_lost(self):
        rig = Rig(dice=0.3)
        rig.breaker.follow(OPEN, retry_in_ms=500, granted_probes=0)
        rig.breaker.go_alone(0.25)
        rig.clock.pass_ms(500)

        unlucky = rig.breaker.admit()
        rig.dice = 0.2
        too_early = rig.breaker.admit()
        rig.clock.pass_ms(3000)

        assert (unlucky, too_early) == (None, None)
        assert rig.breaker.admit().is_probe

    def test_hands_over_each_count_once(self):
        rig = Rig(SLOW_RATIO, min_request_amount=100)
        rig.call(OK, times=3)
        rig.call(ERROR, took_ms=60)

        report = rig.breaker.report()
        assert (report.total, report.errors, report.slow) == (4, 1, 1)
        assert rig.breaker.report().total == 0

    def test_gives_an_unused_grant_back(self):
        rig = Rig()
        rig.breaker.follow(HALF_OPEN, retry_in_ms=0, granted_probes=1)

        rig.breaker.report()

        assert rig.breaker.admit() is None
        assert rig.breaker.report().refused == 1


class ThreadTests:
    def test_admits_exactly_one_probe_of_many_threads(self):
        rig = Rig().half_open()
        barrier = threading.Barrier(16)
        admitted = []

        def call():
            barrier.wait()
            admitted.append(rig.breaker.admit())

        threads = [threading.Thread(target=call) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len([token for token in admitted if token]) == 1

    def test_loses_no_count(self):
        breaker = Breaker(
            "orders.place", "v2", replace(BreakerPolicy(), mode="metrics_only"), clock_ns=Clock()
        )

        def work():
            for _ in range(2000):
                breaker.admit().complete(ERROR)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert breaker.view().errors == 8000
