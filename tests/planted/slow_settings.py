"""The planted settings, with the planted version the one that serves."""

from tests.planted.settings import *  # noqa: F403 - a settings module is made of names
from tests.planted.settings import ROLLOUT_RELEASES

ROLLOUT_RELEASES = {**ROLLOUT_RELEASES, "orders.place": "v3"}
