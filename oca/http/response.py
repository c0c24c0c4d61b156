"""The plan of an answer: status, header bytes, and the parts of the body, decided before the first byte is sent.

A plan is made from a request, the representation's facts and `now`; it names byte ranges of the object, never where they lie.
The stored header block (Content-Type, ETag, Cache-Control, Last-Modified) goes out as it was rendered at store time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec

from contracts.problems import CONTENT_TYPE, Problem
from oca.http import cors
from oca.http.conditions import Verdict, evaluate, parse_date, range_applies
from oca.http.cors import Cors
from oca.http.ranges import NotSatisfiable, Span, parse_range
from oca.http.reasons import Outcome
from oca.http.request import Request, RequestRefused

Part = bytes | Span
"""A literal piece of the body, or an inclusive range of the object."""

STATUS_LINES = {
    200: b"HTTP/1.1 200 OK\r\n",
    204: b"HTTP/1.1 204 No Content\r\n",
    206: b"HTTP/1.1 206 Partial Content\r\n",
    304: b"HTTP/1.1 304 Not Modified\r\n",
    400: b"HTTP/1.1 400 Bad Request\r\n",
    403: b"HTTP/1.1 403 Forbidden\r\n",
    404: b"HTTP/1.1 404 Not Found\r\n",
    405: b"HTTP/1.1 405 Method Not Allowed\r\n",
    412: b"HTTP/1.1 412 Precondition Failed\r\n",
    413: b"HTTP/1.1 413 Content Too Large\r\n",
    414: b"HTTP/1.1 414 URI Too Long\r\n",
    416: b"HTTP/1.1 416 Range Not Satisfiable\r\n",
    417: b"HTTP/1.1 417 Expectation Failed\r\n",
    421: b"HTTP/1.1 421 Misdirected Request\r\n",
    429: b"HTTP/1.1 429 Too Many Requests\r\n",
    431: b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
    502: b"HTTP/1.1 502 Bad Gateway\r\n",
    503: b"HTTP/1.1 503 Service Unavailable\r\n",
    504: b"HTTP/1.1 504 Gateway Timeout\r\n",
    508: b"HTTP/1.1 508 Loop Detected\r\n",
}
RETRY_AFTER_S = 2
_ACCEPT_RANGES = b"Accept-Ranges: bytes\r\n"


def status_line(status: int) -> bytes:
    """Of any status, with the registered reason phrase, where there is one."""
    known = STATUS_LINES.get(status)
    if known is not None:
        return known
    try:
        phrase = HTTPStatus(status).phrase.encode()
    except ValueError:
        phrase = b""
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase)


@dataclass(frozen=True, slots=True)
class Representation:
    """What the store knows of one version of an object, read once from its stored header block."""

    size: int
    etag: bytes | None
    modified_at: float | None
    content_type: bytes
    block: bytes
    """All stored lines, each ending in CRLF."""
    block_of_304: bytes
    """What a 304 has to say again (RFC 9110 §15.4.5), and `Last-Modified` where no entity tag does its work."""
    block_of_parts: bytes
    """What a multipart answer says: all but the `Content-Type`, which is that of each part (§15.3.7.2)."""
    weak_etag: bytes | None = None
    """The opaque tag of a weak entity tag, for `If-None-Match` only (RFC 9110 §13.1.2)."""


_SAID_AGAIN = frozenset((b"cache-control", b"cdn-cache-control", b"content-location", b"etag", b"expires", b"vary"))


def read_representation(size: int, block: bytes, now: float) -> Representation:
    """The facts in a stored header block. Weak tags and unparsable dates validate nothing. `now` places two-digit years."""
    etag: bytes | None = None
    modified_at: float | None = None
    content_type = b"application/octet-stream"
    again: list[bytes] = []
    parts: list[bytes] = []
    tagged = False
    changed = b""
    for line in filter(None, block.split(b"\r\n")):
        name, _colon, value = line.partition(b":")
        name, value = name.strip().lower(), value.strip()
        line += b"\r\n"
        if name == b"etag":
            tagged = True
            etag = value if value.startswith(b'"') else None
        elif name == b"last-modified":
            modified_at = parse_date(value, now)
            changed = line
        if name in _SAID_AGAIN:
            again.append(line)
        if name == b"content-type":
            content_type = value
        else:
            parts.append(line)
    if not tagged:
        again.append(changed)
    return Representation(size, etag, modified_at, content_type, block, b"".join(again), b"".join(parts))


@dataclass(slots=True)
class Answer:
    """What to send. `parts` is empty for HEAD and for answers without a body; `length` is the body's length in bytes."""

    status: int
    head: bytes
    parts: tuple[Part, ...]
    length: int
    outcome: Outcome
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an answer needs beside request and object."""

    cors: Cors
    date: bytes
    """`Date: …` with CRLF."""
    now: float
    keep_alive: bool
    """False while draining: the connection ends behind the answer."""
    opening_200: bytes = field(init=False)
    """The first lines of an answer with this status, the same for all answers of a second."""
    opening_206: bytes = field(init=False)

    def __post_init__(self) -> None:
        for status in (200, 206):
            object.__setattr__(self, f"opening_{status}", STATUS_LINES[status] + self.date + _ACCEPT_RANGES)


def plan(request: Request, found: Representation, around: Surroundings, outcome: Outcome, facts: bytes = b"") -> Answer:
    """The answer to GET or HEAD for an object that exists. `facts` are further header lines (Age, Cache-Status).

    `outcome` is what it counts as when bytes are sent (hit or miss).
    """
    headers = request.headers
    verdict = evaluate(headers, found.etag, found.modified_at, around.now, found.weak_etag)
    if verdict is Verdict.NOT_MODIFIED:
        return _answer(request, around, 304, found.block_of_304 + facts, (), None, Outcome.NOT_MODIFIED)
    if verdict is Verdict.FAILED:
        return problem(request, around, Outcome.PRECONDITION_FAILED, "the stored version is another one")
    spans: tuple[Span, ...] | None = None
    wanted = headers.get(b"range")
    if (
        wanted is not None
        and request.method == b"GET"  # §14.2: Range is defined for GET only
        and range_applies(headers, found.etag, found.modified_at, around.now)
    ):
        try:
            spans = parse_range(wanted, found.size)
        except NotSatisfiable:
            extra = b"Content-Range: bytes */%d\r\n" % found.size
            return problem(request, around, Outcome.RANGE_NOT_SATISFIABLE, f"the object has {found.size} bytes", extra)
    if spans is None:
        whole: tuple[Part, ...] = ((0, found.size - 1),) if found.size else ()
        return _answer(request, around, 200, found.block + facts, whole, found.size, outcome)
    if len(spans) == 1:
        first, last = spans[0]
        lines = found.block + facts + b"Content-Range: bytes %d-%d/%d\r\n" % (first, last, found.size)
        return _answer(request, around, 206, lines, spans, last - first + 1, outcome)
    return _multipart(request, found, around, outcome, facts, spans)


def range_head(
    around: Surroundings, block: bytes, age_s: int, origin: bytes | None, first: int, last: int, size: int
) -> bytes:
    """The header of a hit for one range, on HTTP/1.1 with a connection that stays: what `plan` gives, in one step (a tenth of its cost)."""
    return (
        b"%b%bCache-Status: lowtide;hit\r\nAge: %d\r\nContent-Range: bytes %d-%d/%d\r\n%bContent-Length: %d\r\n\r\n"
        % (
            around.opening_206,
            block,
            age_s,
            first,
            last,
            size,
            around.cors.lines(origin),
            last - first + 1,
        )
    )


def whole_head(around: Surroundings, block: bytes, age_s: int, origin: bytes | None, size: int) -> bytes:
    """The same for a hit of all of an object."""
    return b"%b%bCache-Status: lowtide;hit\r\nAge: %d\r\n%bContent-Length: %d\r\n\r\n" % (
        around.opening_200,
        block,
        age_s,
        around.cors.lines(origin),
        size,
    )


def _multipart(
    request: Request,
    found: Representation,
    around: Surroundings,
    outcome: Outcome,
    facts: bytes,
    spans: tuple[Span, ...],
) -> Answer:
    """RFC 9110 §14.6. The boundary is made from the entity tag: bytes that hash to a tag cannot contain it."""
    boundary = b"lowtide-" + (found.etag or b"untagged").strip(b'"').hex().encode()[:48]
    parts: list[Part] = []
    length = 0
    for first, last in spans:
        opening = b"--%s\r\nContent-Type: %s\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (
            boundary,
            found.content_type,
            first,
            last,
            found.size,
        )
        if parts:
            opening = b"\r\n" + opening
        parts += (opening, (first, last))
        length += len(opening) + last - first + 1
    closing = b"\r\n--%s--\r\n" % boundary
    parts.append(closing)
    lines = found.block_of_parts + facts + b"Content-Type: multipart/byteranges; boundary=%s\r\n" % boundary
    return _answer(request, around, 206, lines, tuple(parts), length + len(closing), outcome)


def check_expectation(request: Request) -> None:
    """`100-continue` is met by the final answer (RFC 9110 §10.1.1). Raises RequestRefused for what nobody can promise."""
    value = request.headers.get(b"expect")
    if value is None or not request.minor:
        return
    if any(part.strip(b" \t").lower() not in (b"100-continue", b"") for part in value.split(b",")):
        raise RequestRefused(Outcome.EXPECTATION, "the only expectation known here is 100-continue", fatal=False)


def preflight(request: Request, around: Surroundings) -> Answer:
    """The answer to OPTIONS, preflight or not (RFC 9110 §9.3.7): no token, cached for a day."""
    headers = request.headers
    private = headers.get(b"access-control-request-private-network") == b"true"
    lines = b"Allow: " + cors.METHODS + b"\r\n" + around.cors.preflight(headers.get(b"origin"), private=private)
    keep = request.keep_alive and around.keep_alive
    head = b"".join((STATUS_LINES[204], around.date, lines, _connection(request, keep), b"\r\n"))
    return Answer(204, head, (), 0, Outcome.PREFLIGHT, keep)


def problem(
    request: Request | None,
    around: Surroundings,
    outcome: Outcome,
    detail: str,
    extra: bytes = b"",
    *,
    fatal: bool = False,
    status: int | None = None,
) -> Answer:
    """An error as RFC 9457 JSON. `request` is None when none could be read; `fatal` ends the connection behind it."""
    code = outcome.problem
    if code is None:
        raise ValueError(f"{outcome.word} is no error")
    body = msgspec.json.encode(Problem.of(code, detail))
    status = code.status if status is None else status
    if status in (429, 503):
        extra += b"Retry-After: %d\r\n" % RETRY_AFTER_S
    if status == 405:
        extra += b"Allow: " + cors.METHODS + b"\r\n"
    keep = not fatal and request is not None and request.keep_alive and around.keep_alive
    origin = None if request is None else request.headers.get(b"origin")
    head = b"".join(
        (
            STATUS_LINES[status],
            around.date,
            b"Content-Type: " + CONTENT_TYPE.encode() + b"\r\nCache-Control: no-store\r\n",
            around.cors.lines(origin),
            extra,
            b"Content-Length: %d\r\n" % len(body),
            _connection(request, keep),
            b"\r\n",
        )
    )
    parts: tuple[Part, ...] = () if request is not None and request.method == b"HEAD" else (body,)
    return Answer(status, head, parts, len(body) if parts else 0, outcome, keep)


def _answer(
    request: Request,
    around: Surroundings,
    status: int,
    lines: bytes,
    parts: tuple[Part, ...],
    length: int | None,
    outcome: Outcome,
) -> Answer:
    keep = request.keep_alive and around.keep_alive
    head = b"".join(
        (
            STATUS_LINES[status],
            around.date,
            _ACCEPT_RANGES,
            lines,
            around.cors.lines(request.headers.get(b"origin")),
            b"" if length is None else b"Content-Length: %d\r\n" % length,
            _connection(request, keep),
            b"\r\n",
        )
    )
    if request.method == b"HEAD" or not parts:
        return Answer(status, head, (), 0, outcome, keep)
    return Answer(status, head, parts, length or 0, outcome, keep)


def _connection(request: Request | None, keep: bool) -> bytes:
    if not keep:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if request is not None and request.minor == 0 else b""
