"""A proxy before PostgreSQL that can cut a connection around COMMIT."""

import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

COMMIT = b"COMMIT"


class CuttingProxy:
    """
    Forwards a socket to PostgreSQL; cuts_at_commit times it cuts the connection at a COMMIT.

    cut: "before" the server has seen the COMMIT, or "after" it has carried it out and before the
    client hears of it.
    """

    def __init__(self, connect: Callable[[], socket.socket], *, cut: str, cuts: int) -> None:
        self.connect = connect
        self.cut = cut
        self.cuts_left = cuts
        self.folder = tempfile.TemporaryDirectory(prefix="cut-")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(Path(self.folder.name) / ".s.PGSQL.5432"))
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self) -> str:
        """What a client names as its host."""
        return self.folder.name

    def close(self) -> None:
        """Take no more connections."""
        self.listener.close()
        self.folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = self.connect()
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        while data := _receive(client):
            if COMMIT in data and self.cuts_left:
                self.cuts_left -= 1
                if self.cut == "after":
                    # Nobody else reads from now on: the answer to COMMIT ends here.
                    client.shutdown(socket.SHUT_RDWR)
                    server.sendall(data)
                    # The other thread may have heard the answer, and hung up, before us.
                    with suppress(OSError):
                        server.settimeout(5)
                        _receive(server)
                break
            server.sendall(data)
        _hang_up(client, server)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        while data := _receive(server):
            try:
                client.sendall(data)
            except OSError:
                break
        _hang_up(client, server)


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
