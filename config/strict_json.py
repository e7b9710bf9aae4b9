"""JSON as RFC 8259 and I-JSON (RFC 7493) mean it: what others would read differently is refused."""

import json
import math
import re
from typing import Any

from config.errors import MalformedJson

DEPTH_MAX = 32

# A NUL or a surrogate can only come in as an escape: raw ones are no JSON and no UTF-8.
SUSPICIOUS_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
# Reads escape after escape, so that an escaped backslash before "u0000" is not taken for a NUL.
ESCAPE = re.compile(
    r"\\(?:u(?:[dD][89aAbB]..\\u[dD][c-fC-F]..|(?P<unstorable>0000|[dD][89a-fA-F]..)|....)|.)"
)


def parse_json(body: bytes) -> Any:
    """
    Return the one JSON value that body holds.

    Raises MalformedJson for anything but strict JSON in UTF-8: a byte order mark, a member named
    twice, NaN, Infinity or a number that overflows to it, a number of more than 4,300 digits,
    nesting deeper than 32, a NUL, half of a surrogate pair.
    """
    try:
        text = body.decode()
        value = _DECODER.decode(text)
    except UnicodeDecodeError as failure:
        raise MalformedJson(f"The body is not UTF-8: byte {failure.start}") from None
    except RecursionError:
        raise MalformedJson(f"Nested deeper than {DEPTH_MAX}") from None
    except json.JSONDecodeError as failure:
        raise MalformedJson(
            f"{failure.msg}: line {failure.lineno} column {failure.colno}"
        ) from None
    except ValueError:
        # int() refuses more than 4,300 digits: reading them would take quadratic time.
        raise MalformedJson("A number has too many digits") from None
    if text.count("[") + text.count("{") > DEPTH_MAX and _is_deeper(value, DEPTH_MAX):
        raise MalformedJson(f"Nested deeper than {DEPTH_MAX}")
    if SUSPICIOUS_ESCAPE.search(text) and any(
        escape["unstorable"] for escape in ESCAPE.finditer(text)
    ):
        raise MalformedJson("A text holds a NUL or half of a surrogate pair")
    return value


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                # ascii(): the name may hold anything, also what no answer could carry.
                raise MalformedJson(f"A member is named twice: {name[:64]!a}")
            seen.add(name)
    return members


def _refuse_overflow(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise MalformedJson("A number is too large")
    return number


def _refuse_constant(name: str) -> float:
    raise MalformedJson(f"{name} is not JSON")


def _is_deeper(value: Any, depth_max: int) -> bool:
    containers = [value] if isinstance(value, dict | list) else []
    for _ in range(depth_max):
        containers = [
            child
            for container in containers
            for child in (container.values() if type(container) is dict else container)
            if type(child) is dict or type(child) is list
        ]
        if not containers:
            return False
    return True


_DECODER = json.JSONDecoder(
    object_pairs_hook=_refuse_duplicates,
    parse_float=_refuse_overflow,
    parse_constant=_refuse_constant,
)
