"""What an answer says about how it was made: `Cache-Status` (RFC 9211), `Server-Timing`, and to whom.

Everybody is told whether the bytes were here (`hit`, `fwd=partial`, `fwd=uri-miss`): `Age` tells as much, and players read it to keep
a miss out of their throughput estimate. Which disk and extent, the key, the freshness that is left, the time the look-up took and the
finer reason of an error are for clients in the networks that the operator trusts (RFC 9211 §6).
"""

from __future__ import annotations

import ipaddress
import re

from oca.http.reasons import Outcome

HIT = b"Cache-Status: lowtide;hit\r\n"
PARTIAL = b"Cache-Status: lowtide;fwd=partial\r\n"
MISS = b"Cache-Status: lowtide;fwd=uri-miss\r\n"

_FORWARDED = re.compile(rb"(?m)^Cache-Status: lowtide;fwd=[a-z-]+")
_MAX_AGE = re.compile(rb"(?i:\r\ncache-control:[^\r]*[ ,:\t]max-age=([0-9]{1,9}))(?![0-9])")


class TrustedNetworks:
    """Networks in CIDR notation. Raises ValueError for what is none."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        self._networks = tuple(ipaddress.ip_network(text, strict=False) for text in networks)

    def contain(self, address: str) -> bool:
        """False for what is no IP address (a Unix socket). An IPv4 address inside IPv6 is the IPv4 address."""
        if not self._networks:
            return False
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)
        return any((mapped or found) in network for network in self._networks)


def details(line: bytes, key: str, block: bytes, age_s: int, waited_s: float, place: tuple[int, int] | None) -> bytes:
    """`line` (one of the three above) with what a trusted client is told beside it; whole header lines.

    `block` is the stored header block; `place` the disk and the extent where the first byte lies, when it is here.
    """
    kind = b"hit" if line is HIT else b"partial" if line is PARTIAL else b"miss"
    told = line[:-2]
    lifetime = _MAX_AGE.search(b"\r\n" + block)
    if lifetime is not None:
        told += b";ttl=%d" % (int(lifetime[1]) - age_s)
    told += b';key="%s"' % key.encode()
    if place is not None:
        told += b';detail="disk %d extent %d"' % place
    return told + b"\r\nServer-Timing: cache;desc=%s;dur=%.3f\r\n" % (kind, waited_s * 1000)


def not_stored(head: bytes) -> bytes:
    """An answer's header whose body could not be stored: `stored=?0` (RFC 9211 §2.5) behind why it was asked for."""
    return _FORWARDED.sub(rb"\g<0>;stored=?0", head, count=1)


def refusal(outcome: Outcome) -> bytes:
    """The reason of an error answer by its log word, as a header line."""
    return b"Cache-Status: lowtide;detail=%s\r\n" % outcome.word.encode()
