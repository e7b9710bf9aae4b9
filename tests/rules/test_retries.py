"""When a delivery is tried again, and when its lane rests."""

import unittest
from datetime import UTC, datetime, timedelta

from events.retries import (
    DELAYS_S,
    REST_S_MAX,
    RESTS_AFTER,
    Attempt,
    concurrency_of,
    delay_s,
    read_retry_after,
    rest_s,
)

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


class DelayTests(unittest.TestCase):
    def test_spreads_ten_attempts_over_three_days(self):
        delays = [delay_s(attempts, dice=0.5) for attempts in range(1, 11)]

        assert delays == [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400, None]
        assert timedelta(days=3) < timedelta(seconds=sum(DELAYS_S)) < timedelta(days=3, hours=4)

    def test_moves_each_by_a_tenth_either_way(self):
        assert delay_s(2, dice=0.0) == 270
        assert round(delay_s(2, dice=1.0), 6) == 330

    def test_waits_for_as_long_as_the_receiver_asks_but_never_more_than_a_day(self):
        assert delay_s(1, dice=0.5, retry_after_s=60) == 60
        assert delay_s(3, dice=0.5, retry_after_s=60) == 1800
        assert delay_s(1, dice=0.5, retry_after_s=1e9) == 86_400


class RestTests(unittest.TestCase):
    def test_comes_after_many_failures_in_a_row_and_doubles(self):
        refused = Attempt(error="connection_failed")

        rests = [rest_s(refused, RESTS_AFTER + n, dice=0.0) for n in range(-1, 11)]

        assert rests == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, REST_S_MAX, REST_S_MAX]

    def test_comes_at_once_when_the_receiver_asks_for_it(self):
        assert rest_s(Attempt(status=429, retry_after_s=7), 1, dice=0.0) == 7
        assert rest_s(Attempt(status=503, retry_after_s=7), 1, dice=0.0) == 7
        assert rest_s(Attempt(status=429, retry_after_s=1e9), 1, dice=0.0) == 3600
        for status in (429, 502, 504):
            assert rest_s(Attempt(status=status), 1, dice=0.0) == 1
        assert rest_s(Attempt(status=500), 1, dice=0.0) == 0

    def test_is_preceded_by_caution(self):
        assert [concurrency_of(n, at_most=4) for n in (0, 4, 5, 100)] == [4, 4, 1, 1]


class AttemptTests(unittest.TestCase):
    def test_succeeds_with_2xx_and_nothing_else(self):
        succeeded = {status for status in range(100, 600) if Attempt(status=status).is_success}

        assert succeeded == set(range(200, 300))
        assert not Attempt(error="timeout").is_success


class RetryAfterTests(unittest.TestCase):
    def test_reads_seconds_and_dates(self):
        for header, seconds in {
            "0": 0.0,
            " 120 ": 120.0,
            "999999999999999999": 86_400.0,
            "Mon, 04 May 2026 12:01:00 GMT": 60.0,
            "Mon, 04 May 2026 11:00:00 GMT": 0.0,
        }.items():
            assert read_retry_after(header, now=NOON) == seconds, header

    def test_takes_no_notice_of_anything_else(self):
        far_away = "Mon, 04 May 2026 12:01:00 +99999999999999"
        for header in (
            *(None, "", "soon", "-5", "1.5", "１２"),
            *("Mon, 04 May 2026 12:01:00 -0000", far_away),
        ):
            assert read_retry_after(header, now=NOON) is None, header
