"""A worker's end of what passes through without being stored (laws in `oca.link.passing`): sockets, flow control, deadlines.

Laws: nothing here waits or makes a task; what cannot be sent yet is at most one piece, and the caller stops when told; reading stops
while the client takes nothing. The deadline runs only while the keeper is waited for. A stream has one end: exactly one of
`complete`, `refused`, `lost` is called, once, unless the caller closed it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Protocol

from oca.http.reasons import Outcome
from oca.link.counters import Count, CounterLine
from oca.link.handing import Hander, pair
from oca.link.messages import BrokenFrame, FetchFailure
from oca.link.passing import (
    PIECE_BYTES,
    Answer,
    Ask,
    End,
    Forward,
    Interim,
    OfKeeper,
    Refused,
    Span,
    cutter_of_keeper,
    head_of_data,
    say,
)
from oca.link.worker import failure_of
from oca.worker.misses import OF_FAILURE


class Lost(Enum):
    """Why a stream ended before its end."""

    CUT = "cut"
    """The keeper cut it off, or is gone."""
    LATE = "late"
    """The keeper gave and took nothing for too long."""


class Listener(Protocol):
    """Who uses a stream. Calls come from the event loop."""

    def interim(self, said: Interim) -> None: ...

    def answered(self, answer: Answer) -> None: ...

    def came(self, data: bytes) -> None:
        """A piece of the answer's body, at most `PIECE_BYTES`; one more may come behind `Passage.pause`."""

    def complete(self) -> None:
        """The body has come whole."""

    def refused(self, why: FetchFailure) -> None: ...

    def lost(self, why: Lost) -> None: ...

    def writable(self) -> None:
        """What `Passage.send` took has gone."""


class Passage:
    """One stream. `close` it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        end: socket.socket,
        listener: Listener,
        first_s: float,
        stall_s: float,
        closed: Callable[[Passage], None],
    ) -> None:
        self._loop = loop
        self._end = end
        self._listener = listener
        self._wait_s = first_s
        self._stall_s = stall_s
        self._closed = closed
        self._cutter = cutter_of_keeper()
        self._unsent = bytearray()
        self._is_open = True
        self._is_deaf = False
        """The keeper reads no more of the request; its answer may still come."""
        self._paused = False
        self._owed = False
        """It is the keeper's turn to say something."""
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(end, self._read)

    @property
    def is_congested(self) -> bool:
        """True while `send` should not be called: `writable` comes."""
        return bool(self._unsent)

    def ask(self, ask: Ask) -> None:
        self._owed = isinstance(ask, Forward) and ask.waits
        self._write(say(ask))

    def send(self, data: bytes) -> None:
        """A piece of the request's body."""
        self._write(head_of_data(len(data)) + data)

    def end(self) -> None:
        """The request is whole."""
        self._owed = True
        self._write(say(End()))

    def pause(self) -> None:
        """The client takes nothing now."""
        if not self._paused and self._is_open:
            self._paused = True
            self._loop.remove_reader(self._end)
            self._rearm()

    def resume(self) -> None:
        if self._paused and self._is_open:
            self._paused = False
            self._loop.add_reader(self._end, self._read)
            self._rearm()

    def close(self) -> None:
        """No more calls; the keeper sees the end and stops what it does for it."""
        if not self._is_open:
            return
        self._is_open = False
        self._unsent.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._loop.remove_reader(self._end)
        self._loop.remove_writer(self._end)
        self._end.close()
        self._closed(self)

    def _write(self, data: bytes) -> None:
        if not self._is_open or self._is_deaf:
            return
        had = bool(self._unsent)
        self._unsent += data
        if not had:
            self._flush()
        self._rearm()

    def _flush(self) -> None:
        try:
            sent = self._end.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            # What it said before it went is still to be read.
            self._is_deaf = True
            sent = len(self._unsent)
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._end, self._writable)

    def _writable(self) -> None:
        self._loop.remove_writer(self._end)
        self._flush()
        self._rearm()
        if not self._unsent:
            self._listener.writable()

    def _read(self) -> None:
        try:
            data = self._end.recv(PIECE_BYTES)
            found = self._cutter.feed(data)
        except BlockingIOError:
            return
        except (OSError, BrokenFrame):
            data, found = b"", []
        if not data:
            self.close()
            self._listener.lost(Lost.CUT)
            return
        self._wait_s = self._stall_s
        self._rearm()
        for one in found:
            if self._is_open:
                self._hear(one)

    def _hear(self, said: bytes | OfKeeper) -> None:
        listener = self._listener
        match said:
            case bytes():
                listener.came(said)
            case Answer():
                listener.answered(said)
            case Interim():
                self._owed = False
                self._rearm()
                listener.interim(said)
            case End():
                self.close()
                listener.complete()
            case Refused():
                self.close()
                listener.refused(failure_of(said.why))

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_open and not self._paused and (self._owed or self._unsent):
            self._timer = self._loop.call_later(max(self._wait_s, 0.0), self._expired)

    def _expired(self) -> None:
        self._timer = None
        self.close()
        self._listener.lost(Lost.LATE)


class Passing:
    """All streams of a worker, at most `limit`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, state_dir: Path, worker: int, limit: int, counters: CounterLine
    ) -> None:
        self._loop = loop
        self._hander = Hander(state_dir, worker)
        self._limit = limit
        self._counters = counters
        self._open: set[Passage] = set()

    def open(self, ask: Ask, listener: Listener, first_s: float, stall_s: float) -> Passage | None:
        """A stream on which `ask` was said; None when there are too many, or the keeper is away."""
        if len(self._open) >= self._limit:
            return None
        try:
            mine, theirs = pair()
        except OSError:  # no descriptor left
            return None
        taken = self._hander.hand(theirs)
        theirs.close()
        if not taken:
            mine.close()
            return None
        passage = Passage(self._loop, mine, listener, first_s, stall_s, self._ended)
        self._open.add(passage)
        self._counters.set(Count.PASSING, len(self._open))
        passage.ask(ask)
        return passage

    def span(self, ask: Span, wake: Callable[[], None], first_s: float, stall_s: float) -> PassedSpan | None:
        """Published bytes that are not stored; None as in `open`."""
        span = PassedSpan(wake, ask.last - ask.first + 1)
        passage = self.open(ask, span, first_s, stall_s)
        if passage is None:
            return None
        span.passage = passage
        passage.end()
        return span

    def close(self) -> None:
        """Ends every stream."""
        for passage in tuple(self._open):
            passage.close()
        self._hander.close()

    def _ended(self, passage: Passage) -> None:
        self._open.discard(passage)
        self._counters.set(Count.PASSING, len(self._open))


class PassedSpan:
    """Bytes on their way to a sender: `come` holds those that it has not taken yet; `wake` is called when anything is new."""

    passage: Passage

    def __init__(self, wake: Callable[[], None], length: int) -> None:
        self._wake = wake
        self._left = length
        self.come = bytearray()
        self.is_whole = False
        self.is_cut = False
        """The keeper is gone: the rest has to be asked for again."""
        self.failure: Outcome | None = None

    def take(self, length: int) -> bytes:
        """The first `length` bytes."""
        taken = bytes(self.come[:length])
        del self.come[:length]
        return taken

    def interim(self, said: Interim) -> None:
        """Nothing to tell a player."""

    def answered(self, answer: Answer) -> None:
        """The answer was planned before."""

    def came(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.passage.close()
            self.failure = Outcome.UPSTREAM_FAILED
        else:
            self.come += data
        self._wake()

    def complete(self) -> None:
        self.is_whole = True
        self._wake()

    def refused(self, why: FetchFailure) -> None:
        self.failure = OF_FAILURE[why]
        self._wake()

    def lost(self, why: Lost) -> None:
        self.is_cut = why is Lost.CUT
        self.failure = None if self.is_cut else Outcome.UPSTREAM_TIMEOUT
        self._wake()

    def writable(self) -> None:
        """The request is short."""
