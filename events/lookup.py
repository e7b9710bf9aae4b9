"""The addresses behind a name, told in time or not at all."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from ipaddress import ip_address

# (host, port) to the IP addresses that the name has at this moment.
Resolve = Callable[[str, int], Sequence[str]]


def resolve(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def look_up(host: str, port: int, *, resolve: Resolve, deadline: float) -> Sequence[str]:
    """
    Return the IP addresses of a host, which may be one itself.

    deadline: of the monotonic clock. Raises OSError, and TimeoutError when it has passed.
    """
    if _is_address(host):
        return [host]
    answer: Future[Sequence[str]] = Future()

    def ask() -> None:
        try:
            answer.set_result(resolve(host, port))
        except Exception as failure:  # noqa: BLE001 - raised again where it is waited for
            answer.set_exception(failure)

    # The system's lookup cannot be interrupted, and waits for a name server for as long as it
    # likes. One that hangs is left behind, and the process ends without it.
    threading.Thread(target=ask, name="lookup", daemon=True).start()
    return answer.result(max(deadline - time.monotonic(), 0.0))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
