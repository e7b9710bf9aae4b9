"""A private Redis key space for a test, and a Redis that can be taken away."""

import itertools
import os
import socket

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rollout import announcing

_serial = itertools.count()


def connect():
    """Return a connection to the Redis of this run, as impatient as that of a worker."""
    return redis.Redis.from_url(
        os.environ["REDIS_URL"],
        socket_timeout=announcing.TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        encoding_errors="replace",
    )


def own_prefix():
    """Return a prefix that no other test uses."""
    return f"ro:{{test-{os.getpid()}-{next(_serial)}}}"


class Switch:
    """A way to Redis that a test can cut: gone (refused), hung (accepts, never answers)."""

    def __init__(self):
        self.works = connect()
        self.state = "up"
        self._deaf = socket.create_server(("127.0.0.1", 0))
        self._hung = redis.Redis(
            host="127.0.0.1",
            port=self._deaf.getsockname()[1],
            socket_timeout=0.05,
            socket_connect_timeout=0.05,
            retry=Retry(NoBackoff(), 0),
        )
        self._gone = redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))

    def __call__(self):
        return {"up": self.works, "hung": self._hung, "gone": self._gone, "none": None}[self.state]

    def close(self):
        for one in (self.works, self._hung, self._gone):
            one.close()
        self._deaf.close()
