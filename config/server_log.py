"""gunicorn's own log, in the same shape as all other lines."""

from typing import Any

from gunicorn.glogging import Logger

from config.logs import formatter


class ServerLog(Logger):  # type: ignore[misc]
    """What gunicorn says of itself: starts, stops, workers that died, requests it cannot read."""

    def setup(self, cfg: Any) -> None:
        """Set up what gunicorn would, and replace how it writes."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(formatter())
