"""Sending one body: windows from extent files, at most one per turn of the event loop, never fewer bytes than promised.

What an answer's body waits for is one `Waiting`; every event (blocks announced, a window read, the client took what was
handed over, the connection lost) leads back to `step`, which looks up where the next byte lies and hands over the next window.

Laws:
- A window is handed over only when all of it is in memory: first asked, then read by its disk's threads where it is not.
- A file's size is checked before each window and after the last one of a piece: aiofastnet's `sendfile` takes a file that ends
  early for one that was sent. What cannot be completed aborts the connection.
- A piece that was found before a purge is found again before its next window.
- The header goes out with the first window, so that until then every failure is still an answer with a status.
- What there is no room to store passes through the keeper (`oca.worker.passing`), and is asked for again when the keeper goes.
- A descriptor is let go only when neither kernel nor disk thread can still use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import Any

from contracts.digests import BLOCK_BYTES
from oca.http.disclosure import not_stored
from oca.http.reasons import Outcome
from oca.http.response import Answer
from oca.link.counters import Count
from oca.link.passing import Span
from oca.store.extents import ExtentRecord
from oca.worker.holdings import Held, Missing, Version
from oca.worker.misses import BlockWait
from oca.worker.passing import PassedSpan
from oca.worker.ports import ByteTransport, Machinery, Receiver, Waiting
from oca.worker.reading import ShortFile
from oca.worker.residency import WINDOW_BYTES, Window
from oca.worker.verifying import BadBlock, mask_of

SMALL_BYTES = 64 * 1024
"""Up to here a window is read and written together with the header: one system call less than `sendfile`."""
RECORD_BYTES = 16 * 1024
STRIDE_BYTES = 8 * RECORD_BYTES
"""What is read and encrypted at a time: it stays in the processor's cache from the read to the write."""
MAX_ASKS = 3
"""How often one run is asked for when the keeper says it is done and the blocks are not there (evicted in between)."""


class Sender:
    """One answer's body (and head) on one connection. `plain` allows sendfile."""

    __slots__ = (
        "_answer",
        "_asks",
        "_at",
        "_deadline",
        "_file_sent",
        "_future",
        "_granted",
        "_held",
        "_known",
        "_last",
        "_m",
        "_missed_end",
        "_missed_start",
        "_part",
        "_passed",
        "_pending",
        "_plain",
        "_purges",
        "_receiver",
        "_transport",
        "_version",
        "_wait",
        "asked",
        "head_sent",
        "missed",
        "passed",
        "sent",
        "waiting",
    )

    def __init__(
        self,
        machinery: Machinery,
        transport: ByteTransport,
        receiver: Receiver,
        answer: Answer,
        version: Version | None,
        plain: bool,
        deadline: float,
        known: ExtentRecord | None = None,
    ) -> None:
        """`version` may be None when the body is literal. `deadline` (loop time) is that of the first block.

        `known` is the record the answer was planned from; `step` has to be called in the same turn of the loop.
        """
        self._m = machinery
        self._transport = transport
        self._receiver = receiver
        self._answer = answer
        self._version = version
        self._plain = plain
        self._deadline = deadline
        self._known = known
        self._pending: list[bytes] = [answer.head]
        self._part = 0
        self._at = 0
        self._last = -1
        self._held: Held | None = None
        self._purges = 0
        self._file_sent = False
        self._future: asyncio.Future[None] | asyncio.Future[bytearray] | None = None
        self._wait: BlockWait | None = None
        self._passed: PassedSpan | None = None
        self._asks = 0
        self._granted = 0
        self._missed_start = 0
        self._missed_end = 0
        self.waiting = Waiting.NOTHING
        self.head_sent = False
        self.asked = False
        self.sent = 0
        """Body bytes handed to the kernel."""
        self.missed = 0
        """Those of them that had to be asked for."""
        self.passed = 0
        """Those of them that were not stored."""

    def step(self) -> None:
        """Hand over the next window, or begin to wait."""
        self.waiting = Waiting.NOTHING
        if self._passed is not None:
            self._pass_on(self._passed)
            return
        if self._at > self._last and not self._next_part():
            self._finish()
            return
        held = self._held
        if held is not None and self._purges != self._m.holdings.purge_epoch:
            if not self._let_go(held):
                return
            held = None
        if held is None:
            assert self._version is not None, "a body with ranges has a version"
            waited = self._missed_start <= self._at < self._missed_end
            found = self._m.holdings.piece(self._version, self._at, self._last, self._known, waited)
            self._known = None
            if isinstance(found, Missing):
                self._ask(self._version, found)
                return
            held = self._held = found
            self._purges = self._m.holdings.purge_epoch
            self._file_sent = False
            self._asks = 0
        try:
            self._window(held, min(held.length, WINDOW_BYTES))
        except OSError as error:
            self._fail(self._blamed(outcome_of(error)))

    def take_over(self, held: Held, length: int, sending: asyncio.Future[None] | None, by_kernel: bool) -> None:
        """Begin behind the header and the first window of the first part, which are handed over; `sending` as `sendfile` gave it."""
        self._pending.clear()
        self.head_sent = True
        self._file_sent = by_kernel
        self._next_part()
        self._held = held
        self._purges = self._m.holdings.purge_epoch
        self._sent_or_sending(sending, length)

    def drained(self) -> None:
        """The transport has handed all to the kernel."""
        if self.waiting is Waiting.CLIENT and self._future is None:
            self.step()

    def cancel(self) -> None:
        """The connection is gone: nobody is told, everything is let go (a window being read by a disk: when it is)."""
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
        self._end_passing()
        if self.waiting is Waiting.SHARE:
            self._m.egress.forget(self._transport)
        held, self._held = self._held, None
        holdings = self._m.holdings
        if held is not None:
            future = self._future
            if self.waiting is Waiting.DISK and future is not None and not future.done():
                future.add_done_callback(lambda _done: holdings.release(held))
            else:
                holdings.release(held)
        self._future = None
        self.waiting = Waiting.NOTHING
        self._last = -1
        self._part = len(self._answer.parts)
        self._receiver = _NOBODY

    def _next_part(self) -> bool:
        parts = self._answer.parts
        while self._part < len(parts):
            part = parts[self._part]
            self._part += 1
            if isinstance(part, bytes):
                self._pending.append(part)
                self.sent += len(part)
            else:
                self._at, self._last = part
                return True
        return False

    def _window(self, held: Held, length: int) -> None:
        m = self._m
        if held.descriptor.distrusted:
            self._fail(Outcome.BAD_BLOCK)
            return
        if m.egress.is_capped:
            length = m.egress.take(self._transport, length)
            if not length:
                self.waiting = Waiting.SHARE
                m.egress.wait(self._transport, self._share_came)
                return
        self._granted = length
        if not self._plain:
            self._encrypted_window(held, length)
            return
        mask = mask_of(held.start, length)
        is_proven = held.descriptor.proven & mask == mask
        if length <= SMALL_BYTES:
            data = m.residency.read_now(held.fd, held.start, length) if is_proven else None
            if data is not None:
                m.counters.add(Count.WARM_WINDOWS)
                self._write(data)
                return
            self._read_first(held, length, is_proven)
            return
        match m.residency.check(held.descriptor, held.start, length):
            case Window.WARM if is_proven:
                m.counters.add(Count.WARM_WINDOWS)
                self._send_file(held, length)
            case Window.WARM | Window.COLD as found:
                m.counters.add(Count.COLD_WINDOWS if found is Window.COLD else Count.UNPROVEN_WINDOWS)
                warming = m.pools.warm(held.descriptor, held.start, length)
                self._future, self.waiting = warming, Waiting.DISK
                warming.add_done_callback(self._was_warmed)
            case Window.SHORT:
                self._fail(self._blamed(Outcome.SHORT_FILE))

    def _share_came(self) -> None:
        if self.waiting is Waiting.SHARE:
            self.step()

    def _encrypted_window(self, held: Held, length: int) -> None:
        """In strides through the one buffer that all senders share: what the transport did not encrypt it has copied when it returns.

        The records of a window are written one by one: corked, the kernel makes full segments of them.
        """
        m, transport, receiver = self._m, self._transport, self._receiver
        sock = transport.get_extra_info("socket") if length > RECORD_BYTES else None
        _cork(sock, 1)
        try:
            while length:
                stride = min(length, STRIDE_BYTES)
                mask = mask_of(held.start, stride)
                is_proven = held.descriptor.proven & mask == mask
                data = m.residency.read_now(held.fd, held.start, stride) if is_proven else None
                if data is None:
                    self._read_first(held, length, is_proven)
                    return
                m.counters.add(Count.WARM_WINDOWS)
                pieces: list[bytes | bytearray | memoryview] = [*self._pending, data]
                self._pending.clear()
                self.head_sent = True
                transport.writelines(pieces)
                self._advance(stride)
                length -= stride
                if receiver.is_congested or transport.is_closing():
                    break
        finally:
            _cork(sock, 0)
        self._go_on()

    def _read_first(self, held: Held, length: int, is_proven: bool) -> None:
        m = self._m
        in_memory = not is_proven and m.residency.check(held.descriptor, held.start, length) is Window.WARM
        m.counters.add(Count.UNPROVEN_WINDOWS if in_memory else Count.COLD_WINDOWS)
        reading = m.pools.read(held.descriptor, held.start, length)
        self._future, self.waiting = reading, Waiting.DISK
        reading.add_done_callback(self._was_read)

    def _was_read(self, done: asyncio.Future[bytearray]) -> None:
        if self._future is not done:
            done.cancelled() or done.exception()
            return
        self._future = None
        if self._disk_failed(done):
            return
        self._write(done.result())

    def _was_warmed(self, done: asyncio.Future[None]) -> None:
        if self._future is not done:
            done.cancelled() or done.exception()
            return
        self._future = None
        held = self._held
        if self._disk_failed(done) or held is None:
            return
        self.waiting = Waiting.NOTHING
        self._send_file(held, self._granted)

    def _disk_failed(self, done: asyncio.Future[bytearray] | asyncio.Future[None]) -> bool:
        if done.cancelled():
            self._fail(Outcome.CUT_BY_STOP)
            return True
        error = done.exception()
        if error is None:
            return False
        if isinstance(error, ShortFile):
            self._fail(Outcome.SHORT_FILE)
        elif isinstance(error, BadBlock):
            self._fail(Outcome.BAD_BLOCK)
        elif isinstance(error, OSError):
            self._fail(Outcome.DISK_ERROR)
        else:
            raise error
        return True

    def _write(self, data: bytearray | memoryview) -> None:
        pieces: list[bytes | bytearray | memoryview] = [*self._pending, data]
        self._pending.clear()
        self.head_sent = True
        self._transport.writelines(pieces)
        self._advance(len(data))
        self._go_on()

    def _send_file(self, held: Held, length: int) -> None:
        transport = self._transport
        if self._pending:
            transport.write(b"".join(self._pending))
            self._pending.clear()
            self.head_sent = True
        if transport.is_closing():
            self._fail(Outcome.CLIENT_LEFT)
            return
        self._file_sent = True
        try:
            future = transport.sendfile(held.descriptor, held.start, length)
        except (OSError, RuntimeError) as error:
            self._fail(self._blamed(outcome_of(error)))
            return
        self._sent_or_sending(future, length)

    def _sent_or_sending(self, future: asyncio.Future[None] | None, length: int) -> None:
        if future is None:
            self._window_sent(length)
            return
        self._future, self.waiting = future, Waiting.CLIENT
        future.add_done_callback(lambda done: self._was_sent(done, length))

    def _was_sent(self, done: asyncio.Future[None], length: int) -> None:
        error = None if done.cancelled() else done.exception()
        if self._future is not done:
            return
        self._future = None
        if done.cancelled() or error is not None:
            self._fail(Outcome.CLIENT_LEFT if error is None else self._blamed(outcome_of(error)))
        else:
            self._window_sent(length)

    def _window_sent(self, length: int) -> None:
        if self._advance(length):
            self._go_on()

    def _advance(self, length: int) -> bool:
        """Account for a window; False when it turns out that the file had ended before."""
        held = self._held
        assert held is not None, "a window was sent from a piece"
        start, stop = self._at, self._at + length
        self._at = stop
        self.sent += length
        if self._missed_end > start:
            self.missed += max(0, min(stop, self._missed_end) - max(start, self._missed_start))
        held.start += length
        held.length -= length
        return bool(held.length) or self._let_go(held)

    def _let_go(self, held: Held) -> bool:
        """The piece is sent, or has to be found again; False when it turns out that the file had ended before."""
        whole = not self._file_sent or os.fstat(held.fd).st_size >= held.start
        if not whole:
            self._fail(self._blamed(Outcome.SHORT_FILE))
            return False
        self._m.holdings.release(held)
        self._held = None
        return True

    def _go_on(self) -> None:
        if self._transport.is_closing():
            self._fail(Outcome.CLIENT_LEFT)
        elif self._receiver.is_congested:
            self.waiting = Waiting.CLIENT
        elif self._at > self._last and self._part == len(self._answer.parts):
            self._finish()
        else:
            self.waiting = Waiting.TURN
            self._m.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        if self.waiting is Waiting.TURN:
            self.step()

    def _finish(self) -> None:
        if self._pending:
            self._transport.writelines([*self._pending])
            self._pending.clear()
            self.head_sent = True
            if self._receiver.is_congested and not self._transport.is_closing():
                self.waiting = Waiting.CLIENT
                return
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
        outcome = self._answer.outcome
        if self.passed:
            outcome = Outcome.PASSED
        elif self.asked and outcome is Outcome.HIT:
            outcome = Outcome.MISS
        self._receiver.sent(outcome)

    def _blamed(self, outcome: Outcome) -> Outcome:
        """What was met here and not in a disk's pool is told to the keeper too, or the disk would stay until a pool reads from it."""
        if self._held is not None and outcome in (Outcome.DISK_ERROR, Outcome.SHORT_FILE):
            self._m.pools.failed(self._held.descriptor)
        return outcome

    def _fail(self, outcome: Outcome) -> None:
        receiver, head_sent = self._receiver, self.head_sent
        self.cancel()
        receiver.not_sent(outcome, head_sent)

    def _ask(self, version: Version, run: Missing) -> None:
        """Wait for the first block of a run: by the ask that is open, or a new one."""
        self.waiting = Waiting.BLOCKS
        if self._wait is not None and self._wait.is_open and self._wait.covers(run.first):
            return
        if self._asks >= MAX_ASKS:
            self._fail(Outcome.UPSTREAM_FAILED)
            return
        if self._wait is not None:
            self._wait.cancel()
        m = self._m
        first_s = m.stall_s if self.head_sent else self._deadline - m.loop.time()
        self._asks += 1
        self.asked = True
        self._missed_start, self._missed_end = run.first * BLOCK_BYTES, (run.last + 1) * BLOCK_BYTES
        m.counters.add(Count.WANTS)
        self._wait = BlockWait(
            m.loop,
            m.link,
            m.holdings.announcements,
            version,
            run,
            first_s,
            m.stall_s,
            self._look_again,
            self._no_room,
            self._gave_up,
        )

    def _look_again(self) -> None:
        if self.waiting is Waiting.BLOCKS:
            self.step()

    def _gave_up(self, outcome: Outcome) -> None:
        self._wait = None
        if self.waiting is Waiting.BLOCKS:
            self._fail(outcome)

    def _no_room(self) -> None:
        """The keeper fetches what was asked for and does not store it: up to the end of the run that was asked for."""
        self._wait = None
        if self.waiting is not Waiting.BLOCKS:
            return
        m, version = self._m, self._version
        assert version is not None, "a run of a version was asked for"
        span = Span(version.key, version.version, self._at, min(self._last, self._missed_end - 1))
        first_s = m.stall_s if self.head_sent else self._deadline - m.loop.time()
        self._passed = m.passing.span(span, self._look_again, first_s, m.stall_s)
        if self._passed is None:
            self._fail(Outcome.UNAVAILABLE)

    def _pass_on(self, passed: PassedSpan) -> None:
        """Hand over what has come, and let more come when the client took it."""
        m, length = self._m, len(passed.come)
        if not length:
            self._passed_all(passed)
            return
        if m.egress.is_capped:
            length = m.egress.take(self._transport, length)
            if not length:
                passed.passage.pause()
                self.waiting = Waiting.SHARE
                m.egress.wait(self._transport, self._share_came)
                return
        if self._pending and not self.head_sent:
            self._pending[0] = not_stored(self._pending[0])
        self._transport.writelines([*self._pending, passed.take(length)])
        self._pending.clear()
        self.head_sent = True
        self._at += length
        self._asks = 0
        self.sent += length
        self.missed += length
        self.passed += length
        m.counters.add(Count.PASSED_BYTES, length)
        if self._transport.is_closing():
            self._fail(Outcome.CLIENT_LEFT)
        elif self._receiver.is_congested:
            passed.passage.pause()
            self.waiting = Waiting.CLIENT
        elif passed.come:
            passed.passage.pause()
            self.waiting = Waiting.TURN
            m.loop.call_soon(self._next_turn)
        else:
            self._passed_all(passed)

    def _passed_all(self, passed: PassedSpan) -> None:
        """Nothing more is here now: wait, go on behind the span, or with what is left of it."""
        if passed.failure is not None:
            self._fail(passed.failure)
        elif passed.is_whole or passed.is_cut:
            self._end_passing()
            self.step()
        else:
            self.waiting = Waiting.BLOCKS
            passed.passage.resume()

    def _end_passing(self) -> None:
        passed, self._passed = self._passed, None
        if passed is not None:
            passed.passage.close()


class _Nobody:
    """Takes the place of a receiver that has been told, or is gone."""

    is_congested = False

    def sent(self, outcome: Outcome) -> None: ...

    def not_sent(self, outcome: Outcome, head_sent: bool) -> None: ...


_NOBODY = _Nobody()


def write_encrypted(transport: ByteTransport, head: bytes, body: memoryview) -> None:
    """Write an answer over TLS. The header shares its record with the beginning of the body; further records are corked, so that the
    kernel makes full segments of them.
    """
    first = RECORD_BYTES - len(head)
    opening = b"".join((head, body[:first]))
    if len(body) <= first:
        transport.write(opening)
        return
    sock = transport.get_extra_info("socket")
    _cork(sock, 1)
    try:
        transport.writelines((opening, body[first:]))
    finally:
        _cork(sock, 0)


def _cork(sock: Any, on: int) -> None:
    """`TCP_CORK`. A Unix socket has none, a closed one none any more."""
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)


def outcome_of(error: BaseException) -> Outcome:
    """A broken connection and a broken disk both come as OSError."""
    broken_disk = isinstance(error, OSError) and error.errno in (errno.EIO, errno.EUCLEAN, errno.ENODEV, errno.ESTALE)
    return Outcome.DISK_ERROR if broken_disk else Outcome.CLIENT_LEFT
