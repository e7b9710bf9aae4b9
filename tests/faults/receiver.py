"""A program that is told of events: it answers as it is told to, and remembers."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Status, headers and body of an answer; None hangs up without one.
Answer = tuple[int, Mapping[str, str], bytes] | None


@dataclass(frozen=True, slots=True)
class Call:
    """One POST as it came in."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.time)

    @property
    def event(self) -> dict:
        """The body as JSON."""
        return json.loads(self.body)


class Receiver:
    """Listens on a free port of 127.0.0.1 until the block ends; calls are kept in order."""

    def __init__(self, answer: Callable[[Call], Answer] | None = None) -> None:
        self.answer = answer or (lambda call: (204, {}, b""))
        self.calls: list[Call] = []
        self.connections = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with outer._lock:
                    outer.connections += 1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                call = Call(self.path, headers, body)
                with outer._lock:
                    outer.calls.append(call)
                told = outer.answer(call)
                if told is None:
                    self.close_connection = True
                    return
                status, more, content = told
                self.send_response_only(status)
                for name, value in {"Content-Length": str(len(content)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                pass  # Whoever sent it was killed.

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> "Receiver":
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
