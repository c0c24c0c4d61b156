"""The short way for what players ask all day: GET of one range (or all) of a media file that is here, with a token seen before.

Laws
- It gives the bytes that the long way (`oca.worker.answering`) gives, or declines before it has had any effect. A test asks both.
  (Who is let in, and what the player said by CMCD, may be heard twice: it makes no difference.)
- Between the moment a file is at hand and the last use of it nothing is opened: it is not counted as used.
- Nothing is parsed anew (`oca.worker.recognition`) and the index is not asked again (`StoreReader.recall`); who is refused learns why on the long way.

Figures (one worker, 64 KiB, everything on): the long way costs about 50 µs of user CPU more. See docs/decisions/0008.
"""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from contracts.digests import BLOCK_BYTES
from contracts.tokens.claims import CLOCK_SKEW_S, MediaClaims
from oca.http.reasons import Closing, Outcome
from oca.http.request import Request
from oca.http.response import Answer, range_head, whole_head
from oca.link.counters import Count
from oca.store.descriptors import Descriptor
from oca.store.extents import ExtentRecord, index_key
from oca.worker.answering import Desk, Exchange, Owner
from oca.worker.holdings import Version
from oca.worker.recognition import Recognition, Usual
from oca.worker.residency import WINDOW_BYTES, Window
from oca.worker.sending import outcome_of, write_encrypted

COPIED_BYTES = 64 * 1024
"""Up to here a plain body is copied and written with its header at once; beyond, `sendfile` behind the header costs less."""


class Client(Owner, Protocol):
    """The connection, as the short way sees it."""

    def begin(self, exchange: Exchange) -> None:
        """A body that takes more than one turn: the exchange answers from here on."""


class Express:
    """One per worker."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._recognition = Recognition()

    def learn(self, data: bytes, request: Request) -> None:
        """See `Recognition.learn`."""
        self._recognition.learn(data, request)

    def serve(self, client: Client, data: bytes) -> bool:
        """Answer the one request that `data` is, whole; False, without any effect, when it is not of the usual kind.

        True means that the answer was handed over (`client.transport` may still hold some of it), or `client.begin` was called.
        """
        desk = self._desk
        usual = self._recognition.read(data)
        if usual is None:
            return False
        claims = desk.tokens.remembered(usual.token)
        now = desk.now()
        if claims is None or not self._opens(client, usual, claims, now):
            return False
        # Being let in is what the long way would do first; it does not do it again.
        if client.session != claims.session and not desk.gate.lets_in(client, claims.session):
            return False
        # Heard before a file is at hand: a hint may open others, and what nobody counts as used may be closed then.
        if usual.query or client.pace:
            desk.gate.heard(client, usual.query, usual.path, claims, now)
        # The bytes, as far as the first extent and one window go.
        holdings, file, first = desk.machinery.holdings, usual.file, usual.first
        number = first // holdings.extent_bytes
        inside = first - number * holdings.extent_bytes
        place = file.place if not number else index_key(file.hashed, number)
        held = holdings.open_extent(file.key, file.hashed, number, place)
        if held is None or held.record is None or first >= held.record.file_size:
            return False
        record = held.record
        size = record.file_size
        last = usual.end if usual.end < size else size - 1
        length = last - first + 1
        window = min(length, record.length - inside, WINDOW_BYTES)
        first_block, last_block = inside // BLOCK_BYTES, (inside + window - 1) // BLOCK_BYTES
        wanted = ((1 << (last_block - first_block + 1)) - 1) << first_block
        if record.bits & wanted != wanted:
            held = holdings.reopen_extent(file.key, file.hashed, number, place)
            if held is None or held.record is None or held.record.bits & wanted != wanted:
                return False
            record = held.record
        if held.proven & wanted != wanted:
            return False
        head = self._head(client, usual, record, now, last)
        # Handed over, or not begun at all.
        is_copied = not client.is_plain or length <= COPIED_BYTES
        sending: asyncio.Future[None] | None = None
        egress = desk.machinery.egress
        if is_copied:
            body = desk.machinery.residency.read_now(held.fd, inside, window)
            if body is None or (egress.is_capped and not egress.take(client.transport, window, whole=True)):
                return False
            if client.is_plain:
                client.transport.writelines((head, body))
            else:
                write_encrypted(client.transport, head, body)
        else:
            if desk.machinery.residency.check(held, inside, window) is not Window.WARM or client.transport.is_closing():
                return False
            if egress.is_capped and not egress.take(client.transport, window, whole=True):
                return False
            client.transport.write(head)
            try:
                sending = client.transport.sendfile(held, inside, window)
            except (OSError, RuntimeError) as error:
                outcome = outcome_of(error)
                if outcome is Outcome.DISK_ERROR:
                    desk.machinery.pools.failed(held)
                desk.counters.ended(outcome)
                client.give_up(Closing.CLIENT)
                return True
        holdings.touch(record)
        if sending is None and length == window and (is_copied or _reaches(held, inside + window)):
            desk.hit(client.remote, file.key, length, len(head))
            desk.log.add(
                client.remote.network, now, desk.now(), b"GET", 206 if usual.is_range else 200, Outcome.HIT,
                usual.path, usual.query, claims.session, first if usual.is_range else -1, length, 0,
            )  # fmt: skip
            return True
        desk.counters.add(Count.TOKENS_REMEMBERED)
        desk.counters.add(Count.SHORT_WAY)
        desk.counters.add(Count.WARM_WINDOWS)
        answer = Answer(206 if usual.is_range else 200, head, ((first, last),), length, Outcome.HIT, True)
        exchange = Exchange(desk, client, usual.request())
        client.begin(exchange)
        version = Version(file.key, file.hashed, record.version, size)
        run = holdings.run(held, inside, length)
        exchange.take_over(version, answer, run, window, sending, not is_copied, usual, claims.session)
        return True

    def _opens(self, client: Client, usual: Usual, claims: MediaClaims, now: float) -> bool:
        """Host, token and state let this request in."""
        desk, file = self._desk, usual.file
        return (
            (usual.head.host in (desk.hosts or client.own_hosts) or usual.head.host in desk.names)
            and claims.prefix == file.prefix
            and file.tier in claims.tiers
            and now <= claims.expires_at + CLOCK_SKEW_S
            and (claims.not_before is None or now >= claims.not_before)
            and not desk.tokens.is_revoked(claims.session)
            and desk.refuse_sessions_since is None
            and desk.keep_alive
        )

    def _head(self, client: Client, usual: Usual, record: ExtentRecord, now: float, last: int) -> bytes:
        desk, origin = self._desk, usual.head.origin
        age = max(0, int(now - record.stored_at))
        if not usual.is_range:
            head = whole_head(desk.around(), record.header, age, origin, record.file_size)
        else:
            head = range_head(desk.around(), record.header, age, origin, usual.first, last, record.file_size)
        if desk.says_delivery:
            return head[:-2] + desk.delivery(client.remote, now, 0) + b"\r\n"
        return head


def _reaches(held: Descriptor, stop: int) -> bool:
    """The file did not end early: `sendfile` takes one that does for one that was sent."""
    return os.lseek(held.fd, 0, os.SEEK_END) >= stop
