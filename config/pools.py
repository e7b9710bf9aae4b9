"""The pool of connections of a worker."""

from time import monotonic
from typing import Any


def use_the_last_first(pool: Any) -> None:
    """
    Have a pool hand out the connection that was used last, and not, as psycopg, first.

    What a process of PostgreSQL keeps of tables and plans is then still in the processor's caches
    when it is asked next: a tenth of its work. Those that are too many rest, until they are closed;
    one that has grown too old meanwhile is handed out once more, and replaced when it comes back.
    """
    hand_out = pool._get_ready_connection

    def hand_out_the_last(timeout: float | None) -> Any:
        resting = pool._pool
        if resting and resting[0]._expire_at > monotonic():
            resting.rotate(1)  # The last to the front, from where they are handed out.
        return hand_out(timeout)

    pool._get_ready_connection = hand_out_the_last
