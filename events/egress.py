"""One POST to the outside, to an address that was looked at first."""

import io
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from typing import Any

from events.addresses import Address, IpNetwork, is_public
from events.errors import AddressRefused
from events.lookup import Resolve, look_up, resolve
from events.retries import Attempt, read_retry_after

CONNECT_S = 5.0
TOTAL_S = 15.0
ANSWER_BYTES_MAX = 64 * 1024
ANSWER_CHARACTERS_KEPT = 1024
IDLE_MAX = 4
IDLE_S_MAX = 30.0


class Egress:
    """
    Sends to one endpoint, over connections that are kept for a while.

    Whatever a name says, no byte leaves for an address that is not public: the name is looked up
    once for each attempt, every address that it has is tested, the connection goes to one of those
    and nowhere else, and its far end is tested again. Redirects are answers like any other, and
    proxies of the environment are not asked. allowed: networks that may be reached all the same.
    """

    def __init__(self, *, allowed: Sequence[IpNetwork] = (), resolve: Resolve = resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._idle: list[tuple[socket.socket, Address, str, float]] = []
        self._idle_max = IDLE_MAX
        self._lock = threading.Lock()

    def post(self, address: Address, headers: Mapping[str, str], body: bytes) -> Attempt:
        """Send a body once; tell how that ended. Never raises for what the far end does."""
        begun = time.monotonic()
        try:
            answer = self._post(address, headers, body, begun + TOTAL_S)
        except AddressRefused:
            answer = Attempt(error="address_refused")
        except socket.gaierror:
            answer = Attempt(error="name_not_found")
        except ssl.SSLError:
            answer = Attempt(error="tls_failed")
        except TimeoutError:
            answer = Attempt(error="timeout")
        except OSError:
            answer = Attempt(error="connection_failed")
        except (HTTPException, ValueError):
            answer = Attempt(error="answer_malformed")
        return Attempt(
            status=answer.status,
            error=answer.error,
            answer=answer.answer,
            duration_ms=round((time.monotonic() - begun) * 1000),
            retry_after_s=answer.retry_after_s,
        )

    def close(self) -> None:
        """Hang up on every connection that is kept, and keep none from now on."""
        with self._lock:
            self._idle_max = 0
            idle, self._idle = self._idle, []
        for connection, *_ in idle:
            connection.close()

    def _post(
        self, address: Address, headers: Mapping[str, str], body: bytes, deadline: float
    ) -> Attempt:
        ips = self._checked(address, deadline)
        request = _request(address, headers, body)
        kept = self._take_idle(address, ips)
        if kept is not None:
            try:
                return self._exchange(*kept, address, request, deadline)
            except (ConnectionError, ssl.SSLError, HTTPException):
                pass  # It was closed while it was idle, most likely; a new one will tell.
        return self._exchange(*self._connect(address, ips, deadline), address, request, deadline)

    def _checked(self, address: Address, deadline: float) -> Sequence[str]:
        """Return the IP addresses of a host, every one of them public; raises AddressRefused."""
        ips = look_up(address.host, address.port, resolve=self._resolve, deadline=deadline)
        if not ips or not all(is_public(ip_address(ip), allowed=self._allowed) for ip in ips):
            raise AddressRefused("it leads to an address that is not public")
        return ips

    def _connect(
        self, address: Address, ips: Sequence[str], deadline: float
    ) -> tuple[socket.socket, str]:
        connect_by = min(deadline, time.monotonic() + CONNECT_S)
        failure: OSError = TimeoutError()
        for ip in ips:
            left_s = connect_by - time.monotonic()
            if left_s <= 0:
                break
            try:
                connection = socket.create_connection((ip, address.port), timeout=left_s)
            except OSError as trouble:
                failure = trouble
                continue
            try:
                self._check_far_end(connection, ip)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if address.is_tls:
                    connection.settimeout(max(connect_by - time.monotonic(), 0.01))
                    connection = _tls().wrap_socket(connection, server_hostname=address.host)
            except BaseException:
                connection.close()
                raise
            return connection, ip
        raise failure

    def _check_far_end(self, connection: socket.socket, ip: str) -> None:
        far_end = ip_address(connection.getpeername()[0])
        if far_end != ip_address(ip) or not is_public(far_end, allowed=self._allowed):
            raise AddressRefused("its far end is another than the one that was looked at")

    def _exchange(
        self, connection: socket.socket, ip: str, address: Address, request: bytes, deadline: float
    ) -> Attempt:
        is_kept = False
        try:
            connection.settimeout(max(deadline - time.monotonic(), 0.01))
            connection.sendall(request)
            response = HTTPResponse(_Timed(connection, deadline), method="POST")  # type: ignore[arg-type]
            response.begin()
            told = response.read(ANSWER_BYTES_MAX)
            is_kept = not response.will_close and response.isclosed()
            return Attempt(
                status=response.status,
                answer=_printable(told),
                retry_after_s=read_retry_after(
                    response.headers.get("Retry-After"), now=datetime.now(UTC)
                ),
            )
        finally:
            if is_kept:
                self._keep_idle(connection, address, ip)
            else:
                connection.close()

    def _take_idle(self, address: Address, ips: Sequence[str]) -> tuple[socket.socket, str] | None:
        """Return a kept connection to one of the addresses that the name has now."""
        with self._lock:
            while self._idle:
                connection, to, ip, since = self._idle.pop()
                is_young = time.monotonic() - since <= IDLE_S_MAX
                if is_young and ip in ips and _same_place(to, address):
                    return connection, ip
                connection.close()
        return None

    def _keep_idle(self, connection: socket.socket, address: Address, ip: str) -> None:
        with self._lock:
            if len(self._idle) < self._idle_max:
                self._idle.append((connection, address, ip, time.monotonic()))
                return
        connection.close()


class _Timed(io.RawIOBase):
    """Reads from a socket until a deadline: a far end that drips gets no more time than others."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        return self._connection.recv_into(buffer)


@cache
def _tls() -> ssl.SSLContext:
    """Return what certificates are tested by: one for all, as reading them takes 50 ms."""
    return ssl.create_default_context()


def _same_place(one: Address, other: Address) -> bool:
    return (one.host, one.port, one.is_tls) == (other.host, other.port, other.is_tls)


def _request(address: Address, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [
        f"POST {address.target} HTTP/1.1",
        f"Host: {address.host_header}",
        *(f"{name}: {value}" for name, value in headers.items()),
        "Accept-Encoding: identity",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


def _printable(told: bytes) -> str:
    """Return the beginning of an answer as text that can be stored and shown."""
    text = told[: ANSWER_CHARACTERS_KEPT * 4].decode("utf-8", "replace")[:ANSWER_CHARACTERS_KEPT]
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
