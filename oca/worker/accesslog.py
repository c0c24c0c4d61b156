"""A worker's access log: rows gathered in memory, packed in batches, written to a pipe that never makes anybody wait.

A row costs a call, a tuple and an append (about 0.3 µs); packing about 0.5 µs more, in slices of `SLICE` rows, so that the event loop
is held for well under a millisecond. What the pipe does not take is dropped by whole batches and counted; the logger (`oca.logger`)
does everything else in a process of its own.
"""

from __future__ import annotations

import ipaddress
import os
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from contracts.cmcd import CmcdHeader
from oca.http.reasons import Outcome
from oca.link.records import HEADERS, Row, encode_frame

SLICE = 512
EVERY_S = 0.1
MAX_PATH_BYTES = 1024
MAX_QUERY_BYTES = 4096


_CMCD_HEADERS = tuple(header.value.lower().encode() for header in CmcdHeader if header.value)


class Sink(Protocol):
    """Where frames go: a pipe. Takes as much as there is room for and says how many bytes; 0 when there is none."""

    def write(self, data: bytes | memoryview) -> int: ...


class Pipe:
    """The writing end of a non-blocking pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_blocking(fd, False)

    def write(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except (BlockingIOError, BrokenPipeError):
            return 0  # full, or the logger is being started again


class Counts(Protocol):
    """What is counted, by the caller's counters."""

    def dropped(self, records: int) -> None: ...


class AccessLog:
    """One worker's log. `later(seconds, call)` is the event loop's; `sample` is the share of sessions that are written."""

    def __init__(
        self,
        slot: int,
        sink: Sink,
        counts: Counts,
        later: Callable[[float, Callable[[], None]], object],
        sample: float = 1.0,
    ) -> None:
        self._slot = slot
        self._sink = sink
        self._counts = counts
        self._later = later
        self._below = round(sample * 0x1_0000_0000)
        self._rows: list[Row] = []
        self._rest = memoryview(b"")
        self._armed = False

    def add(
        self,
        client: bytes,
        began: float,
        finished: float,
        method: bytes,
        status: int,
        outcome: Outcome,
        path: bytes,
        query: bytes,
        session: str,
        first: int,
        body_bytes: int,
        missed_bytes: int,
    ) -> None:
        """One ended answer (`oca.link.records.Record`). `client` comes from `client_of`, once per connection; `path` has no token."""
        rows = self._rows
        rows.append(
            (
                client,
                began,
                finished,
                method,
                status,
                outcome.word,
                path,
                query,
                session,
                first,
                body_bytes,
                missed_bytes,
            )
        )
        if len(rows) == SLICE or not self._armed:
            self._arm()

    def flush(self) -> None:
        """Write all that is gathered, as far as the pipe takes it. Before the process ends."""
        while self._rows:
            self._slice()
        self._write_rest()

    def _arm(self) -> None:
        if len(self._rows) >= SLICE:
            self._slice()
        elif not self._armed:
            self._armed = True
            self._later(EVERY_S, self._due)

    def _due(self) -> None:
        self._armed = False
        self._slice()
        if self._rest:
            self._arm()

    def _slice(self) -> None:
        """Pack and write what is there: at most `SLICE` rows."""
        rows, self._rows = self._rows, []
        if self._below < 0x1_0000_0000:
            # By session, so that what is written of a session is all of it.
            rows = [row for row in rows if zlib.crc32(row[8].encode()) < self._below]
        is_free = self._write_rest()
        if not rows:
            return
        if not is_free:
            self._counts.dropped(len(rows))
            return
        frame = encode_frame(
            self._slot, [_bounded(row) if len(row[6]) + len(row[7]) > MAX_PATH_BYTES else row for row in rows]
        )
        written = self._sink.write(frame)
        if written == 0:
            self._counts.dropped(len(rows))
            return
        if written < len(frame):
            self._rest = memoryview(frame)[written:]

    def _write_rest(self) -> bool:
        """Finish the frame that did not fit; True when it is out."""
        if self._rest:
            self._rest = self._rest[self._sink.write(self._rest) :]
        return not self._rest


class Unlogged(AccessLog):
    """Where no access log is written."""

    def __init__(self) -> None:
        super().__init__(0, _Nowhere(), _Nowhere(), lambda _seconds, _call: None)

    def add(self, *_row: object) -> None:
        """Nothing."""


class _Nowhere:
    def write(self, data: bytes | memoryview) -> int:
        return len(data)

    def dropped(self, records: int) -> None: ...


def cmcd_of(headers: dict[bytes, bytes]) -> bytes:
    """What a request's CMCD headers say, as a record's `query`; empty without any."""
    found = [headers[name] for name in _CMCD_HEADERS if name in headers]
    return HEADERS + b",".join(found) if found else b""


def client_of(
    peername: object, tls: bool, ipv4_bits: int = 24, ipv6_bits: int = 48, *, is_appliance: bool = False
) -> bytes:
    """How a connection's client stands in log and accounts, made once per connection.

    First what it is (`a` another appliance, `t` a player over TLS, `p` a player without), then its network, `?` without an address.
    """
    kind = b"a" if is_appliance else b"t" if tls else b"p"
    if not isinstance(peername, tuple) or not peername:
        return kind + b"?"
    return kind + _network(str(peername[0]), ipv4_bits, ipv6_bits)


@lru_cache(maxsize=4096)
def _network(host: str, ipv4_bits: int, ipv6_bits: int) -> bytes:
    """10 µs where it is not remembered: players open a few connections each."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return b"?"
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    bits = ipv4_bits if address.version == 4 else ipv6_bits
    return str(ipaddress.ip_network((address, bits), strict=False)).encode("ascii")


def _bounded(row: Row) -> Row:
    return (*row[:6], row[6][:MAX_PATH_BYTES], row[7][:MAX_QUERY_BYTES], *row[8:])
