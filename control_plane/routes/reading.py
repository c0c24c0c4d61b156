"""Sources of routes in files: MRT dumps, hand-made lines, geo databases in MaxMind's format. Each is a `RouteSource`."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import maxminddb

from contracts.routes import Route, RouteSourceError
from control_plane.routes import lines, mrt

GZIP_MAGIC, BZIP2_MAGIC = b"\x1f\x8b", b"BZh"
_UNREADABLE = (OSError, EOFError, zlib.error, ValueError)


@dataclass(frozen=True, slots=True)
class MrtDump:
    """A TABLE_DUMP_V2 file, plain, gzip or bzip2. `peer_as`: only what that neighbour said."""

    path: Path
    peer_as: int | None = None

    def routes(self) -> Iterator[Route]:
        return _all(self.path, lambda: mrt.routes(_unpacked(self.path.read_bytes()), self.peer_as))


@dataclass(frozen=True, slots=True)
class HandMadeFile:
    """A file of `lines`."""

    path: Path

    def routes(self) -> Iterator[Route]:
        return _all(self.path, lambda: lines.routes(self.path.read_text(encoding="utf-8")))


@dataclass(frozen=True, slots=True)
class GeoDatabase:
    """Networks of a MaxMind-format database: those of an autonomous system (ASN databases), or of a country (ISO 3166 code).

    A network that the database splits although its parts say the same comes in its parts, as it stands there.
    """

    path: Path
    asn: int | None = None
    country: str | None = None

    def routes(self) -> Iterator[Route]:
        if (self.asn is None) == (self.country is None):
            raise RouteSourceError(f"{self.path}: either an AS or a country has to be asked for")
        return _all(self.path, self._read)

    def _read(self) -> Iterator[Route]:
        path = (self.asn,) if self.asn is not None else ()
        with maxminddb.open_database(str(self.path)) as database:
            for network, record in database:
                if isinstance(record, dict) and self._is_asked_for(record):
                    yield Route(str(network), path)

    def _is_asked_for(self, record: dict[str, object]) -> bool:
        if self.asn is not None:
            return record.get("autonomous_system_number") == self.asn
        country = record.get("country")
        return isinstance(country, dict) and country.get("iso_code") == self.country


def _all(path: Path, read: Callable[[], Iterator[Route]]) -> Iterator[Route]:
    """Everything or an error: nobody gets half of a file."""
    try:
        return iter(list(read()))
    except (*_UNREADABLE, maxminddb.InvalidDatabaseError) as error:
        raise RouteSourceError(f"{path}: {error}") from error


def _unpacked(raw: bytes) -> bytes:
    if raw.startswith(GZIP_MAGIC):
        return gzip.decompress(raw)
    return bz2.decompress(raw) if raw.startswith(BZIP2_MAGIC) else raw
