"""The judge of the fault tests finds each kind of lie, and none in the truth."""

from dataclasses import replace

from tests.faults.history import Asked, Attempt, find_lies

PLACED = Attempt(201, order_id="o-1", body=b"{}")
LOST = Attempt(None)
BUSY = Attempt(503, code="temporarily_unavailable", effect="none")
UNKNOWN = Attempt(503, code="outcome_unknown", effect="unknown")
SOLD_OUT = Attempt(409, code="insufficient_stock", effect="none")


def lies(*attempts: Attempt, orders: tuple[str, ...] = (), is_finished: bool = True) -> list[str]:
    return find_lies([Asked("k", list(attempts), is_finished)], {"k": orders} if orders else {})


class FindLiesTests:
    def test_the_truth_is_no_lie(self) -> None:
        assert lies(PLACED, orders=("o-1",)) == []
        assert lies(LOST, BUSY, UNKNOWN, PLACED, orders=("o-1",)) == []
        assert lies(PLACED, PLACED, orders=("o-1",)) == []
        assert lies(LOST, SOLD_OUT) == []
        assert lies(BUSY, is_finished=False) == []

    def test_an_attempt_that_nobody_knows_of_may_have_made_the_order(self) -> None:
        assert lies(LOST, BUSY, orders=("o-1",), is_finished=False) == []

    def test_finds_an_acknowledged_order_that_is_missing(self) -> None:
        assert lies(PLACED) == ["k: order o-1 was acknowledged and is missing"]
        assert lies(PLACED, orders=("o-2",)) == ["k: order o-1 was acknowledged and is missing"]

    def test_finds_a_key_with_two_orders(self) -> None:
        assert lies(PLACED, orders=("o-1", "o-2")) == ["k: 2 orders"]

    def test_finds_an_order_that_was_told_in_two_ways(self) -> None:
        again = replace(PLACED, body=b"[]")

        assert lies(PLACED, again, orders=("o-1",)) == ["k: one order, told in two ways"]

    def test_finds_an_order_beside_a_kept_refusal(self) -> None:
        assert lies(LOST, SOLD_OUT, orders=("o-1",)) == [
            "k: refused for stock, and there is an order"
        ]

    def test_finds_an_effect_of_none_that_lied(self) -> None:
        assert lies(BUSY, BUSY, orders=("o-1",), is_finished=False) == [
            "k: every answer said that nothing was done, and there is an order"
        ]

    def test_finds_who_waited_for_ever(self) -> None:
        late = Attempt(None, is_late=True)

        assert lies(late, PLACED, orders=("o-1",)) == ["k: an attempt waited for ever"]

    def test_finds_who_never_got_an_end(self) -> None:
        assert lies(UNKNOWN, is_finished=False) == [
            "k: asked again and again, and never got an end"
        ]

    def test_finds_an_order_that_nobody_asked_for(self) -> None:
        assert find_lies([], {"k": ["o-1"]}) == ["k: an order that nobody asked for"]
