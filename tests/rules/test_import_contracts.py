"""Imports point one way."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


class ImportContractTests:
    def test_all_contracts_of_pyproject_are_kept(self):
        ran = subprocess.run(
            [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )

        assert ran.returncode == 0, ran.stdout
        assert " 0 broken" in ran.stdout
