"""What `make run` starts: the whole service on this machine, ready for a first order."""

import argparse
import io
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command, execute_from_command_line
from django.db import OperationalError, connection

from config.children import CannotStart, Child, end_with_parent, leave_on_signals
from config.embedded import Servers, embedded_servers, running_servers
from config.env import env_int, env_text
from config.homes import kept_secret, write_private

PROJECT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
READY_S_MAX = 60
# gunicorn gives its last requests 30 s.
GUNICORN_STOP_S_MAX = 35
RELAY_STOP_S_MAX = 25
# The embedded PostgreSQL has 100 connections and a worker's pool has 10.
WORKERS_MAX = 4
ADMIN_USER, DEMO_USER, DEMO_SKU = "admin", "demo", "DEMO-CUP"


@dataclass(frozen=True)
class Answer:
    """What our own server answered."""

    status: int
    body: Any


class Service:
    """The gunicorn of this run, under one address."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.child = Child(
            [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py"],
            stop_signals=(signal.SIGTERM, signal.SIGQUIT),
            cwd=PROJECT,
        )

    def get(self, path: str, **headers: str) -> Answer:
        """Return what the server answers. Raises OSError or HTTPException without one."""
        caller = HTTPConnection(HOST, self.port, timeout=10)
        try:
            caller.request("GET", path, headers=headers)
            answer = caller.getresponse()
            return Answer(answer.status, json.loads(answer.read() or b"null"))
        finally:
            caller.close()

    def wait_until_ready(self) -> None:
        """Return as soon as orders are welcome. Raises CannotStart when that takes too long."""
        deadline = time.monotonic() + READY_S_MAX
        last_answer: object = "nothing"
        while time.monotonic() < deadline:
            if self.child.process.poll() is not None:
                raise CannotStart("gunicorn ended at its start: it says why above")
            try:
                answer = self.get("/readyz")
            except (OSError, HTTPException, ValueError):
                time.sleep(0.1)
                continue
            if answer.status == 200:
                return
            last_answer = answer.body
            time.sleep(0.5)
        raise CannotStart(f"not ready after {READY_S_MAX} s: {last_answer}")


def free_port(port: int) -> None:
    """Raise CannotStart when someone listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as failure:
            raise CannotStart(
                f"port {port}: {failure.strerror}. Choose another: make run PORT={port + 1}"
            ) from None


def trial_environment(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that a trial needs and nobody has chosen."""
    cores = os.cpu_count() or 1
    chosen = {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "SLUICE_ENV": "trial",
        "WEB_CONCURRENCY": str(max(2, min(cores, WORKERS_MAX))),
        "GUNICORN_LOG_LEVEL": "warning",
        "LOG_FORMAT": "console",
        "LOG_REQUESTS": "false",
    }
    if "SECRET_KEY" not in given and "SECRET_KEY_FILE" not in given:
        chosen["SECRET_KEY"] = kept_secret(home / "secret-key")
    return chosen | dict(given)


def prepare_database() -> None:
    """Bring tables and demo goods up to date. Raises CannotStart when PostgreSQL is not there."""
    try:
        connection.ensure_connection()
    except OperationalError as failure:
        reason = str(failure).strip().splitlines()[0]
        raise CannotStart(f"the database of DATABASE_URL does not answer: {reason}") from None
    call_command("migrate", verbosity=0, interactive=False)
    call_command("load_demo", stdout=io.StringIO())


def working_key(service: Service, home: Path) -> str:
    """Return the key of the last run unless it is refused by now, else a new one."""
    file = home / "api-key"
    if file.exists():
        key = file.read_text(encoding="ascii").strip()
        answer = service.get("/api/v1/orders?limit=1", Authorization=f"Bearer {key}")
        if answer.status not in (401, 403):
            return key
    key = _said_by(
        "create_api_key", "--user", DEMO_USER, "--create-user", "--name=make run", "--all-scopes"
    )
    write_private(file, key)
    return key


def _said_by(command: str, *arguments: str) -> str:
    said = io.StringIO()
    call_command(command, *arguments, stdout=said, stderr=io.StringIO())
    return said.getvalue().strip()


def first_order(url: str, key: str) -> str:
    """Return a command that places an order, and when repeated shows that it is taken once."""
    body = {"customer": "c-17", "lines": [{"sku": DEMO_SKU, "quantity": 2}]}
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Idempotency-Key": f"first-order-{uuid.uuid4().hex[:8]}",
    }
    words = ["curl", "-i", f"{url}/api/v1/orders"]
    for name, text in headers.items():
        words += ["-H", f"{name}: {text}"]
    return shlex.join([*words, "-d", json.dumps(body)])


def introduce(facts: Mapping[str, Any], servers: Servers) -> None:
    """Tell the person at the terminal where things are and what to try."""
    lines = [
        "",
        f"  Sluice takes orders at {facts['url']}",
        "",
        f"  API key   {facts['api_key']}",
        f"  Admin     {facts['admin_url']}  (opens once, for you)",
        f"  API docs  {facts['url']}/api/docs",
        "",
        "  Place an order; send it twice and it is taken once:",
        "",
        facts["curl"],
        "",
    ]
    if "DATABASE_URL" in servers.environment and servers.place:
        data = servers.place.servers / "postgres"
        lines += [
            "  *** EMBEDDED DATABASE, FOR TRIAL. For production set DATABASE_URL. ***",
            f"  Its data is in {data} and stays there. Ctrl-C stops everything.",
            "",
        ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def watch(children: Mapping[str, Child]) -> None:
    """Return when we are told to stop. Raises CannotStart when one of the children has ended."""
    try:
        while True:
            for name, child in children.items():
                code = child.process.poll()
                if code is not None:
                    raise CannotStart(f"{name} has ended (code {code}): stopping the others")
            time.sleep(0.2)
    except SystemExit:  # The signals that end us arrive as this, and are what we wait for.
        return


def run(home: Path, port: int) -> None:
    """Serve until we are told to stop. Raises CannotStart."""
    free_port(port)
    with embedded_servers(home, os.environ) as servers:
        os.environ.update(trial_environment(home, os.environ) | servers.environment)
        os.environ["BIND"] = f"{HOST}:{port}"
        django.setup()
        prepare_database()
        service = Service(port)
        relay = Child(
            [sys.executable, "-m", "config.cli", "relay"],
            stop_signals=(signal.SIGTERM,),
            cwd=PROJECT,
            stdout=subprocess.DEVNULL,
        )
        children = {"gunicorn": service.child, "relay": relay, **servers.children}
        try:
            service.wait_until_ready()
            facts = facts_of(service, children, home)
            connection.close()
            write_private(home / "run.json", json.dumps(facts, indent=2) + "\n")
            introduce(facts, servers)
            watch(children)
        finally:
            relay.stop(RELAY_STOP_S_MAX)
            service.child.stop(GUNICORN_STOP_S_MAX)
            (home / "run.json").unlink(missing_ok=True)


def facts_of(service: Service, children: Mapping[str, Child], home: Path) -> dict[str, Any]:
    """Return what a person or a program needs to use this run."""
    key = working_key(service, home)
    login_path = _said_by("admin_link", "--user", ADMIN_USER, "--create-superuser")
    pids = {name: child.pid for name, child in children.items()}
    return {
        "url": service.url,
        "api_key": key,
        "admin_url": service.url + login_path,
        "pids": {"supervisor": os.getpid(), **pids},
        "curl": first_order(service.url, key),
    }


def manage(home: Path, arguments: Sequence[str]) -> None:
    """Run a command of manage.py on the servers of this home, started for it if need be."""
    with running_servers(home, os.environ) as servers:
        os.environ.update(trial_environment(home, os.environ) | servers.environment)
        # In a shell Ctrl-C ends the line, not the shell.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        execute_from_command_line(["manage.py", *arguments])


def main(arguments: Sequence[str]) -> int:
    """Return 0 after a stop that was asked for, 1 with one line when we cannot serve."""
    parser = argparse.ArgumentParser(prog="python -m config.run", description=__doc__)
    parser.add_argument("--end-with-parent", action="store_true")
    parser.add_argument("verb", nargs="?", choices=("serve", "manage"), default="serve")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    asked = parser.parse_args(arguments)
    leave_on_signals()
    if asked.end_with_parent:
        end_with_parent()
    try:
        home = Path(env_text("SLUICE_HOME", default=str(PROJECT / ".local"))).absolute()
        if asked.verb == "manage":
            manage(home, asked.arguments)
        else:
            run(home, env_int("PORT", default=8000, at_least=1, at_most=65535))
    except (CannotStart, ImproperlyConfigured) as failure:
        sys.stderr.write(f"sluice: {failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
