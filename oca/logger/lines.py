"""From a worker's record to a line of the access log. Pure.

Laws:
- No token reaches a line: paths come without one, queries are not written, and what looks like one inside CMCD (`nor`, `url`) is cut out.
- Fields have one type and one unit; what is not known is left out. docs/access-log.md has the table, a test holds the two together.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from contracts.cmcd import Cmcd, CmcdItem, Scalar, read_headers, read_query
from oca.link.records import HEADERS, Record

CUT = "…"
_TOKEN = re.compile(
    rb"((?:~|%7[Ee])|(?=eyJ))[A-Za-z0-9_-]{8,}+(?:(?:\.|%2[Ee])[A-Za-z0-9_-]+)*+"  # /~TOKEN/, or a bare JWT
)
_OPAQUE = re.compile(r"[A-Za-z0-9_=-]{24,}+(?:\.[A-Za-z0-9_=-]*+)*+|eyJ[A-Za-z0-9_.-]++")
_MEDIA_STATUSES = (200, 206)
_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1000))
_REMEMBERED = 8192


class AccessLine(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One line: one ended answer."""

    time: str
    """When the request was read, UTC, RFC 3339 with milliseconds."""
    worker: int
    client: str
    """Network of the client, cut as the settings say; `?` for a Unix socket."""
    tls: bool
    peer: bool
    """Another appliance asked."""
    method: str
    status: int
    """Of the answer; 0 when none was begun."""
    outcome: str
    """Why it ended: the `outcome` label of `lowtide_oca_requests_total`."""
    cache: str
    """`hit`: all bytes were here. `miss`: none. `partial`: some. `none`: no media was sent."""
    bytes: int
    """Body bytes sent."""
    duration_ms: float
    """From the request to the last byte handed to the kernel, or to the end of the connection."""
    path: str
    title: str | None = None
    tier: str | None = None
    file: str | None = None
    missed_bytes: int = 0
    """Body bytes that had to be fetched first."""
    first: int | None = None
    """First byte of the range asked for."""
    session: str = ""
    """Of the token."""
    cmcd: dict[str, Scalar] | None = None
    """What the player said (`contracts.cmcd`): known keys with their types."""
    cmcd_lists: dict[str, tuple[CmcdItem, ...]] | None = None
    """Lists of CMCD version 2, whole; `cmcd` has the number of the video."""
    cmcd_other: dict[str, str] | None = None
    """Keys nobody knows, as they came."""
    cmcd_malformed: int = 0
    """CMCD members that were dropped."""


NO_CMCD = Cmcd({})
_encoder = msgspec.json.Encoder()


def line_of(slot: int, record: Record) -> AccessLine:
    path, title, tier, file = _place(record.path)
    client, tls, peer = _client(record.client)
    sent, missed, began, first = record.body_bytes, record.missed_bytes, record.began_at, record.first
    second = int(began)
    cmcd = _cmcd(record.query) if record.query else NO_CMCD
    line = AccessLine(
        _second(second) + _MILLISECONDS[int((began - second) * 1000)],
        slot,
        client,
        tls,
        peer,
        _method(record.method),
        record.status,
        record.outcome,
        _cache(record.outcome, record.status, sent, missed),
        sent,
        int((record.finished_at - began) * 1e6) / 1000,
        path,
        title,
        tier,
        file,
        missed,
        first if first >= 0 else None,
        record.session,
        cmcd.values or None,
    )
    if cmcd.lists is not None or cmcd.other is not None or cmcd.malformed:
        facts = {"cmcd_lists": cmcd.lists, "cmcd_other": cmcd.other, "cmcd_malformed": cmcd.malformed}
        return msgspec.structs.replace(line, **facts)
    return line


def encode_lines(lines: Sequence[AccessLine]) -> bytes:
    """JSON, one object a line, without tokens."""
    text = _encoder.encode_lines(lines)
    if b"~" in text or b"%" in text:  # one byte is looked for ten times as fast as two
        text = _TOKEN.sub(_cut, text)
    return text


def _cut(match: re.Match[bytes]) -> bytes:
    return match[1] + CUT.encode()


def _cache(outcome: str, status: int, sent: int, missed: int) -> str:
    if status not in _MEDIA_STATUSES:
        return "none"
    if sent and missed:
        return "miss" if missed >= sent else "partial"
    if outcome == "miss":
        return "miss"
    return "hit" if sent or outcome == "hit" else "none"


def _cmcd(query: bytes) -> Cmcd:
    return read_headers((query[len(HEADERS) :],)) if query.startswith(HEADERS) else read_query(query)


def _place(path: bytes) -> tuple[str, str | None, str | None, str | None]:
    """By its parts: whether they are names (`contracts.urls`) was judged by who answered.

    What is no media path may hold a token in a place where none belongs: long opaque runs are cut out of it.
    """
    text = path.decode("utf-8", "replace")
    parts = text.split("/")
    if len(parts) == 5 and parts[1] == "media" and not parts[0] and text == text.lower():
        return text, parts[2], parts[3], parts[4]
    return _OPAQUE.sub(CUT, text), None, None, None


@lru_cache(maxsize=_REMEMBERED)
def _client(client: bytes) -> tuple[str, bool, bool]:
    return client[1:].decode("ascii", "replace"), client[:1] != b"p", client[:1] == b"a"


@lru_cache(maxsize=64)
def _method(method: bytes) -> str:
    return method[:32].decode("ascii", "replace")


@lru_cache(maxsize=256)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
