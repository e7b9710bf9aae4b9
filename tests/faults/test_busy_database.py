"""PostgreSQL is busy, full, away or broken: the caller hears what to do, and nothing moved."""

import threading
import time

from django.db import connection

from accounts.authentication import keyring
from events.usecases import Answer
from orders.placement import place_together
from orders.reconciliation import find_discrepancies
from rollout.codepath import override
from tests.api.test_error_table import CUP, ORDER, ErrorTable
from tests.builders import (
    a_placement,
    given_account,
    given_sku,
    given_stock,
    level_of,
    what_moved,
)
from tests.committed import CommittedTestCase
from tests.faults.proxy import CuttingProxy
from tests.faults.test_lost_commit import connect_to_server

LOCK_STOCK = "SELECT * FROM inventory_stocklevel FOR UPDATE"
BREAK_ORDERS = """
CREATE FUNCTION stumble() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'planted'; END $$;
CREATE TRIGGER stumble BEFORE INSERT ON orders_order EXECUTE FUNCTION stumble()
"""
MEND_ORDERS = "DROP TRIGGER stumble ON orders_order; DROP FUNCTION stumble()"


class BusyDatabaseTests(ErrorTable, CommittedTestCase):
    def setUp(self):
        super().setUp()
        self.settings = connection.settings_dict
        self.kept = {**self.settings, "OPTIONS": dict(self.settings["OPTIONS"])}
        self.addCleanup(self.reconnect)

    def reconnect(self, *, host=None, **options):
        """Let this thread's next connection be made in another way, or as it was."""
        connection.close()
        if "pool" in self.settings["OPTIONS"]:
            connection.close_pool()
        self.settings |= {
            "HOST": host or self.kept["HOST"],
            "OPTIONS": self.kept["OPTIONS"] | options,
        }
        keyring.forget()

    def each_version(self):
        for version in ("v1", "v2"):
            with override(orders_place=version):
                yield version

    def busy(self, response):
        self.refused(response, 503, "temporarily_unavailable", retryable=True, effect="none")

    def test_a_key_that_is_being_worked_on(self):
        answers = []
        with override(orders_place="v1"), self.somebody_doing(LOCK_STOCK):
            first = threading.Thread(target=self.post_in_thread, args=("k-1", answers))
            first.start()
            self.wait_for_one_who_waits()

            response = self.post(key="k-1")

            self.refused(response, 409, "request_in_progress", retryable=True, effect="unknown")
            assert response.headers["Retry-After"] == "1"
        first.join()
        again = self.post(key="k-1")

        assert [answer.status_code for answer in answers] == [201]
        assert again.content == answers[0].content
        assert level_of("CUP").allocated == 3

    def post_in_thread(self, key, answers, version="v1"):
        # What is set in this thread is not known in that one.
        with override(orders_place=version):
            answers.append(self.post(key=key))
        connection.close()

    def test_a_table_that_is_locked_for_a_moment(self):
        for n, version in enumerate(self.each_version()):
            answers = []
            with self.somebody_doing("LOCK TABLE orders_order"):
                first = threading.Thread(
                    target=self.post_in_thread, args=(f"k-{n}", answers, version)
                )
                first.start()
                self.wait_for_one_who_waits()
                time.sleep(0.2)
            first.join()

            assert [answer.status_code for answer in answers] == [201]

    def test_a_lock_that_is_not_had_in_time(self):
        self.reconnect(options="-c lock_timeout=100")
        for _ in self.each_version():
            with self.somebody_doing(LOCK_STOCK):
                self.busy(self.post(key="k-1"))
                self.busy(self.post({"quantity": 5}, "/stock/CUP/receipts"))
                self.busy(self.post({"delta": 1, "reason": "found"}, "/stock/CUP/adjustments"))

        assert self.post(key="k-1").status_code == 201

    def test_a_locked_sku_harms_no_order_for_another(self):
        self.reconnect(options="-c lock_timeout=100")
        given_stock("POT", on_hand=2)
        given_sku("WRAP", is_tracked=False)
        account = given_account()
        wanted = [
            {"POT": 1},
            {"CUP": 1},
            {"WRAP": 1},
            {"POT": 1, "CUP": 1},
            {"POT": 2},
            {"NONE": 1},
        ]
        placements = [
            a_placement(units, account=account, key=f"k-{n}") for n, units in enumerate(wanted)
        ]

        cups = level_of("CUP").pk
        lock_cups = f"SELECT * FROM inventory_stocklevel WHERE id = {cups} FOR UPDATE"  # noqa: S608
        with self.somebody_doing(lock_cups):
            told = place_together(placements)

        codes = [one.status if isinstance(one, Answer) else one.code for one in told]
        busy = "temporarily_unavailable"
        assert codes == [201, busy, 201, busy, "insufficient_stock", "validation_failed"]
        assert [told[1].effect, told[3].effect] == ["none", "none"]
        assert (level_of("POT").allocated, level_of("CUP").allocated) == (1, 0)
        # Their keys are unused, and so they may come again.
        again = place_together([placements[1], placements[3]])
        assert [(one.status, one.is_replayed) for one in again] == [(201, False)] * 2
        assert list(find_discrepancies()) == []

    def test_a_statement_that_takes_too_long(self):
        self.reconnect(options="-c statement_timeout=100")
        for _ in self.each_version():
            with self.somebody_doing(LOCK_STOCK):
                self.busy(self.post(key="k-1"))

        assert self.post(key="k-1").status_code == 201

    def test_a_pool_without_a_free_connection(self):
        self.reconnect(pool={"min_size": 1, "max_size": 1, "timeout": 0.2})
        for _ in self.each_version():
            is_held, is_seen = threading.Event(), threading.Event()
            holder = threading.Thread(target=self.hold_a_connection, args=(is_held, is_seen))
            connection.close()
            holder.start()
            is_held.wait()

            response = self.post(key="k-1")

            is_seen.set()
            holder.join()
            self.busy(response)

    def hold_a_connection(self, is_held, is_seen):
        connection.ensure_connection()
        is_held.set()
        is_seen.wait()
        connection.close()

    def test_a_database_that_is_away(self):
        for _ in self.each_version():
            self.reconnect(host="/nowhere")

            responses = [self.post(key="k-1"), self.post({"quantity": 5}, "/stock/CUP/receipts")]
            responses.append(self.shop.get("/orders"))

            self.reconnect()
            for response in responses:
                self.busy(response)

    def test_a_commit_that_is_never_answered(self):
        told = {version: self.codes_without_answers(version) for version in self.each_version()}

        for version, codes in told.items():
            # Who asks again while that COMMIT is still being written to disk is in doubt as well.
            assert "outcome_unknown" in codes, version
            assert set(codes) <= {"outcome_unknown", "request_in_progress"}, version
        assert level_of("CUP").allocated == 2 * 3 * 1

    def codes_without_answers(self, version):
        """Return the codes of three orders whose COMMITs are cut off; each has been placed."""
        proxy = CuttingProxy(lambda: connect_to_server(self.kept), cut="after", cuts=99)
        self.reconnect(host=proxy.host)
        self.settings["PORT"] = "5432"
        keys = [f"{version}-{n}" for n in range(3)]

        problems = [self.post(ORDER | {"lines": [CUP]}, key=key).json() for key in keys]

        self.settings["PORT"] = self.kept["PORT"]
        self.reconnect()
        proxy.close()
        for key, problem in zip(keys, problems, strict=True):
            assert (problem["retryable"], problem["effect"]) == (True, "unknown"), problem
            again = self.post(ORDER | {"lines": [CUP]}, key=key)
            assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
        return [problem["code"] for problem in problems]

    def test_a_bug(self):
        with connection.cursor() as cursor:
            cursor.execute(BREAK_ORDERS)
        try:
            for _ in self.each_version():
                response = self.post(key="k-1")

                problem = self.refused(
                    response, 500, "internal_error", retryable=True, effect="unknown"
                )
                assert "planted" not in str(problem)
        finally:
            with connection.cursor() as cursor:
                cursor.execute(MEND_ORDERS)
        assert self.post(key="k-1").status_code == 201
        assert what_moved()["orders"] == 1
        assert ORDER["lines"][0]["quantity"] == level_of("CUP").allocated
