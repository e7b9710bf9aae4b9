"""How processes of the server count: cheaply, since an order counts two dozen things."""

import os
import struct
import threading
from functools import cache
from importlib import import_module
from typing import Any

from gevent import monkey

from config.instant import mutex
from config.metrics_directory import VARIABLE

# What prometheus_client writes of a value: how much, and when it was said. Made first and then put
# in its place: pack_into writes zeroes before, and who reads then would see a count fall.
VALUE = struct.Struct("dd")
SIZE, packed = VALUE.size, VALUE.pack


class ThisProcess:
    """Knows its own id: the kernel is asked for it after a fork, and not for each count."""

    def __init__(self) -> None:
        self.id = os.getpid()
        self.is_forked = False
        os.register_at_fork(after_in_child=self._ask)

    def _ask(self) -> None:
        self.id = os.getpid()
        self.is_forked = True


@cache
def count_cheaply() -> None:
    """
    Have prometheus_client count without gevent's locks and without a call of the kernel each time.

    Once, when the directory of counts is known and before any metric is made. Nothing ever waits
    while it counts, so no other greenlet need run meanwhile: a plain lock does, and gevent's is
    written in Python. Nor does anybody look each time whether a metric has its labels: without
    them it has no number to count, which is an error too.
    """
    patched, threading.Lock = threading.Lock, monkey.get_original("threading", "Lock")
    try:
        import_module("prometheus_client")
        metrics: Any = import_module("prometheus_client.metrics")
        values: Any = import_module("prometheus_client.values")
    finally:
        threading.Lock = patched
    for kind in (metrics.Counter, metrics.Gauge, metrics.Histogram):
        kind._raise_if_not_observable = _look_at_nothing
    if VARIABLE in os.environ:
        values.ValueClass = value_class(values.MultiProcessValue, ThisProcess())


def _look_at_nothing(_: object) -> None:
    pass


def value_class(make: Any, process: ThisProcess) -> Any:
    """Return prometheus_client's class of values, which make makes, with a shorter way to count."""
    usual: Any = make(process_identifier=lambda: process.id)
    lock = mutex()

    class Value(usual):  # type: ignore[misc]
        """A number in the file of this process, written to where it stands."""

        _value: float

        def inc(self, amount: float) -> None:
            """Count so many more."""
            with lock:
                if process.is_forked:
                    self._begin_anew()
                # Written out here, as two dozen times for each order: a call would cost as much.
                self._value = value = self._value + amount
                file = self._file
                at = file._positions[self._key]
                file._m[at : at + SIZE] = packed(value, 0.0)

        def set(self, value: float, timestamp: float | None = None) -> None:
            """Say how much there is."""
            with lock:
                if process.is_forked:
                    self._begin_anew()
                self._value = value
                file = self._file
                at = file._positions[self._key]
                file._m[at : at + SIZE] = packed(value, timestamp or 0.0)

        def _begin_anew(self) -> None:
            process.is_forked = False
            self.get()  # Looks whose file it is, and gives all values the file of this process.

    return Value
