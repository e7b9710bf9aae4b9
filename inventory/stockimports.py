"""
SKUs and stock from a file, worked off block by block. Part of the door: inventory.usecases.

What rows do, what is told of them and how far the import is are one transaction for each block.
So nothing needs a key of its own: a row whose work is committed is counted as done.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from events.usecases import commit, record_events
from inventory import importstore, storage
from inventory.booking import book
from inventory.keeping import add_skus, change_sku
from inventory.models import StockImport, StockImportRow
from inventory.moving import event_of
from inventory.rules import Level, Movement, Provenance, Sku, SkuExists, settled
from inventory.stockfiles import (
    BadRow,
    StockFile,
    StockRow,
    read_file,
    read_text,
    rejected_head,
    rejected_line,
)
from inventory.stockplans import Step, Stores, change_of, new_sku, place_of, places_of, plan

# So many rows are worked off in one transaction, which has their levels locked for some tens of
# milliseconds: orders of the same SKUs wait for it.
BLOCK_ROWS = 100
# What a request may work off by itself; more is left to `manage.py run_imports`.
SMALL_ROWS = 300
# Somebody else may add the same SKU at the same time.
TRIES = 3


def start_import(
    *,
    name: str,
    content: bytes,
    provenance: Provenance,
    now: datetime,
    is_dry_run: bool = False,
    is_again: bool = False,
) -> StockImport:
    """
    Keep a file to be imported; nothing of it is done yet. Raises NotAStockFile.

    One file is one import: the same content a second time is the import that it was, wherever
    that stands, unless is_again asks for another one. is_dry_run: to be told what would become of
    its rows. Raises what commit raises too.
    """
    text = read_text(content)
    digest = hashlib.sha256(text.encode()).hexdigest()

    def keep() -> StockImport:
        attempt = 0 if is_dry_run else max(1, importstore.last_attempt(digest) + is_again)
        return importstore.add_import(
            StockImport(
                id=uuid7(),
                name=name[:255],
                digest=digest,
                attempt=attempt,
                text=text,
                is_dry_run=is_dry_run,
                actor=provenance.actor,
                source=provenance.source,
                created_at=now,
            )
        )

    return commit(keep)


def apply_import(import_id: UUID, *, provenance: Provenance, now: datetime) -> StockImport:
    """Start the import of the file that a trial was of; raises ImportNotFound."""
    trial = importstore.get_import(import_id)
    return start_import(
        name=trial.name, content=trial.text.encode(), provenance=provenance, now=now
    )


def is_small(started: StockImport) -> bool:
    """Tell whether a request may work an import off by itself."""
    return started.text.count("\n") <= SMALL_ROWS + 1


def run_import(import_id: UUID, *, now: datetime) -> Iterator[StockImport]:
    """
    Work an import off; yield it after each block, which is then committed.

    To stop, take no more: whoever runs it again goes on from there. Several may run it at once,
    they take turns. Raises ImportNotFound, and what commit raises.
    """
    started = importstore.get_import(import_id)
    file = read_file(started.text)
    is_done = started.status == StockImport.Status.DONE
    if is_done:
        yield started
    while not is_done:
        moved_on = _run_block(import_id, file, now)
        is_done = moved_on.status == StockImport.Status.DONE
        yield moved_on


def run_imports(*, now: datetime) -> Iterator[StockImport]:
    """Work off all imports that are not done, oldest first, as run_import does."""
    for waiting in list(importstore.list_open().values_list("id", flat=True)):
        yield from run_import(waiting, now=now)


def get_import(import_id: UUID) -> StockImport:
    """Return an import and how far it is; raises ImportNotFound."""
    return importstore.get_import(import_id)


def list_imports(
    *, before_id: UUID | None = None, limit: int
) -> tuple[list[StockImport], UUID | None]:
    """Return at most limit imports, newest first, and the id to go on before."""
    imports = importstore.list_imports()
    if before_id is not None:
        imports = imports.filter(pk__lt=before_id)
    rows = list(imports[: limit + 1])
    return rows[:limit], rows[limit - 1].pk if len(rows) > limit else None


def list_import_rows(
    import_id: UUID, *, after_line: int = 0, is_rejected: bool = False, limit: int
) -> tuple[list[StockImportRow], int | None]:
    """
    Return what became of at most limit rows, first to last, and the line to go on after.

    is_rejected: only of those that were rejected.
    """
    outcomes = importstore.list_outcomes(import_id).filter(line__gt=after_line)
    if is_rejected:
        outcomes = outcomes.filter(outcome=StockImportRow.Outcome.REJECTED)
    rows = list(outcomes[: limit + 1])
    return rows[:limit], rows[limit - 1].line if len(rows) > limit else None


def list_rejected_lines(import_id: UUID) -> Iterator[str]:
    """
    Return the file of an import's rejected rows, line by line, with where and why.

    It can be mended and imported like any other. Raises ImportNotFound.
    """
    columns = read_file(importstore.get_import(import_id).text.partition("\n")[0]).columns
    rejected = importstore.list_outcomes(import_id).filter(outcome="rejected")
    yield rejected_head(columns)
    for row in rejected.iterator(chunk_size=1000):
        yield rejected_line(columns, BadRow(row.line, row.text, row.sku, row.why, row.detail))


def _run_block(import_id: UUID, file: StockFile, now: datetime) -> StockImport:
    for _ in range(TRIES - 1):
        try:
            return commit(lambda: _work_off(import_id, file, now))
        except SkuExists:
            continue  # Added by somebody else meanwhile: now it is there to be changed.
    return commit(lambda: _work_off(import_id, file, now))


def _work_off(import_id: UUID, file: StockFile, now: datetime) -> StockImport:
    """Do the next rows of an import, tell of them, and count them as done."""
    moving_on = importstore.lock_import(import_id)
    if moving_on.status == StockImport.Status.DONE:
        return moving_on
    rows = file.rows[moving_on.rows_done : moving_on.rows_done + BLOCK_ROWS]
    steps = _decide(moving_on, rows, file)
    if not moving_on.is_dry_run:
        _do(steps, moving_on, now)
    importstore.add_outcomes([_outcome(moving_on, step) for step in steps])
    _move_on(moving_on, steps, len(file.rows), now)
    return moving_on


def _decide(
    moving_on: StockImport, rows: Sequence[StockRow | BadRow], file: StockFile
) -> list[Step]:
    codes = {row.sku for row in rows if isinstance(row, StockRow)}
    skus = storage.find_skus(sorted(codes))
    if moving_on.is_dry_run:
        skus |= _would_be_there(moving_on, codes - set(skus), file)
    places = places_of(rows)
    stores = Stores(
        skus=skus,
        levels=storage.lock_places(places),
        locations=importstore.find_locations({location for _, location in places}),
    )
    return plan(rows, stores)


def _would_be_there(trial: StockImport, unknown: set[str], file: StockFile) -> dict[str, Sku]:
    """Return the SKUs that earlier blocks of a trial would have added."""
    added = importstore.find_added(trial.pk, unknown)
    adding: dict[str, Sku] = {}
    if not added:
        return adding
    for row in file.rows[: trial.rows_done]:
        if isinstance(row, StockRow) and row.sku in added and row.sku not in adding:
            wanted = new_sku(row)
            if wanted:
                adding[row.sku] = Sku(0, **wanted)
    return adding


def _do(steps: Sequence[Step], moving_on: StockImport, now: datetime) -> None:
    # All at once: the levels of other rows are locked meanwhile, and orders wait for them.
    add_skus([step.added for step in steps if step.added])
    for step in steps:
        if step.changes:
            change_sku(step.row.sku, **step.changes)
    moving = [step.row for step in steps if step.on_hand_change and isinstance(step.row, StockRow)]
    levels = _lock_levels(moving)
    movements = []
    for row in moving:
        movement = _movement(row, levels[place_of(row)], moving_on, now)
        levels[place_of(row)] = movement.after
        movements.append(movement)
    record_events([event_of(movement) for movement in movements])
    book(movements)


def _lock_levels(rows: Sequence[StockRow]) -> dict[tuple[str, str], Level]:
    places = places_of(rows)
    levels = storage.lock_places(places)
    missing = [place for place in places if place not in levels]
    if missing:
        for place in missing:
            storage.open_place(*place)
        levels = storage.lock_places(places)
    return levels


def _movement(row: StockRow, level: Level, moving_on: StockImport, now: datetime) -> Movement:
    is_receipt = row.receive is not None
    change = change_of(row, level)
    after = settled(level, change)
    return Movement(
        "receive" if is_receipt else "count",
        change,
        after,
        at=now,
        shortfall_change=after.shortfall - level.shortfall,
        reason="" if is_receipt else "count",
        reference=row.reference,
        note=f"line {row.line} of {moving_on.name}"[:255],
        provenance=Provenance(actor=moving_on.actor, source="import"),
    )


def _outcome(moving_on: StockImport, step: Step) -> StockImportRow:
    return StockImportRow(
        stock_import_id=moving_on.pk,
        line=step.row.line,
        sku=step.row.sku,
        outcome=step.outcome,
        on_hand_change=step.on_hand_change,
        why=step.why,
        detail=step.detail,
        text=step.row.text if step.outcome == "rejected" else "",
    )


def _move_on(moving_on: StockImport, steps: Sequence[Step], rows: int, now: datetime) -> None:
    moving_on.rows = rows
    moving_on.rows_done += len(steps)
    moving_on.rows_rejected += sum(step.outcome == "rejected" for step in steps)
    moving_on.rows_changed += sum(step.outcome not in ("rejected", "unchanged") for step in steps)
    is_done = moving_on.rows_done >= rows
    moving_on.status = StockImport.Status.DONE if is_done else StockImport.Status.RUNNING
    moving_on.finished_at = now if is_done else None
    importstore.save_progress(moving_on)
