"""Which orders a list has, and in which order."""

from datetime import timedelta

from orders.models import Order
from orders.rules import OrderFilter
from orders.usecases import list_orders, place_order
from tests.builders import NOON, TESTER, a_draft, a_request, given_account, given_stock
from tests.committed import CommittedTestCase


class OrderListTests(CommittedTestCase):
    def setUp(self):
        given_stock("CUP", on_hand=100)
        given_stock("POT", on_hand=100)
        self.shop, self.market = given_account("shop"), given_account("market")

    def place(self, account, *, now=NOON, **draft):
        request = a_request(account_id=account.pk)
        place_order(a_draft(**draft), request=request, provenance=TESTER, now=now)
        return Order.objects.order_by("-number").values_list("pk", flat=True)[0]

    def listed(self, account=None, *, limit=10, before_id=None, **where):
        orders, next_id = list_orders(
            account_id=account and account.pk,
            where=OrderFilter(**where),
            before_id=before_id,
            limit=limit,
        )
        return [order.pk for order in orders], next_id

    def test_is_newest_first_whichever_was_taken_down_first(self):
        new = self.place(self.shop, now=NOON + timedelta(days=1))
        old = self.place(self.shop, now=NOON - timedelta(days=5000))
        now, again = self.place(self.shop), self.place(self.shop)

        self.assertEqual(self.listed(self.shop), ([new, again, now, old], None))

    def test_ends_at_the_microseconds_that_were_asked_for(self):
        instants = [NOON + timedelta(microseconds=n) for n in (-1, 0, 1, 999, 1000)]
        placed = [self.place(self.shop, now=now) for now in instants]

        after, _ = self.listed(self.shop, placed_after=instants[1])
        before, _ = self.listed(self.shop, placed_before=instants[3])

        self.assertEqual(after, [placed[4], placed[3], placed[2]])
        self.assertEqual(before, [placed[2], placed[1], placed[0]])

    def test_of_every_account_is_in_one_order_and_pages_meet(self):
        placed = [self.place(account) for account in (self.shop, self.market) * 3]

        first, next_id = self.listed(limit=4)
        second, end = self.listed(limit=4, before_id=next_id)

        self.assertEqual(first + second, placed[::-1])
        self.assertEqual((next_id, end), (placed[2], None))
        self.assertEqual(self.listed(customer="nobody"), ([], None))

    def test_of_every_account_has_those_of_the_only_one_that_ordered(self):
        placed = [self.place(self.shop) for _ in range(2)]

        self.assertEqual(self.listed(), (placed[::-1], None))

    def test_of_a_sku_has_an_order_once_however_many_lines_it_has(self):
        lines = a_draft({"CUP": 1}).lines * 2 + a_draft({"POT": 1}).lines
        both = self.place(self.shop, lines=lines)
        cups = self.place(self.market)

        self.assertEqual(self.listed(sku="CUP"), ([cups, both], None))
        self.assertEqual(self.listed(self.shop, sku="CUP"), ([both], None))
        self.assertEqual(self.listed(self.shop, sku="CUP", limit=1), ([both], None))
        self.assertEqual(self.listed(sku="POT"), ([both], None))


class EmptyListTests(CommittedTestCase):
    def test_of_every_account_is_empty_where_nobody_ordered(self):
        found = list_orders(account_id=None, where=OrderFilter(), limit=10)

        self.assertEqual(found, ([], None))
