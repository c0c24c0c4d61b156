"""A worker's end of the link (laws in `oca.link.messages`): asks that survive the keeper's death.

`LinkClient.want` never waits. Answers come to the `Asker` from the event loop: any number of `ready`, at most one `head`,
then `done` or `failed`. When the connection breaks, askers hear nothing: the client reconnects and asks for the remainder of every
open ask under the same version. How long to wait is the asker's own decision; `cancel` ends it.

Askers who want the same before anything of it has come share one ask: a thousand waiters for one block cost the keeper one request a worker.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import msgspec

from oca.link.messages import (
    PROTOCOL,
    BrokenFrame,
    Cancel,
    Done,
    Failed,
    FetchFailure,
    FrameReader,
    Head,
    Hello,
    Ready,
    Reload,
    ReloadWhat,
    Served,
    ToWorker,
    Unreadable,
    Want,
    Welcome,
    decode_to_worker,
    encode,
)
from oca.link.server import connect

FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 1.0
MAX_UNREADABLE = 1024


class Asker(Protocol):
    """Who waits for an ask. Calls must not block."""

    def head(self, head: Head) -> None: ...

    def ready(self, ready: Ready) -> None: ...

    def done(self) -> None: ...

    def failed(self, why: FetchFailure) -> None: ...


class LinkEvents(Protocol):
    """What else a worker hears."""

    def linked(self) -> None: ...

    def unlinked(self) -> None: ...

    def reload(self, what: ReloadWhat) -> None: ...

    def reasked(self, asks: int) -> None: ...


class Ask:
    """One open question of any number of askers. `delivered` has bit i set when block `first_block + i` was announced."""

    __slots__ = ("askers", "delivered", "request", "subject", "want")

    def __init__(self, want: Want, asker: Asker) -> None:
        self.want = want
        self.subject = subject_of(want)
        self.askers = {asker: None}
        self.request = want.request
        self.delivered = 0

    def tell(self, message: Callable[[Asker], None]) -> None:
        """Those who are there now and have not left by what another one did."""
        for asker in tuple(self.askers):
            if asker in self.askers:
                message(asker)

    def deliver(self, first_block: int, last_block: int) -> None:
        """Blocks first … last were announced; what lies outside the ask does not count."""
        first = max(first_block - self.want.first_block, 0)
        count = last_block - self.want.first_block + 1 - first
        if count > 0:
            self.delivered |= ((1 << count) - 1) << first

    def remainder(self, request: int) -> Want | None:
        """The want for what was not announced yet, under a new request id; None when all was."""
        want = self.want
        first = want.first_block
        delivered = self.delivered
        while delivered & 1:
            delivered >>= 1
            first += 1
        if want.last_block is not None and first > want.last_block and not want.head_only:
            return None
        return msgspec.structs.replace(want, request=request, first_block=first)


Subject = tuple[str, int, int | None, bytes, bool, tuple[tuple[bytes, bytes], ...]]


def subject_of(want: Want) -> Subject:
    """What askers have to have in common to share an ask."""
    return (want.key, want.first_block, want.last_block, want.version, want.head_only, want.fields)


class LinkClient:
    """The link of one worker. `start` it once; `close` ends it and every ask."""

    def __init__(self, state_dir: Path, worker: int, events: LinkEvents) -> None:
        self._state_dir = state_dir
        self._worker = worker
        self._events = events
        self._asks: dict[int, Ask] = {}
        self._young: dict[Subject, Ask] = {}
        """Shared ones of which nothing has come yet."""
        self._next = 1
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._welcome = False
        self._unreadable: dict[tuple[int, int], None] = {}

    @property
    def is_linked(self) -> bool:
        return self._welcome

    @property
    def waiting(self) -> int:
        """Askers who have not heard the end."""
        return sum(len(ask.askers) for ask in self._asks.values())

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep_linked(), name="link")

    async def close(self) -> None:
        self._asks.clear()
        self._young.clear()
        self._welcome = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._transport is not None:
            self._transport.abort()

    def want(
        self,
        asker: Asker,
        key: str,
        first_block: int,
        last_block: int | None,
        version: bytes = b"",
        *,
        head_only: bool = False,
        fields: tuple[tuple[bytes, bytes], ...] = (),
        shared: bool = True,
    ) -> Ask:
        """Ask now, or as soon as the keeper is there. Not `shared`: the keeper's answer depends on who asked first."""
        want = Want(self._number(), key, first_block, last_block, version, head_only, fields=fields)
        if shared and (young := self._young.get(subject_of(want))) is not None:
            young.askers[asker] = None
            return young
        ask = Ask(want, asker)
        self._asks[ask.request] = ask
        if shared:
            self._young[ask.subject] = ask
        if self._welcome:
            self._send(encode(ask.want))
        return ask

    def hint(
        self,
        key: str,
        first_block: int,
        last_block: int,
        version: bytes,
        fields: tuple[tuple[bytes, bytes], ...] = (),
    ) -> bool:
        """Tell the keeper what will soon be wanted, or was served stale; nobody waits. False when it is away."""
        if self._welcome:
            want = Want(self._number(), key, first_block, last_block, version, hint=True, fields=fields)
            self._send(encode(want))
        return self._welcome

    def cancel(self, ask: Ask, asker: Asker) -> None:
        """This asker wants no more answers. The fetch itself goes on."""
        ask.askers.pop(asker, None)
        if ask.askers:
            return
        self._grown(ask)
        if self._asks.pop(ask.request, None) is not None and self._welcome:
            self._send(encode(Cancel(ask.request)))

    def served(self, served: Served) -> bool:
        """Hand over accounting; False when the keeper is away and the caller has to keep it."""
        if not self._welcome:
            return False
        self._send(encode(served))
        return True

    def unreadable(self, disk: int, extent_id: int) -> None:
        """Tell the keeper of an extent that cannot be read; while it is away so many are kept for it as it would look at."""
        if self._welcome:
            self._send(encode(Unreadable(disk, extent_id)))
        elif len(self._unreadable) < MAX_UNREADABLE:
            self._unreadable[disk, extent_id] = None

    def _grown(self, ask: Ask) -> None:
        """Something of it has come, or it is over: who comes now asks anew."""
        if self._young.get(ask.subject) is ask:
            del self._young[ask.subject]

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _send(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    async def _keep_linked(self) -> None:
        wait_s = FIRST_RETRY_S
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock = connect(self._state_dir)
            except OSError:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_RETRY_S)
                continue
            self._lost.clear()
            _transport, protocol = await loop.create_connection(lambda: _Wire(self), sock=sock)
            await self._lost.wait()
            wait_s = FIRST_RETRY_S if protocol.welcomed else min(wait_s * 2, LONGEST_RETRY_S)
            await asyncio.sleep(wait_s)

    def connected(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.write(encode(Hello(self._worker, os.getpid())))

    def disconnected(self) -> None:
        self._transport = None
        if self._welcome:
            self._welcome = False
            self._events.unlinked()
        self._lost.set()

    def take(self, message: ToWorker) -> None:
        """One message of the keeper. Raises BrokenFrame when it makes no sense here."""
        match message:
            case Welcome():
                self._welcomed(message)
            case Reload(what):
                self._events.reload(what)
            case Head(request):
                if ask := self._asks.get(request):
                    self._grown(ask)
                    if not ask.want.version:
                        # From here on this version or none: the remainder after a break is asked for under it.
                        ask.want = msgspec.structs.replace(ask.want, version=message.version)
                    ask.tell(lambda asker: asker.head(message))
            case Ready(request):
                if ask := self._asks.get(request):
                    self._grown(ask)
                    ask.deliver(message.first_block, message.last_block)
                    ask.tell(lambda asker: asker.ready(message))
            case Done(request):
                if ask := self._asks.pop(request, None):
                    self._grown(ask)
                    ask.tell(lambda asker: asker.done())
            case Failed(request, why):
                if ask := self._asks.pop(request, None):
                    self._grown(ask)
                    ask.tell(lambda asker: asker.failed(failure_of(why)))

    def _welcomed(self, welcome: Welcome) -> None:
        if welcome.protocol != PROTOCOL:
            raise BrokenFrame(f"the keeper speaks protocol {welcome.protocol}, this worker {PROTOCOL}")
        self._welcome = True
        self._events.linked()
        for disk, extent_id in self._unreadable:
            self._send(encode(Unreadable(disk, extent_id)))
        self._unreadable.clear()
        open_asks = list(self._asks.values())
        self._asks.clear()
        finished: list[Ask] = []
        for ask in open_asks:
            again = ask.remainder(self._number())
            if again is None:
                finished.append(ask)
                continue
            ask.want, ask.request, ask.delivered = again, again.request, 0
            self._asks[again.request] = ask
            self._send(encode(again))
        if self._asks:
            self._events.reasked(len(self._asks))
        for ask in finished:
            self._grown(ask)
            ask.tell(lambda asker: asker.done())


class _Wire(asyncio.Protocol):
    """One connection to the keeper."""

    def __init__(self, client: LinkClient) -> None:
        self._client = client
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self.welcomed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._client.connected(self._transport)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                message = decode_to_worker(body)
                self.welcomed = True
                self._client.take(message)
        except BrokenFrame:
            # The keeper is of another version: the link is tried again, misses wait by their deadline.
            self.welcomed = False
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.disconnected()


def failure_of(why: str) -> FetchFailure:
    """By its name; a keeper of another version may say one that is not known here."""
    try:
        return FetchFailure[why]
    except KeyError:
        return FetchFailure.UPSTREAM_ERROR
