"""Requests, answers and addresses of the API are what Django makes of the same."""

import io
from typing import Any
from uuid import uuid4

from django.core.handlers.wsgi import WSGIRequest
from django.http import Http404, HttpResponse
from django.http.response import ResponseHeaders
from django.test import SimpleTestCase
from django.urls import resolve
from hypothesis import given
from hypothesis import strategies as st

from config.calls import ApiAnswer, ApiHeaders, ApiRequest
from config.handler import Handler

SEEN = ("path", "path_info", "method", "content_type", "content_params", "encoding", "scheme")


def environ_of(path: str, kind: str | None, body: bytes, **more: Any) -> dict[str, Any]:
    """Return what a server tells of a POST."""
    said = {} if kind is None else {"CONTENT_TYPE": kind}
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "QUERY_STRING": "limit=2&status=placed",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_HOST": "shop.example",
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body),
        **said,
        **more,
    }


class ApiRequestTests(SimpleTestCase):
    @given(
        path=st.one_of(st.just("/api/v1/orders"), st.text("/%aü\u00ff.-").map("/{}".format)),
        kind=st.sampled_from(
            [None, "", "application/json", "text/plain; charset=latin-1", "application/json;x"]
        ),
        body=st.binary(max_size=30),
        script=st.sampled_from([None, "", "/below"]),
        method=st.sampled_from(["POST", "post", "GET"]),
    )
    def test_says_what_a_request_of_django_says(
        self, path: str, kind: str | None, body: bytes, script: str | None, method: str
    ) -> None:
        more = {"REQUEST_METHOD": method} | ({} if script is None else {"SCRIPT_NAME": script})

        ours = ApiRequest(environ_of(path, kind, body, **more))
        theirs = WSGIRequest(environ_of(path, kind, body, **more))

        for name in SEEN:
            self.assertEqual(getattr(ours, name), getattr(theirs, name), name)
        self.assertEqual(ours.GET, theirs.GET)
        self.assertEqual(ours.META["SCRIPT_NAME"], theirs.META["SCRIPT_NAME"])
        self.assertEqual(ours.get_full_path(), theirs.get_full_path())
        self.assertEqual(ours.body, theirs.body)
        self.assertEqual(ours.POST, theirs.POST)
        self.assertEqual(ours.read(), theirs.read())

    def test_reads_a_body_that_is_not_there_yet_as_django_does(self):
        stream = io.BufferedReader(io.BytesIO(b'{"lines": []}'))  # type: ignore[arg-type]
        environ = environ_of("/api/v1/orders", "application/json", b'{"lines": []}')

        request = ApiRequest(environ | {"wsgi.input": stream})

        self.assertEqual(request.body, b'{"lines": []}')


class ApiAnswerTests(SimpleTestCase):
    @given(name=st.text(max_size=8), value=st.one_of(st.text(max_size=12), st.integers()))
    def test_takes_and_refuses_the_headers_that_django_does(self, name: str, value: Any) -> None:
        self.assertEqual(_set(ApiHeaders({}), name, value), _set(ResponseHeaders({}), name, value))

    def test_is_set_up_as_an_answer_of_django_is(self):
        for headers in ({"ETag": '"1"'}, {"Content-Type": "text/plain", "X-A": "b"}):
            with self.subTest(headers):
                ours = ApiAnswer(b'{"a": 1}', status=201, headers=headers)
                kind = None if "Content-Type" in headers else "application/json"
                theirs = HttpResponse(b'{"a": 1}', status=201, headers=headers, content_type=kind)

                self.assertEqual(ours.__dict__.keys(), theirs.__dict__.keys())
                self.assertEqual(ours.serialize(), theirs.serialize())
                self.assertEqual(ours.reason_phrase, "Created")


def _set(headers: ResponseHeaders, name: str, value: Any) -> object:
    try:
        headers[name] = value
    except (UnicodeError, ValueError) as refusal:
        return type(refusal)
    return list(headers.items())


class AddressTests(SimpleTestCase):
    def setUp(self):
        self.handler = Handler()

    def found(self, path: str) -> Any:
        try:
            match = self.handler.resolve_request(ApiRequest(environ_of(path, None, b"")))
        except Http404:
            return None
        return match.func, match.route, match.kwargs, match.url_name

    def test_an_address_with_an_id_is_found_again_for_another_id(self):
        for path in ("/api/v1/orders", "/api/v1/holds", "/api/v1/orders/{}/events"):
            for _ in range(3):
                path_now = f"{path.format(uuid4())}/{uuid4()}" if "{" not in path else path
                path_now = path_now.format(uuid4())
                with self.subTest(path_now):
                    match = resolve(path_now)
                    self.assertEqual(
                        self.found(path_now),
                        (match.func, match.route, match.kwargs, match.url_name),
                    )

    def test_what_is_no_id_is_not_taken_for_one(self):
        known = uuid4()
        self.assertIsNotNone(self.found(f"/api/v1/orders/{known}"))
        for end in ("bulk", "export", str(known).upper(), f"{known}\n", f"{known}/", known.hex, ""):
            with self.subTest(end):
                path = f"/api/v1/orders/{end}"
                try:
                    expected: Any = resolve(path).route
                except Http404:
                    expected = None
                found = self.found(path)
                self.assertEqual(found and found[1], expected)

    def test_two_requests_do_not_share_what_their_addresses_say(self):
        one, other = uuid4(), uuid4()
        first = self.handler.resolve_request(
            ApiRequest(environ_of(f"/api/v1/orders/{one}", None, b""))
        )
        second = self.handler.resolve_request(
            ApiRequest(environ_of(f"/api/v1/orders/{other}", None, b""))
        )

        self.assertEqual(first.kwargs, {"order_id": one})
        self.assertEqual(second.kwargs, {"order_id": other})
