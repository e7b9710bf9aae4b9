"""Whatever goes wrong, the caller reads one shape."""

import json
import logging
import re
from urllib.parse import unquote

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory, SimpleTestCase, override_settings

from config.catalogue import list_refusals
from config.middleware import Edge
from config.problems import STATUS_BY_KIND
from tests.api.edge_urls import FAILURES, KINDS, SECRET, TROUBLE

MEMBERS = {
    "type",
    "title",
    "status",
    "detail",
    "instance",
    "code",
    "trace_id",
    "request_id",
    "retryable",
    "effect",
    "errors",
}


@override_settings(ROOT_URLCONF="tests.api.edge_urls")
class ProblemTestCase(SimpleTestCase):
    def setUp(self):
        self.client = Client(raise_request_exception=False, headers={"host": "localhost"})

    def problem(self, response, status, code):
        """Return the problem, after checking what every problem has."""
        assert response.status_code == status, response.content
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Length"] == str(len(response.content))
        problem = json.loads(response.content)
        assert set(problem) >= MEMBERS
        assert problem["status"] == status
        assert problem["code"] == code
        assert problem["request_id"] == response.headers["X-Request-Id"]
        assert unquote(problem["instance"]) == response.wsgi_request.path
        for secret in (SECRET, "Traceback", "RuntimeError", 'File "'):
            assert secret not in response.content.decode()
        return problem

    def post(self, body, path="/api/v1/echo", **headers):
        return self.client.post(path, body, content_type="application/json", **headers)


class RefusalTests(ProblemTestCase):
    def test_every_kind_has_its_status(self):
        for kind in KINDS:
            response = self.client.get(f"/api/v1/refuse/{kind}")

            problem = self.problem(response, STATUS_BY_KIND[kind], "a_code")
            assert problem["detail"] == "CUP: wanted 3"
            assert (problem["sku"], problem["wanted_units"]) == ("CUP", 3)
            assert (problem["retryable"], problem["effect"]) == (False, "none")

    def test_the_table_is_the_one_that_was_decided(self):
        assert sorted(STATUS_BY_KIND.values()) == [
            *(400, 401, 403, 404, 405, 408, 409, 411, 412, 413, 415, 422, 429, 500, 503)
        ]

    def test_a_refusal_of_an_app_that_does_not_know_config_is_told_as_well(self):
        response = self.client.put("/api/v1/fail/liftable")

        problem = self.problem(response, 409, "plan_is_paused")
        assert problem["plan"] == "p-1"
        assert problem["effect"] == "applied"
        assert problem["errors"] == [{"pointer": "/plan", "code": "paused"}]
        assert response.headers["Retry-After"] == "7"

    def test_a_refusal_told_again_is_the_same_document(self):
        answers = [self.client.put("/api/v1/fail/told-again") for _ in range(2)]

        assert answers[0].content == answers[1].content
        assert answers[0].json()["request_id"] == "the-first"
        assert answers[0].headers["Idempotent-Replayed"] == "true"
        assert answers[0].headers["X-Request-Id"] != answers[1].headers["X-Request-Id"]

    def test_a_fact_that_is_hard_to_write_is_told_all_the_same(self):
        problem = self.problem(self.client.get("/api/v1/fail/unwritable"), 422, "too_odd")

        assert (problem["quantity"], problem["sku"]) == (10**30, "\ud800")

    def test_busy_and_limited_callers_hear_when_to_come_back(self):
        for kind in ("too_many", "unavailable"):
            response = self.client.get(f"/api/v1/refuse/{kind}")

            assert 1 <= int(response.headers["Retry-After"]) <= 3

    def test_the_type_leads_to_the_meaning(self):
        problem = json.loads(self.client.get("/nowhere").content)

        entry = self.client.get(problem["type"])

        assert entry.status_code == 200
        assert entry.json() == {
            "code": "not_found",
            "title": "Not found",
            "status": 404,
            "retryable": False,
            "effect": "none",
            "facts": [],
            "meaning": "Nothing is at this address, or nothing that this caller may see.",
        }

    def test_a_code_that_does_not_exist_has_no_page(self):
        self.problem(self.client.get("/api/errors/nonsense"), 404, "not_found")


class CatalogueTests(ProblemTestCase):
    def test_lists_every_refusal_with_a_meaning(self):
        entries = self.client.get("/api/errors").json()["data"]

        assert [entry["code"] for entry in entries] == sorted(list_refusals())
        assert all(entry["meaning"] for entry in entries if entry["code"] != "a_code")

    def test_every_public_refusal_has_one_answer(self):
        for code, refusals in list_refusals().items():
            if code == "a_code":
                continue  # The tests' own: it has every kind.
            answers = {(STATUS_BY_KIND[r.kind], r.retryable, r.effect) for r in refusals}
            assert len(answers) == 1, (code, refusals)
            assert re.fullmatch("[a-z][a-z_]+", code), code


class DrfAndDjangoTests(ProblemTestCase):
    def test_exceptions_of_both_are_told_in_our_words(self):
        for name, status, code in (
            ("django-404", 404, "not_found"),
            ("django-403", 403, "forbidden"),
            ("django-400", 400, "malformed_request"),
            ("too-big", 413, "body_too_large"),
            ("drf-401", 401, "unauthenticated"),
            ("drf-bad-credential", 401, "unauthenticated"),
            ("drf-403", 403, "forbidden"),
            ("drf-404", 404, "not_found"),
            ("drf-429", 429, "too_many_requests"),
            ("drf-400", 400, "malformed_request"),
        ):
            self.problem(self.client.get(f"/api/v1/fail/{name}"), status, code)

    def test_unauthenticated_callers_hear_how_to_authenticate(self):
        response = self.client.get("/api/v1/fail/drf-401")

        assert response.headers["WWW-Authenticate"] == "Bearer"

    def test_a_throttled_caller_hears_the_seconds_rounded_up(self):
        assert self.client.get("/api/v1/fail/drf-429").headers["Retry-After"] == "7"

    def test_faults_of_a_serializer_are_named_by_pointer(self):
        response = self.post(
            {"lines": [{"quantity": 1}, {"quantity": "x"}, {}]}, "/api/v1/validate"
        )

        problem = self.problem(response, 422, "validation_failed")
        assert problem["errors"] == [
            {
                "pointer": "/lines/1/quantity",
                "code": "invalid",
                "message": "A valid integer is required.",
            },
            {
                "pointer": "/lines/2/quantity",
                "code": "required",
                "message": "This field is required.",
            },
        ]

    def test_faults_of_the_whole_have_the_empty_pointer(self):
        response = self.post({"lines": []}, "/api/v1/validate")

        problem = self.problem(response, 422, "validation_failed")
        assert problem["errors"] == [
            {"pointer": "", "code": "invalid", "message": "never good enough"}
        ]

    def test_a_plain_view_that_has_no_such_verb_says_which_it_has(self):
        response = self.client.post("/only-get", HTTP_X_CSRFTOKEN="x")

        self.problem(response, 405, "method_not_allowed")
        assert response.headers["Allow"] == "GET"

    def test_a_host_that_is_not_ours_is_refused_everywhere(self):
        for path in ("/api/v1/echo", "/api/schema", "/nowhere"):
            response = self.client.get(path, headers={"host": "evil.example"})

            self.problem(response, 400, "malformed_request")

    @override_settings(DEBUG=True)
    def test_the_pages_of_debug_do_not_reach_callers(self):
        self.problem(self.client.get("/nowhere"), 404, "not_found")
        self.problem(self.client.get("/broken"), 500, "internal_error")
        self.problem(
            self.client.get("/", headers={"host": "evil.example"}), 400, "malformed_request"
        )

    def test_pages_of_the_admin_stay_html(self):
        for path, status in (("/admin/page", 404), ("/admin/broken", 500)):
            response = self.client.get(path)

            assert response.status_code == status
            assert response.headers["Content-Type"].startswith("text/html")
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]

    def test_json_of_the_admin_is_a_problem(self):
        self.problem(self.client.get("/admin/suggestions"), 403, "forbidden")


class BugTests(ProblemTestCase):
    @pytest.fixture(autouse=True)
    def _logs(self, caplog):
        self.caplog = caplog

    def test_is_told_without_a_word_about_its_insides_and_logged_with_all(self):
        for path in ("/api/v1/fail/bug", "/api/v1/broken", "/broken"):
            self.caplog.clear()

            response = self.client.get(path, headers={"x-request-id": "r-17"})

            problem = self.problem(response, 500, "internal_error")
            assert problem["detail"] == "This is a fault of the service; it has been logged"
            [record] = [r for r in self.caplog.records if r.levelno >= logging.ERROR]
            assert record.getMessage() == f"GET {path} failed: RuntimeError"
            assert record.exc_info[1].args == (SECRET,)
            assert record.request_id == "r-17"

    def test_of_a_reader_had_no_effect_and_of_a_writer_an_unknown_one(self):
        read = self.client.get("/api/v1/fail/bug").json()
        written = self.client.put("/api/v1/fail/bug").json()

        assert (read["effect"], read["retryable"]) == ("none", True)
        assert (written["effect"], written["retryable"]) == ("unknown", True)

    def test_includes_a_broken_constraint_and_what_nobody_translated(self):
        for name in ("integrity", "drf-other"):
            self.problem(self.client.get(f"/api/v1/fail/{name}"), 500, "internal_error")


class DatabaseTroubleTests(ProblemTestCase):
    def test_is_no_harm_to_a_reader(self):
        for name in TROUBLE:
            response = self.client.get(f"/api/v1/fail/{name}")

            problem = self.problem(response, 503, "temporarily_unavailable")
            assert (problem["effect"], problem["retryable"]) == ("none", True), name
            assert 1 <= int(response.headers["Retry-After"]) <= 3

    def test_leaves_a_writer_in_doubt_when_nobody_knows_better(self):
        for name in TROUBLE:
            response = self.client.put(f"/api/v1/fail/{name}")

            problem = self.problem(response, 503, "outcome_unknown")
            assert (problem["effect"], problem["retryable"]) == ("unknown", True), name

    def test_did_nothing_when_it_came_before_the_caller_was_known(self):
        problem = self.problem(self.post({}, "/api/v1/locked-out"), 503, "temporarily_unavailable")

        assert problem["effect"] == "none"

    def test_is_not_every_failure(self):
        assert set(FAILURES).isdisjoint(TROUBLE)


class BodyTests(ProblemTestCase):
    def test_a_good_one_arrives(self):
        for content_type in (
            "application/json",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            'Application/JSON; Charset="utf-8"',
        ):
            response = self.client.post(
                "/api/v1/echo", b'{"a": [1]}', content_type=content_type, HTTP_ACCEPT="text/html"
            )

            assert response.status_code == 201
            assert response.headers["Content-Type"] == "application/json"
            assert response.content == b'{"data":{"a":[1]}}'
            assert response.headers["Cache-Control"] == "no-store"

    def test_none_is_an_empty_object(self):
        response = self.client.generic("POST", "/api/v1/echo")

        assert response.json() == {"data": {}}

    def test_20000_nested_arrays_are_refused(self):
        self.problem(self.post("[" * 20_000 + "]" * 20_000), 400, "malformed_json")

    def test_what_is_not_strict_json_is_refused_with_a_reason(self):
        for body in (
            b'{"a": 1, "a": 2}',
            b'{"a": NaN}',
            b'{"a": 1e999}',
            b'{"a": "\\u0000"}',
            b'{"a": "\\ud800"}',
            b'{"a": "\xff"}',
            b"\xef\xbb\xbf{}",
            b"{",
            b" ",
            b"9" * 4301,
        ):
            problem = self.problem(self.post(body), 400, "malformed_json")
            assert problem["errors"][0]["message"] == problem["detail"]

    def test_one_byte_too_many_is_refused_before_it_is_read(self):
        for path, bytes_max in (("/api/v1/echo", 131_072), ("/api/v1/orders/bulk", 1_048_576)):
            fits = self.post(b'"' + b"x" * (bytes_max - 2) + b'"', path)
            # The length alone: no byte of the body is there.
            refused = self.post(b"", path, CONTENT_LENGTH=str(bytes_max + 1))

            assert fits.status_code == 201
            problem = self.problem(refused, 413, "body_too_large")
            assert problem["bytes_max"] == bytes_max

    def test_an_absurd_length_is_refused(self):
        self.problem(self.post(b"{}", CONTENT_LENGTH="9" * 5000), 413, "body_too_large")
        for length in ("-1", "1e3", "+5", "１", "0x10"):
            self.problem(self.post(b"{}", CONTENT_LENGTH=length), 400, "malformed_request")

    def test_chunks_are_refused(self):
        for verb in ("POST", "GET", "DELETE"):
            response = self.client.generic(verb, "/api/v1/echo", HTTP_TRANSFER_ENCODING="chunked")

            self.problem(response, 411, "length_required")

    def test_another_type_charset_or_encoding_is_refused(self):
        for content_type in (
            "",
            "text/plain",
            "application/json; charset=utf-7",
            "application/json; charset=latin-1",
            "application/json; charset=zlib",
            "application/json; boundary=x",
            "application/jsonx",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded",
        ):
            response = self.client.generic("POST", "/api/v1/echo", "{}", content_type=content_type)
            self.problem(response, 415, "unsupported_media_type")
        response = self.post("{}", HTTP_CONTENT_ENCODING="gzip")
        self.problem(response, 415, "unsupported_media_type")

    def test_forms_of_the_admin_are_not_our_business(self):
        response = self.client.post("/admin/login/", {"username": "x"}, HTTP_HOST="evil")

        assert response.status_code == 400  # By its Host, not by its type.


class VerbTests(ProblemTestCase):
    def test_an_unknown_one_is_refused_everywhere(self):
        for verb in ("TRACE", "CONNECT", "FOO", "PROPFIND"):
            for path in ("/api/v1/echo", "/admin/", "/nowhere"):
                response = self.client.generic(verb, path)

                self.problem(response, 405, "method_not_allowed")
                assert response.headers["Allow"] == "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

    def test_one_that_the_address_does_not_have_is_refused_with_those_it_has(self):
        response = self.client.delete("/api/v1/echo")

        self.problem(response, 405, "method_not_allowed")
        assert response.headers["Allow"] == "GET, POST, HEAD, OPTIONS"

    def test_options_names_the_verbs(self):
        response = self.client.options("/api/v1/echo")

        assert response.json() == {"allow": ["GET", "POST", "HEAD", "OPTIONS"]}
        assert response.headers["Allow"] == "GET, POST, HEAD, OPTIONS"

    def test_head_is_get_without_its_body(self):
        read, asked = self.client.get("/api/v1/echo"), self.client.head("/api/v1/echo")

        assert asked.status_code == 200
        assert asked.content == b""
        assert asked.headers["Content-Length"] == read.headers["Content-Length"]

    def test_the_answer_to_head_has_the_length_and_not_the_bytes(self):
        # The test client drops the body by itself: this is what a server gets.
        edge = Edge(lambda request: HttpResponse(b"twelve bytes"))

        response = edge(RequestFactory().head("/api/v1/echo"))

        assert response.content == b""
        assert response.headers["Content-Length"] == "12"


class AddressTests(ProblemTestCase):
    def test_one_that_does_not_exist_is_a_problem(self):
        for path in ("/", "/nowhere", "/api", "/api/v1/", "/api/v1/nowhere", "/static/no.js"):
            self.problem(self.client.get(path), 404, "not_found")

    def test_no_trailing_slash_is_mended_by_a_redirect(self):
        self.problem(self.client.get("/api/v1/echo/"), 404, "not_found")

    def test_a_nul_names_nothing(self):
        for path in ("/api/v1/stock/a%00b", "/nowhere%00", "/api/v1/echo?sku=%00"):
            self.problem(self.client.get(path), 400, "malformed_request")

    def test_odd_bytes_are_told_back_escaped(self):
        response = self.client.get("/api/v1/%ff%0d%0aX:%20y<script>")

        assert response.status_code == 404
        assert b"<script>" not in response.content
        assert b"\\r" not in response.content


class BrowserMiddlewareTests(ProblemTestCase):
    def test_the_api_neither_reads_nor_sets_cookies(self):
        self.client.cookies["sessionid"] = "stolen"

        response = self.client.get("/api/v1/echo")

        assert not hasattr(response.wsgi_request, "session")
        assert not response.cookies
        assert "Vary" not in response.headers

    def test_the_admin_has_its_session(self):
        response = self.client.get("/admin/page")

        assert response.wsgi_request.session is not None

    @override_settings(SECURE_SSL_REDIRECT=True, SECURE_HSTS_SECONDS=60)
    def test_a_call_in_the_clear_is_refused_and_a_page_redirected(self):
        client = Client(headers={"host": "localhost"})

        self.problem(client.get("/api/v1/echo"), 403, "https_required")
        assert client.get("/admin/page").status_code == 301

    @override_settings(
        SECURE_SSL_REDIRECT=True,
        SECURE_HSTS_SECONDS=60,
        SECURE_HSTS_INCLUDE_SUBDOMAINS=True,
        SECURE_HSTS_PRELOAD=True,
    )
    def test_a_call_by_https_hears_that_it_has_to_stay_so(self):
        client = Client(headers={"host": "localhost"})

        response = client.get("/api/v1/echo", secure=True)

        assert response.status_code == 200
        expected = "max-age=60; includeSubDomains; preload"
        assert response.headers["Strict-Transport-Security"] == expected
