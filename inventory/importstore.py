"""Every query on imports. What writes joins the caller's transaction."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from inventory.models import Location, StockImport, StockImportRow
from inventory.refusals import ImportNotFound


def add_import(new: StockImport) -> StockImport:
    """Keep a new import; return the one that is there of this attempt at this file instead."""
    try:
        with transaction.atomic():
            new.save(force_insert=True)
    except IntegrityError:
        return StockImport.objects.get(digest=new.digest, attempt=new.attempt, is_dry_run=False)
    return new


def last_attempt(digest: str) -> int:
    """Return which attempt at a file was the last, 0 for a file that was never imported."""
    made = StockImport.objects.filter(digest=digest, is_dry_run=False)
    return made.order_by("-attempt").values_list("attempt", flat=True).first() or 0


def get_import(import_id: UUID) -> StockImport:
    """Return an import; raises ImportNotFound."""
    found = StockImport.objects.filter(pk=import_id).first()
    if found is None:
        raise ImportNotFound
    return found


def lock_import(import_id: UUID) -> StockImport:
    """Return an import without its text, locked; raises ImportNotFound."""
    imports = StockImport.objects.select_for_update(no_key=True).defer("text")
    found = imports.filter(pk=import_id).first()
    if found is None:
        raise ImportNotFound
    return found


def list_imports() -> QuerySet[StockImport]:
    """Return imports without their texts, newest first."""
    return StockImport.objects.defer("text").order_by("-id")


def list_open() -> QuerySet[StockImport]:
    """Return imports that are not done, oldest first."""
    return StockImport.objects.exclude(status="done").order_by("id")


def save_progress(moved_on: StockImport) -> None:
    """Write how far a locked import is."""
    moved_on.save(
        update_fields=[
            *("status", "rows", "rows_done", "rows_changed", "rows_rejected", "finished_at"),
        ]
    )


def add_outcomes(outcomes: Sequence[StockImportRow]) -> None:
    """Keep what became of rows."""
    StockImportRow.objects.bulk_create(outcomes)


def list_outcomes(import_id: UUID) -> QuerySet[StockImportRow]:
    """Return what became of an import's rows, first to last."""
    return StockImportRow.objects.filter(stock_import_id=import_id).order_by("line")


def find_added(import_id: UUID, codes: Iterable[str]) -> set[str]:
    """Return which SKUs an import has added, or in a trial would have."""
    added = StockImportRow.objects.filter(
        stock_import_id=import_id, outcome="added", sku__in=list(codes)
    )
    return set(added.values_list("sku", flat=True))


def find_locations(codes: Iterable[str]) -> set[str]:
    """Return which codes are locations."""
    return set(Location.objects.filter(code__in=list(codes)).values_list("code", flat=True))
