"""How processes of the server count: cheaply, since an order counts two dozen things."""

import os
import threading
from functools import cache
from importlib import import_module
from typing import Any

from gevent import monkey

from config.metrics_directory import VARIABLE


class ThisProcess:
    """Knows its own id: the kernel is asked for it after a fork, and not for each count."""

    def __init__(self) -> None:
        self.id = os.getpid()
        os.register_at_fork(after_in_child=self._ask)

    def _ask(self) -> None:
        self.id = os.getpid()


@cache
def count_cheaply() -> None:
    """
    Have prometheus_client count without gevent's locks and without a call of the kernel each time.

    Once, when the directory of counts is known and before any metric is made. Nothing ever waits
    while it counts, so no other greenlet need run meanwhile: a plain lock does, and gevent's is
    written in Python.
    """
    patched, threading.Lock = threading.Lock, monkey.get_original("threading", "Lock")
    try:
        import_module("prometheus_client")
        values: Any = import_module("prometheus_client.values")
    finally:
        threading.Lock = patched
    if VARIABLE in os.environ:
        process = ThisProcess()
        values.ValueClass = values.MultiProcessValue(process_identifier=lambda: process.id)
