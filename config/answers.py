"""How the server sends an answer: whole ones in one piece."""

from gunicorn import util
from gunicorn.http import wsgi


class Answer(wsgi.Response):  # type: ignore[misc]
    """
    An answer whose head and body go out together, where the application gave the body at once.

    gunicorn sends them one after the other: two calls of the kernel, two packets, and a client that
    wakes up twice.
    """

    def write(self, arg: bytes) -> None:
        """Send a part of the body, with the head before the first."""
        is_begun: bool = self.headers_sent  # type: ignore[has-type]
        if is_begun or self._omits_body or len(arg) != self.response_length:
            super().write(arg)
            return
        head = self.default_headers()
        head.extend([f"{name}: {text}\r\n" for name, text in self.headers])
        head.append("\r\n")
        util.write(self.sock, "".join(head).encode("latin-1") + arg)
        self.headers_sent = True
        self.sent = len(arg)


def send_whole_answers() -> None:
    """Let gunicorn answer so; what it serves by HTTP/2 has a class of its own."""
    wsgi.Response = Answer
