"""What lies in deploy/ is valid, and names what there is."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from config.cli import VERBS
from config.settings import BODY_BYTES_MAX, BULK_BODY_BYTES_MAX
from inventory.stockfiles import FILE_BYTES_MAX
from tests.commands.processes import PROJECT
from tests.commands.test_documentation import settings_read
from tests.edge import need, program, self_signed

DEPLOY = PROJECT / "deploy"
# Not ours: PostgreSQL's image, the image that compose runs, shiv's folder.
OTHERS = {"POSTGRES_PASSWORD", "SLUICE_IMAGE", "SHIV_ROOT"}
REQUIRED = {"SECRET_KEY", "DATABASE_URL", "ALLOWED_HOSTS", "PUBLIC_URL"}


def documents() -> dict[str, Any]:
    files = (*DEPLOY.rglob("*.yaml"), *PROJECT.glob(".github/workflows/*.yml"))
    return {file.name: yaml.safe_load(file.read_text()) for file in files}


def kubernetes(kind: str) -> list[dict[str, Any]]:
    items = yaml.safe_load((DEPLOY / "kubernetes/sluice.yaml").read_text())["items"]
    return [item for item in items if item["kind"] == kind]


class VariablesTests:
    KNOWN = {name for name, _, _ in settings_read()} | OTHERS

    def named(self) -> Iterator[str]:
        """Yield each variable that a file of deploy/ sets or tells."""
        for path in (DEPLOY / ".env.example", DEPLOY / "systemd/sluice.env"):
            yield from re.findall(r"^#?([A-Z][A-Z_]+)=", path.read_text(), re.MULTILINE)
        for path in DEPLOY.glob("systemd/*.service"):
            for line in re.findall(r"^Environment=(.*)$", path.read_text(), re.MULTILINE):
                yield from (word.partition("=")[0] for word in line.split())
        yield from re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text())
        yield from kubernetes("ConfigMap")[0]["data"]

    def test_that_are_named_are_read(self) -> None:
        assert set(self.named()) <= self.KNOWN

    def test_that_production_needs_are_asked_for(self) -> None:
        for file in (".env.example", "systemd/sluice.env"):
            set_there = re.findall(r"^([A-Z_]+)=", (DEPLOY / file).read_text(), re.MULTILINE)
            assert set(set_there) >= REQUIRED, file


class VerbsTests:
    def test_that_are_started_are_there(self) -> None:
        services = documents()["compose.yaml"]["services"]
        pods = [
            item["spec"]["template"]["spec"]["containers"][0]["args"][0]
            for kind in ("Deployment", "Job")
            for item in kubernetes(kind)
        ]
        units = [
            verb
            for file in DEPLOY.glob("systemd/*.service")
            for verb in re.findall(r"sluice\.pyz (\w+)", file.read_text())
        ]

        composed = {services[name]["command"][0] for name in ("migrate", "web", "relay")}
        assert composed | set(pods) | set(units) <= set(VERBS)

    def test_that_go_by_the_clock_are_commands_and_run_everywhere(self) -> None:
        timers = {
            task
            for file in DEPLOY.glob("systemd/*.timer")
            for task in re.findall(r"sluice-task@(\w+)\.service", file.read_text())
        }
        crons = {
            item["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"][1]
            for item in kubernetes("CronJob")
        }
        services = documents()["compose.yaml"]["services"].values()
        composed = {
            service["command"][1]
            for service in services
            if service.get("command", [""])[0] == "manage"
        }

        assert timers == {"reconcile", "housekeeping", "expire_holds", "expire_orders"}
        assert crons == timers
        assert composed == timers - {"reconcile"}  # Once a night: compose has no clock.
        assert timers <= set(get_commands())


class LimitsTests:
    def test_of_nginx_are_those_of_the_application(self) -> None:
        text = (DEPLOY / "nginx/sluice.conf").read_text()

        limits = [int(number) for number in re.findall(r"client_max_body_size (\d+)", text)]
        upload = FILE_BYTES_MAX + 1024 * 1024  # The rest of a form.
        assert limits == [BODY_BYTES_MAX, BULK_BODY_BYTES_MAX, upload]
        assert "non_idempotent;" not in text


class PatienceTests:
    """Each shorter than the next: the drain, the last requests, whoever kills."""

    def test_of_orchestrators_is_longer_than_ours(self) -> None:
        for item in kubernetes("Deployment"):
            assert item["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 45
        assert documents()["compose.yaml"]["services"]["web"]["stop_grace_period"] == "45s"
        assert "TimeoutStopSec=45" in (DEPLOY / "systemd/sluice-web.service").read_text()


class WorkflowsTests:
    def test_name_actions_by_their_commit(self) -> None:
        for file in PROJECT.glob(".github/workflows/*.yml"):
            for action in re.findall(r"uses: (\S+)", file.read_text()):
                assert action.startswith("./") or re.search(r"@[0-9a-f]{40}$", action), action


@pytest.mark.prove
class OpinionTests:
    """What the programs themselves say of the files; the servers of nginx are in test_nginx."""

    def test_haproxy_takes_its_file(self, tmp_path: Path) -> None:
        need("haproxy", "openssl")
        self_signed(tmp_path)
        pem = tmp_path / "sluice.pem"
        pem.write_bytes(
            (tmp_path / "fullchain.pem").read_bytes() + (tmp_path / "key.pem").read_bytes()
        )
        text = (DEPLOY / "haproxy/haproxy.cfg").read_text()
        (tmp_path / "haproxy.cfg").write_text(text.replace("/etc/haproxy/sluice.pem", str(pem)))

        done = subprocess.run(
            [program("haproxy"), "-c", "-f", tmp_path / "haproxy.cfg"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

        assert done.returncode == 0, done.stderr
        assert "[WARNING]" not in done.stderr

    def test_systemd_takes_its_units(self, tmp_path: Path) -> None:
        if shutil.which("systemd-analyze") is None:
            pytest.skip("systemd is not installed")
        for file in DEPLOY.glob("systemd/sluice-*"):
            # systemd wants to see the program; ours is not installed here.
            text = file.read_text().replace("/usr/bin/python3 /opt/sluice/sluice.pyz", "/bin/true")
            (tmp_path / file.name).write_text(text)

        done = subprocess.run(
            ["systemd-analyze", "verify", *sorted(map(str, tmp_path.iterdir()))],
            capture_output=True, text=True, check=False,
            env=os.environ | {"SYSTEMD_LOG_LEVEL": "warning"},
        )  # fmt: skip

        assert "sluice" not in done.stderr, done.stderr
