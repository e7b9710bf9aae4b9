"""What callers saw while things broke, and whether it can be true."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    One request of a key and what came of it.

    status: None when the connection was lost or no answer came in time (is_late).
    effect: what a refusal says of the database, empty for an accepted order.
    order_id: of an accepted order. body: as it was answered.
    """

    status: int | None
    code: str = ""
    effect: str = ""
    order_id: str = ""
    body: bytes = b""
    is_late: bool = False

    @property
    def is_placed(self) -> bool:
        """Whether the server acknowledged an order."""
        return self.status == 201

    @property
    def is_kept_refusal(self) -> bool:
        """Whether the key is used up by a refusal."""
        return self.code == "insufficient_stock"


@dataclass(slots=True)
class Asked:
    """
    One key and all its attempts, in their order.

    is_finished: whether its caller went on until it had an order or a kept refusal.
    """

    key: str
    attempts: list[Attempt] = field(default_factory=list)
    is_finished: bool = False


def find_lies(history: Sequence[Asked], orders: Mapping[str, Sequence[str]]) -> list[str]:
    """
    Return what callers saw that cannot be true of the database, in words; nothing is well.

    orders: the ids of the orders that are there, by the key that asked for them.
    """
    lies = [lie for asked in history for lie in _lies_to(asked, orders.get(asked.key, ()))]
    known = {asked.key for asked in history}
    return lies + [f"{key}: an order that nobody asked for" for key in orders if key not in known]


def _lies_to(asked: Asked, found: Sequence[str]) -> Iterator[str]:
    key, attempts = asked.key, asked.attempts
    acknowledged = {attempt.order_id for attempt in attempts if attempt.is_placed}
    if len(found) > 1:
        yield f"{key}: {len(found)} orders"
    for order_id in acknowledged - set(found):
        yield f"{key}: order {order_id} was acknowledged and is missing"
    if len({attempt.body for attempt in attempts if attempt.is_placed}) > 1:
        yield f"{key}: one order, told in two ways"
    if found and any(attempt.is_kept_refusal for attempt in attempts):
        yield f"{key}: refused for stock, and there is an order"
    # An attempt that says "none" speaks of itself and not of those that nobody knows of.
    if found and all(attempt.effect == "none" for attempt in attempts):
        yield f"{key}: every answer said that nothing was done, and there is an order"
    if any(attempt.is_late for attempt in attempts):
        yield f"{key}: an attempt waited for ever"
    if not asked.is_finished and _is_owed_an_end(attempts):
        yield f"{key}: asked again and again, and never got an end"


def _is_owed_an_end(attempts: Sequence[Attempt]) -> bool:
    # Who was told that nothing was done may go away.
    return not attempts or attempts[-1].effect != "none"
