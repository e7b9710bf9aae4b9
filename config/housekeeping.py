"""
Forget what nobody needs any more.

What may go, and when, is each app's to say: HOUSEKEEPING in the settings names where. A subject is
read once from its first block to its last, some blocks in a transaction, which needs no index and
keeps no lock for long. Whatever is changed meanwhile is left to the next time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from django.conf import settings
from django.db import connection, transaction
from django.utils.module_loading import import_string

# 8 MiB: few enough rows to be gone before anybody waits for one of them.
BLOCKS_AT_ONCE = 1024

SESSIONS = {"table": "django_session", "stale": "expire_date < now()"}

COUNT_BLOCKS = """
SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::bigint
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """
    Rows that may go.

    stale: the condition in SQL, in which %(days)s is for how many days they are kept. with_it:
    tables whose rows go in the same transaction, and the column in which they name its id.
    """

    name: str
    days: int
    table: str
    stale: str
    with_it: Mapping[str, str] = field(default_factory=dict)


def list_subjects() -> list[Subject]:
    """Return what the settings say may go, in their order."""
    return [
        Subject(name=name, days=days, **import_string(path))
        for name, (path, days) in settings.HOUSEKEEPING.items()
    ]


def forget(subject: Subject, *, is_dry_run: bool) -> int:
    """
    Delete the stale rows of a subject; return how many there were.

    Several at once do no harm: what one has deleted the other does not find. is_dry_run: only
    count them.
    """
    return sum(_forget_piece(subject, *piece, is_dry_run) for piece in _pieces(subject.table))


def _pieces(table: str) -> Iterator[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(COUNT_BLOCKS, [table])
        (blocks,) = cursor.fetchone()
    for first in range(0, blocks, BLOCKS_AT_ONCE):
        yield f"({first},0)", f"({first + BLOCKS_AT_ONCE},0)"


def _forget_piece(subject: Subject, first: str, behind: str, is_dry_run: bool) -> int:
    place: dict[str, str | int] = {"first": first, "behind": behind, "days": subject.days}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_counting(subject) if is_dry_run else _deleting(subject), place)
        return int(cursor.fetchone()[0])


def _counting(subject: Subject) -> str:
    return f"SELECT count(*) FROM {subject.table} WHERE {_condition(subject)}"  # noqa: S608


def _deleting(subject: Subject) -> str:
    """Return one statement, so that no row is ever there without those that go with it."""
    columns = "ctid, id" if subject.with_it else "ctid"
    # Whoever is changing a row at this moment needs it.
    stale = (
        f"stale AS MATERIALIZED (SELECT {columns} FROM {subject.table}"  # noqa: S608
        f" WHERE {_condition(subject)} FOR UPDATE SKIP LOCKED)"
    )
    with_it = [
        f"from_{table} AS (DELETE FROM {table}"  # noqa: S608
        f" WHERE {column} = ANY(ARRAY(SELECT id FROM stale)))"
        for table, column in subject.with_it.items()
    ]
    deleted = (
        f"deleted AS (DELETE FROM {subject.table}"  # noqa: S608
        " WHERE ctid = ANY(ARRAY(SELECT ctid FROM stale)) RETURNING 1)"
    )
    return f"WITH {', '.join([stale, *with_it, deleted])} SELECT count(*) FROM deleted"  # noqa: S608


def _condition(subject: Subject) -> str:
    return f"ctid >= %(first)s::tid AND ctid < %(behind)s::tid AND ({subject.stale})"
