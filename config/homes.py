"""Where a trial keeps what it keeps: secrets, locks, data, sockets."""

import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from config.children import Account, CannotStart, server_account

# macOS allows this many bytes for a socket's path, Linux 107.
SOCKET_PATH_BYTES_MAX = 103
LONGEST_SOCKET = ".s.PGSQL.5432"


class AlreadyRunning(CannotStart):
    """Another run has this home."""


def kept_secret(path: Path) -> str:
    """Return the secret in the file, which is made, readable by its owner alone, when missing."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii")
    secret = secrets.token_urlsafe(48)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret)
    return secret


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read; nobody ever sees half of it."""
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    unfinished.replace(path)


def own_folder(path: Path, *, mode: int, account: Account | None = None) -> Path:
    """
    Return the folder, made with this mode for this account when missing.

    An existing one is left as it is. Raises CannotStart when it is a link or someone else's:
    in a folder such as /var/tmp anybody can take a name before us.
    """
    uid = account.uid if account else os.geteuid()
    try:
        path.mkdir()
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
            raise CannotStart(f"{path} is not a folder of uid {uid}: move it away") from None
    else:
        path.chmod(mode)
        if account:
            os.chown(path, account.uid, account.gid)
    return path


@dataclass(frozen=True)
class Place:
    """
    Where the servers of one home live.

    home: what we keep: locks, logs, secrets. servers: what they keep; it is the home itself
    unless the servers' account cannot reach that. sockets: closed to everyone else.
    """

    home: Path
    servers: Path
    sockets: Path
    account: Account | None

    def delete(self) -> None:
        for folder in {self.sockets, self.servers, self.home}:
            shutil.rmtree(folder, ignore_errors=True)
        # The folder that was made around distant sockets.
        if self.sockets.parent.exists() and self.sockets.parent.name.startswith("sluice-"):
            self.sockets.parent.rmdir()


def open_home(home: Path) -> Path:
    """Return the home, made when missing. Raises CannotStart where it cannot be written."""
    home = home.absolute()
    try:
        if not home.exists():
            home.mkdir(parents=True)
            # As root the servers are someone else and have to pass through.
            home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    except OSError as failure:
        raise CannotStart(f"cannot make {home}: {failure.strerror}") from None
    if not os.access(home, os.W_OK | os.X_OK):
        raise CannotStart(f"cannot write in {home}: set SLUICE_HOME to a folder of yours")
    return home


def open_place(home: Path) -> Place:
    """Return where the servers of this home live; the same home gives the same place."""
    account = server_account()
    name = f"sluice-{hashlib.blake2b(os.fsencode(home), digest_size=8).hexdigest()}"
    servers = home
    if account and not account.can_run("/bin/sh", "-c", 'test -x "$1"', "sh", str(home)):
        # A home under /root: opening its parents would open all that is in them.
        servers = own_folder(Path("/var/tmp") / name, mode=0o711)  # noqa: S108 - checked there

    sockets = servers / "sockets"
    if len(os.fsencode(sockets / LONGEST_SOCKET)) > SOCKET_PATH_BYTES_MAX:
        around = f"{name}-{os.geteuid()}"
        sockets = own_folder(Path(tempfile.gettempdir()) / around, mode=0o711) / "sockets"
    own_folder(sockets, mode=0o700, account=account)
    return Place(home, servers, sockets, account)


def take_lock(path: Path, *, wait_s: float) -> int | None:
    """Return a descriptor that holds the file's lock, None when others kept it all the time."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(0.1)
        else:
            return descriptor


@contextmanager
def locked_home(home: Path) -> Iterator[None]:
    """Keep the home for ourselves. Raises AlreadyRunning."""
    lock = take_lock(home / "run.lock", wait_s=0)
    if lock is None:
        raise AlreadyRunning(f"already running in {home}: stop it, or set another SLUICE_HOME")
    try:
        yield
    finally:
        os.close(lock)
