"""What a player says it asks for next (CMCD `nor`, `nrr`), and whether the keeper is told. Pure.

Laws
- A hint opens nothing that the request's own token does not open: a path below the token's prefix, in one of its tiers, written without
  `..`, scheme, host, query or token.
- Only what is known here is fetched ahead, and only blocks that are not here.
- At most one hint a second is looked at per session, and so many a second per worker; a look costs the others nothing.

A path is relative to the object asked for (CTA-5004, `nor`), percent-encoded twice in a query and once in a header; `nrr` alone is
another range of the same object. `nor` alone is the object's beginning: files of hours are not fetched ahead whole.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from contracts.cmcd import NextObject, next_objects, read_headers, read_query
from contracts.digests import BLOCK_BYTES
from contracts.tokens.claims import MediaClaims
from contracts.urls import parse_media_path
from oca.http.reasons import HintFate

EVERY_S = 1.0
MAX_SESSIONS = 20_000
MAX_BLOCKS = 32
"""8 MiB: two long segments of the best rendition."""
MAY_HINT = re.compile(rb"n(?:or|rr)(?:=|%3)")
_PATH = re.compile(r"[a-z0-9._-]+(?:/[a-z0-9._-]+)*")
_SPAN = re.compile(r"([0-9]{1,15})-([0-9]{0,15})")


@dataclass(frozen=True, slots=True)
class Object:
    """An object of which something is known here."""

    version: bytes
    size: int


class Shelf(Protocol):
    """What is here."""

    def known(self, key: str, near: int) -> Object | None:
        """None when nothing of it is here, neither around byte `near` nor its beginning."""

    def holds(self, key: str, found: Object, first: int, last: int) -> bool:
        """Whether all of bytes first … last are here."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """Blocks that the keeper may fetch."""

    key: str
    version: bytes
    first_block: int
    last_block: int


class Hints:
    """One worker's. `per_s` hints a second may pass; 0 looks at none."""

    def __init__(self, shelf: Shelf, per_s: int) -> None:
        self._shelf = shelf
        self._per_s = per_s
        self._looked: OrderedDict[str, float] = OrderedDict()
        self._second = 0
        self._passed = 0

    def look(self, path: str, claims: MediaClaims, said: bytes, now: float) -> HintFate | Ahead | None:
        """`said` is the raw query, or the values of CMCD headers, of a request for `path` that its token opens.

        None when there is no hint, or it is not this session's turn.
        """
        if MAY_HINT.search(said) is None or not self._is_turn(claims.session, now):
            return None
        cmcd = read_query(said) if b"CMCD=" in said else read_headers((said,))
        objects = next_objects(cmcd)
        if not objects:
            return HintFate.MALFORMED if "nor" in cmcd.values or "nrr" in cmcd.values or cmcd.malformed else None
        if not self._has_room(now):
            return HintFate.TOO_OFTEN
        return self._judge(path, claims, objects[0])

    def _is_turn(self, session: str, now: float) -> bool:
        looked = self._looked
        at = looked.get(session)
        if at is not None and now - at < EVERY_S:
            return False
        looked[session] = now
        if at is None and len(looked) > MAX_SESSIONS:
            looked.popitem(last=False)
        return True

    def _has_room(self, now: float) -> bool:
        second = int(now)
        if second != self._second:
            self._second, self._passed = second, 0
        self._passed += 1
        return self._passed <= self._per_s

    def _judge(self, path: str, claims: MediaClaims, hint: NextObject) -> HintFate | Ahead:
        target = path
        if hint.path:
            parts = hint.path.split("/")
            if _PATH.fullmatch(hint.path) is None or ".." in parts or "." in parts:
                return HintFate.OUTSIDE
            target = path[: path.rfind("/") + 1] + hint.path
        name = parse_media_path(target)
        if name is None or not claims.covers(target):
            return HintFate.OUTSIDE
        span = _SPAN.fullmatch(hint.span or "0-")
        if span is None:
            return HintFate.MALFORMED
        first = int(span[1])
        found = self._shelf.known(name.key, first)
        if found is None:
            return HintFate.UNKNOWN
        most = (first // BLOCK_BYTES + MAX_BLOCKS) * BLOCK_BYTES
        last = min(int(span[2] or found.size), found.size - 1, most - 1)
        if first > last:
            return HintFate.MALFORMED
        if self._shelf.holds(name.key, found, first, last):
            return HintFate.HELD
        return Ahead(name.key, found.version, first // BLOCK_BYTES, last // BLOCK_BYTES)
