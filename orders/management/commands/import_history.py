"""Take over the orders of a shop that runs elsewhere."""

import sys
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm  # type: ignore[import-untyped]  # It has no types of its own.

from config.errors import AppError
from events.usecases import Answer, EventsError, keyed_request
from inventory.usecases import Provenance, find_skus
from orders.management.pastfiles import BadPastRow, PastRow, read_past_orders
from orders.usecases import PastOrder, keep_past_order, place_order


class Command(BaseCommand):
    help = (
        "Import the orders of a running shop from a file of JSON lines, each once: open ones take "
        "their stock, those that are over keep what became of them. See docs/import-history.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--account", required=True, metavar="NAME", help="whose orders")
        parser.add_argument(
            "--rejected",
            type=Path,
            metavar="FILE",
            help="where rejected lines go (default: NAME.rejected.ndjson in the current folder)",
        )
        parser.add_argument("--dry-run", action="store_true", help="read and tell, keep nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        rejected_path: Path = options["rejected"] or Path(f"{path.stem}.rejected.ndjson")
        if rejected_path.exists() and path.exists() and rejected_path.samefile(path):
            raise CommandError(f"{path} is the file to read: name another with --rejected.")
        account_id = _account_id(options["account"])
        try:
            with path.open("rb") as file, rejected_path.open("wb") as rejected:
                importer = None if options["dry_run"] else _Importer(account_id, options["account"])
                told = _import(file, rejected, importer)
        except OSError as failure:
            raise CommandError(f"{failure.filename}: {failure.strerror}") from failure
        except (AppError, EventsError) as trouble:
            raise CommandError(f"{trouble} Nothing is lost: run it again.") from trouble
        for name, count in sorted(told.items()):
            self.stdout.write(f"{count:>9,}  {name}")
        if any(name.startswith("rejected") for name in told):
            self.stdout.write(f"Rejected lines are in {rejected_path}")


class _Importer:
    def __init__(self, account_id: int, actor: str) -> None:
        self.account_id = account_id
        self.provenance = Provenance(actor=actor, source="import")

    def take(self, row: PastRow) -> Answer:
        """Place an order that is open, keep one that is over; raises what it is refused for."""
        request = keyed_request(
            account_id=self.account_id,
            header=f"history:{row.draft.reference}",
            method="IMPORT",
            route="history",
            canonical_body=orjson.dumps(row.content, option=orjson.OPT_SORT_KEYS),
        )
        about: dict[str, Any] = {"request": request, "provenance": self.provenance}
        if row.status == "open":
            return place_order(row.draft, **about, now=row.placed_at)
        past = PastOrder(row.draft, row.currency, row.status)
        return keep_past_order(past, **about, now=row.placed_at)


def _import(file: BinaryIO, rejected: BinaryIO, importer: _Importer | None) -> Counter[str]:
    told: Counter[str] = Counter()
    rows = read_past_orders(iter(file))
    for row in tqdm(rows, unit=" orders", disable=not sys.stderr.isatty()):
        outcome = row if isinstance(row, BadPastRow) else _outcome(row, importer)
        if isinstance(outcome, BadPastRow):
            told[f"rejected: {outcome.why}"] += 1
            line = {"why": outcome.why, "detail": outcome.detail, "line": outcome.text}
            rejected.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        else:
            told[outcome] += 1
    return told


def _outcome(row: PastRow, importer: _Importer | None) -> str | BadPastRow:
    if importer is None:
        return f"{row.status}, readable"
    if foreign := _foreign_money(row):
        return BadPastRow(row.text, "other_currency", foreign)
    try:
        answer = importer.take(row)
    except (AppError, EventsError) as refusal:
        if refusal.retryable:
            raise
        errors = refusal.errors or ({"code": refusal.code, "message": str(refusal)},)
        return BadPastRow(row.text, errors[0]["code"], errors[0]["message"])
    return f"{row.status}, {'imported before' if answer.is_replayed else 'imported now'}"


def _foreign_money(row: PastRow) -> str:
    # An open order has the currency of its SKUs: pounds must not become as many euros.
    if row.status != "open":
        return ""
    for sku in find_skus({line.sku for line in row.draft.lines}).values():
        if sku.currency != row.currency:
            return f"SKU {sku.code} is sold in {sku.currency}, not in {row.currency}."
    return ""


def _account_id(name: str) -> int:
    users = get_user_model()._default_manager
    account_id: int | None = users.filter(username=name).values_list("pk", flat=True).first()
    if account_id is None:
        raise CommandError(f"No account is called {name!r}.")
    return account_id
