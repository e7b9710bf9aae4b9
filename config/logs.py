"""
Log lines: JSON for programs, colours for a console.

A line is one line, whatever is in it. All go to stderr: what a command prints for its caller is on
stdout.
"""

import json
import logging
import re
from collections.abc import Callable, MutableMapping
from typing import Any

import orjson
import structlog

from config.env import env_choice
from config.request_ids import current_ids

Line = MutableMapping[str, Any]

# PostgreSQL repeats there the values of the row or of the statement that it complains about.
DETAILS = re.compile(r"^(DETAIL|CONTEXT):.*\n?", re.MULTILINE)
# JSON need not escape these, and some who read lines take them for the end of one.
ALSO_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029]")
# A console obeys what JSON escapes: in a message it could forge lines.
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


def log_format() -> str:
    """Return how lines are written: json, or console, which is for development."""
    return env_choice("LOG_FORMAT", default="json", choices=("json", "console"))


def add_ids(_: Any, __: str, line: Line) -> Line:
    """Add request_id and trace_id of the request that is being served."""
    for name, value in current_ids().items():
        line.setdefault(name, value)
    return line


def hide_values(_: Any, __: str, line: Line) -> Line:
    """Remove what a database error tells of rows, from the message and from the stack trace."""
    for name in ("message", "exception"):
        text = line.get(name)
        if isinstance(text, str) and ("DETAIL:" in text or "CONTEXT:" in text):
            line[name] = DETAILS.sub("", text)
    return line


def as_json(_: Any, __: str, line: Line) -> str:
    """Return a line as JSON, which escapes what would end it."""
    try:
        text = orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        # 10^30, or half of a surrogate pair: orjson writes neither, and a log line tells both.
        return json.dumps(line, default=str, skipkeys=True)
    return text if text.isascii() else ALSO_BREAKS.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def escape_controls(_: Any, __: str, line: Line) -> Line:
    """Show control characters instead of sending them to a console."""
    for name, value in line.items():
        if isinstance(value, str):
            line[name] = value.translate(CONTROLS)
    return line


Processor = Callable[[Any, str, Line], Any]

add_time: Processor = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
FOREIGN: list[Processor] = [
    # First: what is logged as extra may have an "event" of its own.
    structlog.processors.EventRenamer("message"),
    structlog.stdlib.ExtraAdder(),
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    add_time,
    add_ids,
]


def formatter(style: str | None = None) -> logging.Formatter:
    """Return what writes the records of the logging module as style says, else LOG_FORMAT."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=FOREIGN,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *written_as(style or log_format()),
        ],
    )


def written_as(style: str) -> list[Processor]:
    """Return what makes the text of a line."""
    if style == "console":
        return [
            escape_controls,
            structlog.dev.ConsoleRenderer(event_key="message", timestamp_key="time"),
        ]
    return [structlog.processors.format_exc_info, hide_values, as_json]
