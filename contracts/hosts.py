"""Hosts that players dial: what the control plane takes in a report, an appliance takes in its settings.

What players could read otherwise than we do is refused: a browser takes `%2e`, a wide full stop, a backslash and a last dot for what they
stand for, and a name whose last label is a number for an IPv4 address (WHATWG URL §3.5).
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_MORE_THAN_A_HOST = frozenset("/?#@\\")


def is_host(text: str) -> bool:
    """Lower-case letters, digits and hyphens in labels of at most 63, at most 253 in all (RFC 1123 §2.1)."""
    return _HOST.fullmatch(text) is not None


def wrong_in_place(text: str) -> str:
    """What is wrong with a host name or IP address, with or without a port, in words; empty where nothing is."""
    if _MORE_THAN_A_HOST & set(text):
        return "is more than a host and a port"
    if _is_address(text) and ":" in text:
        return "is an IPv6 address without brackets"
    if text.endswith(":"):
        return "has a colon and no port behind it"
    return wrong_in_url(f"http://{text}")


def wrong_in_url(url: str) -> str:
    """What is wrong with a base URL that players are told, in words; empty where nothing is."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "has characters that no URL has (RFC 3986 §2)"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        return f"cannot be read: {error}"
    if parts.scheme not in ("http", "https"):
        return "is neither http nor https"
    if "@" in parts.netloc or not (_is_address(host) or _is_name(host)):
        return "names no host: a host name without a last dot, or an IP address"
    if _is_address(host) and ipaddress.ip_address(host).is_unspecified:
        return "names an address that nobody can dial"
    return "has port 0" if port == 0 else ""


def _is_name(host: str) -> bool:
    return is_host(host) and not host.rpartition(".")[2].isdigit()


def _is_address(host: str) -> bool:
    """An address with a zone (RFC 4007 §11) is one on this machine only."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host
