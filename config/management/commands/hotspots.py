"""Where does the time go?"""

from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from config.hotspots import CannotTell, Sample, look, verdict
from config.workers import NoWorkers, find_master, workers_of

TOLD_WAITS = 5
# Nobody was seen sending it: PostgreSQL keeps the text of whoever was the first of all.
FIRST = " (the first)"


class Command(BaseCommand):
    """Looks at the workers of this machine and at all that the database does meanwhile."""

    help = "Say whether Python or PostgreSQL is the bottleneck, and which statements cost most."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take how long to look, at whom, and how much to tell."""
        parser.add_argument("--seconds", type=float, default=10, help="how long to look (10)")
        parser.add_argument(
            "--pid", type=int, help="the gunicorn to look at; else that of PID_FILE"
        )
        parser.add_argument("--top", type=int, default=10, help="statements that are told (10)")

    def handle(self, *_: Any, **options: Any) -> None:
        """Look, then tell."""
        workers, reason = _workers(options["pid"])
        if reason:
            self.stderr.write(f"{reason}: no verdict, only statements")
        try:
            sample = look(workers, seconds=options["seconds"])
        except CannotTell as lack:
            raise CommandError(str(lack)) from None
        except OperationalError as failure:
            first_line = str(failure).strip().splitlines()[0]
            raise CommandError(f"the database does not answer: {first_line}") from None
        self.stdout.write(verdict(sample))
        self.stdout.write(f"in PostgreSQL: {_shares(sample.waits)}; {sample.looks} looks\n\n")
        for line in _table(sample, top=options["top"]):
            self.stdout.write(line)


def _workers(pid: int | None) -> tuple[list[int], str]:
    try:
        return workers_of(find_master(pid)), ""
    except NoWorkers as reason:
        if pid is not None:
            raise CommandError(str(reason)) from None
        return [], str(reason)


def _shares(waits: Counter[str]) -> str:
    if not waits:
        return "nothing was seen"
    return ", ".join(
        f"{wait} {seen / waits.total():.0%}" for wait, seen in waits.most_common(TOLD_WAITS)
    )


def _table(sample: Sample, *, top: int) -> list[str]:
    if not sample.statements:
        return ["No statement ended meanwhile."]
    total_ms = sum(statement.total_ms for statement in sample.statements)
    rows = [("query id", "mean ms", "calls", "share", "Python function", "route")]
    for statement in sample.statements[:top]:
        function, route = statement.sender
        # What psycopg and Django send by themselves names nobody: then its beginning says more.
        named = function or " ".join(statement.text.split())[:40]
        rows.append(
            (
                str(statement.query_id),
                f"{statement.mean_ms:.2f}",
                str(statement.calls),
                f"{statement.total_ms / max(total_ms, 1e-9):.1%}",
                named,
                f"{route or '-'}{FIRST if function and not statement.senders else ''}",
            )
        )
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if n < 4 else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
