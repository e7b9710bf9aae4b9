"""
Which earlier lines a cancellation is of, when it does not say. Pure.

The latest earlier lines of its customer and SKU that have something left: what came back most
likely is what was sent last.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from orders.lifecycle import Comeback, Cut
from orders.states import OrderState, Status

# From these something may still be taken: an order that expired or was cancelled has nothing.
OPEN_STATUSES = (Status.PLACED, Status.CONFIRMED, Status.CLOSED)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Units of a SKU to undo, 1 or more."""

    sku: str
    units: int


@dataclass(slots=True)
class Undoing:
    """What is undone of one order: units that were not sent yet, and units that were."""

    order: OrderState
    cuts: list[Cut]
    comebacks: list[Comeback]


@dataclass(slots=True)
class _Left:
    undoing: Undoing
    position: int
    sku: str
    open: int
    sent: int


def match(
    wanted: Sequence[Wanted], latest_first: Sequence[OrderState], *, location: str
) -> tuple[list[Undoing], dict[int, int]]:
    """
    Return what to undo of earlier orders, and what no line is left for.

    wanted is done one after the other, each whole or not at all; the second answer has, by its
    place, how many units there would have been. latest_first: the earlier orders. Units that were
    not sent are cancelled; units that were come back, to the shelf at location.
    """
    undoings = [Undoing(order, [], []) for order in latest_first]
    left = [
        _Left(undoing, line.position, line.sku, line.open, line.fulfilled - line.returned)
        for undoing in undoings
        for line in undoing.order.lines
    ]
    unmatched = {}
    for n, want in enumerate(wanted):
        lines = [line for line in left if line.sku == want.sku]
        there = sum(line.open + line.sent for line in lines)
        if there < want.units:
            unmatched[n] = there
        else:
            _take(lines, want.units, location)
    return [undoing for undoing in undoings if undoing.cuts or undoing.comebacks], unmatched


def _take(lines: Sequence[_Left], units: int, location: str) -> None:
    for line in lines:
        cut = min(units, line.open)
        back = min(units - cut, line.sent)
        if cut:
            line.undoing.cuts.append(Cut(line.position, cut))
        if back:
            line.undoing.comebacks.append(Comeback(line.position, back, "restock", location))
        line.open -= cut
        line.sent -= back
        units -= cut + back
