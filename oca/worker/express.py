"""The short way for what players ask all day: GET of one range (or all) of a media file that is here, with a token seen before.

Laws:
- It gives the bytes that the long way (`oca.worker.answering`) gives, or declines before it has had any effect. A property test asks both.
- It never parses on its own authority: header lines are known only when they are, byte for byte, lines that the strict parser has
  accepted as one whole request; what may differ from request to request (target, one simple range) has a grammar narrower than HTTP's.
- Everything that is remembered is bounded; what an ended key has signed is forgotten with it.

Figures (one worker, requests of 64 KiB, everything on): the long way costs about 50 µs of user CPU more than this one.
"""

from __future__ import annotations

import os
import re
from typing import Protocol

from contracts.digests import BLOCK_BYTES
from contracts.tokens.claims import CLOCK_SKEW_S
from contracts.urls import parse_media_path
from oca.http.reasons import Outcome
from oca.http.request import Request
from oca.http.response import Answer, range_head, whole_head
from oca.link.counters import Count
from oca.store.extents import index_key, key_hash
from oca.worker.answering import SERVER, Desk, Exchange, Owner
from oca.worker.holdings import Version
from oca.worker.ports import ByteTransport
from oca.worker.residency import WINDOW_BYTES, Window
from oca.worker.sending import SMALL_BYTES

COPIED_BYTES = 64 * 1024
"""Up to here header and body are copied and written at once. Beyond, `sendfile` behind the header costs less: at 64 KiB 12 µs of 40."""
MAX_REQUEST_BYTES = 4096
MAX_FILES = 16_384
MAX_HEADERS = 512

# Token and path as this system writes them, and a query of RFC 3986 characters.
_TARGET = re.compile(
    rb"GET /~([A-Za-z0-9._-]+)(/media/[a-z0-9._/-]+)(?:\?([A-Za-z0-9%._~!$&'()*+,;=:@/?-]*))? HTTP/1\.1\r\n"
)
_RANGES = (b"\r\nRange: bytes=", b"\r\nrange: bytes=")
_RANGE = re.compile(rb"([0-9]{1,15})-([0-9]{0,15})\r\n")
_EFFECTLESS = frozenset((b"host", b"range", b"origin", b"connection"))
"""Of the headers that decide anything, those whose effect on an answer is covered here."""
_BEYOND = 1 << 62


class Client(Owner, Protocol):
    """The connection, as the short way sees it."""

    own_hosts: frozenset[bytes]
    transport: ByteTransport

    def begin(self, exchange: Exchange) -> None:
        """A body that takes more than one turn: the exchange answers from here on."""


class _File:
    """What a path says, read once."""

    __slots__ = ("hashed", "key", "place", "prefix", "tier")

    def __init__(self, key: str, prefix: str, tier: str) -> None:
        self.key = key
        self.hashed = key_hash(key)
        self.place = index_key(self.hashed, 0)
        self.prefix = prefix
        self.tier = tier


class _Head:
    """Header lines (without the range) that the strict parser has accepted."""

    __slots__ = ("headers", "host", "origin")

    def __init__(self, headers: dict[bytes, bytes]) -> None:
        self.headers = headers
        self.host = headers.get(b"host")
        self.origin = headers.get(b"origin")


class Express:
    """One per worker."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._files: dict[bytes, _File] = {}
        self._heads: dict[bytes, _Head] = {}
        self._scratch = bytearray(SMALL_BYTES)
        self._view = memoryview(self._scratch)

    def learn(self, data: bytes, request: Request) -> None:
        """Remember what the strict parser made of `data`, which was this one request and nothing else."""
        if request.method != b"GET" or not request.minor or not request.keep_alive or len(data) > MAX_REQUEST_BYTES:
            return
        line = _TARGET.match(data)
        if line is None or not _EFFECTLESS.issuperset(request.headers):
            return
        name = parse_media_path(line[2].decode())
        if name is not None and line[2] not in self._files:
            if len(self._files) >= MAX_FILES:
                del self._files[next(iter(self._files))]
            self._files[line[2]] = _File(name.key, f"/media/{name.title}/", name.tier)
        self._learn_head(data, line.end() - 2, request)

    def _learn_head(self, data: bytes, start: int, request: Request) -> None:
        headers = dict(request.headers)
        wanted = headers.pop(b"range", None)
        lines = data[start:]
        if wanted is not None:
            cuts = [data.find(name, start) for name in _RANGES]
            at = max(cuts)
            asked = _RANGE.match(data, at + len(_RANGES[0])) if at >= 0 else None
            if asked is None or b"bytes=%b-%b" % asked.groups() != wanted:
                return
            lines = data[start:at] + data[asked.end() - 2 :]
        if lines not in self._heads:
            if len(self._heads) >= MAX_HEADERS:
                del self._heads[next(iter(self._heads))]
            self._heads[lines] = _Head(headers)

    def serve(self, client: Client, data: bytes) -> bool:
        """Answer the one request that `data` is, whole; False, without any effect, when it is not of the usual kind.

        True means that the answer was handed over (`client.transport` may still hold some of it), or `client.begin` was called.
        """
        desk = self._desk
        line = _TARGET.match(data)
        if line is None or data[-4:] != b"\r\n\r\n" or len(data) > MAX_REQUEST_BYTES:
            return False
        # Header lines, and the range cut out of them.
        start = line.end() - 2
        for name in _RANGES:
            at = data.find(name, start)
            if at >= 0:
                asked = _RANGE.match(data, at + 15)
                if asked is None:
                    return False
                head = self._heads.get(data[start:at] + data[asked.end() - 2 :])
                first = int(asked[1])
                end = int(asked[2]) if asked[2] else _BEYOND
                break
        else:
            asked = None
            head = self._heads.get(data[start:])
            first, end = 0, _BEYOND
        token, path, query = line.groups()
        file = self._files.get(path)
        claims = desk.tokens.remembered(token)
        if head is None or file is None or claims is None or end < first:
            return False
        # Host, token, state: only what opens; who is refused learns why on the long way.
        now = desk.now()
        if (
            head.host not in (desk.hosts or client.own_hosts)
            or claims.prefix != file.prefix
            or file.tier not in claims.tiers
            or now > claims.expires_at + CLOCK_SKEW_S
            or (claims.not_before is not None and now < claims.not_before)
            or desk.tokens.is_revoked(claims.session)
            or desk.refuse_sessions_since is not None
            or not desk.keep_alive
        ):
            return False
        # Being let in is what the long way would do first; it does not do it again.
        if client.session != claims.session and not desk.gate.lets_in(client, claims.session):
            return False
        holdings = desk.machinery.holdings
        number = first // holdings.extent_bytes
        inside = first - number * holdings.extent_bytes
        place = file.place if not number else index_key(file.hashed, number)
        held = holdings.open_extent(file.key, file.hashed, number, place)
        if held is None or held.record is None or first >= held.record.file_size:
            return False
        record = held.record
        size = record.file_size
        last = end if end < size else size - 1
        length = last - first + 1
        window = min(length, record.length - inside, WINDOW_BYTES)
        first_block, last_block = inside // BLOCK_BYTES, (inside + window - 1) // BLOCK_BYTES
        wanted = ((1 << (last_block - first_block + 1)) - 1) << first_block
        if record.bits & wanted != wanted:
            held = holdings.reopen_extent(file.key, file.hashed, number, place)
            if held is None or held.record is None or held.record.bits & wanted != wanted:
                return False
            record = held.record
        age = int(now - record.stored_at)
        origin = head.origin
        if asked is None:
            answer_head = whole_head(desk.around(), record.header, age if age > 0 else 0, origin, size)
        else:
            answer_head = range_head(desk.around(), record.header, age if age > 0 else 0, origin, first, last, size)
        if desk.says_delivery:
            answer_head = answer_head[:-2] + client.remote.delivery(desk.own_id or SERVER, now, 0) + b"\r\n"
        holdings.touch(record)
        residency = desk.machinery.residency
        transport = client.transport
        egress = desk.machinery.egress
        if length == window and (length <= COPIED_BYTES or (not client.is_plain and length <= SMALL_BYTES)):
            body = self._view[:length]
            if not residency.read_into(held.fd, body, inside):
                return False
            if egress.is_capped and not egress.take(transport, length, whole=True):
                return False
            if query is not None:
                desk.gate.heard(client, query, path, claims, now)
            transport.writelines([answer_head, body])
            desk.hit(client.remote, file.key, length, len(answer_head))
            status, wanted_from = (200, -1) if asked is None else (206, first)
            desk.log.add(
                client.remote.network,
                now,
                desk.now(),
                b"GET",
                status,
                Outcome.HIT,
                path,
                query or b"",
                claims.session,
                wanted_from,
                length,
                0,
            )
            return True
        if not client.is_plain or residency.check(held, inside, window) is not Window.WARM:
            return False
        if transport.is_closing() or (egress.is_capped and not egress.take(transport, window, whole=True)):
            return False
        if query is not None:
            desk.gate.heard(client, query, path, claims, now)
        transport.write(answer_head)
        sending = transport.sendfile(held, inside, window)
        if sending is None and length == window and os.lseek(held.fd, 0, os.SEEK_END) >= inside + window:
            desk.hit(client.remote, file.key, length, len(answer_head))
            status, wanted_from = (200, -1) if asked is None else (206, first)
            desk.log.add(
                client.remote.network,
                now,
                desk.now(),
                b"GET",
                status,
                Outcome.HIT,
                path,
                query or b"",
                claims.session,
                wanted_from,
                length,
                0,
            )
            return True
        desk.counters.add(Count.TOKENS_REMEMBERED)
        desk.counters.add(Count.SHORT_WAY)
        desk.counters.add(Count.WARM_WINDOWS)
        answer = Answer(206 if asked is not None else 200, answer_head, ((first, last),), length, Outcome.HIT, True)
        exchange = Exchange(desk, client, Request(b"GET", data[4 : line.end() - 11], 1, head.headers))
        client.begin(exchange)
        version = Version(file.key, file.hashed, record.version, size)
        run = holdings.run(held, inside, length)
        exchange.take_over(version, answer, run, window, sending, path, claims.session, -1 if asked is None else first)
        return True
