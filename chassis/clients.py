"""Whose address a request comes from, behind proxies too. Pure.

`X-Forwarded-For` is believed hop by hop from the right, as far as the hops are proxies of ours: the first address that is
none is the client's. What stands further left anybody could have written.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
UNKNOWN = "0.0.0.0"


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """`peer` is the connection's other end, `forwarded` the header's values in order (each a comma list)."""
    client = _parsed(peer or "")
    if client is None:
        return UNKNOWN
    hops = [hop.strip() for value in forwarded for hop in value.split(",")]
    while hops and any(client in network for network in trusted):
        hop = _parsed(hops.pop())
        if hop is None:
            break
        client = hop
    return str(client)


def is_address(text: str) -> bool:
    return _parsed(text) is not None


def spelled(text: str) -> str | None:
    """The one spelling of an address, without brackets and zone; None for what is none."""
    address = _parsed(text)
    return None if address is None else str(address)


def _parsed(text: str) -> Address | None:
    """An IPv4 address that came in through an IPv6 socket is an IPv4 address."""
    try:
        address = ipaddress.ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
