"""
How many orders a second the database takes, without HTTP: batches straight from one process.

DATABASE_URL=… python -m bench.alone [--seconds S] [--batch N] [--skus N] [--lines N]

Calls what group commit calls, orders.placement.place_together, one batch after the other. Prints
JSON: orders, seconds, and the CPU time of this process. What is above it is HTTP and Django.
"""

import argparse
import json
import os
import random
import secrets
import sys
import time
from collections.abc import Sequence

import django
from django.utils import timezone

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from events.usecases import keyed_request  # noqa: E402 - its apps must be there
from inventory.usecases import Provenance  # noqa: E402
from orders.placement import Placement, place_together  # noqa: E402
from orders.usecases import LineDraft, OrderDraft  # noqa: E402

ACCOUNT = 1


def placements(count: int, *, skus: int, lines: int) -> list[Placement]:
    """Return orders of one account, each with a key of its own."""
    by = Provenance(actor="shop", source="api", served_version="v2")
    found = []
    for _ in range(count):
        drafts = tuple(LineDraft(f"BENCH-{random.randint(1, skus)}", 1) for _ in range(lines))
        draft = OrderDraft(customer=f"c-{random.randrange(50_000)}", lines=drafts)
        request = keyed_request(
            account_id=ACCOUNT,
            header=secrets.token_hex(16),
            method="POST",
            route="/api/v1/orders",
            canonical_body=repr(draft).encode(),
        )
        found.append(Placement(draft, request, by, timezone.now()))
    return found


def place(*, seconds: float, batch: int, skus: int, lines: int) -> dict[str, float]:
    """Place batches for so long; raises what an order is refused for."""
    place_together(placements(1, skus=skus, lines=lines))  # A connection, prepared statements.
    orders, took, began = 0, 0.0, time.monotonic()
    cpu = time.process_time()
    while time.monotonic() - began < seconds:
        drafts = placements(batch, skus=skus, lines=lines)
        started = time.monotonic()
        for told in place_together(drafts):
            if isinstance(told, Exception):
                raise told
        took += time.monotonic() - started
        orders += batch
    return {"orders": orders, "seconds": took, "cpu_us": 1e6 * (time.process_time() - cpu)}


def main(arguments: Sequence[str]) -> None:
    """Place, and say how many."""
    parser = argparse.ArgumentParser(prog="bench.alone", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--skus", type=int, default=1_000)
    parser.add_argument("--lines", type=int, default=1)
    told = parser.parse_args(arguments)
    print(json.dumps(place(**vars(told))))


if __name__ == "__main__":
    main(sys.argv[1:])
