"""The project's own settings, with three days of retries in seconds."""

from config.settings import *  # noqa: F403 - a settings module is made of names

# Half of all attempts may fail and nothing dies: one in a thousand million does.
EVENTS_RETRY_DELAYS_S = (0, 0.3, 0.5, *(1.0,) * 27)
