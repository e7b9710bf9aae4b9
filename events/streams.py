"""
Events as entries of a Redis Stream.

A module of its own: only a relay with such a sink loads the client.
"""

from collections.abc import Sequence

import redis

from events.sinks import Outgoing


class RedisStream:
    """
    Adds each event to a stream.

    length_max: 0 never trims. Any other length trims to about that many entries, whether somebody
    has read them or not.
    """

    def __init__(self, *, url: str, stream: str, length_max: int = 0, timeout_s: float = 5) -> None:
        self._client = redis.Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )
        self._stream = stream
        self._length_max = length_max or None

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Add a batch in one round trip."""
        # Not a MULTI: a stream of half a batch is no worse than a batch that is sent again.
        adding = self._client.pipeline(transaction=False)
        for event in batch:
            adding.xadd(
                self._stream,
                {
                    "id": str(event.id),
                    "type": event.type,
                    "subject": event.subject,
                    "event": event.envelope,
                },
                maxlen=self._length_max,
                approximate=True,
            )
        adding.execute()
