"""The pool of connections of a worker."""

from collections import deque
from typing import Any


class Stack(deque[Any]):
    """A deque from whose left comes what was put to its right last."""

    def popleft(self) -> Any:
        """Take what was put there last."""
        return self.pop()


def use_the_last_first(pool: Any) -> None:
    """
    Have a pool hand out the connection that was used last, and not, as psycopg, first.

    What a process of PostgreSQL keeps of tables and plans is then still in the processor's caches
    when it is asked next: a tenth of its work. Those that are too many rest, and are closed.
    """
    pool._pool = Stack(pool._pool)
