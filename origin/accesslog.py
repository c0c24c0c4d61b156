"""The origin's access log: what players fetched here past all appliances, one JSON object a line with the fields of an appliance's log
(docs/access-log.md), so that both are read and joined alike. Tokens and whole addresses are not in it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from chassis.clock import Clock
from chassis.linelog import LineLog
from contracts.instants import instant
from contracts.urls import parse_media_path
from origin.config import AccessLogging
from origin.media import Answered

FOLDER = "logs"
STEM = "access"
_ENCODER = msgspec.json.Encoder()


class AccessRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line."""

    time: str
    client: str
    method: str
    status: int
    cache: str
    bytes: int
    duration_ms: float
    path: str
    title: str = ""
    tier: str = ""
    file: str = ""
    session: str = ""


class AccessLog:
    """Turns ended answers into lines of a log."""

    def __init__(self, log: LineLog, rules: AccessLogging, clock: Clock) -> None:
        self._log = log
        self._bits = {4: rules.ipv4_bits, 6: rules.ipv6_bits}
        self._clock = clock

    @contextmanager
    def watching(self, answered: Answered) -> Iterator[None]:
        """Logs the answer when the block ends, in whatever way."""
        began_at, began_s = self._clock.wall_s(), self._clock.monotonic_s()
        try:
            yield
        finally:
            self._log.add(self._line(answered, began_at, self._clock.monotonic_s() - began_s))

    def _line(self, answered: Answered, began_at: float, passed_s: float) -> bytes:
        name = parse_media_path(answered.path)
        row = AccessRow(
            time=instant(began_at),
            client=self._cut(answered.remote),
            method=answered.method,
            status=answered.status,
            cache="hit" if answered.sent_bytes else "none",
            bytes=answered.sent_bytes,
            duration_ms=round(1000.0 * passed_s, 3),
            path=answered.path if name is not None else "…",
            title=name.title if name is not None else "",
            tier=name.tier if name is not None else "",
            file=name.file if name is not None else "",
            session=answered.session,
        )
        return _ENCODER.encode(row) + b"\n"

    def _cut(self, remote: str) -> str:
        try:
            address = ipaddress.ip_address(remote)
        except ValueError:
            return "?"
        return str(ipaddress.ip_network((address, self._bits[address.version]), strict=False))
