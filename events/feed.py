"""The feed: everything that happened, in an order in which nothing comes late."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings

from events import reading
from events.envelope import compose
from events.rules import Audience

# A page looks at no more events than this, whoever they belong to: an account that few events are
# for gets a short page and goes on, instead of a statement that runs into its timeout.
SCANNED_MAX = 5000
CURSOR = r"^([0-9]{1,18})-([0-9]{1,18})$"


@dataclass(frozen=True, slots=True)
class FeedPage:
    """
    Envelopes as JSON texts, the cursor to go on from, and what is not shown yet.

    held_back_events, held_back_s: committed already, but behind a transaction that is still under
    way and may yet write something earlier; how many (100 at most are counted) and the age of the
    oldest.
    """

    envelopes: tuple[bytes, ...]
    cursor: str
    has_more: bool
    held_back_events: int
    held_back_s: float


def read_feed(
    *, audience: Audience, after: str = "", types: Sequence[str] = (), limit: int
) -> FeedPage:
    """
    Return at most limit events that come after a cursor; the empty cursor is the beginning.

    A reader that goes on from each page's cursor misses nothing: an event is shown only when no
    transaction that could write an earlier one is under way. types: exact or `order.*`; none is
    all. A page may be empty and have more. Raises ValueError for a
    cursor that is none.
    """
    place = read_cursor(after)
    scan = reading.scan_feed(
        place, audience=audience, types=types, limit=limit, scanned_max=SCANNED_MAX
    )
    xid, position = scan.reached or place
    events_held, age_s = reading.measure_held_back()
    return FeedPage(
        envelopes=tuple(compose(event, source=settings.EVENTS_SOURCE) for event in scan.events),
        cursor=f"{xid}-{position}",
        has_more=scan.has_more,
        held_back_events=events_held,
        held_back_s=age_s,
    )


def read_cursor(text: str) -> tuple[int, int]:
    """Return the place that a cursor names; raises ValueError."""
    if not text:
        return (0, 0)
    match = re.match(CURSOR, text, re.ASCII)
    if match is None:
        raise ValueError("not a cursor of the feed")
    return int(match[1]), int(match[2])


def continue_feed() -> None:
    """Let readers of a feed go on from their cursors when it was restored, before it is written."""
    reading.raise_offset()
