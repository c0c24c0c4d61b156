"""The answer from a stored response of a pull-through service (RFC 9111 §4): its status and fields, and what this request makes of them. Pure.

`Date` is the origin's (RFC 9110 §6.6.1), `Age` says how long ago that was. Ranges and preconditions are for a stored 200; any other status is sent
as it was stored (RFC 9110 §13.2.1, §14.2). The origin's own words on sharing with other pages stand; ours are said where it says none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from email.utils import formatdate

from oca.http.caching.combining import Joining, Version, joins
from oca.http.caching.fields import joined
from oca.http.caching.keeping import Received, content_range
from oca.http.caching.stored import StoredResponse, strong_validator
from oca.http.cors import Cors
from oca.http.reasons import Outcome
from oca.http.request import Request
from oca.http.response import Answer, Representation, Surroundings, plan, read_representation, status_line

_ALLOW_ORIGIN = b"access-control-allow-origin"
_BODILESS = (204, 205)
_REWRITTEN = frozenset((b"accept-ranges", b"age", b"cache-status", b"content-length", b"content-range", b"date"))


class _Silent(Cors):
    """Nothing of our own."""

    def __init__(self) -> None:
        super().__init__(())

    def lines(self, origin: bytes | None) -> bytes:
        return b""


_SILENT = _Silent()


@dataclass(frozen=True, slots=True)
class Shown:
    """A stored response as answers are made of it; read once."""

    stored: StoredResponse
    size: int
    representation: Representation
    date: bytes
    """Its line."""
    shares: bool
    """It says itself which pages may read it."""
    upstream_status: bytes | None
    """What caches nearer to the origin said in `Cache-Status`."""


def show(stored: StoredResponse, size: int) -> Shown:
    """The header lines that go out with every answer, in the order of the origin."""
    lines = b"".join(b"%b: %b\r\n" % (name, value) for name, value in stored.fields if name not in _REWRITTEN)
    found = read_representation(size, lines, stored.received_at)
    if stored.etag is not None and stored.etag.startswith(b"W/"):
        found = replace(found, weak_etag=stored.etag[2:])
    date = b"Date: %b\r\n" % formatdate(stored.date, usegmt=True).encode()
    shares = any(name == _ALLOW_ORIGIN for name, _value in stored.fields)
    return Shown(stored, size, found, date, shares, joined(stored.fields, b"cache-status"))


def plan_pulled(request: Request, shown: Shown, around: Surroundings, outcome: Outcome, facts: bytes) -> Answer:
    """The answer to GET or HEAD. `facts` are `Age` and `Cache-Status`; `outcome` is what it counts as when bytes are sent."""
    here = Surroundings(_SILENT if shown.shares else around.cors, shown.date, around.now, around.keep_alive)
    if shown.stored.status == 200:
        return plan(request, shown.representation, here, outcome, facts)
    status, size = shown.stored.status, shown.size
    keep = request.keep_alive and here.keep_alive
    bodiless = status in _BODILESS
    head = b"".join(
        (
            status_line(status),
            here.date,
            shown.representation.block,
            facts,
            here.cors.lines(request.headers.get(b"origin")),
            b"" if bodiless else b"Content-Length: %d\r\n" % size,
            b"Connection: close\r\n" if not keep else b"Connection: keep-alive\r\n" if not request.minor else b"",
            b"\r\n",
        )
    )
    if request.method == b"HEAD" or bodiless or not size:
        return Answer(status, head, (), 0, outcome, keep)
    return Answer(status, head, ((0, size - 1),), size, outcome, keep)


def version_of(stored: StoredResponse, size: int) -> Version | None:
    """What all parts of it have to share; None when it is never combined with another answer."""
    validator = strong_validator(stored.fields) if stored.version else None
    coding = b",".join(value.lower() for name, value in stored.fields if name == b"content-encoding")
    return None if validator is None else Version(validator, size, coding)


def continues(version: Version, response: Received, first: int) -> int | None:
    """Where in the object an answer to `Range: bytes=FIRST-` begins; None when it is none of this version (RFC 9111 §3.4)."""
    joining = joins(version, response)
    if joining is Joining.WHOLE:
        return 0
    part = content_range(response.fields) if joining is Joining.PART else None
    return first if part is not None and part.first == first else None
