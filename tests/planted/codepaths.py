"""One more version of orders.place: well until a file says otherwise."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from events.usecases import hot_cursor
from orders.codepaths import place
from orders.placement import Placement, Told, place_in_group

FOLDER = Path(os.environ["PLANTED"])
HANGS_S = 5


def planted_query() -> None:
    """Keep the database busy, and a connection to it."""
    hot_cursor().execute("SELECT pg_sleep(0.2)")


def planted_loop() -> None:
    """Keep the worker busy: nobody else is served meanwhile."""
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass


# What is slow and not wrong.
SLOW = {"queries": planted_query, "computes": planted_loop}


@place.version("v3")
def place_as_told(placements: Sequence[Placement]) -> list[Told]:
    """Place orders, or do what the file "mood" says; write down each time that was wrong."""
    mood = (FOLDER / "mood").read_text()
    if mood == "well":
        return place_in_group(placements)
    if mood in SLOW:
        SLOW[mood]()
        return place_in_group(placements)
    with (FOLDER / "wrong").open("a") as wrong:
        wrong.write(f"{mood} {time.time()}\n")
    if mood == "raises":
        raise RuntimeError("planted")
    if mood == "hangs":
        time.sleep(HANGS_S)
        return place_in_group(placements)
    return {"status": "placed"}  # type: ignore[return-value] - that is what is wrong with it
