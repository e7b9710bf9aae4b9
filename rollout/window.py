"""Counts of the last interval, exact to the bucket. Pure."""

NS_OF_MS = 1_000_000


class Window:
    """Counts of the last interval in buckets, aligned to whole multiples of a bucket's length."""

    __slots__ = ("_head", "_ring", "bucket_ns", "errors", "size", "slow", "total")

    def __init__(self, interval_ms: int, size: int) -> None:
        self.size = size
        self.bucket_ns = interval_ms * NS_OF_MS // size
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._ring = [[0, 0, 0] for _ in range(self.size)]
        self._head = -1
        self.total = self.errors = self.slow = 0

    def roll(self, now_ns: int) -> None:
        """Drop what is older than the interval."""
        index = now_ns // self.bucket_ns
        steps = index - self._head
        if steps <= 0:
            return
        for step in range(max(self._head + 1, index - self.size + 1), index + 1):
            bucket = self._ring[step % self.size]
            self.total -= bucket[0]
            self.errors -= bucket[1]
            self.slow -= bucket[2]
            bucket[0] = bucket[1] = bucket[2] = 0
        self._head = index

    def add(self, *, total: int, errors: int, slow: int) -> None:
        """Count into the newest bucket; roll first."""
        bucket = self._ring[self._head % self.size]
        bucket[0] += total
        bucket[1] += errors
        bucket[2] += slow
        self.total += total
        self.errors += errors
        self.slow += slow
