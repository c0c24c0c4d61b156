"""What settings of several rooms hold their addresses to."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit


def is_network(text: str) -> bool:
    """A network in CIDR notation; bits behind the mask may be set."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def is_base_url(text: str) -> bool:
    """An http or https URL that paths can be put behind: no query, fragment, user or password."""
    try:
        found = urlsplit(text)
        named = bool(found.hostname) and (found.port is None or found.port > 0)
    except ValueError:
        return False
    extra = found.query or found.fragment or found.username or found.password
    return found.scheme in ("http", "https") and named and not extra


def address_version(text: str) -> int:
    """0 for what is no IP address, and for a zone (RFC 4007 §11) that would say something else in a configuration."""
    if re.fullmatch(r"[0-9A-Za-z.:%_-]+", text) is None:
        return 0
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return 0


def is_wildcard(host: str) -> bool:
    """An address that can be bound and not dialled (0.0.0.0, ::)."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
