"""Orders placed together are told the same, and leave the same tables, as one after the other."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from unittest import mock

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from events.models import Event, IdempotencyKey
from events.usecases import Answer, IdempotencyKeyReused, StoredRefusal
from inventory import allocating
from inventory.models import Allocation, Hold, HoldLine, Movement, Sku, StockLevel
from orders import codepaths, placement
from orders.models import Line, Order
from orders.placement import Placement, Told, place_together
from orders.rules import Charge, LineDraft, OrderDraft
from orders.scarcity import Scarce
from rollout.codepath import override
from tests.builders import (
    NOON,
    TESTER,
    a_request,
    given_account,
    given_hold,
    given_location,
    given_sku,
    given_stock,
    given_units,
    let_pass,
    level_of,
)

# Short stock, so that orders come to differ by what those before them took.
STOCK = {"CUP": 9, "POT": 6, "TEA": 0}
SKUS = [*STOCK, "GIFT-WRAP", "OLD-CUP", "US-CUP", "NOBODY-KNOWS"]

lines = st.lists(
    st.builds(LineDraft, sku=st.sampled_from(SKUS[:3] * 4 + SKUS), quantity=st.integers(1, 4)),
    min_size=1,
    max_size=3,
).map(tuple)
# Of two holds that are live, one past its deadline, and one of a stranger.
HOLDS = ["live", "other", "past", "stranger's"]
charges = st.sampled_from(
    [(), (), (Charge("POST", "Postage", 500),), (Charge("GIFT", "Voucher", -400),)]
)
drafts = st.builds(
    OrderDraft,
    customer=st.just("c-17"),
    lines=lines,
    charges=charges,
    allow_backorder=st.booleans(),
)
on_holds = st.sampled_from([None, None, *HOLDS])
# Few keys: some come twice in a batch, with the same body or with another.
asked = st.tuples(drafts, st.integers(0, 2), st.booleans(), on_holds)
batches = st.lists(asked, min_size=1, max_size=8)
# Orders that want what is there and nothing else, as nearly all do.
plain_drafts = drafts.map(lambda draft: replace(draft, allow_backorder=False))
plain_batches = st.lists(
    st.tuples(plain_drafts, st.integers(0, 2), st.booleans(), st.none()), min_size=1, max_size=8
)
modest = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
)
thorough = settings(modest, max_examples=800)


class GroupCommitTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.account = given_account()
        for code, on_hand in STOCK.items():
            given_stock(code, on_hand=on_hand)
        given_sku("GIFT-WRAP", is_tracked=False)
        # The pot lies at two places, and for tea one may wait.
        given_location("annex", priority=-1)
        given_units("POT", 2, location="annex")
        Sku.objects.filter(code="TEA").update(sell_policy="backorder")
        StockLevel.objects.filter(sku__code="TEA").update(backorder_limit=4)
        given_stock("OLD-CUP", on_hand=5, is_active=False)
        given_stock("US-CUP", on_hand=5, currency="USD")
        cls.holds = {
            "live": given_hold({"CUP": 2, "POT": 1}, account=cls.account),
            "other": given_hold({"CUP": 1}, account=cls.account),
            "past": given_hold({"CUP": 1}, account=cls.account),
            "stranger's": given_hold({"POT": 1}, account=given_account("stranger")),
        }
        more_past = [given_hold({"CUP": 1, "POT": 1}, account=cls.account) for _ in range(2)]
        let_pass(cls.holds["past"], *more_past)

    @modest
    @given(batches)
    def test_a_batch_is_told_what_its_orders_would_be_told_one_after_the_other(self, asked):
        self.assert_same(asked)

    @pytest.mark.prove
    @pytest.mark.paired
    @thorough
    @given(batches)
    def test_so_is_any_of_many_batches(self, asked):
        self.assert_same(asked)

    @modest
    @given(plain_batches | batches)
    def test_so_it_is_where_stock_is_locked_only_by_what_takes_it(self, asked):
        self.assert_same_in_hope(asked)

    @pytest.mark.prove
    @pytest.mark.paired
    @thorough
    @given(plain_batches | batches)
    def test_so_are_any_of_many_batches_in_hope(self, asked):
        self.assert_same_in_hope(asked)

    def assert_same_in_hope(self, asked):
        # Down to the last unit, and not only where there is plenty.
        with (
            mock.patch.object(allocating, "PLENTY", 1),
            mock.patch.object(placement, "scarce", Scarce()),
        ):
            self.assert_same(asked, is_patient=False)

    def assert_same(self, asked, **how):
        placements = self.placements_of(asked)
        start = transaction.savepoint()
        alone = [told for placement in placements for told in place_alone(placement)]
        after_alone = tables()
        transaction.savepoint_rollback(start)

        together = place_together(placements, **how)
        after_together = tables()
        transaction.savepoint_rollback(start)

        self.assertEqual([plain(t) for t in together], [plain(t) for t in alone])
        self.assertEqual(after_together, after_alone)

    def placements_of(self, asked):
        """Return the placements; those with a key of their own do not repeat one."""
        return [
            self.placement(
                replace(draft, hold=self.holds.get(hold)), f"k-{key}" if is_repeat else f"own-{n}"
            )
            for n, (draft, key, is_repeat, hold) in enumerate(asked)
        ]

    def placement(self, draft, key, **more) -> Placement:
        request = a_request(key, account_id=self.account.pk, body=repr(draft).encode())
        provenance = TESTER._replace(served_version="v1", rules_generation=0)
        return Placement(replace(draft, reference=key), request, provenance, NOON, **more)

    def test_an_order_that_breaks_the_transaction_harms_no_other(self):
        good = OrderDraft("c-17", (LineDraft("CUP", 1),))
        # No JSON in PostgreSQL can hold a NUL; the API refuses it long before.
        poison = replace(good, metadata={"note": "\0"})
        placements = [self.placement(good, f"k-{n}") for n in range(5)]
        placements.insert(3, self.placement(poison, "poison"))

        told = place_together(placements)

        self.assertEqual(
            [isinstance(each, Answer) for each in told], [True] * 3 + [False] + [True] * 2
        )
        self.assertEqual(Order.objects.count(), 5)
        self.assertEqual(level_of("CUP").allocated, 5)
        self.assertFalse(IdempotencyKey.objects.filter(key="poison").exists())

    def test_each_order_of_a_batch_has_its_own_instant(self):
        draft = OrderDraft("c-17", (LineDraft("CUP", 1),))
        later = NOON + timedelta(seconds=1)
        placements = [
            self.placement(draft, "k-1"),
            self.placement(draft, "k-2")._replace(now=later),
        ]

        place_together(placements)

        instants = Order.objects.order_by("number").values_list("placed_at", flat=True)
        self.assertEqual(list(instants), [NOON, later])

    def test_a_key_with_another_body_comes_after_all_that_stood_before_it(self):
        unknown = OrderDraft("c-17", (LineDraft("NOBODY-KNOWS", 1),))
        six = OrderDraft("c-17", (LineDraft("CUP", 6),))

        # The first leaves its key unused, so the second may use it, before the third.
        told = place_together(
            [
                self.placement(unknown, "k-1"),
                self.placement(six, "k-1"),
                self.placement(six, "k-2"),
            ]
        )

        self.assertEqual(
            [plain(each)[0] for each in told], ["validation_failed", 201, "insufficient_stock"]
        )

    def test_a_key_twice_in_a_batch_is_one_order(self):
        draft = OrderDraft("c-17", (LineDraft("CUP", 2),))
        other = OrderDraft("c-17", (LineDraft("POT", 1),))

        first, again, reused = place_together(
            [
                self.placement(draft, "k-1"),
                self.placement(draft, "k-1"),
                self.placement(other, "k-1"),
            ]
        )

        self.assertEqual(again, first.replayed())
        self.assertIsInstance(reused, IdempotencyKeyReused)
        self.assertEqual(Order.objects.count(), 1)
        self.assertEqual((level_of("CUP").allocated, level_of("POT").allocated), (2, 0))


def place_alone(placement: Placement) -> Sequence[Told]:
    with override(orders_place="v1"):
        told: Sequence[Told] = codepaths.place([placement])
        return told


def plain(told: Told) -> tuple[object, ...]:
    """Return what was told, without what no two orders share."""
    if isinstance(told, Answer):
        order = json.loads(told.body)
        for name in ("id", "number"):
            del order[name]
        return told.status, order, told.etag, told.is_replayed
    assert not isinstance(told, (AssertionError, TypeError)), told
    is_stored = isinstance(told, StoredRefusal)
    return told.code, told.kind, list(told.errors), str(told), told.facts, is_stored


def tables() -> dict[str, list[tuple[object, ...]]]:
    """Return all that placements write, with orders named by their keys."""
    key_of = {order.pk: order.reference for order in Order.objects.all()}
    ordered = list(Order.objects.order_by("number"))
    return {
        "orders": [
            (o.reference, o.account_id, o.status, o.currency, o.subtotal_minor, o.charges,
             o.total_minor, o.served_version, o.placed_at, o.updated_at, o.version)
            for o in ordered
        ],
        "lines": sorted(
            (key_of[line.order_id], line.position, line.sku, line.quantity, line.unit_price_minor,
             line.backordered)
            for line in Line.objects.all()
        ),
        "levels": sorted(StockLevel.objects.values_list()),
        "movements": [
            (m.level_id, m.level_version, m.kind, m.on_hand_change, m.unavailable_change,
             m.held_change, m.allocated_change, m.incoming_change, m.shortfall_change,
             m.waiting_change, m.on_hand_after, m.unavailable_after, m.held_after,
             m.allocated_after, m.incoming_after, m.shortfall_after, m.waiting_after,
             m.reason, m.reference, m.note, m.order_id and key_of[m.order_id], m.hold_id, m.actor,
             m.source, m.served_version, m.rules_generation, m.trace_id, m.created_at)
            for m in Movement.objects.order_by("level_id", "level_version")
        ],
        "entries": [
            (m.level_id, m.order_id and key_of[m.order_id]) for m in Movement.objects.order_by("id")
        ],
        "allocations": sorted(
            (key_of[a.order_id], a.level_id, a.units, a.waiting_units, a.released_units,
             a.shipped_units)
            for a in Allocation.objects.all()
        ),
        "holds": sorted(
            (h.pk, h.state, h.version, h.order_id and key_of[h.order_id])
            for h in Hold.objects.all()
        ),
        "hold_lines": sorted(
            HoldLine.objects.values_list("hold_id", "level_id", "units", "is_open")
        ),
        "hold_events": sorted(
            (e.aggregate_id, e.type, e.aggregate_version)
            for e in Event.objects.filter(aggregate_type="hold")
        ),
        "events": sorted(
            (e.data["reference"], e.type, e.aggregate_version, e.data["total_minor"], e.occurred_at)
            for e in Event.objects.filter(type="order.placed")
        ),
        "keys": [
            (k.key, bytes(k.fingerprint), k.status, k.created_at, bool(k.location))
            for k in IdempotencyKey.objects.order_by("key")
        ],
    }  # fmt: skip
