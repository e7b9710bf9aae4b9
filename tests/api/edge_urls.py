"""Addresses that only tests have: one for each way in which a view can go wrong."""

from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig
from django.db import IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.http import require_GET
from psycopg import errors as postgres
from psycopg_pool import PoolTimeout
from rest_framework import exceptions, serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from config.errors import AppError
from config.problems import STATUS_BY_KIND
from config.request_ids import current_request_id

SECRET = "the password of the database"


class Liftable(Exception):
    """A refusal of an app that does not know config."""

    code, kind, retryable, facts = "plan_is_paused", "conflict", False, ("plan", "status")
    effect, retry_after_s, errors = "applied", 7, ({"pointer": "/plan", "code": "paused"},)
    plan = "p-1"
    status = "a fact that must not hide the status"


class ToldAgain(AppError):
    """A refusal that was kept when it was first told."""

    code, kind = "insufficient_stock", "conflict"
    request_id, trace_id = "the-first", "0" * 31 + "1"
    headers = {"Idempotent-Replayed": "true"}


class Unwritable(AppError):
    """A refusal that repeats what no JSON of orjson can hold."""

    code, kind, facts = "too_odd", "invalid", ("quantity", "sku")
    quantity, sku = 10**30, "\ud800"


class NarrowSerializer(serializers.Serializer):
    quantity = serializers.IntegerField()


class BroadSerializer(serializers.Serializer):
    lines = NarrowSerializer(many=True)

    def validate(self, attrs: Any) -> Any:
        raise serializers.ValidationError("never good enough")


def from_postgres(theirs, cause):
    """Return what makes an exception as Django raises it: its own, caused by the driver's."""

    def fail():
        failure = theirs(SECRET)
        failure.__cause__ = cause()
        return failure

    return fail


FAILURES = {
    "bug": lambda: RuntimeError(SECRET),
    "integrity": from_postgres(IntegrityError, postgres.UniqueViolation),
    "liftable": lambda: Liftable("paused"),
    "unwritable": lambda: Unwritable("\udfff"),
    "told-again": lambda: ToldAgain("CUP: wanted 3"),
    "django-404": lambda: Http404(SECRET),
    "django-403": lambda: PermissionDenied(SECRET),
    "django-400": lambda: BadRequest(SECRET),
    "too-big": lambda: RequestDataTooBig(SECRET),
    "drf-401": exceptions.NotAuthenticated,
    "drf-bad-credential": exceptions.AuthenticationFailed,
    "drf-403": exceptions.PermissionDenied,
    "drf-404": exceptions.NotFound,
    "drf-429": lambda: exceptions.Throttled(wait=6.2),
    "drf-400": exceptions.ParseError,
    "drf-other": lambda: exceptions.APIException(SECRET),
}
TROUBLE = {
    "lock-timeout": from_postgres(OperationalError, postgres.LockNotAvailable),
    "statement-timeout": from_postgres(OperationalError, postgres.QueryCanceled),
    "deadlock": from_postgres(OperationalError, postgres.DeadlockDetected),
    "serialization": from_postgres(OperationalError, postgres.SerializationFailure),
    "shutdown": from_postgres(OperationalError, postgres.AdminShutdown),
    "starting": from_postgres(OperationalError, postgres.CannotConnectNow),
    "no-connection": from_postgres(OperationalError, postgres.OperationalError),
    "disk-full": from_postgres(OperationalError, postgres.DiskFull),
    "too-many-connections": from_postgres(OperationalError, postgres.TooManyConnections),
    "read-only": from_postgres(Exception, postgres.ReadOnlySqlTransaction),
    "pool": from_postgres(OperationalError, PoolTimeout),
    "pool-unwrapped": lambda: PoolTimeout(SECRET),
    "interface": lambda: InterfaceError(SECRET),
}


class DatabaseIsAway(BaseAuthentication):
    def authenticate(self, request: Request) -> None:
        raise TROUBLE["no-connection"]()


class EchoViewSet(ViewSet):
    authentication_classes = ()
    permission_classes = ()

    def list(self, request: Request) -> Response:
        return Response({"request_id": current_request_id()})

    def create(self, request: Request) -> Response:
        return Response({"data": request.data}, status=201)


class FailingViewSet(ViewSet):
    authentication_classes = ()
    permission_classes = ()

    def retrieve(self, request: Request, name: str) -> Response:
        raise (FAILURES | TROUBLE)[name]()

    update = retrieve


class RefusingViewSet(ViewSet):
    authentication_classes = ()
    permission_classes = ()

    def retrieve(self, request: Request, kind: str) -> Response:
        class Refusal(AppError):
            code = "a_code"
            facts = ("sku", "wanted_units")

            def __init__(self) -> None:
                super().__init__("CUP: wanted 3")
                self.sku, self.wanted_units = "CUP", 3

        Refusal.kind = kind
        raise Refusal


class LockedOutViewSet(EchoViewSet):
    authentication_classes = (DatabaseIsAway,)


class ValidatingViewSet(EchoViewSet):
    def create(self, request: Request) -> Response:
        BroadSerializer(data=request.data).is_valid(raise_exception=True)
        raise AssertionError("never valid")


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError(SECRET)


@require_GET
def only_get(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<p>missing</p>", status=404)


def suggestions(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b'{"error": "no"}', status=403, content_type="application/json")


READ_AND_WRITE = {"get": "retrieve", "put": "update"}
urlpatterns = [
    path("api/v1/echo", EchoViewSet.as_view({"get": "list", "post": "create"})),
    path("api/v1/orders/bulk", EchoViewSet.as_view({"post": "create"})),
    path("api/v1/fail/<str:name>", FailingViewSet.as_view(READ_AND_WRITE)),
    path("api/v1/refuse/<str:kind>", RefusingViewSet.as_view({"get": "retrieve"})),
    path("api/v1/locked-out", LockedOutViewSet.as_view({"get": "list", "post": "create"})),
    path("api/v1/validate", ValidatingViewSet.as_view({"post": "create"})),
    path("api/v1/broken", broken),
    path("broken", broken),
    path("only-get", only_get),
    path("admin/page", page),
    path("admin/broken", broken),
    path("admin/suggestions", suggestions),
    path("", include("config.urls")),
]
KINDS = tuple(STATUS_BY_KIND)

handler400 = "config.problems.bad_request"
handler403 = "config.problems.permission_denied"
handler404 = "config.problems.page_not_found"
handler500 = "config.problems.server_error"
