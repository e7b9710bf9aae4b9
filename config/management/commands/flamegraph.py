"""What the workers compute."""

import shutil
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.workers import NoWorkers, find_master, workers_of

REFUSED = (
    "the system lets nobody look into the workers: run this as root or as their user with"
    " CAP_SYS_PTRACE (kernel.yama.ptrace_scope=1 wants it, a container cap_add: SYS_PTRACE)"
)


class Command(BaseCommand):
    """Asks py-spy, which looks from outside: the workers are not changed and hardly slowed."""

    help = "Record for some seconds what the workers compute, and draw it as a flame graph."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take how long and how often to look, at whom, and where to write."""
        parser.add_argument("--seconds", type=int, default=30, help="how long to look (30)")
        parser.add_argument("--rate", type=int, default=100, help="looks a second (100)")
        parser.add_argument(
            "--pid", type=int, help="the gunicorn to look at; else that of PID_FILE"
        )
        parser.add_argument(
            "--format", choices=("flamegraph", "speedscope"), default="flamegraph",
            help="an SVG for a browser, or JSON for speedscope.app",
        )  # fmt: skip
        parser.add_argument("--output", type=Path, help="flamegraph.svg, or flamegraph.json")

    def handle(self, *_: Any, **options: Any) -> None:
        """Record."""
        suffix = ".svg" if options["format"] == "flamegraph" else ".json"
        output = options["output"] or Path("flamegraph").with_suffix(suffix)
        try:
            master = find_master(options["pid"])
            workers = workers_of(master)
        except NoWorkers as reason:
            raise CommandError(str(reason)) from None
        done = subprocess.run(  # noqa: S603 - a program of ours, and numbers
            [
                _py_spy(), "record", "--pid", str(master), "--subprocesses",
                "--duration", str(options["seconds"]), "--rate", str(options["rate"]),
                "--format", options["format"], "--output", str(output),
            ],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        if "Permission denied" in said or "permission denied" in said.lower():
            raise CommandError(REFUSED)
        if done.returncode != 0 or not output.exists():
            raise CommandError((said.strip().splitlines() or ["py-spy said nothing"])[-1])
        self.stdout.write(f"{output}: {options['seconds']} s of {len(workers)} workers")


def _py_spy() -> str:
    found = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if found is None:
        raise CommandError("py-spy is not installed here: pip install py-spy")
    return found
