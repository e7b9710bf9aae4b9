"""Every query on transfers and stocktakes: the papers of those who work on stock."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import F, QuerySet

from inventory import storage
from inventory.models import StockLevel, Stocktake, StocktakeLine, Transfer
from inventory.refusals import StocktakeNotFound, TransferNotFound


def add_transfer(transfer: Transfer, *, sku: str, source: str, destination: str) -> Transfer:
    """Write a transfer between two locations that are there; return it with them and its SKU."""
    transfer.sku = storage.get_sku(sku)
    transfer.source = storage.get_location(source)
    transfer.destination = storage.get_location(destination)
    transfer.save(force_insert=True)
    return transfer


def list_transfers(*, is_open: bool | None = None) -> QuerySet[Transfer]:
    """Return transfers with their SKUs and locations, newest first; None for open and closed."""
    transfers = Transfer.objects.select_related("sku", "source", "destination").order_by("-id")
    if is_open is None:
        return transfers
    return transfers.filter(closed_at__isnull=is_open)


def get_transfer(transfer_id: UUID) -> Transfer:
    """Return a transfer with its SKU and locations; raises TransferNotFound."""
    transfer = list_transfers().filter(pk=transfer_id).first()
    if transfer is None:
        raise TransferNotFound
    return transfer


def lock_transfer(transfer_id: UUID) -> Transfer:
    """Lock a transfer and return it as get_transfer does."""
    transfer = (
        list_transfers().select_for_update(of=("self",), no_key=True).filter(pk=transfer_id).first()
    )
    if transfer is None:
        raise TransferNotFound
    return transfer


def save_progress(transfer: Transfer) -> None:
    """Write what became of a locked transfer's units."""
    transfer.save(
        update_fields=[
            *("received_units", "returned_units", "missing_units", "surplus_units"),
            *("version", "closed_at"),
        ]
    )


def list_stocktakes(*, status: str | None = None) -> QuerySet[Stocktake]:
    """Return stocktakes with their locations, newest first."""
    stocktakes = Stocktake.objects.select_related("location").order_by("-id")
    return stocktakes if status is None else stocktakes.filter(status=status)


def get_stocktake(stocktake_id: UUID) -> Stocktake:
    """Return a stocktake; raises StocktakeNotFound."""
    stocktake = list_stocktakes().filter(pk=stocktake_id).first()
    if stocktake is None:
        raise StocktakeNotFound
    return stocktake


def lock_stocktake(stocktake_id: UUID) -> Stocktake:
    """Lock a stocktake and return it; raises StocktakeNotFound."""
    stocktake = (
        list_stocktakes()
        .select_for_update(of=("self",), no_key=True)
        .filter(pk=stocktake_id)
        .first()
    )
    if stocktake is None:
        raise StocktakeNotFound
    return stocktake


def list_levels(location: str, *, skus: Iterable[str], prefix: str) -> QuerySet[StockLevel]:
    """Return the levels of a location: of some SKUs, or of those whose code begins with prefix."""
    levels = StockLevel.objects.filter(location__code=location, sku__is_tracked=True)
    named = list(skus)
    if named:
        levels = levels.filter(sku__code__in=named)
    if prefix:
        levels = levels.filter(sku__code__startswith=prefix)
    return levels.select_related("sku").order_by("sku__code")


def find_open_counts(level_ids: Iterable[int]) -> list[str]:
    """Return the codes of SKUs of which some open stocktake counts one of these levels."""
    lines = StocktakeLine.objects.filter(is_open=True, level__in=list(level_ids))
    return list(lines.values_list("level__sku__code", flat=True).order_by("level__sku__code"))


def add_lines(stocktake: Stocktake, levels: Sequence[StockLevel]) -> None:
    """Write what each level has on hand now, as it was read."""
    StocktakeLine.objects.bulk_create(
        StocktakeLine(stocktake=stocktake, level=level, expected_units=level.on_hand)
        for level in levels
    )


def list_lines(stocktake_id: UUID) -> list[StocktakeLine]:
    """Return the lines of a stocktake by SKU, each with its level."""
    lines = StocktakeLine.objects.filter(stocktake_id=stocktake_id)
    return list(lines.select_related("level__sku", "level__location").order_by("level__sku__code"))


def save_count(line: StocktakeLine, *, counted: int, books: int, by: str, at: datetime) -> None:
    """Write what was counted of a line, against the books at that moment."""
    StocktakeLine.objects.filter(pk=line.pk).update(
        counted_units=counted, books_units=books, counted_by=by, counted_at=at
    )


def close_stocktake(stocktake: Stocktake, *, status: str, by: str, at: datetime) -> None:
    """Close a locked stocktake; its levels may be counted in another from now on."""
    stocktake.status, stocktake.closed_by, stocktake.closed_at = status, by, at
    stocktake.version += 1
    stocktake.save(update_fields=["status", "closed_by", "closed_at", "version"])
    StocktakeLine.objects.filter(stocktake=stocktake).update(is_open=False)


def raise_version(stocktake: Stocktake) -> None:
    """Count one more change of a locked stocktake."""
    Stocktake.objects.filter(pk=stocktake.pk).update(version=F("version") + 1)
