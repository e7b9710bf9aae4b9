"""
Where all events of the installation go besides webhooks: events.streams, a file, or what you write.

A sink is a class with `send(batch)`, named in EVENTS_SINKS with what it is made with:

    EVENTS_SINKS = {"warehouse": {"class": "mine.Broker", "url": "amqp://…"}}

send gets events in the order in which they may go out, returns when the receiver has all of them
safely, and raises whatever it likes when that is not so: then the whole batch comes again, later
and perhaps from another relay, before anything else of these subjects. It is called from a thread
of its own, never twice at once in one relay. It is made once, when the relay starts, and must not
connect before it has something to send. The relay loads no other app: a sink has no models to ask.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from django.utils.module_loading import import_string


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event on its way out. envelope: the bytes of its CloudEvents document."""

    id: UUID
    type: str
    subject: str
    envelope: bytes


class Sink(Protocol):
    """What takes events in batches."""

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Return when the receiver has the whole batch; raise when it may not have it."""


class JsonLines:
    """Appends each event to a file, one line each, flushed to the disk: the smallest real sink."""

    def __init__(self, *, path: str) -> None:
        self._path = Path(path)

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Append a batch."""
        with self._path.open("ab") as file:
            file.write(b"".join(event.envelope + b"\n" for event in batch))
            file.flush()
            os.fsync(file.fileno())


def make_sinks(wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, Sink]:
    """Return the sinks that settings name; raises ImportError and TypeError for what is none."""
    made: dict[str, Sink] = {}
    for name, options in wanted.items():
        rest = {option: value for option, value in options.items() if option != "class"}
        made[name] = import_string(options["class"])(**rest)
    return made
