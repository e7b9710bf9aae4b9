"""The verbs of an installation: of the image, of sluice.pyz, of a checkout."""

import os
import sys
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from config.children import CannotStart
from config.env import env_text
from config.lifecycle import upgrade
from config.release import VERSION

ROOT = Path(__file__).resolve().parent.parent
USAGE = f"""\
sluice {VERSION} takes orders. Settings come from the environment.

  web                 serve, until told to stop
  relay [OPTIONS]     deliver events to webhooks and streams
  migrate [OPTIONS]   bring the tables up to date; as many at once as you like
  manage COMMAND …    any command of manage.py: create_api_key, reconcile, check --deploy, …
  probe               ask /readyz of the server of BIND; exit code 1 unless it is ready
  upgrade             put the code that lies here now in place of the server of PID_FILE
  --version           say which release this is
"""


def pyz() -> str | None:
    """Return the one file that we were started from, or None."""
    started = Path(sys.argv[0])
    return str(started.resolve()) if started.is_file() and started.suffix == ".pyz" else None


def web(arguments: Sequence[str]) -> NoReturn:
    """Become gunicorn: a process of its own, in which nothing was imported before gevent."""
    environment = dict(os.environ)
    if started := pyz():
        environment |= {"SLUICE_PYZ": started, "PYTHONPATH": str(ROOT)}
    gunicorn = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "config/gunicorn.conf.py")]
    os.execve(sys.executable, [*gunicorn, *arguments], environment)


def manage(arguments: Sequence[str]) -> None:
    """Run a command of manage.py."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if arguments[0:1] == ["relay"]:
        os.environ["SLUICE_ROLE"] = "relay"
    execute_from_command_line(["sluice", *arguments])


def probe(_: Sequence[str]) -> None:
    """Ask our own server. Raises CannotStart when it is not ready; for images without curl."""
    host, _, port = env_text("BIND", default="127.0.0.1:8000").split(",")[0].rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104
    caller = HTTPConnection(host, int(port), timeout=2)
    try:
        caller.request("GET", "/readyz")
        answer = caller.getresponse()
        if answer.status != HTTPStatus.OK:
            raise CannotStart(answer.read().decode())
    except (OSError, HTTPException) as failure:
        raise CannotStart(f"no answer on {host}:{port}: {failure}") from None
    finally:
        caller.close()


def upgrade_server(_: Sequence[str]) -> None:
    """Replace the server of PID_FILE. Raises CannotStart when it goes on instead."""
    pid_file = env_text("PID_FILE", default="")
    if not pid_file:
        raise CannotStart("PID_FILE is not set: neither here nor for the server")
    file = pyz()
    by_us = [sys.executable, file, "manage"] if file else [sys.executable, str(ROOT / "manage.py")]
    old, new = upgrade(Path(pid_file), by_us)
    sys.stdout.write(f"{new} serves in place of {old}\n")


VERBS: dict[str, Callable[[Sequence[str]], None]] = {
    "web": web,
    "relay": lambda arguments: manage(["relay", *arguments]),
    "migrate": lambda arguments: manage(["migrate", *arguments]),
    "manage": manage,
    "probe": probe,
    "upgrade": upgrade_server,
    "--version": lambda _: print(f"sluice {VERSION}"),  # noqa: T201
}


def main() -> int:
    """Return 0, or 1 with one line on what is wrong with the settings, or 2 with the verbs."""
    verb, *arguments = sys.argv[1:] or ["help"]
    if verb not in VERBS:
        sys.stderr.write(USAGE)
        return 2
    try:
        VERBS[verb](arguments)
    except (CannotStart, ImproperlyConfigured) as failure:
        sys.stderr.write(f"sluice: {failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
