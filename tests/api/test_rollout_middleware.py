"""One snapshot for each request; its end told to the breakers; nothing left behind."""

import json
import time
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory

from config.problems import problem_response
from rollout.breaker import OPEN
from rollout.codepath import CodePath
from rollout.context import current
from rollout.document import read_document
from rollout.errors import PathUnavailable
from rollout.middleware import RolloutMiddleware
from rollout.rules import Reason, sign_override
from rollout.runtime import runtime

KEY = "tests.path"
OTHER = "tests.other"
KEY_OF_TESTS = "a secret of the tests, long enough to be one, and used nowhere else"


class Key:
    """What an authenticator leaves on the request."""

    pk = 3

    def __init__(self, *scopes):
        self.scopes = scopes

    def has(self, scope):
        return scope in self.scopes


TRUSTED = Key("rollout:override")


@pytest.fixture(autouse=True)
def _own_runtime():
    yield
    for key in (KEY, OTHER):
        runtime.forget(key)
    runtime.reset()


@pytest.fixture
def path():
    path = CodePath(KEY, effects="write", stickiness=("account",))
    path.version("v1")(lambda: "v1")
    path.version("v2")(lambda: "v2")
    publish()
    return path


def publish(*rules, generation=7, **members):
    rules = [
        {"id": f"r{n}", "path": KEY, "serve": "canary", **rule} for n, rule in enumerate(rules)
    ]
    document = {
        "schema_version": 1,
        "releases": {KEY: {"stable": "v1", "canary": "v2"}},
        "rules": rules,
        **members,
    }
    runtime.activate(read_document(document, paths=runtime.facts), generation=generation)


def ask(rf, view, *, user=None, auth=None, **headers):
    """Send a request through the middleware; the view authenticates, as DRF does."""
    request = rf.get("/some/where", headers=headers)

    def authenticate_and_view(request):
        request.user = user or AnonymousUser()
        request.auth = auth
        return view(request)

    return RolloutMiddleware(authenticate_and_view)(request)


def user(pk, **attributes):
    return SimpleNamespace(pk=pk, is_authenticated=True, has_perm=lambda name: False, **attributes)


def views_of(version):
    return runtime.breakers[KEY, version].view()


class DecisionTests:
    def test_knows_who_authenticated_inside_the_view(self, rf, path):
        publish({"match": [{"kind": "account", "values": ["7"]}]})

        answers = [
            ask(rf, lambda request: HttpResponse(path()), user=user(pk)).content for pk in (7, 8)
        ]

        assert answers == [b"v2", b"v1"]

    def test_keeps_one_generation_through_a_request(self, rf, path):
        def view(request):
            before = path()
            publish({}, generation=8)
            return HttpResponse(before + path())

        response = ask(rf, view, auth=TRUSTED)
        next_one = ask(rf, lambda request: HttpResponse(path()), auth=TRUSTED)

        assert response.content == b"v1v1"
        assert response["x-rollout-generation"] == "7"
        assert (next_one.content, next_one["x-rollout-generation"]) == (b"v2", "8")

    def test_leaves_nothing_for_the_next_request_of_the_connection(self, rf, path):
        publish({"match": [{"kind": "account", "values": ["7"]}]})

        ask(rf, lambda request: HttpResponse(path()), user=user(7))

        assert current.get() is None
        assert path() == "v1"

    def test_leaves_nothing_after_a_killed_greenlet(self, rf, path):
        def view(request):
            path()
            raise SystemExit

        with pytest.raises(SystemExit):
            ask(rf, view)

        assert current.get() is None
        assert views_of("v1").total == 0


class TrustTests:
    def serve(self, rf, path, **how):
        seen = []

        def view(request):
            seen.append((path(), request.rollout))
            return HttpResponse("x")

        response = ask(rf, view, **how)
        (answer, context) = seen[0]
        return answer, context, response

    @pytest.mark.parametrize("name", ["v2", "canary"])
    def test_obeys_a_key_with_the_scope_and_tells_what_served(self, rf, path, name):
        answer, context, response = self.serve(rf, path, auth=TRUSTED, **{"x-deploy-version": name})

        assert answer == "v2"
        assert context.served[KEY].reason == Reason.FORCED_HEADER
        assert response["x-deploy-version"] == "v2"
        assert response["x-rollout-generation"] == "7"

    @pytest.mark.parametrize("auth", [None, Key("orders:write")])
    def test_ignores_everybody_else_and_tells_nothing(self, rf, path, auth):
        answer, context, response = self.serve(
            rf, path, auth=auth, user=user(7), **{"x-deploy-version": "v2"}
        )

        assert answer == "v1"
        assert context.denied == ["header"]
        assert "x-deploy-version" not in response
        assert "x-rollout-generation" not in response

    def test_obeys_a_user_with_the_permission(self, rf, path):
        told = user(7)
        told.has_perm = lambda name: name == "rollout.override"

        answer, _, response = self.serve(rf, path, user=told, **{"x-deploy-version": "v2"})

        assert (answer, response["x-deploy-version"]) == ("v2", "v2")

    def test_answers_although_it_cannot_find_out_whether_to_tell(self, rf, path, caplog):
        class Broken(Key):
            def has(self, scope):
                raise RuntimeError

        answer, _, response = self.serve(rf, path, auth=Broken())

        assert (answer, response.status_code) == ("v1", 200)
        assert "x-deploy-version" not in response
        assert "whether a caller is trusted" in caplog.text

    def test_asks_no_permission_of_those_who_ask_for_nothing(self, rf, path):
        told = user(7)
        told.has_perm = pytest.fail

        answer, _, response = self.serve(rf, path, user=told)

        assert answer == "v1"
        assert "x-deploy-version" not in response

    @pytest.mark.parametrize(
        ("trust", "how", "answer"),
        [
            ("any", {}, "v2"),
            ("authenticated", {}, "v1"),
            ("authenticated", {"user": user(7)}, "v2"),
            ("permission", {"user": user(7)}, "v1"),
            ("signed", {"user": user(7)}, "v1"),
        ],
    )
    def test_trusts_whom_the_setting_names(self, path, settings, trust, how, answer):
        settings.ROLLOUT_HEADER_TRUST = trust

        served = self.serve(RequestFactory(), path, **how, **{"x-deploy-version": "v2"})

        assert served[0] == answer

    def test_obeys_a_signed_token_until_it_expires(self, rf, path, settings):
        settings.ROLLOUT_HEADER_TRUST = "signed"
        settings.SECRET_KEY = "new"
        settings.SECRET_KEY_FALLBACKS = [KEY_OF_TESTS]
        now_s = int(time.time())
        good = sign_override("v2", expires_at_s=now_s + 60, key=KEY_OF_TESTS.encode())
        late = sign_override("v2", expires_at_s=now_s - 1, key=KEY_OF_TESTS.encode())

        assert self.serve(rf, path, **{"x-deploy-version": good})[0] == "v2"
        assert self.serve(rf, path, **{"x-deploy-version": late})[0] == "v1"

    def test_asks_the_project_when_it_has_a_test_of_its_own(self, rf, path, settings):
        settings.ROLLOUT_PERMISSION_TEST = f"{__name__}.is_from_the_office"

        answer, _, _ = self.serve(rf, path, **{"x-deploy-version": "v2", "x-office": "1"})

        assert answer == "v2"
        assert self.serve(rf, path, **{"x-deploy-version": "v2"})[0] == "v1"

    def test_obeys_the_query_of_a_trusted_caller(self, rf, path):
        request = rf.get("/?x-deploy-version=v2")
        request.auth = TRUSTED

        response = RolloutMiddleware(lambda request: HttpResponse(path()))(request)

        assert response.content == b"v2"

    @pytest.mark.parametrize(("address", "answer"), [("10.1.2.3", "v2"), ("192.0.2.1", "v1")])
    def test_trusts_addresses_of_the_network_where_a_rule_says_so(
        self, rf, path, settings, address, answer
    ):
        settings.ROLLOUT_INTERNAL_CIDRS = ["10.0.0.0/8"]
        publish(
            {
                "trust": "internal_cidr",
                "match": [{"kind": "header", "name": "x-office", "op": "exists"}],
            }
        )
        request = rf.get("/", headers={"x-office": "1"}, REMOTE_ADDR=address)

        response = RolloutMiddleware(lambda request: HttpResponse(path()))(request)

        assert response.content == answer.encode()

    def test_names_every_path_that_served(self, rf, path):
        other = CodePath(OTHER, effects="read")
        other.version("v5")(lambda: "v5")

        def view(request):
            return HttpResponse(path() + other())

        response = ask(rf, view, auth=TRUSTED)

        assert response["x-deploy-version"] == "tests.other=v5, tests.path=v1"


def is_from_the_office(request):
    return request.headers.get("x-office") == "1"


class SettleTests:
    def test_counts_a_call_when_the_request_has_ended(self, rf, path):
        def view(request):
            path()
            assert views_of("v1").total == 0
            return HttpResponse("x")

        ask(rf, view)

        assert (views_of("v1").total, views_of("v1").errors) == (1, 0)

    def test_blames_the_version_for_a_request_that_fails_after_it(self, rf, path):
        def view(request):
            path()
            return HttpResponse(status=500)  # a COMMIT that failed, an answer that did not render

        ask(rf, view)

        assert (views_of("v1").total, views_of("v1").errors) == (1, 1)

    def test_blames_nobody_for_work_that_was_declined(self, rf, path):
        def view(request):
            path()
            return HttpResponse(status=503)

        ask(rf, view)

        assert (views_of("v1").total, views_of("v1").errors) == (1, 0)

    def test_blames_only_the_path_that_failed(self, rf, path):
        other = CodePath(OTHER, effects="read")

        @other.version("v5")
        def fail():
            raise RuntimeError

        def view(request):
            path()
            try:
                other()
            except RuntimeError:
                return HttpResponse(status=500)

        ask(rf, view)

        assert views_of("v1").errors == 0
        assert runtime.breakers[OTHER, "v5"].view().errors == 1

    def test_opens_a_canary_whose_requests_fail_after_it_answered(self, rf, path):
        publish({}, breakers={KEY: {"canary": {"MinRequestAmount": 5}}})

        for _ in range(5):
            ask(rf, lambda request: HttpResponse(path(), status=500))

        assert runtime.breakers[KEY, "v2"].state == OPEN
        assert ask(rf, lambda request: HttpResponse(path())).content == b"v1"

    def test_does_not_count_rendering_as_the_versions_time(self, rf, path):
        publish(
            {},
            breakers={
                KEY: {
                    "canary": {
                        "MaxAllowedRtMs": 20,
                        "MinRequestAmount": 1,
                        "rules": [{"Strategy": "SlowRequestRatio", "Threshold": 0.1}],
                    }
                }
            },
        )

        def view(request):
            answer = path()
            time.sleep(0.03)
            runtime.breakers[KEY, "v2"].tick()
            return HttpResponse(answer)

        ask(rf, view)

        assert (views_of("v2").total, views_of("v2").slow) == (1, 0)


class UnavailableTests:
    def test_answers_503_in_the_one_shape_and_says_when_to_come_back(self, rf, path):
        publish(
            {},
            breakers={KEY: {"stable": {"mode": "forced_open"}, "canary": {"mode": "forced_open"}}},
        )

        def view(request):
            request.request_id = request.trace_id = "x"
            try:
                return HttpResponse(path())
            except PathUnavailable as refusal:
                return problem_response(request, refusal)

        response = ask(rf, view)

        assert response.status_code == 503
        assert 4 <= int(response["Retry-After"]) <= 6  # RetryTimeoutMs 5000, ±20 %
        problem = json.loads(response.content)
        assert (problem["code"], problem["retryable"]) == ("path_unavailable", True)
        assert problem["path"] == KEY


class StreamTests:
    def stream(self, rf, path, chunks):
        def view(request):
            path()
            return StreamingHttpResponse(chunks())

        return ask(rf, view)

    def test_settles_when_the_body_has_ended(self, rf, path):
        seen = []

        def chunks():
            seen.append(current.get())
            yield b"a"
            yield b"b"

        response = self.stream(rf, path, chunks)
        before = views_of("v1").total
        body = b"".join(response)
        response.close()

        assert (before, body, views_of("v1").total) == (0, b"ab", 1)
        assert seen[0] is not None
        assert current.get() is None

    def test_counts_a_body_that_breaks_as_an_error(self, rf, path):
        def chunks():
            yield b"a"
            raise RuntimeError

        response = self.stream(rf, path, chunks)
        with pytest.raises(RuntimeError):
            list(response)
        response.close()

        assert (views_of("v1").total, views_of("v1").errors) == (1, 1)

    def test_ignores_a_client_that_went_away(self, rf, path):
        closed = []

        def chunks():
            try:
                yield b"a"
                yield b"b"
            finally:
                closed.append(True)

        response = self.stream(rf, path, chunks)
        next(iter(response))
        response.close()

        assert closed == [True]
        assert views_of("v1").total == 0
        assert views_of("v1").in_flight == 0
