"""Which records a zone should have, how that differs from what it has, and a zone as a file (RFC 1035 §5). Pure.

The zone belongs to the control plane alone: everything in it is made here. Delegate a name of its own to it, such as `oca.example.net`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from contracts.hosts import is_host

CHALLENGE = "_acme-challenge"
"""Under it a CA looks (RFC 8555 §8.4)."""
Rrsets = Mapping[tuple[str, str], tuple[str, ...]]
"""(owner, type) → values: A and AAAA as addresses, TXT as one character-string each. Owners are in lower case, without the last dot."""
_SERIAL = re.compile(r"^@ .*\bSOA \S+ \S+ (\d+) ", re.MULTILINE)
_SERIALS = 1 << 32


@dataclass(frozen=True, slots=True)
class Apex:
    """What stands at the top of the zone. `name_servers` are host names, the first is the primary."""

    zone: str
    name_servers: tuple[str, ...]
    hostmaster: str
    """A mail address."""
    ttl_s: int = 60


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to be put (replacing the whole set) and dropped."""

    put: Rrsets = field(default_factory=dict)
    drop: tuple[tuple[str, str], ...] = ()


def host_of(appliance_id: str, zone: str) -> str:
    """The name of an appliance; empty where its id cannot be one."""
    host = f"{appliance_id}.{zone}"
    return host if is_host(host) else ""


def addresses_of(host: str, addresses: Iterable[str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """A and AAAA records of a name."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for address in sorted({ipaddress.ip_address(text) for text in addresses}, key=lambda one: (one.version, int(one))):
        owner = (host, "A" if address.version == 4 else "AAAA")
        found[owner] = (*found.get(owner, ()), str(address))
    return found


def challenges_of(texts: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, str], tuple[str, ...]]:
    """TXT records that answer challenges, by host name."""
    return {(f"{CHALLENGE}.{host}", "TXT"): values for host, values in texts.items() if values}


def difference(before: Rrsets, wanted: Rrsets) -> Difference:
    """What makes `wanted` out of `before`."""
    put = {owner: values for owner, values in wanted.items() if before.get(owner) != values}
    return Difference(put, tuple(owner for owner in before if owner not in wanted))


def next_serial(before: int | None, now: float) -> int:
    """Above `before` in the arithmetic of RFC 1982: the time in seconds, or one more where that is not ahead."""
    wished = int(now) % _SERIALS
    if before is None or 0 < (wished - before) % _SERIALS < _SERIALS // 2:
        return wished
    return (before + 1) % _SERIALS


def serial_in(text: str) -> int | None:
    """The serial of a zone that `zone_text` wrote; None of another text."""
    found = _SERIAL.search(text)
    return int(found[1]) if found is not None else None


def zone_text(apex: Apex, rrsets: Rrsets, serial: int) -> str:
    """The whole zone, one record a line."""
    ttl, hostmaster = apex.ttl_s, _mailbox(apex.hostmaster)
    lines = [
        f"$ORIGIN {apex.zone}.",
        f"$TTL {ttl}",
        # Refresh, retry and expire as RFC 1912 §2.2 has them; what is not there is forgotten as fast as what is.
        f"@ IN SOA {apex.name_servers[0]}. {hostmaster} {serial} 1200 180 1209600 {ttl}",
        *(f"@ IN NS {server}." for server in apex.name_servers),
    ]
    for (owner, kind), values in sorted(rrsets.items()):
        lines += [f"{owner}. IN {kind} {_value(kind, value)}" for value in values]
    return "\n".join(lines) + "\n"


def _value(kind: str, value: str) -> str:
    if kind != "TXT":
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _mailbox(address: str) -> str:
    """A mail address as a domain name (RFC 1035 §8): dots before the @ are escaped."""
    local, _at, domain = address.partition("@")
    return f"{local.replace('.', chr(92) + '.')}.{domain}."
