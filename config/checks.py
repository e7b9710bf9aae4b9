"""What `manage.py check` says about the way the project is set up."""

from typing import Any

from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name for it

from config.env import find_unknown

VARIABLES = ("SLUICE_ENV", "SLUICE_HOME", "SLUICE_PYZ", "SLUICE_ROLE")


def check_variables(**_: Any) -> list[CheckMessage]:
    """Warn of variables that look like ours and that nobody reads."""
    return [
        Warning(
            f"{name} is set and means nothing.",
            hint=f"Known are {', '.join(VARIABLES)}.",
            id="config.W001",
        )
        for name in find_unknown(VARIABLES)
    ]
