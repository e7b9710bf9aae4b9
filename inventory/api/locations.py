"""Locations over HTTP."""

from typing import Annotated, Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from pydantic import BaseModel, Field, model_validator
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from inventory import usecases
from inventory.api.serializers import Body, LocationCode, Name
from inventory.models import Location
from inventory.usecases import LocationExists, NoSuchLocation

PRIORITY_MAX = 1_000_000
Priority = Annotated[int, Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX, examples=[10])]


class LocationIn(Body):
    """A new location. Orders ask those of a low priority first."""

    code: LocationCode
    name: Name
    priority: Priority = 0
    is_active: bool = True


class LocationChange(Body):
    """The members of a location that change; the rest stays."""

    name: Name | None = None
    priority: Priority | None = None
    is_active: bool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "LocationChange":
        if not self.model_fields_set:
            raise ValueError("name at least one member to change")
        if any(getattr(self, name) is None for name in self.model_fields_set):
            raise ValueError("no member of a location can be null")
        return self


class LocationOut(BaseModel):
    """A place where stock lies. From one that is not active orders take nothing more."""

    code: str
    name: str
    priority: int
    is_active: bool


class LocationList(BaseModel):
    """All locations, in the order in which orders ask them."""

    data: list[LocationOut]


def location_document(location: Location) -> dict[str, Any]:
    """Return a location as LocationOut describes it."""
    return {name: getattr(location, name) for name in LocationOut.model_fields}


class LocationViewSet(ViewSet):
    """Where stock lies."""

    scopes = {
        "list": "stock:read",
        "retrieve": "stock:read",
        "create": "stock:write",
        "partial_update": "stock:write",
    }

    @extend_schema(operation_id="list_locations", responses={200: LocationList})
    def list(self, request: Request) -> Response:
        """Return all locations, in the order in which orders ask them."""
        return Response({"data": [location_document(one) for one in usecases.list_locations()]})

    @extend_schema(
        operation_id="create_location",
        parameters=[
            OpenApiParameter(
                "Location", str, "header", response=[201], description="Where it is read."
            )
        ],
        request=LocationIn,
        responses={201: LocationOut},
        examples=[
            OpenApiExample(
                "A second place",
                {"code": "annex", "name": "Annex", "priority": 10},
                request_only=True,
            )
        ],
        extensions={"x-refusals": (LocationExists,)},
    )
    def create(self, request: Request) -> Response:
        """Add a location, with no stock."""
        body = LocationIn.model_validate(request.data)
        location = usecases.create_location(**body.model_dump())
        return Response(
            location_document(location),
            status=201,
            headers={"Location": f"/api/v1/locations/{location.code}"},
        )

    @extend_schema(
        operation_id="get_location",
        responses={200: LocationOut},
        extensions={"x-refusals": (NoSuchLocation,)},
    )
    def retrieve(self, request: Request, code: str) -> Response:
        """Return one location."""
        return Response(location_document(usecases.get_location(code)))

    @extend_schema(
        operation_id="update_location",
        request=LocationChange,
        responses={200: LocationOut},
        examples=[OpenApiExample("Closed", {"is_active": False}, request_only=True)],
        extensions={"x-refusals": (NoSuchLocation,)},
    )
    def partial_update(self, request: Request, code: str) -> Response:
        """Change some members of a location."""
        body = LocationChange.model_validate(request.data)
        changes = body.model_dump(exclude_unset=True)
        return Response(location_document(usecases.update_location(code, **changes)))
