"""manage.py housekeeping"""

import os
import signal
import threading
from datetime import timedelta
from io import StringIO
from uuid import uuid4

from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.test import TestCase
from django.utils import timezone

from accounts.models import LoginLink
from config import housekeeping
from events.models import Delivery, Endpoint, Event, IdempotencyKey, Lane
from inventory.models import Hold, HoldLine, Movement, StockImport, StockImportRow
from inventory.usecases import TooFewToHold, release_hold
from orders.models import Reconciliation
from tests.builders import (
    NOON,
    TESTER,
    a_request,
    discrepancies,
    given_account,
    given_hold,
    given_stock,
)
from tests.committed import CommittedTestCase


def told_by(*options: str) -> dict[str, str]:
    """Return what housekeeping says it did, by subject."""
    told = StringIO()
    call_command("housekeeping", *options, stdout=told)
    return dict(line.split(": ") for line in told.getvalue().splitlines())


class HousekeepingTests(TestCase):
    def setUp(self):
        self.now = timezone.now()
        self.shop = given_account()

    def ago(self, **time):
        return self.now - timedelta(**time)

    def given_keys(self):
        given_stock("CUP", on_hand=1)
        given_hold({"CUP": 1}, account=self.shop, key="taken")
        for key in ("refused-long-ago", "refused-lately"):
            with self.assertRaises(TooFewToHold):
                given_hold({"CUP": 1}, account=self.shop, key=key)
        IdempotencyKey.objects.exclude(key="refused-lately").update(created_at=self.ago(days=31))

    def keys(self):
        return set(
            IdempotencyKey.objects.filter(account_id=self.shop.pk).values_list("key", flat=True)
        )

    def test_deletes_refused_keys_after_their_days_and_no_accepted_one(self):
        self.given_keys()

        told = told_by()

        self.assertEqual(told["refused idempotency keys"], "1 deleted")
        self.assertEqual(self.keys(), {"taken", "refused-lately"})
        self.assertEqual(Hold.objects.count(), 1)

    def test_deletes_nothing_on_a_dry_run(self):
        self.given_keys()
        Reconciliation.objects.create(ran_at=self.ago(days=500), discrepancies=0)
        Reconciliation.objects.create(ran_at=self.ago(days=499), discrepancies=0)

        told = told_by("--dry-run")

        self.assertEqual(told["refused idempotency keys"], "1 would be deleted")
        self.assertEqual(told["results of reconcile"], "1 would be deleted")
        self.assertEqual(self.keys(), {"taken", "refused-lately", "refused-long-ago"})
        self.assertEqual(Reconciliation.objects.count(), 2)

    def test_deletes_what_was_delivered_or_given_up_long_ago_and_what_nobody_is_to_get(self):
        lane, gone = Lane.objects.create(), Lane.objects.create()
        Endpoint.objects.create(
            id=uuid4(), lane=gone, account_id=self.shop.pk, url="https://shop.example",
            is_enabled=False, disabled_reason="deleted", disabled_at=self.ago(days=40),
            created_at=NOON, updated_at=NOON,
        )  # fmt: skip
        for name, on, state, age in (
            ("delivered", lane, "delivered", 31), ("dead", lane, "dead", 31),
            ("new", lane, "delivered", 29), ("waits", lane, "pending", 31),
            ("for nobody", gone, "pending", 31),
        ):  # fmt: skip
            Delivery.objects.create(
                lane=on, event_id=uuid4(), position=1, aggregate=1, state=state, error=name,
                due_at=self.now, created_at=self.ago(days=age),
            )  # fmt: skip

        told = told_by()

        self.assertEqual(told["deliveries of webhooks"], "3 deleted")
        self.assertEqual(set(Delivery.objects.values_list("error", flat=True)), {"new", "waits"})

    def test_deletes_ended_holds_with_their_lines_while_the_books_balance(self):
        given_stock("CUP", on_hand=10)
        given_stock("POT", on_hand=10)
        old, late, live = (given_hold({"CUP": 1, "POT": 2}, account=self.shop) for _ in range(3))
        for hold in (old, late):
            request = a_request(account_id=self.shop.pk)
            release_hold(hold, request=request, provenance=TESTER, now=NOON)
        Hold.objects.exclude(pk=late).update(updated_at=self.ago(days=91))
        moved, happened = Movement.objects.count(), Event.objects.count()

        told = told_by()

        self.assertEqual(told["ended holds"], "1 deleted")
        self.assertEqual(set(Hold.objects.values_list("pk", flat=True)), {late, live})
        self.assertEqual(HoldLine.objects.count(), 4)
        self.assertEqual((Movement.objects.count(), Event.objects.count()), (moved, happened))
        self.assertEqual(discrepancies(), [])

    def given_import(self, name, *, days, is_dry_run=False, status="done"):
        done = StockImport.objects.create(
            id=uuid4(), name=name, digest=name, attempt=0 if is_dry_run else 1, text="sku\nCUP\n",
            is_dry_run=is_dry_run, status=status, rows=1, rows_done=1, source="command",
            created_at=self.ago(days=days), finished_at=self.ago(days=days),
        )  # fmt: skip
        StockImportRow.objects.create(stock_import=done, line=2, sku="CUP", outcome="unchanged")

    def test_deletes_old_trials_of_imports_and_outcomes_but_no_import(self):
        self.given_import("old trial", days=91, is_dry_run=True)
        self.given_import("old", days=91)
        self.given_import("trial", days=89, is_dry_run=True)
        self.given_import("new", days=89)
        self.given_import("under way", days=91, status="running")

        told = told_by()

        self.assertEqual(told["trials of imports"], "1 deleted")
        self.assertEqual(told["outcomes of imported rows"], "1 deleted")
        kept = {"old", "trial", "new", "under way"}
        self.assertEqual(set(StockImport.objects.values_list("name", flat=True)), kept)
        told_of = StockImportRow.objects.values_list("stock_import__name", flat=True)
        self.assertEqual(set(told_of), kept - {"old"})

    def test_keeps_the_latest_result_of_reconcile_however_old(self):
        for days in (400, 500):
            Reconciliation.objects.create(ran_at=self.ago(days=days), discrepancies=0)

        told = told_by()

        self.assertEqual(told["results of reconcile"], "1 deleted")
        self.assertEqual(Reconciliation.objects.get().ran_at, self.ago(days=400))

    def test_deletes_ended_sessions_and_links_that_log_in_no_more(self):
        Session.objects.create(session_key="ended", expire_date=self.ago(minutes=1))
        Session.objects.create(session_key="open", expire_date=self.now + timedelta(hours=1))
        for digit, ends, used in (("0", -1, None), ("1", 1, self.now), ("2", 1, None)):
            LoginLink.objects.create(
                user=self.shop, digest=digit * 64, created_at=self.ago(hours=2),
                expires_at=self.now + timedelta(hours=ends), used_at=used,
            )  # fmt: skip

        told = told_by()

        self.assertEqual(told["ended sessions"], "1 deleted")
        self.assertEqual(told["closed login links"], "2 deleted")
        self.assertEqual(Session.objects.get().session_key, "open")
        self.assertEqual(LoginLink.objects.get().digest, "2" * 64)


class PiecesTests(TestCase):
    def test_together_are_the_whole_table(self):
        self.addCleanup(setattr, housekeeping, "BLOCKS_AT_ONCE", housekeeping.BLOCKS_AT_ONCE)
        housekeeping.BLOCKS_AT_ONCE = 2
        old = timezone.now() - timedelta(days=500)
        Reconciliation.objects.bulk_create(
            Reconciliation(ran_at=old + timedelta(seconds=n), discrepancies=0) for n in range(2000)
        )

        told = told_by()

        self.assertEqual(told["results of reconcile"], "1999 deleted")


class LastingHousekeepingTests(CommittedTestCase):
    def test_goes_on_until_it_is_told_to_stop(self):
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        stop = threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM))
        stop.start()

        told = told_by("--every", "0.05")

        stop.join()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        self.assertEqual(told["ended sessions"], "0 deleted")
