"""Build dist/sluice.pyz: the service with everything but Python, in one file."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "dist/sluice.pyz"
OURS = ("accounts", "backoffice", "config", "events", "inventory", "orders", "rollout", "templates")
# The settings refuse to be loaded for production without these; nothing of them is kept.
FOR_COLLECTING = {
    "SLUICE_ENV": "production",
    "SECRET_KEY": "only-to-collect-static-files-and-never-for-a-server-5083",
    "ALLOWED_HOSTS": "localhost",
    "DATABASE_URL": "postgres:///none",
}


def run(*command: str | Path, folder: Path = ROOT, **environment: str) -> None:
    """Run a command, which must succeed."""
    subprocess.run([*map(str, command)], check=True, cwd=folder, env=os.environ | environment)  # noqa: S603


def install(site: Path) -> None:
    """Install the pinned wheels there; nothing is compiled."""
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
    run(
        *uv, "--target", site, "--require-hashes", "--no-deps", "--only-binary", ":all:",
        "--link-mode", "copy", "-r", "requirements.txt",
    )  # fmt: skip


def build(site: Path) -> None:
    """Fill a folder with all that is packed, and pack it."""
    install(site)
    for name in OURS:
        shutil.copytree(ROOT / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
    run(
        sys.executable, "-m", "django", "collectstatic", "--noinput", "--verbosity=0",
        folder=site, DJANGO_SETTINGS_MODULE="config.settings", **FOR_COLLECTING,
    )  # fmt: skip
    shutil.rmtree(site / "bin", ignore_errors=True)
    for compiled in [*site.rglob("__pycache__")]:
        shutil.rmtree(compiled)
    TARGET.parent.mkdir(exist_ok=True)
    run(
        sys.executable, "-m", "shiv", "--site-packages", site, "--entry-point", "config.cli:main",
        "--compressed", "--reproducible", "--output-file", TARGET,
    )  # fmt: skip


def main() -> None:
    """Build it in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="sluice-pyz-") as name:
        build(Path(name) / "site-packages")
    size = TARGET.stat().st_size / 1_000_000
    sys.stdout.write(
        f"{TARGET.relative_to(ROOT)}: {size:.1f} MB, for {sys.implementation.cache_tag}\n"
    )


if __name__ == "__main__":
    main()
