"""
Rows of the database in a file, without passing through objects of ours.

PostgreSQL writes the text; here it goes from the socket to the file, row after row.
"""

import time
from collections.abc import Mapping
from typing import Any, BinaryIO

import psycopg
from django.db import connection

from inventory.spreadsheets import MEANT_AS_FORMULA

# After so many rows a green thread lets others run: those that have come already are read without
# waiting for anything.
ROWS_AT_A_STRETCH = 500

AS_CSV = "FORMAT csv"
# One column of JSON, as it is: neither of these characters stands unescaped in JSON, so nothing is
# ever quoted. The format named text would double each backslash.
AS_LINES = r"FORMAT csv, DELIMITER E'\x02', QUOTE E'\x01'"


def guarded_sql(column: str) -> str:
    """Return the SQL of a text column as spreadsheets.guarded writes it."""
    first = "".join(f"\\{character}" for character in MEANT_AS_FORMULA if character > " ")
    return rf"regexp_replace({column}, '^([{first}\t\r])', '''\1')"


def instant_sql(column: str) -> str:
    """Return the SQL of an instant as RFC 3339 writes it, in UTC, to the microsecond."""
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def copy_rows(query: str, form: str, parameters: Mapping[str, Any], file: BinaryIO) -> None:
    """
    Write what a query finds to a file. form: AS_CSV or AS_LINES.

    Raises the errors of django.db.
    """
    connection.ensure_connection()
    with (
        connection.wrap_database_errors,
        psycopg.ClientCursor(connection.connection) as cursor,
        cursor.copy(f"COPY ({query}) TO STDOUT WITH ({form})", parameters) as rows,
    ):
        for n, row in enumerate(rows, start=1):
            file.write(row)
            if n % ROWS_AT_A_STRETCH == 0:
                time.sleep(0)


def find_row(query: str, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
    """
    Return the one row of a query that is planned for these very parameters.

    No deadline of a request stops it: an export is bound by its length.
    """
    connection.ensure_connection()
    with (
        connection.wrap_database_errors,
        psycopg.ClientCursor(connection.connection) as cursor,
    ):
        row: tuple[Any, ...] | None = cursor.execute(query, parameters).fetchone()
    if row is None:
        raise AssertionError("an aggregate has one row")
    return row
