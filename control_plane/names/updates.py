"""The zone by dynamic updates (RFC 2136) over TCP, signed with TSIG (RFC 8945) where a key is given."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import dns.asyncquery
import dns.exception
import dns.name
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import dns.update

from control_plane.names.ports import NameServerError
from control_plane.names.zone import Rrsets, difference

if TYPE_CHECKING:
    from dns.tsig import Key

TIMEOUT_S = 10.0
SETS_AT_ONCE = 200
"""In one message, which may have 64 KiB."""


class Updates:
    """Updates of one zone at one server. `server` is an IP address."""

    def __init__(self, server: str, port: int, zone: str, ttl_s: int, key: Key | None = None) -> None:
        self._server = server
        self._port = port
        self._zone = dns.name.from_text(zone)
        self._ttl_s = ttl_s
        self._keyring = {key.name: key} if key is not None else None

    async def publish(self, wanted: Rrsets, before: Rrsets) -> None:
        """As the port says. Several messages where there is much to change: the first refused one ends it."""
        found = difference(before, wanted)
        changes = [*((owner, ()) for owner in found.drop), *found.put.items()]
        rest = iter(changes)
        while part := list(islice(rest, SETS_AT_ONCE)):
            await self._send(part)

    async def _send(self, changes: list[tuple[tuple[str, str], tuple[str, ...]]]) -> None:
        where = f"{self._server} port {self._port}"
        try:
            message = dns.update.UpdateMessage(self._zone, keyring=self._keyring)
            for (owner, kind), values in changes:
                name = dns.name.from_text(owner)
                message.delete(name, kind)
                for value in values:
                    message.add(name, self._ttl_s, kind, f'"{value}"' if kind == "TXT" else value)
            answer = await dns.asyncquery.tcp(message, self._server, timeout=TIMEOUT_S, port=self._port)
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise NameServerError(f"{where}: {error or type(error).__name__}") from error
        if answer.rcode() != dns.rcode.NOERROR:
            word = dns.rcode.to_text(answer.rcode())
            raise NameServerError(f"{where} refused the update of {self._zone}: {word}")


def tsig_key(name: str, secret: str, algorithm: str) -> Key:
    """A key from its base64 secret. Raises ValueError in words."""
    try:
        return dns.tsig.Key(dns.name.from_text(name), secret, dns.name.from_text(algorithm))
    except (ValueError, dns.exception.DNSException) as error:
        raise ValueError(f"the TSIG key {name} cannot be used: {error}") from error
