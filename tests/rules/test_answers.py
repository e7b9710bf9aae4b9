"""How many pieces an answer is sent in."""

from types import SimpleNamespace

from config.answers import Answer

REQUEST = SimpleNamespace(version=(1, 1), method="GET", should_close=lambda: False)
CONFIG = SimpleNamespace(protocol="http", is_ssl=False, sendfile=None)


class Wire:
    """A socket that remembers what it was given."""

    def __init__(self):
        self.sent = []

    def sendall(self, piece):
        self.sent.append(piece)


def sent(status, headers, *parts, method="GET"):
    wire = Wire()
    request = SimpleNamespace(**{**vars(REQUEST), "method": method})
    answer = Answer(request, wire, CONFIG)
    answer.start_response(status, headers)
    for part in parts:
        answer.write(part)
    answer.close()
    return wire.sent


class AnswerTests:
    def test_sends_a_whole_answer_in_one_piece(self):
        (piece,) = sent("201 Created", [("Content-Length", "4"), ("ETag", '"1"')], b"body")

        head, _, body = piece.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201 Created\r\nServer: ")
        assert head.endswith(b'\r\nContent-Length: 4\r\nETag: "1"')
        assert body == b"body"

    def test_sends_parts_one_after_the_other(self):
        head, first, second = sent("200 OK", [("Content-Length", "4")], b"bo", b"dy")

        assert head.endswith(b"\r\n\r\n")
        assert (first, second) == (b"bo", b"dy")

    def test_sends_no_more_than_the_length(self):
        assert sent("200 OK", [("Content-Length", "2")], b"body")[1:] == [b"bo"]

    def test_sends_no_body_to_whom_none_is_due(self):
        (piece,) = sent("200 OK", [("Content-Length", "4")], b"body", method="HEAD")
        assert piece.endswith(b"\r\n\r\n")

    def test_sends_chunks_where_the_length_is_unknown(self):
        head, *chunks = sent("200 OK", [], b"body")

        assert b"Transfer-Encoding: chunked" in head
        assert b"".join(chunks) == b"4\r\nbody\r\n0\r\n\r\n"
