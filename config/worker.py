"""The worker: gunicorn's for gevent, with a short way for requests that have nothing unusual."""

import errno
import io
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from importlib import import_module
from itertools import chain
from types import SimpleNamespace
from typing import Any, NamedTuple

import gevent
from django.conf import settings
from django.db import connections
from gevent import socket
from gunicorn import SERVER, util
from gunicorn.http import wsgi
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.message import TOKEN_RE, HeaderPolicy
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.ggevent import GeventWorker

from config import collector
from config.answers import Answer
from config.pools import give_back

# What one read from the kernel may bring: a bulk of a hundred orders comes whole.
PIECE_BYTES = 64 * 1024
METHODS = {name.encode(): name for name in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")}
# A path and a query, all of it printable; two slashes, or a fragment, need a closer look.
TARGET = re.compile(rb"/(?:[!\"$-.0-~][!\"$-~]*)?")
# Of these depends how the request is read, or what becomes of the connection.
DELICATE = frozenset(
    {"EXPECT", "PROXY-CONNECTION", "TE", "TRAILER", "TRANSFER-ENCODING", "UPGRADE"}
)
# Names are looked up by the bytes that came; nobody fills the memory by inventing some.
NAMES_MAX = 500
LENGTH_DIGITS_MAX = 9
NO_BODY = ("1", "204", "304")
HUNG_UP = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})

Environ = dict[str, Any]


class Remainder(LengthReader):  # type: ignore[misc]
    """What is left of a body. length: so many bytes still, also when the caller sends no more."""

    length: int

    def read(self, size: int) -> bytes:
        """Return at most so many of them, fewer where it ended early."""
        before = self.length
        data: bytes = super().read(size)
        self.length = before - len(data)
        return data


class Ordinary(NamedTuple):
    """A request that was read. body: what still reads it, None when it came whole."""

    environ: Environ
    body: Remainder | None
    rest: bytes


class Resumed:
    """A socket of which something was read already: it is read from here once more."""

    def __init__(self, client: socket.socket, unread: bytes) -> None:
        self._client = client
        self._unread = unread

    def recv(self, *arguments: Any) -> bytes:
        """Return what was read before, then what comes."""
        unread, self._unread = self._unread, b""
        return unread or self._client.recv(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


@dataclass(frozen=True, slots=True)
class Asked:
    """What gunicorn's answers want to know of a request."""

    method: str
    version: tuple[int, int] = (1, 1)

    def should_close(self) -> bool:
        """Tell whether the caller wants no other answer on this connection."""
        return False


class Told:
    """What the application says of its answer: a start_response. is_begun: the caller has some."""

    __slots__ = ("headers", "is_begun", "status")

    def __init__(self) -> None:
        self.is_begun = False

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """Keep it until there is a body."""
        self.status, self.headers = status, headers
        return _write


def _write(_: bytes) -> None:
    raise NotImplementedError("the body is what the application returns")


class Worker(GeventWorker):  # type: ignore[misc]
    """
    A worker that reads and answers ordinary requests by itself, at a fifth of what gunicorn takes.

    Ordinary is what clients and proxies send all day: HTTP/1.1, the head in one piece, each header
    once, a body of a known length. Nothing is refused here: whatever is unusual or wrong goes to
    gunicorn with all its bytes, and so does all that follows on that connection. Without the parser
    in C everything does.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._parse = parser(self.cfg)
        self._base: Environ = wsgi.base_environ(self.cfg)
        self._scheme_keys = [
            (f"HTTP_{name.replace('-', '_')}", secure)
            for name, secure in self.cfg.secure_scheme_headers.items()
        ]
        self._keys: dict[bytes, str] = {}
        self._names: set[str] = set()
        self._silent_since: dict[socket.socket, float] = {}
        self._under_way = 0
        self._second = 0
        self._standing = ""

    # --- The life of a connection -----------------------------------------------------------------

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        """Serve a connection until one of both hangs up."""
        try:
            self._handle(listener, client, addr)
        finally:
            _let_go()

    def _handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        unread: bytes | None = b""
        try:
            if self._parse is not None and isinstance(addr, tuple):
                client.setblocking(1)
                unread = self._serve(client, self._common(listener, client, addr), addr)
        except OSError as failure:
            if failure.errno not in HUNG_UP:
                self.log.exception("Socket error processing request.")
            unread = None
        except SystemExit:
            unread = None  # Of one call: all others go on.
        except Exception as failure:  # noqa: BLE001 - answered and logged as gunicorn does
            self.handle_error(None, client, addr, failure)
            unread = None
        if unread is None:
            util.close(client)
        else:
            super().handle(listener, Resumed(client, unread) if unread else client, addr)

    def handle_request(self, *arguments: Any) -> Any:
        """Answer a request that gunicorn has read."""
        self._under_way += 1
        try:
            return super().handle_request(*arguments)
        finally:
            self._ended()

    def notify(self) -> None:
        """Show that we live, each second, and hang up on who has said nothing for too long."""
        super().notify()
        self.hang_up(silent_since=time.monotonic() - self.cfg.keepalive)

    def hang_up(self, *, silent_since: float) -> None:
        """End the connections on which nothing came since then, by time.monotonic."""
        for client, since in list(self._silent_since.items()):
            if since < silent_since:
                with suppress(OSError):  # It did so itself.
                    client.shutdown(socket.SHUT_RDWR)

    def _serve(self, client: socket.socket, common: Environ, addr: Any) -> bytes | None:
        """Answer ordinary requests; return what is none, None when the connection is over."""
        is_trusted = HeaderPolicy._peer_is_trusted_proxy(
            SimpleNamespace(cfg=self.cfg, peer_addr=addr)
        )
        data = b""
        while data or (data := self._received(client)):
            request = self._read(data, client, common, is_trusted=is_trusted)
            if request is None:
                return data
            self._under_way += 1
            try:
                is_open = self._answer(request, client)
            finally:
                self._ended()
            if not is_open:
                break
            data = request.rest
            if request.body is not None:
                if request.body.length:
                    break  # Where the next request begins is not known before the body was read.
                data = request.body.unreader.take_buffered()
            # Who waits for the next keeps nothing of this one: not its body in memory, and not
            # its environ for the collector to look through.
            del request
            if data:
                gevent.sleep(0)  # Who sends many at once must not keep all others waiting.
        return None

    def _received(self, client: socket.socket) -> bytes:
        self._silent_since[client] = time.monotonic()
        try:
            data: bytes = client.recv(PIECE_BYTES)
        except OSError as failure:
            if failure.errno != errno.EBADF:
                raise
            data = b""  # We hung up: so gevent tells who waits.
        finally:
            del self._silent_since[client]
        return data

    def _ended(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            collector.rest()

    # --- Requests ---------------------------------------------------------------------------------

    def _common(self, listener: Any, client: socket.socket, addr: tuple[str, int]) -> Environ:
        """Return what all requests of a connection have in common."""
        server = listener.getsockname()
        return self._base | {
            "gunicorn.socket": client,
            "wsgi.multithread": True,
            "wsgi.url_scheme": "http",
            "REMOTE_ADDR": addr[0],
            "REMOTE_PORT": str(addr[1]),
            "SCRIPT_NAME": "",
            "SERVER_NAME": server[0],
            "SERVER_PORT": str(server[1]),
            "SERVER_PROTOCOL": "HTTP/1.1",
        }

    def _read(
        self, data: bytes, client: socket.socket, common: Environ, *, is_trusted: bool
    ) -> Ordinary | None:
        """Return the request that data begins with, None unless it is an ordinary one."""
        try:
            parsed = self._parse(data)  # type: ignore[misc]
        except Exception:  # noqa: BLE001 - gunicorn says what is wrong, or waits for the rest
            return None
        method, target, end = METHODS.get(parsed["method"]), parsed["path"], parsed["consumed"]
        if not method or not TARGET.fullmatch(target):
            return None
        # The parser in C forgives what others may read in another way: spaces, and ends of lines.
        is_strict = data.startswith(b"%b %b HTTP/1.1\r\n" % (parsed["method"], target))
        if not is_strict or data.count(b"\n", 0, end) != data.count(b"\r\n", 0, end):
            return None
        environ = common.copy()
        if not self._add_headers(environ, parsed["headers"], is_trusted=is_trusted):
            return None
        uri = str(target, "ascii")
        path, _, query = uri.partition("?")
        environ["REQUEST_METHOD"] = method
        environ["RAW_URI"] = uri
        environ["PATH_INFO"] = util.unquote_to_wsgi_str(path) if "%" in path else path
        environ["QUERY_STRING"] = query
        return self._with_body(environ, data, end, client)

    def _add_headers(
        self, environ: Environ, headers: list[tuple[bytes, bytes]], *, is_trusted: bool
    ) -> bool:
        """Add headers to an environ; tell whether all of them are ordinary."""
        for name, value in headers:
            key = self._keys.get(name) or self._key_of(name)
            if not key or key in environ:
                return False
            environ[key] = str(value, "latin-1")
        if environ.get("HTTP_CONNECTION", "keep-alive").lower() != "keep-alive":
            return False
        return not is_trusted or self._settle_scheme(environ)

    def _with_body(
        self, environ: Environ, data: bytes, begin: int, client: socket.socket
    ) -> Ordinary | None:
        told = environ.get("CONTENT_LENGTH", "0")
        if not (told.isascii() and told.isdigit() and len(told) <= LENGTH_DIGITS_MAX):
            return None
        end = begin + int(told)
        if end <= len(data):
            environ["wsgi.input"] = io.BytesIO(data[begin:end])
            return Ordinary(environ, None, data[end:])
        if end - begin > settings.BULK_BODY_BYTES_MAX:
            return None  # Nobody is going to read it.
        unreader = SocketUnreader(client)
        unreader.unread(data[begin:])
        body = Remainder(unreader, end - begin)
        environ["wsgi.input"] = Body(body)
        return Ordinary(environ, body, b"")

    def _key_of(self, name: bytes) -> str:
        """Return where a header is found in the environ, "" for one that is not ordinary."""
        text = str(name, "latin-1").upper()
        # Without a name: a line that goes on where the one before it ended.
        if not text or "_" in text or text in DELICATE:
            return ""
        key = text.replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        if len(self._keys) < NAMES_MAX:
            self._keys[name] = key
        return key

    def _settle_scheme(self, environ: Environ) -> bool:
        """Believe a proxy how it was called; False when it says two things."""
        told = {
            "https" if environ[key] == secure else "http"
            for key, secure in self._scheme_keys
            if key in environ
        }
        if told:
            environ["wsgi.url_scheme"] = told.pop()
        return not told

    # --- Answers ----------------------------------------------------------------------------------

    def _answer(self, request: Ordinary, client: socket.socket) -> bool:
        """Have a request answered; tell whether the connection goes on."""
        environ = request.environ
        # Decided once: what the head promises is kept, also when we are told to stop meanwhile.
        is_open = bool(self.alive)
        refuse_at_once = getattr(self.wsgi, "refuse_at_once", None)
        if refuse_at_once and request.body is None and (refusal := refuse_at_once(environ)):
            first = self._first_lines(refusal.status, is_open=is_open)
            _send_whole(client, f"{first}{refusal.lines}\r\n".encode("latin-1") + refusal.body)
            return is_open
        told = Told()
        try:
            chunks = self.wsgi(environ, told)
            try:
                is_open = self._send(environ["REQUEST_METHOD"], client, told, chunks, is_open)
            finally:
                if hasattr(chunks, "close"):
                    chunks.close()
        except OSError:
            raise  # It hung up.
        except Exception:
            if not told.is_begun:
                raise
            # No second answer behind this one: whoever reads would take it for that to his next
            # call. And none that seems whole: a stream that breaks ends without its end.
            self.log.exception("Error handling request")
            return False
        return is_open

    def _send(
        self, method: str, client: socket.socket, told: Told, chunks: Any, is_open: bool
    ) -> bool:
        """Send an answer; tell whether the connection goes on."""
        if type(chunks) is list and method != "HEAD":
            body = b"".join(chunks)
            head = self._head(told, len(body), is_open=is_open)
            if head is not None:
                told.is_begun = True
                _send_whole(client, head + body)
                return is_open
        answer = Answer(Asked(method), client, self.cfg)
        if not is_open:
            answer.force_close()
        try:
            answer.start_response(told.status, told.headers)
            if isinstance(chunks, wsgi.FileWrapper):
                answer.write_file(chunks)
            else:
                for chunk in chunks:
                    answer.write(chunk)
            answer.close()
        finally:
            told.is_begun = answer.headers_sent
        return not answer.should_close()

    def _head(self, told: Told, length: int, *, is_open: bool) -> bytes | None:
        """Return the head of an answer with so long a body, None unless it is an ordinary one."""
        if told.status.startswith(NO_BODY):
            return None
        headers = dict(told.headers)
        if headers.get("Content-Length") != str(length):
            return None
        if not (self._names.issuperset(headers) or all(map(self._is_plain, headers))):
            return None
        # All of it at once: what may stand in a name may stand in a value.
        text = told.status + "".join(chain.from_iterable(told.headers))
        if not wsgi.HEADER_VALUE_RE.fullmatch(text):
            return None
        first = self._first_lines(told.status, is_open=is_open)
        lines = "\r\n".join(map(": ".join, told.headers))
        return f"{first}{lines}\r\n\r\n".encode("latin-1")

    def _is_plain(self, name: str) -> bool:
        is_plain = bool(TOKEN_RE.fullmatch(name)) and not util.is_hoppish(name)
        if is_plain and len(self._names) < NAMES_MAX:
            self._names.add(name)
        return is_plain

    def _first_lines(self, status: str, *, is_open: bool) -> str:
        """Return what a head says before the application's headers."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            date = formatdate(second, usegmt=True)
            self._standing = f"Server: {SERVER}\r\nDate: {date}\r\n"
        connection = "keep-alive" if is_open else "close"
        return f"HTTP/1.1 {status}\r\n{self._standing}Connection: {connection}\r\n"


def _send_whole(client: socket.socket, data: bytes) -> None:
    sent = client.send(data)
    if sent < len(data):
        client.sendall(memoryview(data)[sent:])


def _let_go() -> None:
    """
    Give back what this greenlet still has of Django's, or take it apart, now that it ends.

    A database wrapper and its helpers hold each other, and only the collector could free them.
    """
    with suppress(Exception):
        give_back()
    for wrapper in connections.all(initialized_only=True):
        with suppress(Exception):
            wrapper.close()
        vars(wrapper).clear()


def parser(cfg: Any) -> Callable[[bytes], Any] | None:
    """Return what parses the head of a request, None where all is gunicorn's to read."""
    is_plain = not cfg.is_ssl and cfg.http2_cleartext == "off" and cfg.proxy_protocol == "off"
    is_usual = is_plain and cfg.protocol == "http" and cfg.keepalive and not cfg.max_requests
    if not is_usual or os.environ.get("SCRIPT_NAME"):
        return None
    try:
        parse = import_module("gunicorn_h1c").parse_request
    except ImportError:
        return None
    return partial(
        parse,
        limit_request_line=cfg.limit_request_line,
        limit_request_fields=cfg.limit_request_fields,
        limit_request_field_size=cfg.limit_request_field_size,
    )
