"""config.worker beside gunicorn's own worker: callers and the application are told the same."""

import gc
import json
import re
import socket
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from threading import Thread
from typing import Any
from unittest import mock

import gevent
import gevent.socket
import pytest
from django.db import connection
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.unreader import IterUnreader
from gunicorn.workers.ggevent import GeventWorker
from hypothesis import given
from hypothesis import strategies as st

from config import collector
from config.overload import Admission
from config.worker import Remainder, Worker

Environ = dict[str, Any]
PEER = ("127.0.0.1", 40_000)
STRANGER = ("192.0.2.7", 40_000)
# What a way may have of its own, and no application of ours reads.
OWN = {"gunicorn.socket", "wsgi.early_hints", "wsgi.errors", "wsgi.file_wrapper", "wsgi.input"}


class Listener:
    """A listening socket, as far as a worker asks."""

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 8000)


def echo(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with all that was told of the request."""
    told = {key: value for key, value in environ.items() if key not in OWN}
    told["body"] = environ["wsgi.input"].read().decode("latin-1")
    body = json.dumps(told, sort_keys=True).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


class Log(Logger):
    """gunicorn's log, kept instead of written."""

    def setup(self, cfg: Config) -> None:
        self.errors: list[str] = []

    def exception(self, message: str, *_: Any, **how: Any) -> None:
        self.errors.append(message)

    def warning(self, message: str, *_: Any, **how: Any) -> None:
        """A request that is refused."""

    debug = warning


@cache
def worker_of(kind: type[GeventWorker]) -> Any:
    config = Config()
    config.set("keepalive", 5)
    config.set("workers", 2)
    config.set("limit_request_fields", 60)
    config.set("http_parser", "python")
    worker = kind(1, 1, [], None, 30, config, Log(config))
    worker.tmp.close()
    worker.wsgi = echo
    return worker


def talk(
    kind: type[GeventWorker],
    pieces: Sequence[bytes],
    *,
    peer: Any = PEER,
    application: Callable[..., Any] = echo,
) -> bytes:
    """Send pieces to a worker over one connection; return all that it answers."""
    worker = worker_of(kind)
    worker.wsgi = application
    worker.log.errors.clear()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        thread = Thread(target=worker.handle, args=(Listener(), theirs, peer))
        thread.start()
        for piece in pieces:
            ours.sendall(piece)
            if len(pieces) > 1:
                time.sleep(0.002)  # Each comes by itself.
        ours.shutdown(socket.SHUT_WR)
        ours.settimeout(5)
        answer = b"".join(iter(lambda: ours.recv(65536), b""))
        thread.join(5)
        assert not thread.is_alive()
    return re.sub(rb"Date: [^\r]*", b"Date: -", answer)


def both(pieces: Sequence[bytes], **how: Any) -> bytes:
    """Return what both ways answer."""
    answers = [talk(kind, pieces, **how) for kind in (Worker, GeventWorker)]
    assert answers[0] == answers[1]
    return answers[0]


def errors_of(kind: type[GeventWorker] = Worker) -> list[str]:
    """Return what a worker logged as its own fault since it was last talked to."""
    errors: list[str] = worker_of(kind).log.errors
    return errors


def environs(answer: bytes) -> list[Environ]:
    return [json.loads(body) for body in re.findall(rb"\{.*?\}(?=HTTP/1|$)", answer, re.DOTALL)]


def request(
    *headers: str, method: str = "POST", target: str = "/api/v1/orders", body: str = "{}"
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: shop.example", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join([*lines, "", ""]) + body).encode("latin-1")


class Unclosable:
    """An answer of which something goes wrong when it is over."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.chunks)

    def close(self) -> None:
        raise ValueError


class Seen:
    """An application that notes whether gunicorn has read what it is asked."""

    def __init__(self) -> None:
        self.is_short: list[bool] = []

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.is_short.append("wsgi.early_hints" not in environ)
        return echo(environ, start_response)


def ways(*pieces: bytes, peer: Any = PEER) -> list[bool]:
    """Tell of each request whether it went the short way."""
    application = Seen()
    talk(Worker, pieces, peer=peer, application=application)
    return application.is_short


needs_parser = pytest.mark.skipif(
    find_spec("gunicorn_h1c") is None, reason="the parser in C is not installed"
)
names = st.sampled_from([
    "Authorization", "Idempotency-Key", "X-Request-Id", "Content-Type", "Accept", "X-Forwarded-For",
    "X-Forwarded-Proto", "X-Forwarded-Ssl", "Connection", "Expect", "Transfer-Encoding", "Upgrade",
    "X_Forwarded_For", "Content-Length", "Host", "Script_Name", "TE", "x-odd", "Bad Name", "",
])  # fmt: skip
values = st.sampled_from([
    "Bearer abc", "application/json", "https", "http", "on", "close", "Keep-Alive", "chunked", "3",
    "100-continue", "a, b", "\xe4\xf6", " padded ", "", "h2c", "bad\x01", "\xb2", "-1", "1e3",
])  # fmt: skip
targets = st.sampled_from([
    "/", "/api/v1/orders", "/api/v1/orders?limit=20&cursor=a%20b", "/a%2Fb/%C3%A4", "//evil/x",
    "/a#fragment", "/a?b?c#d", "http://other.example/x", "*", "", "/\xe4", "/a b", "/;p?q",
])  # fmt: skip


class BothWaysTests:
    @given(
        st.lists(
            st.builds(
                lambda headers, method, target, body: request(
                    *headers, method=method, target=target, body=body
                ),
                st.lists(st.builds("{}: {}".format, names, values), max_size=4),
                st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "get", "CONNECT", "PATCH"]),
                targets,
                st.sampled_from(["", "{}", "x" * 300]),
            ),
            min_size=1,
            max_size=3,
        ),
        st.sampled_from([PEER, STRANGER]),
    )
    def test_tell_the_same_of_whatever_is_sent(self, requests, peer):
        both([b"".join(requests)], peer=peer)

    @given(st.binary(max_size=60), st.integers(0, 60))
    def test_tell_the_same_of_bytes_that_are_damaged(self, noise, at):
        whole = request("Accept: */*")
        both([whole[:at] + noise + whole[at + len(noise) :]])

    @pytest.mark.parametrize(
        "head",
        [
            "POST /a HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n folded\r\nContent-Length: 2\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n 0\r\n\r\n",
            "POST /a HTTP/1.1\nHost: a\nContent-Length: 2\n\n",
            "POST /a HTTP/1.1\r\nHost: a\nContent-Length: 2\r\n\r\n",
            "\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n",
            "\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n",
            "POST  /a   HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n",
            "POST /a HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: a\r\n: 1\r\nContent-Length: 2\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost : a\r\nContent-Length: 2\r\n\r\n",
        ],
    )
    def test_tell_the_same_of_a_head_that_others_may_read_in_another_way(self, head):
        both([head.encode() + b"{}" + request(target="/following")])

    def test_a_request_that_comes_in_pieces_is_read_whole(self):
        whole = request("Content-Type: application/json", body='{"customer": "c-17"}')
        for cut in (5, 40, len(whole) - 20, len(whole) - 3):
            answer = both([whole[:cut], whole[cut:], request(body="")])

            first, second = environs(answer)
            assert first["body"] == '{"customer": "c-17"}'
            assert (second["body"], second["REQUEST_METHOD"]) == ("", "POST")

    def test_a_request_that_comes_with_the_end_of_a_body_is_answered_too(self):
        whole, following = request(body="x" * 50), request(target="/following")

        first, second = environs(both([whole[:-20], whole[-20:] + following]))

        assert (first["body"], second["PATH_INFO"]) == ("x" * 50, "/following")

    def test_a_body_that_ends_early_is_told_short_and_nothing_follows(self):
        whole = request(body="x" * 50)

        (told,) = environs(both([whole[:-20]]))

        assert told["body"] == "x" * 30

    def test_what_comes_after_a_body_that_was_cut_off_is_no_request(self):
        body = Remainder(IterUnreader([b"x" * 30]), 50)

        assert body.read(50) == b"x" * 30
        assert body.length == 20  # So the connection ends with the answer.

    def test_gunicorn_too_reads_no_request_after_a_body_that_was_cut_off(self):
        body = Body(LengthReader(IterUnreader([b"x" * 30]), 50))
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/api/v1/orders",
            "CONTENT_LENGTH": "50",
            "wsgi.input": body,
        }
        told: list[str] = []

        Admission(echo)(environ, lambda status, headers: told.append(status))

        assert told == ["400 Bad Request"]
        assert body.failed  # So gunicorn ends the connection with the answer.

    def test_an_application_that_reads_no_body_does_not_make_a_request_of_it(self):
        def deaf(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            start_response("413 Too Large", [("Content-Length", "2")])
            return [b"no"]

        smuggled = request(target="/smuggled", body="")
        for pieces in ([request(body="x" * 9 + smuggled.decode())], [request(body="x" * 50)[:-20]]):
            assert talk(Worker, pieces, application=deaf).count(b"HTTP/1.1 413") == 1


class RefusalTests:
    @pytest.mark.parametrize(
        "pieces",
        [
            [request()],
            [request("X-Request-Id: shop-17", f"traceparent: 00-{17:032x}-{1:016x}-01")],
            [request("X-Request-Id: shop-17 ", "X-Request-Id: shop-18")],
            [request(body="x" * 50) + request("X-Request-Id: shop-17") + request()],
            [request(body="x" * 50)[:-20], b"x" * 20 + request()],
            [request(body="x" * 50)[:-20]],
            [request("Connection: close") + request()],
            [request("Expect: 100-continue")],
            [request("Transfer-Encoding: chunked", body="")],
            [request("X-Forwarded-Proto: https", "X-Forwarded-Ssl: off")],
            [request(target="/api/v1/orders?a=b"), request(target="/api/v1/%6frders")],
            [request(method="GET", body=""), request(method="HEAD", body="")],
            [request(target="/api/v1/orders/bulk"), request(target="/livez")],
        ],
    )
    def test_says_the_same_whoever_says_it(self, pieces):
        admission = Admission(echo)
        admission.gate.orders = admission.gate.orders_max
        with mock.patch("random.random", return_value=0.5), mock.patch("random.getrandbits", abs):
            both(pieces, application=admission)

    @needs_parser
    def test_at_once_promises_what_becomes_of_the_connection(self):
        admission = Admission(echo)
        admission.gate.orders = admission.gate.orders_max
        admission.gate.enter = mock.Mock(side_effect=AssertionError)  # The usual way.
        worker_of(Worker).alive = False
        try:
            answer = talk(Worker, [request() * 2], application=admission)
        finally:
            worker_of(Worker).alive = True

        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert re.findall(rb"Connection: (\S+)", answer) == [b"close"]


class AnswerTests:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize(
        ("status", "headers", "chunks"),
        [
            ("204 No Content", [], [b""]),
            ("304 Not Modified", [("ETag", '"1"'), ("Content-Length", "0")], [b""]),
            ("200 OK", [("Content-Length", "6")], [b"abc", b"def"]),
            ("200 OK", [], [b"abc", b"def"]),
            ("200 OK", [("Content-Length", "2")], [b"abc"]),
            ("200 OK", [("Connection", "close"), ("Content-Length", "1")], [b"a"]),
            ("200 OK", [("X-Name", "\xe4"), ("Content-Length", "0")], []),
        ],
    )
    def test_is_framed_as_gunicorn_does(self, method, status, headers, chunks):
        def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            start_response(status, headers)
            return list(chunks)

        both([request(method=method, body="")] * 2, application=application)

    def test_of_a_stream_that_breaks_has_no_end(self):
        def broken() -> Iterator[bytes]:
            yield b"first"
            raise ValueError

        def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return broken()

        answer = both([request(body="")], application=application)

        assert b"first" in answer
        assert not answer.endswith(b"0\r\n\r\n")
        assert b"500" not in answer
        assert errors_of() == ["Error handling request"]

    def test_is_the_only_one_even_if_it_cannot_be_closed(self):
        def application(environ: Environ, start_response: Callable[..., Any]) -> Any:
            start_response("200 OK", [("Content-Length", "2")])
            return Unclosable([b"ok"])

        assert both([request(body="") * 2], application=application).count(b"HTTP/1.1") == 1

    def test_promises_what_becomes_of_the_connection(self):
        def stops(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            worker_of(Worker).alive = environ["PATH_INFO"] == "/before"
            return echo(environ, start_response)

        worker_of(Worker).alive = True
        try:
            calls = request(target="/stops") + request(target="/after") + request(target="/never")
            answer = talk(Worker, [calls], application=stops)
        finally:
            worker_of(Worker).alive = True

        assert re.findall(rb"Connection: (\S+)", answer) == [b"keep-alive", b"close"]

    def test_that_nobody_waits_for_is_no_fault_of_ours(self):
        def endless(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return iter(lambda: b"x" * 10_000, None)

        for kind in (Worker, GeventWorker):
            worker = worker_of(kind)
            worker.wsgi = endless
            worker.log.errors.clear()
            ours, theirs = socket.socketpair()
            with theirs:
                thread = Thread(target=worker.handle, args=(Listener(), theirs, PEER))
                thread.start()
                ours.sendall(request())
                ours.recv(10)
                ours.close()
                thread.join(5)
            assert not thread.is_alive()
            assert errors_of(kind) == []

    def test_of_a_call_that_ends_the_process_ends_only_its_connection(self):
        def leaves(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            raise SystemExit

        assert talk(Worker, [request()], application=leaves) == b""

    @pytest.mark.parametrize("name", ["X-Fine", "Bad\r\nSet-Cookie"])
    def test_never_has_a_header_that_the_application_did_not_mean(self, name):
        def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            start_response("200 OK", [(name, "a\r\nSet-Cookie: b"), ("Content-Length", "0")])
            return []

        answer = both([request(body="")], application=application)

        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"Set-Cookie: b" not in answer

    def test_of_a_failure_is_a_500_and_the_end(self):
        def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            raise ValueError

        answer = both([request(body="") * 2], application=application)

        assert answer.count(b"HTTP/1.1 500 ") == 1


@needs_parser
class ShortWayTests:
    def test_is_taken_by_what_clients_and_proxies_send(self):
        order = request("Authorization: Bearer a", "Content-Type: application/json")
        proxied = request("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https")

        assert ways(order * 3) == [True] * 3
        assert ways(order[:-2], order[-2:]) == [True]
        assert ways(proxied) == [True]
        assert ways(request(method="GET", target="/a%20b?c=d", body="")) == [True]
        assert ways(request("Connection: keep-alive"), peer=STRANGER) == [True]

    def test_is_left_for_good_by_what_is_unusual(self):
        plain = request()

        assert ways(plain + request("Expect: 100-continue") + plain) == [True, False, False]
        assert ways(request("Connection: close")) == [False]

    def test_believes_only_a_proxy_that_is_trusted(self):
        proxied = request("X-Forwarded-Proto: https")

        (trusted,) = environs(both([proxied]))
        (stranger,) = environs(both([proxied], peer=STRANGER))

        assert (trusted["wsgi.url_scheme"], stranger["wsgi.url_scheme"]) == ("https", "http")

    def test_remembers_no_more_names_than_it_must(self):
        for number in range(700):
            both([request(f"X-Name-{number}: 1")])

        assert len(worker_of(Worker)._keys) <= 500

    def test_hangs_up_on_who_says_nothing(self):
        # In a thread of its own, as all connections here: a worker's greenlets share nothing, and
        # at its end each takes apart what it had of Django's.
        with ThreadPoolExecutor(1) as thread:
            answers = thread.submit(self.silence).result()

        assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200", b"HTTP/1.1 200", b""]
        assert errors_of() == []

    def silence(self) -> list[bytes]:
        """Say something twice and then nothing; return what a worker that hangs up answers."""
        worker = worker_of(Worker)
        worker.wsgi = echo
        worker.log.errors.clear()
        ours, theirs = socket.socketpair()
        client = gevent.socket.socket(socket.AF_UNIX, fileno=theirs.detach())
        answers = []
        with ours:
            serving = gevent.spawn(worker.handle, Listener(), client, PEER)
            for silent_since in (time.monotonic() - 5, time.monotonic() + 5):
                ours.sendall(request())
                gevent.sleep(0.05)
                answers.append(ours.recv(65536))
                worker.hang_up(silent_since=silent_since)
            serving.join(5)
            assert serving.ready()
            return [*answers, ours.recv(1)]

    def test_looks_for_garbage_when_no_call_is_under_way(self, monkeypatch):
        rests = []
        monkeypatch.setattr(collector, "rest", lambda: rests.append(worker_of(Worker)._under_way))

        both([request() * 2 + request("Expect: 100-continue")])

        assert rests == [0, 0, 0]


class ConnectionTests:
    def test_that_is_over_leaves_no_garbage(self):
        def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            assert connection.ops.connection  # As whoever asks the database has it.
            kept.append(weakref.ref(connection.ops))
            return echo(environ, start_response)

        kept: list[Any] = []
        gc.collect()
        gc.disable()
        try:
            talk(Worker, [request()], application=application)
            assert [ops() for ops in kept] == [None]
        finally:
            gc.enable()
