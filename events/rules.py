"""What a key and an answer are. Pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from events.errors import IdempotencyKeyInvalid, IdempotencyKeyMissing

KEY_LENGTH_MAX = 255
# What an endpoint may ask for: one type of event, or a family of them.
TYPE = r"[a-z][a-z_]*\.(?:[a-z][a-z_.]*|\*)"
# A refusal for these reasons is an answer and is kept: a delayed copy of the request must not
# succeed after its sender was told no. All other refusals tell of the request itself or of us.
KEPT_KINDS = frozenset({"conflict", "precondition"})


class Refusal(Protocol):
    """Any exception with the attributes that a problem document tells."""

    @property
    def code(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def facts(self) -> tuple[str, ...]: ...
    @property
    def errors(self) -> Sequence[dict[str, Any]]: ...


class KeyedRequest(NamedTuple):
    """
    One request that must have one answer.

    fingerprint: 32 bytes of SHA-256 over method, route and canonical body. request_id and
    trace_id: the ids under which the first attempt is logged; a kept refusal repeats them.
    """

    account_id: int
    key: str
    fingerprint: bytes
    request_id: str = ""
    trace_id: str = ""


class Answer(NamedTuple):
    """
    What the caller is told: an HTTP status and a JSON text that is stored as it is sent.

    etag and location: headers of the answer, empty for none.
    """

    status: int
    body: str
    etag: str = ""
    location: str = ""
    is_replayed: bool = False

    def headers(self) -> dict[str, str]:
        """Return the HTTP headers that go with the answer."""
        headers = {"ETag": self.etag, "Location": self.location}
        if self.is_replayed:
            headers["Idempotent-Replayed"] = "true"
        return {name: value for name, value in headers.items() if value}

    def replayed(self) -> "Answer":
        """Return the same answer, marked as told before."""
        return self._replace(is_replayed=True)


class NewEvent(NamedTuple):
    """
    Something that happened to one aggregate.

    aggregate_version: rises by every event of an aggregate; gaps are legal, repeats are not.
    traceparent: the span that caused it (W3C Trace Context), when that is not the one that
    records it.
    account_id: whose it is; None for what belongs to nobody, as stock.
    """

    type: str
    aggregate_type: str
    aggregate_id: str
    aggregate_version: int
    data: dict[str, Any]
    at: datetime
    traceparent: str = ""
    account_id: int | None = None


@dataclass(frozen=True, slots=True)
class Audience:
    """
    Whose events are seen: one account's own, and more if it may.

    sees_shared: also what belongs to nobody, as stock. sees_all: also other accounts'.
    """

    account_id: int
    sees_shared: bool = False
    sees_all: bool = False


def read_key(header: str | None) -> str:
    """
    Return the key that an Idempotency-Key header names.

    One pair of surrounding double quotes is removed, as the header's draft standard writes it.
    Raises IdempotencyKeyMissing without a header, IdempotencyKeyInvalid for a key that is empty,
    longer than 255, not printable ASCII, or two headers joined by a comma.
    """
    if header is None:
        raise IdempotencyKeyMissing
    key = header.strip(" \t")
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key:
        raise IdempotencyKeyInvalid("is empty")
    if len(key) > KEY_LENGTH_MAX:
        raise IdempotencyKeyInvalid(f"is longer than {KEY_LENGTH_MAX} characters")
    if not (key.isascii() and key.isprintable()):
        raise IdempotencyKeyInvalid("has characters that are not printable ASCII")
    if "," in key:
        raise IdempotencyKeyInvalid("has a comma, or the header was sent twice")
    return key


def keyed_request(
    *,
    account_id: int,
    header: str | None,
    method: str,
    route: str,
    canonical_body: bytes,
    request_id: str = "",
    trace_id: str = "",
) -> KeyedRequest:
    """
    Return the request that an Idempotency-Key header makes out of a call.

    canonical_body: the same bytes for the same JSON value, however it was spelt. What method,
    route and body hash to tells one request from another under the same key.
    Raises IdempotencyKeyMissing and IdempotencyKeyInvalid.
    """
    subject = b"%b %b\n%b" % (method.encode(), route.encode(), canonical_body)
    return KeyedRequest(
        account_id=account_id,
        key=read_key(header),
        fingerprint=hashlib.sha256(subject).digest(),
        request_id=request_id,
        trace_id=trace_id,
    )


def lock_number(account_id: int, key: str) -> int:
    """
    Return the advisory lock of a key, a signed 64-bit number.

    Two keys that share a number only wait for each other; they are never mixed up.
    """
    digest = hashlib.blake2b(f"{account_id}\x1f{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def stored_refusal(refusal: Refusal, request: KeyedRequest) -> dict[str, Any]:
    """Return what is kept of a refusal, so that a repeat is told the same."""
    return {
        "code": refusal.code,
        "kind": refusal.kind,
        "detail": str(refusal),
        "facts": {name: getattr(refusal, name) for name in refusal.facts},
        "errors": list(refusal.errors),
        "request_id": request.request_id,
        "trace_id": request.trace_id,
    }
