#!/usr/bin/env python
"""Start Django's commands."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if sys.argv[1:2] == ["relay"]:
        os.environ["SLUICE_ROLE"] = "relay"
    execute_from_command_line(sys.argv)
