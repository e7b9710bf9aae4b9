"""The project's own settings, and the planted version."""

import os

from config.settings import *  # noqa: F403 - a settings module is made of names
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.planted"]
# Generations belong to a database, and each shop has one of its own; the Redis may be one for all.
ROLLOUT_REDIS_PREFIX = os.environ["PLANTED_PREFIX"]
