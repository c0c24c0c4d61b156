"""Waiting for what is not here (DESIGN §2 "A miss"): one ask per missing run, deadlines, the keeper's death survived.

The deadline is the waiter's own: the link re-asks after a break, and when time is up the answer is 504 (no header sent yet) or an
aborted connection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable

from oca.http.reasons import Outcome
from oca.link.messages import FetchFailure, Head, Ready
from oca.link.worker import Ask, LinkClient
from oca.worker.holdings import Announcements, Missing, Version

OF_FAILURE: dict[FetchFailure, Outcome] = {
    FetchFailure.NOT_FOUND: Outcome.NOT_FOUND,
    FetchFailure.UPSTREAM_TIMEOUT: Outcome.UPSTREAM_TIMEOUT,
    FetchFailure.UPSTREAM_UNREACHABLE: Outcome.UPSTREAM_TIMEOUT,
    FetchFailure.UPSTREAM_ERROR: Outcome.UPSTREAM_FAILED,
    FetchFailure.WRONG_BYTES: Outcome.UPSTREAM_FAILED,
    FetchFailure.NO_DIGESTS: Outcome.UPSTREAM_FAILED,
    FetchFailure.NO_SPACE: Outcome.UNAVAILABLE,
    FetchFailure.VERSION_CHANGED: Outcome.UPSTREAM_FAILED,
    FetchFailure.LOOP: Outcome.LOOP,
    FetchFailure.NOT_STORABLE: Outcome.UPSTREAM_FAILED,
    FetchFailure.NOT_HELD: Outcome.NOT_HELD,
    FetchFailure.OVERLOADED: Outcome.UNAVAILABLE,
    FetchFailure.STOPPING: Outcome.UNAVAILABLE,
}
SENTENCES: dict[Outcome, str] = {
    Outcome.NOT_FOUND: "no such file is published",
    Outcome.UPSTREAM_TIMEOUT: "the file is not held here and nobody gave it in time",
    Outcome.KEEPER_AWAY: "the file is not held here, and the part that fetches is restarting",
    Outcome.UPSTREAM_FAILED: "the file is not held here and could not be fetched",
    Outcome.UNAVAILABLE: "the file is not held here and cannot be fetched now",
    Outcome.LOOP: "the request has passed here before",
}


class Wait(ABC):
    """What all kinds of waiting share: an open ask and its deadline. It has ended itself when it tells of a failure."""

    @abstractmethod
    def head(self, head: Head) -> None: ...

    @abstractmethod
    def ready(self, ready: Ready) -> None: ...

    def __init__(self, loop: AbstractEventLoop, link: LinkClient, failed: Callable[[Outcome], None]) -> None:
        self._loop = loop
        self._link = link
        self._tell_failed = failed
        self._timer: TimerHandle | None = None
        self._ask: Ask | None = None

    def cancel(self) -> None:
        """No more calls. The fetch itself goes on."""
        self._stop_timer()
        ask, self._ask = self._ask, None
        if ask is not None:
            self._link.cancel(ask, self)

    def done(self) -> None:
        self._ask = None
        self._stop_timer()

    def failed(self, why: FetchFailure) -> None:
        self._ask = None
        self._stop_timer()
        self._tell_failed(OF_FAILURE[why])

    def _restart_timer(self, wait_s: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(max(wait_s, 0.0), self._expired)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        self.cancel()
        self._tell_failed(Outcome.UPSTREAM_TIMEOUT if self._link.is_linked else Outcome.KEEPER_AWAY)


class HeadWait(Wait):
    """What is this object? Tells `known(head)` once, or `failed(outcome)`."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        link: LinkClient,
        key: str,
        wait_s: float,
        known: Callable[[Head], None],
        failed: Callable[[Outcome], None],
    ) -> None:
        super().__init__(loop, link, failed)
        self._known = known
        self._restart_timer(wait_s)
        self._ask = link.want(self, key, 0, 0, head_only=True)

    def head(self, head: Head) -> None:
        self.cancel()
        self._known(head)

    def ready(self, ready: Ready) -> None:
        """A block that nobody asked for: the head was all."""

    def done(self) -> None:
        """The keeper ended without a head: it knows nothing of the object."""
        super().done()
        self._tell_failed(Outcome.UPSTREAM_FAILED)


class BlockWait(Wait):
    """One missing run. Every `Ready` goes into the announcements, then `look_again()` is called; it may `cancel`.

    When the keeper has no room for what is still missing, `no_room()` is called instead of `failed`.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        link: LinkClient,
        announcements: Announcements,
        wanted: Version,
        run: Missing,
        first_s: float,
        stall_s: float,
        look_again: Callable[[], None],
        no_room: Callable[[], None],
        failed: Callable[[Outcome], None],
    ) -> None:
        super().__init__(loop, link, failed)
        self._no_room = no_room
        self._announcements = announcements
        self._wanted = wanted
        self._run = run
        self._stall_s = stall_s
        self._look_again = look_again
        self._restart_timer(first_s)
        self._ask = link.want(self, wanted.key, run.first, run.last, wanted.version, fields=wanted.asked)

    @property
    def is_open(self) -> bool:
        """False when the keeper has said everything it will say."""
        return self._ask is not None

    def covers(self, block: int) -> bool:
        return self._run.first <= block <= self._run.last

    def head(self, head: Head) -> None:
        """The version was named: there is nothing to learn."""

    def ready(self, ready: Ready) -> None:
        if ready.version != self._wanted.version or ready.size_bytes != self._wanted.size:
            self.cancel()
            self._tell_failed(Outcome.UPSTREAM_FAILED)
            return
        self._announcements.add(self._wanted.key, ready)
        self._restart_timer(self._stall_s)
        self._look_again()

    def done(self) -> None:
        super().done()
        self._look_again()

    def failed(self, why: FetchFailure) -> None:
        if why is FetchFailure.NO_SPACE:
            super().done()
            self._no_room()
        else:
            super().failed(why)
