"""What is fuzzed, and the laws that no input may break. A check gives a small sign of what happened; a new sign is worth keeping.

Where we take what h11 refuses, on purpose: bytes above 0x7f in a target (players send unencoded names; they are no address of
ours, and nothing is forwarded), and one empty line before a request line (RFC 9112 §2.2; h11 takes it in front of the first only).
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import cbor2
import h11

from contracts.cmcd import MAX_ITEMS, MAX_OTHER_KEYS, next_objects, read_headers, read_payload, read_query
from contracts.tokens.claims import MediaClaims, TokenRefused
from contracts.tokens.inspecting import described
from contracts.tokens.media import verify
from contracts.tokens.text import from_base64url, to_base64url
from contracts.urls import parse_media_path, split_key
from oca.http.conditions import evaluate, parse_date, range_applies
from oca.http.keys import host_of, read_target
from oca.http.ranges import MAX_PARTS, NotSatisfiable, parse_range
from oca.http.request import Limits, Request, RequestParser, RequestRefused
from tests.contracts.forging import CAT_CLAIMS, CLAIMS, JWT_CLAIMS, cat_of, jwt_of
from tests.fuzz.known import ED, KEYS, TOKENS
from tests.fuzz.manifests import MPD_SEEDS, MPD_WORDS, PLAYLIST_SEEDS, PLAYLIST_WORDS, check_mpd, check_playlist
from tests.oca.http.shapes import SMUGGLING

Check = Callable[[bytes], Hashable]


@dataclass(frozen=True, slots=True)
class Target:
    """`check` raises AssertionError, or whatever should not have escaped, for an input that breaks a law."""

    name: str
    check: Check
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]


# Requests


LIMITS = Limits()
_LINE_H11_REFUSES = re.compile(rb"[\x80-\xff]")


def check_request(data: bytes) -> Hashable:
    """However the bytes are cut, the same requests; what is taken, h11 takes too, reads the same, and ends at the same byte."""
    whole = _parsed(data, len(data) or 1)
    for step in (1, 7):
        cut = _parsed(data, step)
        assert [_facts(request) for request in cut.requests] == [_facts(request) for request in whole.requests]
        assert (cut.refused is None) == (whole.refused is None)
    _ask_h11(data, list(whole.requests))
    for request in whole.requests:
        with contextlib.suppress(RequestRefused):
            host_of(request, read_target(request.target))
    refused = whole.refused
    words = re.sub(r"[^a-z ]", "", refused.detail)[:40] if refused is not None else ""
    return len(whole.requests), refused and refused.outcome, words, whole.partial


def _parsed(data: bytes, step: int) -> RequestParser:
    parser = RequestParser(LIMITS)
    for at in range(0, len(data), step):
        parser.feed(data[at : at + step])
    return parser


def _facts(request: Request) -> Hashable:
    return request.method, request.target, request.minor, tuple(request.headers.items()), request.keep_alive


def _ask_h11(data: bytes, ours: list[Request]) -> None:
    rest = data.removeprefix(b"\r\n")
    for request in ours:
        if _LINE_H11_REFUSES.search(request.target):
            return
        theirs = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        theirs.receive_data(rest)
        event = theirs.next_event()
        assert isinstance(event, h11.Request), event
        assert (event.method, event.target, event.http_version) == (
            request.method,
            request.target,
            b"1.%d" % request.minor,
        )
        for name, value in request.headers.items():
            told = [found.strip() for other, found in event.headers if other == name]
            assert b", ".join(told) == value
        if not request.keep_alive:
            return
        while isinstance(event := theirs.next_event(), h11.Data):
            pass
        assert isinstance(event, h11.EndOfMessage), event
        rest = theirs.trailing_data[0].removeprefix(b"\r\n")


def check_target(data: bytes) -> Hashable:
    """An address has one key or none, and the key is that of its one spelling."""
    try:
        address = read_target(data)
    except RequestRefused as refused:
        return refused.detail
    if address.key is None:
        return address.token is None, address.host is None
    _service, path = split_key(address.key)
    name = parse_media_path(path)
    assert name is not None
    assert name.path == path == address.path
    assert read_target(path.encode()).key == address.key
    return "key", address.token is None


# Ranges and conditions


def check_range(data: bytes) -> Hashable:
    """Spans lie inside, are as many as allowed and no more bytes than there are."""
    signs: list[Hashable] = []
    for size in (0, 1, 10, 1_000, (1 << 53) + 7):
        try:
            spans = parse_range(data, size)
        except NotSatisfiable:
            signs.append("416")
            continue
        if spans is not None:
            assert 0 < len(spans) <= MAX_PARTS
            assert all(0 <= first <= last < size for first, last in spans)
            assert len(spans) == 1 or sum(last - first + 1 for first, last in spans) <= size
        signs.append(spans and len(spans))
    return tuple(signs)


_CONDITIONS = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range")


def check_conditions(data: bytes) -> Hashable:
    """Lines are the five conditions in turn. No value raises; a date is an instant of the calendar; `*` always matches."""
    headers = {name: line for name, line in zip(_CONDITIONS, data.split(b"\n"), strict=False) if line != b"-"}
    now = 1_800_000_000.0
    verdict = evaluate(headers, b'"abc"', now - 3600.0, now)
    applies = range_applies(headers, b'"abc"', now - 3600.0, now)
    dates = []
    for value in headers.values():
        at = parse_date(value, now)
        assert at is None or (-2.3e9 < at < 2.6e11 and at == int(at))
        dates.append(at is None)
    return verdict, applies, tuple(dates)


_SCALARS = (bool, int, float, str)


def check_cmcd(data: bytes) -> Hashable:
    """Nothing raises; what is read is bounded by what was sent."""
    read = [read_query(data), read_headers(data.split(b"\n")), read_payload(data.decode("latin-1"))]
    for found in read:
        assert all(isinstance(value, _SCALARS) for value in found.values.values())
        assert len(found.other or ()) <= MAX_OTHER_KEYS
        assert all(len(items) <= MAX_ITEMS for items in (found.lists or {}).values())
        assert all(isinstance(hint.path, str) for hint in next_objects(found))
    return tuple((len(found.values), len(found.lists or ()), len(found.other or ()), found.malformed) for found in read)


# Tokens


def check_token(data: bytes) -> Hashable:
    """Whatever a stranger sends says what a signer of ours said, or is refused; only a refusal leaves the code."""
    token = data.decode("latin-1")
    with contextlib.suppress(TokenRefused):
        list(described(token, 1_500.0))
    try:
        found = verify(token, KEYS)
    except TokenRefused as refused:
        return refused.why, str(refused)
    assert found == CLAIMS
    return "opens", token in TOKENS


def check_cat_bytes(data: bytes) -> Hashable:
    """The same for the bytes below base64url."""
    return check_token(to_base64url(data).encode())


def check_signed_cat(data: bytes) -> Hashable:
    """What a holder of a key signs, however odd, is claims in order or refused."""
    return _check_signed(cat_of(ED, raw=data))


def check_signed_jwt(data: bytes) -> Hashable:
    return _check_signed(jwt_of(ED, raw=data))


def _check_signed(token: str) -> Hashable:
    with contextlib.suppress(TokenRefused):
        list(described(token, 1_500.0))
    try:
        found = verify(token, KEYS)
    except TokenRefused as refused:
        return refused.why, re.sub(r"[0-9-]+", "n", str(refused))
    assert isinstance(found, MediaClaims)
    assert 0.0 <= found.expires_at < 1e12
    assert found.session
    assert found.tiers
    assert found.prefix.startswith("/")
    assert found.prefix.endswith("/")
    assert not found.covers("/etc/passwd")
    return "opens", found.not_before is None


NAN, ENDLESS = float("nan"), float("inf")
ODD_CLAIMS: tuple[dict[Any, Any], ...] = (
    {}, {4: NAN}, {4: ENDLESS}, {4: 1e300}, {4: -1}, {5: NAN}, {6: -0.0}, {2: ""}, {3: ["vod"]}, {308: 0}, {313: ["GET", "HEAD"]},
    {312: {3: {1: "/media/t/hd/"}}}, {312: {3: {1: "/media/t/", 4: ["^/media/t/(hd)/[^/]+$"]}}}, {7: b"id", 310: 1},
)  # fmt: skip
ODD_JSON: tuple[dict[str, Any], ...] = (
    {}, {"exp": NAN}, {"exp": ENDLESS}, {"exp": 1e300}, {"exp": -1}, {"nbf": ENDLESS}, {"sub": ""}, {"aud": ["vod"]}, {"jti": None},
    {"cdnicrit": "exp"}, {"cdniuc": "regex:[^/]+//[^/]+/media/t/(hd)/[^/?]+"}, {"cdniets": 0.0, "cdnistt": 0},
)  # fmt: skip
_GET = b"GET /~t/media/t/hd/v.mp4?CMCD=br%3D1 HTTP/1.1\r\nHost: a\r\n"
TARGETS = (
    Target(
        "request",
        check_request,
        (
            _GET + b"Range: bytes=0-1\r\nIf-Range: \"a\"\r\n\r\n",
            _GET + b"Connection: keep-alive\r\n\r\n" + _GET + b"\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
            b"HEAD http://a:80/ HTTP/1.0\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nExpect: 100-continue\r\n\r\n",
            *(shape.replace(b"{p}", b"/").replace(b"{h}", b"a") for shape in SMUGGLING.values()),
        ),
        (
            b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"\x0b", b"\xff", b"GET ", b"POST ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"Host: a\r\n",
            b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n",
            b"0\r\n\r\n", b"5\r\nhello\r\n", b";a=b", b"\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ),
    ),
    Target(
        "target",
        check_target,
        (b"/~t/media/t/hd/v.mp4?x", b"http://a:1/media/t/hd/v.mp4", b"/media/%74/hd/v%2emp4", b"*", b"/~/media/t/hd/v"),
        (b"%", b"%2f", b"%2e", b"%7e", b"/..", b"//", b"/~", b"?", b"#", b"http://", b"@", b"\\", b";", b"/media/"),
    ),
    Target(
        "range",
        check_range,
        (b"bytes=0-0", b"bytes=5-", b"bytes=-5", b"bytes=0-1,3-4,-1", b"bytes=0-,0-,0-", b"Bytes=7-8 , ,9-"),
        (b"bytes=", b"-", b",", b" ", b"\t", b"0-", b"-0", b"00000000000000000000", b"=", b"+1", b"\xb2"),
    ),
    Target(
        "conditions",
        check_conditions,
        (
            b'"abc", W/"d"\n*\nMon, 16 Nov 2026 10:00:00 GMT\nMonday, 16-Nov-26 10:00:00 GMT\n"abc"',
            b"-\n-\nMon Nov 16 10:00:00 2026\nTue, 29 Feb 2028 23:59:60 GMT\nFri, 15 Jan 2027 07:00:00 GMT",
        ),
        (b"*", b'"', b"W/", b",", b"\n", b" GMT", b"Mon, ", b"31 Feb", b"-99 ", b"9999", b"\xb2", b"24:00:00"),
    ),
    Target(
        "cmcd",
        check_cmcd,
        (
            b"x=1&CMCD=br%3D3200%2Cbs%2Cnor%3D%22..%252Fa.mp4%22%2Cnrr%3D%220-9%22%2Csid%3D%22s%22&y",
            b"br=(3000;v 128;a),ot=v,com.example-x=\"a\\\"b\",pr=1.5,su\nrtp=100\nv=2",
        ),
        (b"CMCD=", b"%2C", b"%3D", b"%22", b",", b"=", b'"', b"\\", b"(", b")", b";", b"?1", b":AA==:", b"@1", b"%", b"nor="),
    ),
    Target("token", check_token, tuple(token.encode() for token in TOKENS), (b".", b"=", b"-", b"_", b"+", b"A", b"eyJ")),
    Target(
        "cat-bytes",
        check_cat_bytes,
        tuple(from_base64url(token) for token in TOKENS if "." not in token),
        (b"\xd2\x84", b"\xd8\x3d", b"\xa0", b"\xa1", b"\x40", b"\x58\xff", b"\x59\xff\xff", b"\x5f", b"\xbf", b"\xff", b"\x9b\xff\xff\xff"),
    ),
    Target(
        "signed-cat",
        check_signed_cat,
        tuple(cbor2.dumps({**CAT_CLAIMS, **more}) for more in ODD_CLAIMS),
        (
            b"\xa0", b"\xa1", b"\x80", b"\x81", b"\xf6", b"\xf5", b"\xfb\x7f\xf0\0\0\0\0\0\0", b"\xfb\x7f\xf8\0\0\0\0\0\1", b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", b"\xc1", b"\xc2\x41\x01", b"\xd8\x1c", b"\xd8\x1d", b"\xd8\x23", b"\xd9\x01\x02", b"\x5f", b"\xbf", b"\x19\x01\x37",
        ),
    ),
    Target(
        "signed-jwt",
        check_signed_jwt,
        tuple(json.dumps({**JWT_CLAIMS, **more}).encode() for more in ODD_JSON),
        (
            b'"aud":"vod",', b'"aud":[],', b'"nbf":1,', b'"jti":1,', b'"cdnicrit":"exp",', b'"cdniets":0,', b"null", b"1e999", b"-0", b"{", b"[", b'"',
            b"(", b"|", b"\\\\.", b"regex:", b"\xff", b"\\u0000", b"\\ud800",
        ),
    ),
    Target("mpd", check_mpd, MPD_SEEDS, MPD_WORDS),
    Target("playlist", check_playlist, PLAYLIST_SEEDS, PLAYLIST_WORDS),
)  # fmt: skip
