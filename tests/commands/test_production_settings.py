"""What production refuses to start with, tried by starting it."""

import os
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = {
    "SLUICE_ENV": "production",
    "SECRET_KEY": "k9-f7Qm2xW4zR8tY1uI3oP5aS6dG0hJ_lZxCvBnMqWeRtYuIoPaSdFgHjKl",
    "ALLOWED_HOSTS": "shop.example",
    "DATABASE_URL": "postgres://sluice@127.0.0.1:1/sluice",
}


def run_check(*arguments, **variables):
    """Run manage.py check in an environment of nothing but variables; None takes one away."""
    environment = {name: value for name, value in variables.items() if value is not None}
    return subprocess.run(
        [sys.executable, "-W", "error", "manage.py", "check", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class ProductionSettingsTests(unittest.TestCase):
    def refused(self, reason, **changes):
        outcome = run_check(**(PRODUCTION | changes))

        assert outcome.returncode != 0
        assert f"ImproperlyConfigured: {reason}" in outcome.stderr.splitlines()[-1]

    def test_are_clean_when_complete(self):
        outcome = run_check("--deploy", "--fail-level", "WARNING", **PRODUCTION)

        assert outcome.returncode == 0, outcome.stderr
        assert "0 silenced" in outcome.stdout + outcome.stderr

    def test_are_what_runs_when_nobody_says_otherwise(self):
        outcome = run_check(**(PRODUCTION | {"SLUICE_ENV": None, "SECRET_KEY": None}))

        assert outcome.returncode != 0
        assert "SECRET_KEY" in outcome.stderr.splitlines()[-1]

    def test_refuse_a_secret_key_that_is_public_or_short(self):
        reason = "SECRET_KEY: production needs 50 characters or more of its own"
        public = "for-trial-only-this-key-is-public-and-production-refuses-it"
        self.refused(reason, SECRET_KEY=None)
        self.refused(reason, SECRET_KEY=public)
        self.refused(reason, SECRET_KEY="x" * 49)
        self.refused(reason, SECRET_KEY="ab" * 30)

    def test_refuse_a_public_fallback_of_the_secret_key(self):
        public = "for-trial-only-this-key-is-public-and-production-refuses-it"
        self.refused("SECRET_KEY_FALLBACKS", SECRET_KEY_FALLBACKS=public)

    def test_refuse_debug(self):
        self.refused("DEBUG=true is refused in production", DEBUG="true")

    def test_refuse_any_host_and_no_host(self):
        for hosts in ("*", "shop.example,*", ".", "", None):
            self.refused("ALLOWED_HOSTS: name the hosts", ALLOWED_HOSTS=hosts)

    def test_refuse_to_guess_the_database(self):
        self.refused("DATABASE_URL is not set", DATABASE_URL=None)

    def test_refuse_a_public_url_that_is_not_https(self):
        self.refused("PUBLIC_URL", PUBLIC_URL="http://shop.example")


class TrialSettingsTests(unittest.TestCase):
    def test_need_nothing_but_the_word(self):
        for word in ("trial", "development"):
            outcome = run_check("--fail-level", "WARNING", SLUICE_ENV=word)

            assert outcome.returncode == 0, outcome.stderr

    def test_do_not_take_another_word(self):
        outcome = run_check(SLUICE_ENV="prod")

        assert outcome.returncode != 0
        assert "write one of production, trial, development" in outcome.stderr.splitlines()[-1]

    def test_warn_of_a_variable_that_nobody_reads(self):
        outcome = run_check(SLUICE_ENV="trial", SLUICE_HOEM="/srv")

        assert outcome.returncode == 0
        assert "(config.W001) SLUICE_HOEM is set and means nothing." in outcome.stderr
