"""The back office of events: what happened, whom it is told to, and what became of that."""

from events.admin import log, webhooks

__all__ = ["log", "webhooks"]
