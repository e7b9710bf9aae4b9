"""A program that calls the API."""

import json
from itertools import count
from typing import Any

from django.test import Client
from rest_framework.test import APIClient

_serial = count(1)


class Caller:
    """Calls the API with one key, and reads JSON."""

    def __init__(self, api_key: str) -> None:
        self.client: Client = APIClient(HTTP_AUTHORIZATION=f"Bearer {api_key}")

    def get(self, path: str, **headers: str):
        """GET a path below /api/v1."""
        return self.client.get(f"/api/v1{path}", headers=headers)

    def post(self, path: str, body: Any, *, key: str | None = None, **headers: str):
        """POST JSON, with an Idempotency-Key of its own unless told otherwise."""
        named = {"Idempotency-Key": key or f"call-{next(_serial)}"} | headers
        return self.client.post(
            f"/api/v1{path}",
            data=body if isinstance(body, bytes) else json.dumps(body),
            content_type="application/json",
            headers=named,
        )

    def patch(self, path: str, body: Any):
        """PATCH JSON."""
        return self.client.patch(
            f"/api/v1{path}", data=json.dumps(body), content_type="application/json"
        )
