"""Who gets in by an API key, and how far."""

from datetime import timedelta

from django.contrib.auth.models import User
from django.test import Client, TestCase, override_settings
from django.urls import path
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from accounts import authentication, usecases
from accounts.keyring import Keyring
from accounts.models import ApiKey


class Clock:
    """Seconds that pass when a test says so."""

    seconds = 0.0

    def __call__(self):
        return self.seconds


clock = Clock()


class ClockedAuthentication(authentication.ApiKeyAuthentication):
    """The same, with a keyring whose time the tests turn."""

    keyring = Keyring(clock=clock)


class TeapotViewSet(ViewSet):
    """Something to call."""

    authentication_classes = [ClockedAuthentication]
    scopes = {"list": "stock:read", "create": "stock:write"}

    def list(self, request: Request) -> Response:
        return Response({"user": request.user.get_username(), "key": request.auth.prefix})

    def create(self, request: Request) -> Response:
        return Response({}, status=201)

    def undeclared(self, request: Request) -> Response:
        return Response({})


class PlainView(APIView):
    """A view without actions."""

    scopes = {"get": "stock:read"}

    def get(self, request: Request) -> Response:
        return Response({})

    def post(self, request: Request) -> Response:
        return Response({})


class SilentView(APIView):
    """A view that declares nothing."""

    def get(self, request: Request) -> Response:
        return Response({})


class FaultyAuthentication(BaseAuthentication):
    """Has a bug of the kind that Python's attribute protocol likes to swallow."""

    def authenticate(self, request: Request) -> None:
        raise AttributeError("a bug")


class FaultyView(APIView):
    """A view behind it."""

    authentication_classes = [FaultyAuthentication]

    def get(self, request: Request) -> Response:
        return Response({})


urlpatterns = [
    path("teapots", TeapotViewSet.as_view({"get": "list", "post": "create", "put": "undeclared"})),
    path("plain", PlainView.as_view()),
    path("silent", SilentView.as_view()),
    path("faulty", FaultyView.as_view()),
]


@override_settings(ROOT_URLCONF=__name__)
class ApiKeyAuthenticationTests(TestCase):
    def setUp(self):
        ClockedAuthentication.keyring.forget()
        authentication.keyring.forget()
        self.user = User.objects.create_user("shop")

    def given_key(self, *scopes, **more):
        more = {"scopes": scopes or ["stock:read"], "now": timezone.now(), **more}
        return usecases.issue_key(user=self.user, name="till", **more)

    def call(self, header=None, *, method="get", at="/teapots", **headers):
        if header is not None:
            headers["HTTP_AUTHORIZATION"] = header
        return getattr(self.client, method)(at, **headers)

    def assert_refused(self, header, reason, *, at="/teapots"):
        with self.assertLogs("accounts", "WARNING") as logged:
            answer = self.call(header, at=at)

        self.assertEqual(answer.status_code, 401)
        self.assertEqual(answer["WWW-Authenticate"], 'Bearer realm="sluice"')
        self.assertIn("A valid API key is needed", answer.json()["detail"])
        self.assertEqual([record.reason for record in logged.records], [reason])
        self.assertFalse(ApiKey.objects.exclude(last_used_at=None).exists())
        return answer

    def test_a_key_says_who_calls(self):
        issued = self.given_key()

        answer = self.call(f"Bearer {issued.text}")

        self.assertEqual(answer.status_code, 200)
        self.assertEqual(answer.json(), {"user": "shop", "key": issued.key.prefix})

    def test_the_scheme_may_be_written_in_lower_case(self):
        self.assertEqual(self.call(f"bearer {self.given_key().text}").status_code, 200)

    def test_every_refusal_has_the_same_body(self):
        hour_ago = timezone.now() - timedelta(hours=1)
        revoked, expired = self.given_key(), self.given_key(now=hour_ago, expires_at=hour_ago)
        usecases.revoke_key(revoked.key.pk, now=timezone.now())
        other = self.given_key()

        answers = [
            self.assert_refused(None, "missing"),
            self.assert_refused(f"Bearer sk_{'0' * 12}_{'0' * 43}", "unknown"),
            self.assert_refused(f"Bearer {other.key.prefix}_{'0' * 43}", "unknown"),
            self.assert_refused(f"Bearer {revoked.text}", "revoked"),
            self.assert_refused(f"Bearer {expired.text}", "expired"),
            self.assert_refused("Basic c2hvcDpzaG9w", "malformed"),
        ]

        # Only what names this one call may differ.
        own = {"trace_id", "request_id", "instance"}
        bodies = [{k: v for k, v in a.json().items() if k not in own} for a in answers]
        self.assertEqual(bodies, bodies[:1] * 6)

    def test_a_header_that_is_not_exactly_one_key_is_refused(self):
        text = self.given_key().text
        for header in (
            "Bearer",
            f"Bearer {text}, Bearer {text}",
            f"Bearer {text},",
            f"Bearer {text} {text}",
            f"Bearer {text[:-1]}\xe9",
            f"Bearer {text[:-1]}\xff\xfe",
            "Bearer " + "a" * 10_000,
        ):
            with self.subTest(header=header[:40]):
                self.assert_refused(header, "malformed")

    def test_the_log_knows_the_prefix_and_not_the_secret(self):
        issued = self.given_key()
        usecases.revoke_key(issued.key.pk, now=timezone.now())

        with self.assertLogs("accounts", "WARNING") as logged:
            self.call(f"Bearer {issued.text}")

        self.assertEqual(logged.records[0].key_prefix, issued.key.prefix)
        self.assertEqual(logged.records[0].client_address, "127.0.0.1")
        secret = issued.text.removeprefix(issued.key.prefix)
        self.assertNotIn(secret, repr(vars(logged.records[0])))

    def test_a_session_of_the_admin_is_not_accepted(self):
        self.client.force_login(User.objects.create_superuser("root"))

        self.assert_refused(None, "missing")

    def test_a_key_in_the_query_or_in_a_cookie_is_not_accepted(self):
        text = self.given_key().text
        self.client.cookies["Authorization"] = f"Bearer {text}"

        self.assert_refused(None, "missing", at=f"/teapots?Authorization=Bearer%20{text}")
        self.assert_refused(None, "missing", at=f"/teapots?api_key={text}&access_token={text}")

    def test_a_key_needs_no_csrf_token(self):
        self.client = Client(enforce_csrf_checks=True)
        issued = self.given_key("stock:write")

        self.assertEqual(self.call(f"Bearer {issued.text}", method="post").status_code, 201)

    def test_a_revoked_key_opens_nothing_after_one_second(self):
        bearer = f"Bearer {self.given_key().text}"
        self.assertEqual(self.call(bearer).status_code, 200)
        usecases.revoke_key(ApiKey.objects.get().pk, now=timezone.now())

        clock.seconds += 0.999
        self.assertEqual(self.call(bearer).status_code, 200)
        clock.seconds += 0.001
        with self.assertLogs("accounts", "WARNING"):
            self.assertEqual(self.call(bearer).status_code, 401)

    def test_a_busy_key_costs_one_query_a_second(self):
        bearer = f"Bearer {self.given_key().text}"
        self.call(bearer)

        clock.seconds += 1
        with self.assertNumQueries(1):
            for _ in range(20):
                self.assertEqual(self.call(bearer).status_code, 200)

    def test_a_key_that_expires_is_refused_though_it_is_remembered(self):
        issued = self.given_key(expires_at=timezone.now() + timedelta(milliseconds=300))
        self.assertEqual(self.call(f"Bearer {issued.text}").status_code, 200)

        # The remembered instant decides, so no clock of the keyring has to move.
        while timezone.now() < issued.key.expires_at:
            pass
        with self.assertLogs("accounts", "WARNING"):
            self.assertEqual(self.call(f"Bearer {issued.text}").status_code, 401)

    def test_a_key_of_a_user_made_inactive_opens_nothing(self):
        issued = self.given_key()
        User.objects.update(is_active=False)

        self.assert_refused(f"Bearer {issued.text}", "inactive")

    def test_a_bug_in_authentication_is_not_taken_for_a_missing_key(self):
        self.client.raise_request_exception = False

        with self.assertLogs(level="ERROR"):
            answer = self.call("Bearer x", at="/faulty")

        self.assertEqual(answer.status_code, 500)


@override_settings(ROOT_URLCONF=__name__)
class HasScopeTests(TestCase):
    def setUp(self):
        authentication.keyring.forget()
        ClockedAuthentication.keyring.forget()
        self.user = User.objects.create_user("shop")

    def status(self, method, at, *scopes):
        issued = usecases.issue_key(user=self.user, name="till", scopes=scopes, now=timezone.now())
        header = f"Bearer {issued.text}"
        return getattr(self.client, method)(at, HTTP_AUTHORIZATION=header).status_code

    def test_opens_an_action_to_its_scope_alone(self):
        self.assertEqual(self.status("get", "/teapots", "stock:read"), 200)
        self.assertEqual(self.status("head", "/teapots", "stock:read"), 200)
        self.assertEqual(self.status("post", "/teapots", "stock:write"), 201)
        self.assertEqual(self.status("post", "/teapots", "stock:read", "orders:all"), 403)
        self.assertEqual(self.status("get", "/teapots", "stock:write"), 403)

    def test_opens_a_method_of_a_plain_view_to_its_scope_alone(self):
        self.assertEqual(self.status("get", "/plain", "stock:read"), 200)
        self.assertEqual(self.status("head", "/plain", "stock:read"), 200)
        self.assertEqual(self.status("get", "/plain", "stock:write"), 403)

    def test_refuses_what_declares_nothing(self):
        self.assertEqual(self.status("put", "/teapots", "*"), 403)
        self.assertEqual(self.status("post", "/plain", "*"), 403)
        self.assertEqual(self.status("get", "/silent", "*"), 403)

    def test_leaves_a_method_that_is_not_there_to_405(self):
        self.assertEqual(self.status("delete", "/teapots", "stock:read"), 405)

    def test_tells_any_key_which_methods_there_are(self):
        self.assertEqual(self.status("options", "/teapots", "stock:read"), 200)

    def test_names_the_scope_that_is_missing(self):
        issued = usecases.issue_key(
            user=self.user, name="till", scopes=["orders:read"], now=timezone.now()
        )

        answer = self.client.get("/teapots", HTTP_AUTHORIZATION=f"Bearer {issued.text}")

        self.assertEqual(answer.status_code, 403)
        self.assertEqual(answer.json()["detail"], "This API key lacks the scope stock:read.")
