"""Two who erase or clean up at once, and whoever works on meanwhile."""

from datetime import timedelta

import pytest
from django.utils import timezone

from config.housekeeping import forget, list_subjects
from events.models import Event, IdempotencyKey
from orders.models import Order, Reconciliation
from orders.usecases import cancel_order, erase_customer
from tests.builders import NOON, TESTER, a_change, given_stock, place, placed_order
from tests.committed import CommittedTestCase
from tests.races.rivals import Rivals, names


class Races(Rivals):
    """One who erases a customer against others."""

    def given_order(self):
        return placed_order(place({"CUP": 1}, account=self.account, customer="c-anna"))

    def erase(self):
        return erase_customer(
            "c-anna",
            account_id=self.account.pk,
            reason="asked",
            provenance=TESTER,
            now=NOON,
            includes_open=True,
        )

    def assert_nobody_is_named(self):
        kept = [*Order.objects.values(), *Event.objects.values(), *IdempotencyKey.objects.values()]
        self.assertNotIn("anna", str(kept).lower())

    def test_whoever_cancels_while_somebody_erases(self):
        given_stock("CUP", on_hand=1)
        for number in range(self.rounds):
            change = a_change(self.given_order())

            self.at_once(
                self.erase,
                lambda change=change: cancel_order(change, cuts=None, reason=""),
                number=number,
            )

            self.assert_nobody_is_named()
        self.assertEqual(set(Order.objects.values_list("status", "version")), {("cancelled", 3)})
        self.assert_nothing_was_lost()

    def test_two_who_erase(self):
        given_stock("CUP", on_hand=self.rounds)
        for number in range(self.rounds):
            self.given_order()

            outcomes = self.at_once(self.erase, self.erase, number=number)

            self.told[names(outcomes)] += 1
            self.assert_nobody_is_named()
        self.assertEqual(
            set(self.told), {("Erasure", "CustomerNotFound"), ("CustomerNotFound", "Erasure")}
        )
        self.assert_nothing_was_lost()

    def test_two_who_clean_up(self):
        (subject,) = (one for one in list_subjects() if one.name == "results of reconcile")
        old = timezone.now() - timedelta(days=500)
        latest = old + timedelta(seconds=999)
        for number in range(self.rounds):
            Reconciliation.objects.bulk_create(
                Reconciliation(ran_at=old + timedelta(seconds=n), discrepancies=0)
                for n in range(1000)
            )
            before = Reconciliation.objects.count()

            counts = self.at_once(
                lambda: forget(subject, is_dry_run=False),
                lambda: forget(subject, is_dry_run=False),
                number=number,
            )

            self.assertEqual(sum(counts), before - Reconciliation.objects.count())
            self.assertEqual(Reconciliation.objects.latest("ran_at").ran_at, latest)
        self.assert_nothing_was_lost()


@pytest.mark.prove
@pytest.mark.paired
class ForgettingTests(Races, CommittedTestCase):
    rounds = 30
