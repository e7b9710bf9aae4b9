"""One more version of orders.place: well until a file says otherwise."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from orders.codepaths import place
from orders.placement import Placement, Told, place_in_group

FOLDER = Path(os.environ["PLANTED"])
HANGS_S = 5


@place.version("v3")
def place_as_told(placements: Sequence[Placement]) -> list[Told]:
    """Place orders, or do what the file "mood" says; write down each time that was wrong."""
    mood = (FOLDER / "mood").read_text()
    if mood == "well":
        return place_in_group(placements)
    with (FOLDER / "wrong").open("a") as wrong:
        wrong.write(f"{mood} {time.time()}\n")
    if mood == "raises":
        raise RuntimeError("planted")
    if mood == "hangs":
        time.sleep(HANGS_S)
        return place_in_group(placements)
    return {"status": "placed"}  # type: ignore[return-value] - that is what is wrong with it
