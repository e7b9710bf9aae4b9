"""Typed readers of environment variables that refuse nonsense at the start."""

import os
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


def env_text(name: str, *, default: str | None = None) -> str:
    """
    Return the text called name, or the content of the file that NAME_FILE names.

    Raises ImproperlyConfigured when neither is set and there is no default, or when both are set.
    """
    text, path = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if text is not None and path is not None:
        raise ImproperlyConfigured(f"{name} and {name}_FILE are both set: set one")
    if path is not None:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as failure:
            raise ImproperlyConfigured(f"{name}_FILE={path!r}: {failure}") from failure
    if text is not None:
        return text
    if default is None:
        raise ImproperlyConfigured(f"{name} is not set")
    return default


def env_bool(name: str, *, default: bool) -> bool:
    """
    Return the switch called name.

    Raises ImproperlyConfigured for anything but "true" or "false".
    """
    text = env_text(name, default="true" if default else "false")
    if text not in ("true", "false"):
        raise ImproperlyConfigured(f"{name}={text!r}: write 'true' or 'false'")
    return text == "true"


def env_int(
    name: str, *, default: int, at_least: int | None = None, at_most: int | None = None
) -> int:
    """
    Return the whole number called name.

    Raises ImproperlyConfigured for anything but digits, and for a number out of range.
    """
    text = env_text(name, default=str(default))
    # int() also takes "１", "1_000" and " 1 ": each is more likely a slip than a wish.
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise ImproperlyConfigured(f"{name}={text!r}: write a whole number")
    number = int(text)
    if at_least is not None and number < at_least:
        raise ImproperlyConfigured(f"{name}={number}: at least {at_least}")
    if at_most is not None and number > at_most:
        raise ImproperlyConfigured(f"{name}={number}: at most {at_most}")
    return number


def env_choice(name: str, *, default: str, choices: tuple[str, ...]) -> str:
    """Return the word called name; raises ImproperlyConfigured for one that is not a choice."""
    text = env_text(name, default=default)
    if text not in choices:
        raise ImproperlyConfigured(f"{name}={text!r}: write one of {', '.join(choices)}")
    return text


def env_list(name: str, *, default: str = "") -> list[str]:
    """Return the comma-separated words called name, without blanks around them."""
    return [word.strip() for word in env_text(name, default=default).split(",") if word.strip()]


def env_address(name: str, *, apart_from: Collection[str]) -> str:
    """
    Return the host:port called name; empty when it is not set.

    Raises ImproperlyConfigured for one without host or port, and for a port of apart_from: whoever
    asks by which port a connection came could not tell one from the other.
    """
    text = env_text(name, default="")
    if not text:
        return ""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ImproperlyConfigured(f"{name}={text!r}: write host:port")
    if any(other.rpartition(":")[2] == port for other in apart_from):
        raise ImproperlyConfigured(f"{name}={text!r}: choose a port of its own")
    return text


def networks_from_texts(name: str, texts: Iterable[str]) -> list[IPv4Network | IPv6Network]:
    """
    Return the IP networks that the variable called name lists.

    Raises ImproperlyConfigured for what is no network, as an address inside of one.
    """
    try:
        return [ip_network(text) for text in texts]
    except ValueError as failure:
        raise ImproperlyConfigured(f"{name}: {failure}; write networks as 10.1.2.0/24") from failure


def database_from_url(url: str) -> dict[str, object]:
    """
    Return Django's NAME, USER, PASSWORD, HOST, PORT and OPTIONS for a PostgreSQL URL.

    A socket directory is named as libpq does: postgres://user:secret@/name?host=/run/postgresql.
    Raises ImproperlyConfigured for another scheme or a URL without a database name.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ImproperlyConfigured("DATABASE_URL: write postgres://user:password@host:port/name")
    if not parts.path.strip("/"):
        raise ImproperlyConfigured("DATABASE_URL names no database")
    try:
        port = parts.port
    except ValueError as failure:
        raise ImproperlyConfigured(f"DATABASE_URL: {failure}") from failure
    options: Mapping[str, str] = dict(parse_qsl(parts.query))
    return {
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.get("host") or unquote(parts.hostname or ""),
        "PORT": options.get("port") or (str(port) if port else ""),
        "OPTIONS": {name: value for name, value in options.items() if name not in ("host", "port")},
    }


def find_unknown(known: Collection[str]) -> list[str]:
    """Return, sorted, the SLUICE_… variables that are set and not known: slips, most likely."""
    return sorted(
        name
        for name in os.environ
        if name.startswith("SLUICE_") and name.removesuffix("_FILE") not in known
    )
