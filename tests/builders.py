"""What tests stand on: accounts, stock and orders, made through the doors."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Now
from django.utils import timezone

from accounts.usecases import issue_key
from events.models import Event, IdempotencyKey
from events.usecases import Answer, KeyedRequest, keyed_request
from inventory import usecases as inventory
from inventory.models import Allocation, Hold, Movement, Sku, StockLevel
from inventory.models import HoldLine as HoldLineRow
from inventory.usecases import HoldLine, Provenance
from orders.models import Line, Note, Order, PaymentEvent, UnitChange
from orders.usecases import (
    ChangeRequest,
    LineDraft,
    OrderDraft,
    Payment,
    Placement,
    place_order,
)

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
TESTER = Provenance(actor="tester", source="test")

_serial = count(1)


def given_account(name: str = "shop") -> User:
    """Return the account called name, made when it is not there."""
    return get_user_model().objects.get_or_create(username=name)[0]


def given_sku(code: str = "CUP", *, price_minor: int = 250, currency: str = "EUR", **more) -> Sku:
    """Add a SKU with no stock."""
    return inventory.create_sku(
        code=code, name=code.title(), price_minor=price_minor, currency=currency, **more
    )


def given_stock(code: str = "CUP", *, on_hand: int, **sku) -> Sku:
    """Add a SKU and receive its stock."""
    added = given_sku(code, **sku)
    if on_hand:
        given_units(code, on_hand)
    return added


def given_location(code: str, **more) -> None:
    """Add a location."""
    inventory.create_location(code=code, name=code.title(), **more)


def given_units(code: str, units: int, *, location: str = "main") -> None:
    """Receive units of a SKU at a location."""
    inventory.receive_stock(
        request=a_request(),
        sku=code,
        quantity=units,
        location=location,
        provenance=TESTER,
        now=NOON,
    )


def a_request(key: str | None = None, *, account_id: int = 0, body: bytes = b"") -> KeyedRequest:
    """Return a keyed request; every call without a key is a new one."""
    return keyed_request(
        account_id=account_id,
        header=key or f"test-{next(_serial)}",
        method="POST",
        route="/test",
        canonical_body=body,
    )


def a_draft(units: Mapping[str, int] | None = None, **more) -> OrderDraft:
    """Return an order for units by SKU, of one CUP unless told otherwise."""
    lines = tuple(LineDraft(sku, quantity) for sku, quantity in (units or {"CUP": 1}).items())
    return OrderDraft(**({"customer": "c-17", "lines": lines} | more))


def a_placement(
    units: Mapping[str, int] | None = None, *, account: User, key: str | None = None, **more
) -> Placement:
    """Return an order to place; its key has the fingerprint of its draft."""
    draft = a_draft(units, **more)
    request = a_request(key, account_id=account.pk, body=repr(draft).encode())
    return Placement(draft, request, TESTER, NOON)


def place(
    units: Mapping[str, int] | None = None, *, account: User, key: str | None = None, **more
) -> Answer:
    """Place an order."""
    placement = a_placement(units, account=account, key=key, **more)
    return place_order(
        placement.draft, request=placement.request, provenance=TESTER, now=placement.now
    )


def placed_order(answer: Answer) -> Order:
    """Return the order that an answer tells of, as the database has it now."""
    return Order.objects.get(pk=json.loads(answer.body)["id"])


def a_change(
    order: Order,
    *,
    key: str | None = None,
    versions: frozenset[int] | None = None,
) -> ChangeRequest:
    """Return a request of its account to change an order; without a key it is a new one."""
    request = a_request(key, account_id=order.account_id)
    return ChangeRequest(order.pk, order.account_id, request, TESTER, NOON, versions)


def a_payment(
    kind: str, amount_minor: int, *, event: str | None = None, currency: str = "EUR"
) -> Payment:
    """Return what a provider says; every call without an event is about a new one."""
    return Payment(kind, "bank", event or f"evt-{next(_serial)}", amount_minor, currency)


def given_hold(
    units: Mapping[str, int] | None = None,
    *,
    account: User,
    expires_in_s: int = 900,
    key: str | None = None,
    **more,
) -> UUID:
    """Hold units by SKU, one CUP unless told otherwise; return the hold's id."""
    lines = [HoldLine(sku, quantity) for sku, quantity in (units or {"CUP": 1}).items()]
    answer = inventory.place_hold(
        request=a_request(key, account_id=account.pk),
        lines=lines,
        expires_in_s=expires_in_s,
        provenance=TESTER,
        now=NOON,
        **more,
    )
    return UUID(json.loads(answer.body)["id"])


def let_pass(*hold_ids: UUID) -> None:
    """Let the deadline of holds have passed a second ago; nobody has noticed yet."""
    Hold.objects.filter(pk__in=hold_ids).update(expires_at=Now() - timedelta(seconds=1))
    # Not by a second Now(), which is later: the deadline of a line is that of its hold.
    deadline = Hold.objects.filter(pk=OuterRef("hold_id")).values("expires_at")
    HoldLineRow.objects.filter(hold__in=hold_ids).update(expires_at=Subquery(deadline))


def level_of(code: str, location: str = "main") -> StockLevel:
    """Return a SKU's level at a location, as the database has it now."""
    return StockLevel.objects.get(sku__code=code, location__code=location)


def what_moved() -> dict[str, object]:
    """
    Return all that a refusal must leave as it is: counters, ledger, holds, orders, events and keys.

    Two calls that return equal values prove that nothing moved in between.
    """
    return {
        "levels": sorted(StockLevel.objects.values_list()),
        "movements": Movement.objects.count(),
        "allocations": sorted(Allocation.objects.values_list()),
        "holds": sorted(Hold.objects.values_list()),
        "hold_lines": sorted(HoldLineRow.objects.values_list()),
        "orders": Order.objects.count(),
        "lines": Line.objects.count(),
        "states": sorted(
            Order.objects.values_list("id", "version", "status", "attention", "captured_minor")
        ),
        "units": sorted(
            Line.objects.values_list(
                "order", "position", "cancelled_quantity", "fulfilled_quantity", "returned_quantity"
            )
        ),
        "facts": [model.objects.count() for model in (UnitChange, PaymentEvent, Note)],
        "events": Event.objects.count(),
        "answered_keys": IdempotencyKey.objects.count(),
    }


def discrepancies() -> list[tuple[str, str, str]]:
    """Return what reconcile would find, seen from inside the test's own transaction."""
    from django.db import connection

    from orders.reconciliation import CHECKS

    found = []
    with connection.cursor() as cursor:
        for check, statement in CHECKS.items():
            cursor.execute(statement)
            found += [(check, *row) for row in cursor.fetchall()]
    return found


def given_api_key(account: User | None = None, *scopes: str) -> str:
    """Return the text of a new API key, with every scope but orders:all unless told otherwise."""
    every = ("orders:read", "orders:write", "stock:read", "stock:write", "events:read")
    issued = issue_key(
        user=account or given_account(), name="test", scopes=scopes or every, now=timezone.now()
    )
    return issued.text
