"""Place the invoices of an Online Retail file as orders."""

import contextlib
import csv
import gzip
import hashlib
import os
import re
import signal
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO, TypeVar

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from django.db import OperationalError
from tqdm import tqdm  # type: ignore[import-untyped]  # It has no types of its own.

from config.errors import AppError
from events.usecases import EventsError, IdempotencyKeyReused
from orders.importing import (
    Cancelled,
    Importer,
    Outcome,
    Placed,
    create_missing_skus,
    import_sales,
    receive_opening_stock,
)
from orders.retail import (
    REJECTED_COLUMNS,
    Cancellation,
    Invoice,
    NotRetail,
    Rejection,
    Row,
    Sheet,
    group_rows,
    read_rows,
    units_sold,
)

Step = TypeVar("Step")

CURRENCY = re.compile(r"[A-Z]{3}")
KEY_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Without a terminal: a line in the log now and then, instead of a bar.
TELL_EVERY_S = 10
ALWAYS_TOLD = ("placed now", "placed before", "cancelled now", "cancelled before", "rejected")
TOLD_IF_ANY = ("without a number", "readable", "together")


class Command(BaseCommand):
    """Replay a shop's past sales."""

    help = (
        "Replay the invoices and cancellations of an Online Retail CSV file (also .gz), each once: "
        "run again, it goes on where it was stopped. What cannot be placed goes to a file, with "
        "the reason; that alone is no failure."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--account", required=True, metavar="NAME", help="whose orders")
        parser.add_argument(
            "--create-account", action="store_true", help="make the account if missing"
        )
        parser.add_argument("--create-skus", action="store_true", help="make the SKUs if missing")
        parser.add_argument(
            "--opening-stock",
            nargs="?",
            const="sold",
            type=_opening_stock,
            metavar="UNITS",
            help="first receive, once a file, UNITS of each SKU; without UNITS what the file sells",
        )
        parser.add_argument(
            "--currency", type=_currency, default="GBP", help="of the prices (default: GBP)"
        )
        parser.add_argument("--encoding", default="utf-8", help="of the file (default: utf-8)")
        parser.add_argument("--limit", type=_positive, metavar="N", help="only the N first by date")
        parser.add_argument(
            "--rejected",
            type=Path,
            metavar="FILE",
            help="where rejected rows go (default: NAME.rejected.csv in the current folder)",
        )
        parser.add_argument(
            "--key-prefix",
            type=_key_prefix,
            default="import",
            metavar="TEXT",
            help="another one asks anew for invoices that were refused: see docs/import.md",
        )
        parser.add_argument("--dry-run", action="store_true", help="read and tell, place nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import the file."""
        path: Path = options["file"]
        lines = _read_lines(path, options["encoding"])
        try:
            sheet = group_rows(read_rows(lines))
        except NotRetail as refusal:
            raise CommandError(f"{path}: {refusal}") from refusal
        rejected_path = options["rejected"] or Path(f"{_stem(path)}.rejected.csv")
        try:
            importer = None if options["dry_run"] else _importer(options)
            with (
                _rejected_file(rejected_path, path, options["encoding"]) as rejected_file,
                _stop_signals() as stopped_by,
            ):
                tally = Tally(rejected_file, options["currency"])
                tally.count(sheet.rejections)
                try:
                    if importer is not None:
                        run = _Run(sheet, _digest(lines), tally, stopped_by)
                        self._import(run, importer, options)
                finally:
                    self._tell(sheet, tally, rejected_path, options)
        except (AppError, EventsError) as refusal:
            raise CommandError(f"{refusal} Nothing is lost: run it again.") from refusal
        except OperationalError as failure:
            raise CommandError(f"The database cannot be used: {failure}") from failure
        if stopped_by:
            self.stdout.write("Stopped. Run it again to go on.")
            sys.exit(128 + stopped_by[0])

    def _import(self, run: "_Run", importer: Importer, options: dict[str, Any]) -> None:
        def shown(what: str, total: int, steps: Iterable[Step]) -> Iterator[Step]:
            is_shown = options["verbosity"] > 0
            for step in _shown(what, total, steps, self.stderr if is_shown else None):
                yield step
                if run.stopped_by:
                    return

        # SKUs and stock of the whole file, whatever the limit: the rest may be imported later.
        everything = run.sheet.invoices
        if options["create_skus"]:
            codes = create_missing_skus(everything, currency=importer.currency)
            added = sum(1 for _ in shown("SKUs", 0, codes))
            self.stdout.write(f"SKUs added: {added:,}")
        if options["opening_stock"] and not run.stopped_by:
            units_each = None if options["opening_stock"] == "sold" else options["opening_stock"]
            deliveries = receive_opening_stock(
                everything, importer, delivery=run.digest, units_each=units_each
            )
            try:
                units = sum(shown("deliveries", len(units_sold(everything)), deliveries))
            except IdempotencyKeyReused as refusal:
                raise CommandError(
                    "The opening stock of this file was received before, in another amount."
                ) from refusal
            self.stdout.write(f"Opening stock, received once: {units:,} units")
        if not run.stopped_by:
            invoices, cancellations = _first(run.sheet, options["limit"])
            total = len(invoices) + len(cancellations)
            sales = import_sales(invoices, cancellations, importer)
            for outcomes in shown("invoices", total, sales):
                run.tally.count(outcomes)

    def _tell(
        self, sheet: Sheet, tally: "Tally", rejected_path: Path, options: dict[str, Any]
    ) -> None:
        if options["dry_run"]:
            invoices, cancellations = _first(sheet, options["limit"])
            for one in invoices:
                tally.add("readable", one.rows)
            for cancelled in cancellations:
                tally.add("readable", cancelled.rows)
        self.stdout.write(tally.table())
        if tally.reasons:
            self.stdout.write(f"Rejected rows are in {rejected_path}:")
            for reason, rows in tally.reasons.most_common():
                self.stdout.write(f"  {rows:>7,}  {reason}")


@dataclass(frozen=True)
class _Run:
    """What one import is about. digest: of the file's lines. stopped_by: signals that came."""

    sheet: Sheet
    digest: str
    tally: "Tally"
    stopped_by: Sequence[int]


class Tally:
    """What became of the invoices so far; writes the rejected ones to a file."""

    def __init__(self, rejected_file: TextIO, currency: str) -> None:
        self._file = rejected_file
        self._writer = csv.writer(rejected_file)
        self._writer.writerow(REJECTED_COLUMNS)
        self._currency = currency
        self._sums: dict[str, list[int]] = {}
        self.reasons: Counter[str] = Counter()

    def count(self, outcomes: Sequence[Outcome]) -> None:
        """Add outcomes; what is rejected is in the file when this returns."""
        for outcome in outcomes:
            if isinstance(outcome, Placed):
                name = "placed before" if outcome.is_replayed else "placed now"
                self.add(name, outcome.invoice.rows)
            elif isinstance(outcome, Cancelled):
                name = "cancelled before" if outcome.is_replayed else "cancelled now"
                self.add(name, outcome.rows)
            else:
                self._reject(outcome)
        self._file.flush()

    def add(self, name: str, rows: Sequence[Row]) -> None:
        """Add the rows of one invoice to what goes by this name."""
        units = sum(row.goods_units for row in rows)
        self._add(name, 1, len(rows), units, sum(row.total_minor for row in rows))

    def _add(self, name: str, *values: int) -> None:
        for sums in (
            self._sums.setdefault(name, [0, 0, 0, 0]),
            self._sums.setdefault("together", [0, 0, 0, 0]),
        ):
            for n, value in enumerate(values):
                sums[n] += value

    def _reject(self, rejection: Rejection) -> None:
        name = "rejected" if rejection.number else "without a number"
        # Of a cancellation that is done in part the rest is rows, but no invoice more.
        invoices = int(rejection.is_whole)
        self._add(name, invoices, len(rejection.rows), rejection.units, rejection.total_minor)
        for row in rejection.rows:
            self.reasons[row.reason] += 1
            self._writer.writerow((row.line, row.reason, row.detail, *_cells(row.text)))

    def table(self) -> str:
        """Return the sums as text, one line for each name; together they are the file."""
        lines = [f"{'':<16} {'invoices':>10} {'rows':>10} {'units':>12} {self._currency:>16}"]
        for name in ALWAYS_TOLD + TOLD_IF_ANY:
            if name in self._sums or name in ALWAYS_TOLD:
                invoices, rows, units, total_minor = self._sums.get(name, [0, 0, 0, 0])
                money = f"{Decimal(total_minor).scaleb(-2):,.2f}"
                lines.append(f"{name:<16} {invoices:>10,} {rows:>10,} {units:>12,} {money:>16}")
        return "\n".join(lines)


def _first(sheet: Sheet, limit: int | None) -> tuple[list[Invoice], list[Cancellation]]:
    """Return the first invoices by date, and the cancellations that could be of them."""
    invoices = sheet.invoices[:limit]
    if len(invoices) == len(sheet.invoices):
        return invoices, sheet.cancellations
    return invoices, [each for each in sheet.cancellations if each.at <= invoices[-1].at]


def _shown(
    what: str, total: int, steps: Iterable[Step], stderr: OutputWrapper | None
) -> Iterator[Step]:
    """Show how far steps are: a bar on a terminal, else a line now and then; stderr None: not."""
    is_bar = stderr is not None and sys.stderr.isatty()
    done, told_at = 0, time.monotonic()
    with tqdm(total=total or None, unit=f" {what}", disable=not is_bar) as bar:
        for step in steps:
            units = len(step) if isinstance(step, list) else 1
            done += units
            bar.update(units)
            if stderr is not None and not is_bar and time.monotonic() - told_at >= TELL_EVERY_S:
                told_at = time.monotonic()
                stderr.write(f"{done:,}{f' of {total:,}' if total else ''} {what}")
            yield step


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ArgumentTypeError(f"{text!r}: a whole number, 1 or more")
    return int(text)


def _currency(text: str) -> str:
    if not CURRENCY.fullmatch(text):
        raise ArgumentTypeError(f"{text!r}: three capital letters, as EUR")
    return text


def _key_prefix(text: str) -> str:
    if not KEY_PREFIX.fullmatch(text):
        raise ArgumentTypeError(f"{text!r}: 1 to 64 of A-Z a-z 0-9 . _ -")
    return text


def _opening_stock(text: str) -> int | str:
    return text if text == "sold" else _positive(text)


def _importer(options: dict[str, Any]) -> Importer:
    users = get_user_model()
    name = options["account"]
    account = users._default_manager.filter(username=name).first()
    if account is None and options["create_account"]:
        # No password: a program calls by its key and never logs in.
        account = users._default_manager.create_user(name)
    if account is None:
        raise CommandError(f"No account is called {name!r}; --create-account makes one.")
    if not account.is_active:
        raise CommandError(f"The account {name!r} is not active.")
    return Importer(
        account_id=account.pk,
        actor=name,
        currency=options["currency"],
        key_prefix=options["key_prefix"],
    )


def _read_lines(path: Path, encoding: str) -> list[str]:
    """Return the lines of a file; bytes that are no text are kept, as lone surrogates."""
    open_file = gzip.open if path.suffix == ".gz" else open
    try:
        with open_file(path, "rt", encoding=encoding, errors="surrogateescape", newline="") as file:
            return list(file)
    except LookupError as failure:
        raise CommandError(f"There is no encoding {encoding!r}.") from failure
    except (OSError, EOFError, UnicodeError) as failure:
        reason = getattr(failure, "strerror", None) or failure
        raise CommandError(f"{path} cannot be read: {reason}") from failure


def _digest(lines: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")


def _cells(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error:
        return [text]


@contextlib.contextmanager
def _rejected_file(path: Path, source: Path, encoding: str) -> Iterator[TextIO]:
    if path.exists() and os.path.samefile(path, source):
        raise CommandError(f"{path} is the file to read: name another with --rejected.")
    try:
        file = path.open("w", encoding=encoding, errors="surrogateescape", newline="")
    except OSError as failure:
        raise CommandError(f"{path} cannot be written: {failure.strerror}") from failure
    with file:
        yield file


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Note the first SIGINT or SIGTERM, for the batch to end; let a second one have its way."""
    caught: list[int] = []
    previous: dict[signal.Signals, Any] = {}

    def note(number: int, _: object) -> None:
        caught.append(number)
        for name, handler in previous.items():
            signal.signal(name, handler)

    for name in (signal.SIGINT, signal.SIGTERM):
        previous[name] = signal.signal(name, note)
    try:
        yield caught
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
