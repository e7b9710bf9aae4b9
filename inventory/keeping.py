"""What is sold and where it lies: kept by people. Part of the door: inventory.usecases."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction

from events.usecases import commit
from inventory import storage
from inventory.models import Location
from inventory.models import Sku as SkuRow
from inventory.refusals import LocationExists
from inventory.rules import MAIN_LOCATION, RESERVED_CODES, SkuExists


def create_sku(
    *,
    code: str,
    name: str,
    price_minor: int,
    currency: str,
    is_active: bool = True,
    is_tracked: bool = True,
    sell_policy: str = "deny",
) -> SkuRow:
    """
    Add a SKU, with an empty level at the main location; raises SkuExists for a code that is taken.

    price_minor: minor units of currency, 0 … PRICE_MINOR_MAX. sell_policy: deny or backorder.
    Raises what commit raises too.
    """
    wanted = {
        "code": code,
        "name": name,
        "price_minor": price_minor,
        "currency": currency,
        "is_active": is_active,
        "is_tracked": is_tracked,
        "sell_policy": sell_policy,
    }
    attempts = 0

    def work() -> SkuRow:
        nonlocal attempts
        attempts += 1
        # The COMMIT of an attempt before, whose answer was lost, may have made it.
        ours = SkuRow.objects.filter(**wanted).first() if attempts > 1 else None
        return ours or add_sku(**wanted)

    return commit(work)


def add_sku(**wanted: Any) -> SkuRow:
    """Add a SKU as create_sku does, in the caller's transaction."""
    code = wanted["code"]
    if code in RESERVED_CODES:
        raise SkuExists(code)
    try:
        with transaction.atomic():
            sku = SkuRow.objects.create(**wanted)
            storage.open_level(sku, storage.get_location(MAIN_LOCATION))
    except IntegrityError as failure:
        if SkuRow.objects.filter(code=code).exists():
            raise SkuExists(code) from failure
        raise
    return sku


def add_skus(wanted: Sequence[Mapping[str, Any]]) -> None:
    """Add SKUs as add_sku does, in the caller's transaction, by two statements for all of them."""
    try:
        with transaction.atomic():
            skus = SkuRow.objects.bulk_create([SkuRow(**one) for one in wanted])
            storage.open_levels(skus, storage.get_location(MAIN_LOCATION))
    except IntegrityError as failure:
        taken = SkuRow.objects.filter(code__in=[one["code"] for one in wanted]).first()
        if taken is not None:
            raise SkuExists(taken.code) from failure
        raise


def update_sku(code: str, **changes: Any) -> SkuRow:
    """
    Change a SKU's name, price_minor, currency, is_active or sell_policy; return it.

    Orders placed before keep their prices. Whether a SKU is tracked never changes: orders of it
    have units allocated or they have not. Raises SkuNotFound, and what commit raises.
    """
    return commit(lambda: change_sku(code, **changes))


def change_sku(code: str, **changes: Any) -> SkuRow:
    """Change a SKU as update_sku does, in the caller's transaction."""
    sku = storage.lock_sku(code)
    for name, value in changes.items():
        setattr(sku, name, value)
    sku.save(update_fields=[*changes, "updated_at"])
    return sku


def create_location(*, code: str, name: str, priority: int = 0, is_active: bool = True) -> Location:
    """
    Add a location, with no stock. priority: orders ask the lowest first.

    Raises LocationExists, and what commit raises.
    """
    wanted = {"code": code, "name": name, "priority": priority, "is_active": is_active}
    attempts = 0

    def work() -> Location:
        nonlocal attempts
        attempts += 1
        ours = Location.objects.filter(**wanted).first() if attempts > 1 else None
        return ours or add_location(**wanted)

    return commit(work)


def add_location(**wanted: Any) -> Location:
    """Add a location as create_location does, in the caller's transaction."""
    try:
        with transaction.atomic():
            return Location.objects.create(**wanted)
    except IntegrityError as failure:
        if Location.objects.filter(code=wanted["code"]).exists():
            raise LocationExists(wanted["code"]) from failure
        raise


def update_location(code: str, **changes: Any) -> Location:
    """
    Change a location's name, priority or is_active; return it.

    From one that is not active orders take nothing more; what it promised stays promised.
    Raises NoSuchLocation, and what commit raises.
    """
    return commit(lambda: change_location(code, **changes))


def change_location(code: str, **changes: Any) -> Location:
    """Change a location as update_location does, in the caller's transaction."""
    location = storage.lock_location(code)
    for name, value in changes.items():
        setattr(location, name, value)
    location.save(update_fields=list(changes))
    return location


def list_locations() -> list[Location]:
    """Return all locations in the order in which orders ask them."""
    return list(Location.objects.order_by("priority", "code"))


def get_location(code: str) -> Location:
    """Return a location; raises NoSuchLocation."""
    return storage.find_location(code)
