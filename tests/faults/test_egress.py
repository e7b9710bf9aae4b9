"""What leaves for a webhook, over real sockets: nothing for an address that is not public."""

import os
import socket
import threading
import time
import unittest
from contextlib import contextmanager, suppress
from ipaddress import ip_network
from unittest.mock import patch

import pytest

from events import egress
from events.addresses import Address
from events.egress import Egress
from tests.faults.receiver import Receiver

HOME = [ip_network("127.0.0.0/8")]
PUBLIC = "93.184.216.34"


def post(receiver, *, sender=None, host="127.0.0.1", body=b"{}"):
    address = Address(host, receiver.port, "/hook?a=b", is_tls=False)
    one_time = Egress(allowed=HOME)
    try:
        return (sender or one_time).post(address, {"webhook-id": "1"}, body)
    finally:
        one_time.close()


@contextmanager
def raw_server(talk):
    """Serve one connection at a time with a function of the socket."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                with suppress(OSError):
                    talk(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield Address("127.0.0.1", listener.getsockname()[1], "/", is_tls=False)
    finally:
        # A thread that sleeps in accept() keeps the port open after close().
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


class PostTests(unittest.TestCase):
    def test_sends_the_body_and_says_how_it_ended(self):
        with Receiver(lambda call: (202, {}, b"thank you")) as receiver:
            attempt = post(receiver, body=b'{"a": 1}')

        (call,) = receiver.calls
        assert (call.path, call.body) == ("/hook?a=b", b'{"a": 1}')
        assert call.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert call.headers["accept-encoding"] == "identity"
        assert (attempt.status, attempt.answer, attempt.error) == (202, "thank you", "")

    def test_never_follows_a_redirect(self):
        with Receiver() as inside:
            for status in (301, 302, 303, 307, 308):
                with Receiver(lambda call, s=status: (s, {"Location": inside.url}, b"")) as hook:
                    attempt = post(hook)
                assert (attempt.status, attempt.is_success) == (status, False)
        assert inside.calls == []

    def test_asks_no_proxy_of_the_environment(self):
        with Receiver() as proxy, Receiver() as receiver:
            names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY")
            with patch.dict(os.environ, dict.fromkeys(names, f"http://127.0.0.1:{proxy.port}")):
                assert post(receiver).is_success
        assert proxy.connections == 0

    def test_keeps_its_connection_and_opens_another_when_that_was_closed(self):
        sender = Egress(allowed=HOME)
        with Receiver() as receiver:
            assert all(post(receiver, sender=sender).is_success for _ in range(3))
            assert receiver.connections == 1
            receiver.answer = lambda call: None
            assert post(receiver, sender=sender).error == "connection_failed"
            receiver.answer = lambda call: (200, {}, b"")
            assert post(receiver, sender=sender).is_success
        sender.close()

    def test_keeps_a_thousand_characters_of_the_answer_and_nothing_that_cannot_be_shown(self):
        with Receiver(lambda call: (500, {}, b"\x00\x1b[31m\xff" + b"x" * 100_000)) as receiver:
            attempt = post(receiver)

        assert len(attempt.answer) == 1024
        assert attempt.answer.startswith("\ufffd\ufffd[31m\ufffdxxx")

    def test_reads_what_the_receiver_asks_for(self):
        with Receiver(lambda call: (429, {"Retry-After": "7"}, b"")) as receiver:
            assert post(receiver).retry_after_s == 7

    def test_unpacks_nothing(self):
        packed = b"\x1f\x8b\x08" + b"\x00" * 60
        with Receiver(lambda call: (200, {"Content-Encoding": "gzip"}, packed)) as receiver:
            assert post(receiver).answer.startswith("\ufffd\ufffd\ufffd")


class HostileReceiverTests(unittest.TestCase):
    def test_gets_no_more_time_for_dripping(self):
        def drip(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            for _ in range(100):
                connection.sendall(b"X-A: b\r\n")
                time.sleep(0.05)

        with patch.object(egress, "TOTAL_S", 0.5), raw_server(drip) as address:
            begun = time.monotonic()
            attempt = Egress(allowed=HOME).post(address, {}, b"{}")

        assert attempt.error == "timeout"
        assert time.monotonic() - begun < 3

    def test_is_not_read_to_an_end_that_never_comes(self):
        def flood(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(b"x" * 65536)

        with raw_server(flood) as address:
            attempt = Egress(allowed=HOME).post(address, {}, b"{}")

        assert (attempt.status, len(attempt.answer)) == (200, 1024)

    def test_is_no_answer_when_it_talks_nonsense(self):
        for nonsense in (
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 9 9\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
            b"HTTP/1.1 200 " + b"x" * 70_000,
        ):
            with raw_server(lambda connection, n=nonsense: connection.sendall(n)) as address:
                attempt = Egress(allowed=HOME).post(address, {}, b"{}")

            assert (attempt.status, attempt.error) == (None, "answer_malformed"), nonsense[:30]

    def test_must_have_a_certificate_of_its_name(self):
        with raw_server(lambda connection: connection.sendall(b"no TLS")) as plain:
            address = Address("127.0.0.1", plain.port, "/", is_tls=True)

            assert Egress(allowed=HOME).post(address, {}, b"{}").error == "tls_failed"


class ResolverTests(unittest.TestCase):
    """A name is looked up once for each attempt, and what it says is not believed."""

    def setUp(self):
        self.receiver = self.enterContext(Receiver())

    def asked(self, *answers):
        """Return a sender whose resolver gives these answers, one after the other, for ever."""
        self.lookups = 0

        def resolve(host, port):
            self.lookups += 1
            return answers[(self.lookups - 1) % len(answers)]

        return Egress(resolve=resolve)

    def test_sends_nothing_to_a_name_of_the_inside(self):
        for answer in (
            ["127.0.0.1"],
            ["::1"],
            ["::ffff:127.0.0.1"],
            [PUBLIC, "127.0.0.1"],
            ["127.0.0.1", PUBLIC],
            [PUBLIC, "2606:4700::1111", "fe80::1%lo"],
            ["64:ff9b::7f00:1"],
            [],
        ):
            attempt = post(self.receiver, sender=self.asked(answer), host="hook.example")

            assert attempt.error == "address_refused", answer
        assert self.receiver.connections == 0

    def test_connects_to_the_address_that_was_looked_at_whatever_the_name_says_next(self):
        dialled = []

        def create_connection(address, timeout):
            dialled.append(address[0])
            raise ConnectionRefusedError

        sender = self.asked([PUBLIC], ["127.0.0.1"])
        with patch.object(egress.socket, "create_connection", create_connection):
            outcomes = {
                post(self.receiver, sender=sender, host="rebinding.example").error
                for _ in range(1000)
            }

        assert self.lookups == 1000
        assert outcomes == {"connection_failed", "address_refused"}
        assert set(dialled) == {PUBLIC}
        assert self.receiver.connections == 0

    def test_looks_at_the_far_end_again(self):
        # A translation on the way: what was dialled is public, who answers is not.
        real = socket.create_connection

        def translated(address, timeout):
            return real(("127.0.0.1", self.receiver.port), timeout)

        with patch.object(egress.socket, "create_connection", translated):
            attempt = post(self.receiver, sender=self.asked([PUBLIC]), host="hook.example")

        assert attempt.error == "address_refused"
        assert self.receiver.calls == []

    def test_leaves_a_kept_connection_when_the_name_has_moved(self):
        answers = [["127.0.0.1"], ["127.0.0.1"], ["10.0.0.1"]]
        sender = Egress(allowed=HOME, resolve=lambda host, port: answers.pop(0))

        outcomes = [post(self.receiver, sender=sender, host="hook.example") for _ in range(3)]

        assert [outcome.status for outcome in outcomes] == [204, 204, None]
        assert outcomes[2].error == "address_refused"
        assert self.receiver.connections == 1
        sender.close()

    def test_says_when_a_name_is_not_found(self):
        def resolve(host, port):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")

        attempt = post(self.receiver, sender=Egress(resolve=resolve), host="hook.example")
        assert attempt.error == "name_not_found"

    def test_waits_no_longer_for_a_name_than_for_anything_else(self):
        is_over = threading.Event()
        self.addCleanup(is_over.set)
        sender = Egress(allowed=HOME, resolve=lambda host, port: is_over.wait(20) and [PUBLIC])

        with patch.object(egress, "TOTAL_S", 0.2):
            attempt = post(self.receiver, sender=sender, host="hook.example")

        assert attempt.error == "timeout"
        assert attempt.duration_ms < 3000
        assert self.receiver.connections == 0


@pytest.mark.prove
class CorpusTests(unittest.TestCase):
    def test_every_notation_of_this_machine_is_refused_by_the_name_or_by_its_addresses(self):
        """Also without the rules about names: by what the system's own resolver makes of them."""
        with Receiver() as receiver:
            sender = Egress()
            for host in (
                "localhost", "127.1", "0", "0x7f000001", "0x7f.1", "017700000001", "2130706433",
                "0177.0.0.1", "::1", "::ffff:127.0.0.1", "127.0.0.1", socket.gethostname(),
            ):  # fmt: skip
                attempt = post(receiver, sender=sender, host=host)
                assert attempt.error in ("address_refused", "name_not_found"), host
        assert receiver.connections == 0
