"""What an order is worth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.rules import Sku
from orders.rules import TOTAL_MINOR_MAX, Charge, LineDraft, OrderDraft, OrderInvalid, quote


def sku(code, price_minor=100, currency="EUR", is_active=True):
    return Sku(1, code, code, price_minor, currency, is_active, True)


SHOP = {"CUP": sku("CUP", 250), "POT": sku("POT", 1999), "GBP": sku("GBP", 1, "GBP")}


def draft(*lines, charges=()):
    return OrderDraft("c-1", tuple(LineDraft(*line) for line in lines), charges=tuple(charges))


def faults(order, skus=SHOP):
    with pytest.raises(OrderInvalid) as caught:
        quote(order, skus)
    return [(fault["pointer"], fault["code"]) for fault in caught.value.errors]


class QuoteTests:
    def test_sums_lines_and_charges(self):
        charges = [Charge("POST", "Postage", 500), Charge("SALE", "Discount", -100)]

        priced = quote(draft(("CUP", 2), ("POT", 1), charges=charges), SHOP)

        assert (priced.subtotal_minor, priced.total_minor) == (2499, 2899)
        assert (priced.currency, priced.unit_prices_minor) == ("EUR", (250, 1999))

    def test_takes_the_price_that_an_importer_names(self):
        assert quote(draft(("CUP", 2, 0)), SHOP).total_minor == 0

    def test_tells_every_sku_that_cannot_be_ordered(self):
        shop = SHOP | {"OLD": sku("OLD", is_active=False)}

        assert faults(draft(("NONE", 1), ("CUP", 1), ("OLD", 1)), shop) == [
            ("/lines/0/sku", "sku_unknown"),
            ("/lines/2/sku", "sku_inactive"),
        ]

    def test_refuses_two_currencies(self):
        assert faults(draft(("CUP", 1), ("GBP", 1))) == [("/lines", "mixed_currencies")]

    def test_refuses_a_total_below_zero(self):
        order = draft(("CUP", 1), charges=[Charge("SALE", "Discount", -251)])

        assert faults(order) == [("/charges", "total_out_of_range")]

    def test_refuses_a_total_that_clients_could_not_read(self):
        order = draft(("CUP", 1, TOTAL_MINOR_MAX + 1))

        assert faults(order) == [("/lines", "total_out_of_range")]

    @given(st.lists(st.tuples(st.sampled_from(["CUP", "POT"]), st.integers(1, 10**6)), min_size=1))
    def test_takes_from_stock_what_its_lines_sum_to(self, lines):
        units = draft(*lines).units_by_sku()

        assert sum(units.values()) == sum(quantity for _, quantity in lines)
        assert set(units) == {sku for sku, _ in lines}
