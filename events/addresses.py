"""Which addresses a webhook may be sent to. Pure."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from events.errors import AddressRefused

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

URL_LENGTH_MAX = 2048
PORTS = frozenset({443, 8443})
# What is_global lets through and leads inside all the same: translated, tunnelled and mapped
# addresses above all. The rest stands here so that a change of Python's list changes nothing.
DENIED = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64",
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7",
        "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
# Names that are somebody's inside, wherever they lead.
INNER_NAMES = ("localhost", "local", "localdomain", "internal", "intranet", "home.arpa", "onion")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
# What some resolver or other reads as an IPv4 address: 127.1, 0x7f000001, 017700000001.
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a webhook goes: host is a name in ASCII or an IP address, target what is asked for."""

    host: str
    port: int
    target: str
    is_tls: bool

    @property
    def host_header(self) -> str:
        """The Host header; the port stands in it unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


def read_address(
    url: str, *, allows_http: bool = False, allowed: Sequence[IpNetwork] = ()
) -> Address:
    """
    Return where a URL leads.

    Raises AddressRefused for anything but https to a name or a public IP address, on port 443 or
    8443, without a user or a fragment. allows_http: a developer's switch that opens http and every
    port. allowed: networks that may be reached although they are not public.
    """
    if len(url) > URL_LENGTH_MAX:
        raise AddressRefused(f"it is longer than {URL_LENGTH_MAX} characters")
    if any(c.isspace() or not c.isprintable() or c == "\\" for c in url):
        raise AddressRefused("it has a blank, a control character or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as failure:
        raise AddressRefused("it is not a URL") from failure
    _refuse_parts(parts.scheme, parts.netloc, parts.fragment, allows_http=allows_http)
    is_tls = parts.scheme == "https"
    port = port if port is not None else (443 if is_tls else 80)
    if not allows_http and port not in PORTS:
        raise AddressRefused("its port is neither 443 nor 8443")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii():
        raise AddressRefused("its path has characters that are not escaped")
    host = _read_host(parts.hostname or "", allows_inner=allows_http, allowed=allowed)
    if "[" in parts.netloc and ":" not in host:
        raise AddressRefused("its host in brackets is no address")
    return Address(host, port, target, is_tls)


def _refuse_parts(scheme: str, netloc: str, fragment: str, *, allows_http: bool) -> None:
    if scheme not in ("https", "http") or (scheme == "http" and not allows_http):
        raise AddressRefused("its scheme is not https")
    if "@" in netloc:
        raise AddressRefused("it names a user")
    if fragment:
        raise AddressRefused("it has a fragment")
    if netloc.endswith(":"):
        raise AddressRefused("its port is empty")


def _read_host(text: str, *, allows_inner: bool, allowed: Sequence[IpNetwork]) -> str:
    """Return a host as it is looked up: full-width digits and other doubles are one by then."""
    host = unicodedata.normalize("NFKC", text).lower()
    try:
        ip = ip_address(host)
    except ValueError:
        return _read_name(host, allows_inner=allows_inner)
    if not is_public(ip, allowed=allowed):
        raise AddressRefused("its host is not a public address")
    return str(ip)


def _read_name(host: str, *, allows_inner: bool) -> str:
    try:
        name = host.encode("idna").decode()
    except UnicodeError as failure:
        raise AddressRefused("its host is not a name") from failure
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressRefused("its host is not a name")
    if _NUMERIC.fullmatch(labels[-1]):
        raise AddressRefused("its host is a number in disguise")
    is_inner = len(labels) == 1 or any(name.endswith(f".{inner}") for inner in INNER_NAMES)
    if is_inner and not allows_inner:
        raise AddressRefused("its host is a name of the inside")
    return name


def is_public(ip: IpAddress, *, allowed: Sequence[IpNetwork] = ()) -> bool:
    """Test whether an address is in the open Internet, or in a network that is allowed by name."""
    if any(ip.version == network.version and ip in network for network in allowed):
        return True
    if getattr(ip, "scope_id", None):
        return False
    is_denied = any(ip.version == network.version and ip in network for network in DENIED)
    return ip.is_global and not ip.is_multicast and not is_denied
