"""Exchanges that pass through the keeper without being stored (`oca.link.passing`): taken, served, ended.

Laws: at most `limit` are under way, what comes beyond is refused at once; each ends when its worker's end does; a time without progress
ends it, in which waiting for the client does not count; what was begun and cannot be completed is cut off, never ended.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Protocol

from chassis.logs import get_logger
from contracts.digests import BLOCK_BYTES
from oca.keeper.errors import FetchFailed, KeeperError
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.unstored import Unstored
from oca.link.messages import BrokenFrame, FetchFailure
from oca.link.passing import (
    PIECE_BYTES,
    Answer,
    Ask,
    End,
    Forward,
    OfKeeper,
    PassEnd,
    Refused,
    Span,
    cutter_of_worker,
    head_of_data,
    say,
)

ASK_S = 3.0
"""A worker says what it wants right behind the handing over."""


class StreamLeft(KeeperError):
    """The worker closed its end: nobody wants the rest."""

    source = "client"


class BodyCut(KeeperError):
    """The answer's body ended before its end. It is cut off towards the client, too."""

    source = "upstream"
    status = 502


class Stream:
    """The keeper's end of one exchange. `answered` is True once the answer's header was said."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._cutter = cutter_of_worker()
        self._come: list[bytes | Ask | End] = []
        self._asked = asyncio.Event()
        self._timeout: asyncio.Timeout | None = None
        self._stall_s = 0.0
        self.answered = False

    @classmethod
    async def over(cls, end: socket.socket) -> Stream:
        """Takes the socket over."""
        try:
            reader, writer = await asyncio.open_unix_connection(sock=end, limit=PIECE_BYTES)
        except BaseException:
            end.close()
            raise
        writer.transport.set_write_buffer_limits(high=PIECE_BYTES)
        return cls(reader, writer)

    def close(self) -> None:
        """What was said still goes out; without `End` before, the exchange is cut off."""
        self._writer.close()

    def cut(self) -> None:
        self._writer.transport.abort()

    @contextmanager
    def within(self, timeout: asyncio.Timeout, stall_s: float) -> Iterator[None]:
        """`timeout` is set anew to `stall_s` with every piece that moves, and does not run while the client is waited for."""
        self._timeout, self._stall_s = timeout, stall_s
        timeout.reschedule(asyncio.get_running_loop().time() + stall_s)
        try:
            yield
        finally:
            self._timeout = None

    async def ask(self) -> Ask:
        """What the worker wants. Raises StreamLeft, BrokenFrame."""
        while not self._come:
            await self._read()
        first = self._come.pop(0)
        if not isinstance(first, Span | Forward):
            raise BrokenFrame("a stream begins with what is asked for")
        return first

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body, piece by piece. Raises StreamLeft when it ends before its end."""
        while True:
            while not self._come:
                with self._clients_turn():
                    await self._read()
            piece = self._come.pop(0)
            if isinstance(piece, End):
                self._asked.set()
                return
            if not isinstance(piece, bytes):
                raise BrokenFrame("a second request on one stream")
            yield piece

    async def left(self) -> None:
        """Returns when the worker has closed its end. Begins to look when the request's body is complete."""
        await self._asked.wait()
        while await self._reader.read(PIECE_BYTES):
            pass

    async def say(self, message: OfKeeper) -> None:
        """Raises StreamLeft."""
        if isinstance(message, Answer):
            self.answered = True
        self._writer.write(say(message))
        await self._drain()

    async def send(self, data: bytes | memoryview) -> None:
        """A part of the answer's body. Returns when the client has room for more. Raises StreamLeft."""
        whole = memoryview(data)
        for start in range(0, len(whole), PIECE_BYTES):
            piece = whole[start : start + PIECE_BYTES]
            self._writer.write(head_of_data(len(piece)))
            self._writer.write(piece)
            await self._drain()

    async def _read(self) -> None:
        try:
            data = await self._reader.read(PIECE_BYTES)
        except ConnectionError as error:
            raise StreamLeft("the worker has gone") from error
        if not data:
            raise StreamLeft("the worker has closed the stream")
        self._come += self._cutter.feed(data)

    async def _drain(self) -> None:
        with self._clients_turn():
            try:
                await self._writer.drain()
            except ConnectionError as error:
                raise StreamLeft("the worker has gone") from error

    @contextmanager
    def _clients_turn(self) -> Iterator[None]:
        timeout = self._timeout
        if timeout is not None:
            timeout.reschedule(None)
        yield
        if timeout is not None:
            timeout.reschedule(asyncio.get_running_loop().time() + self._stall_s)


class Forwarding(Protocol):
    """Who takes requests to the upstreams of services."""

    async def forward(self, stream: Stream, asked: Forward) -> None:
        """Carries the exchange out up to its `End`. Raises FetchFailed before the answer, BodyCut behind it, StreamLeft."""


class Passing:
    """All exchanges of a keeper."""

    def __init__(
        self,
        unstored: Unstored,
        forwarding: Forwarding,
        limit: int,
        stall_s: float,
        metrics: KeeperMetrics,
    ) -> None:
        self._unstored = unstored
        self._forwarding = forwarding
        self._limit = limit
        self._stall_s = stall_s
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_logger("oca.keeper.passing")

    @property
    def under_way(self) -> int:
        return len(self._tasks)

    def take(self, end: socket.socket, worker: int) -> None:
        """One end of an exchange, from `HandingServer`."""
        if len(self._tasks) >= self._limit:
            self._metrics.passed.labels(PassEnd.OVERLOADED.value).inc()
            refused = Refused(FetchFailure.OVERLOADED.name, f"{len(self._tasks)} exchanges pass already")
            _tell_and_close(end, say(refused))
            return
        task = asyncio.create_task(self._carry_out(end, worker), name="passing")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cuts off what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, end: socket.socket, worker: int) -> None:
        how = PassEnd.STOPPED
        stream = await Stream.over(end)
        try:
            how = await self._until_left(stream)
        except Exception:  # noqa: BLE001  the border of a task: counted, logged with traceback, the exchange is cut off
            how = PassEnd.DIED
            self._metrics.task_deaths.labels("passing").inc()
            self._log.exception("passing-died", worker=worker)
        finally:
            self._metrics.passed.labels(how.value).inc()
            if how in (PassEnd.DONE, PassEnd.REFUSED):
                stream.close()
            else:
                stream.cut()

    async def _until_left(self, stream: Stream) -> PassEnd:
        """Serves, unless the worker's end is closed before."""
        serving = asyncio.create_task(self._serve(stream))
        leaving = asyncio.create_task(stream.left())
        try:
            await asyncio.wait((serving, leaving), return_when=asyncio.FIRST_COMPLETED)
            return serving.result() if serving.done() else PassEnd.LEFT
        finally:
            for task in (serving, leaving):
                task.cancel()
            await asyncio.gather(serving, leaving, return_exceptions=True)

    async def _serve(self, stream: Stream) -> PassEnd:
        try:
            return await self._answer(stream)
        except StreamLeft:
            return PassEnd.LEFT
        except BrokenFrame as error:
            self._log.warning("passing-broken", detail=str(error))
            return PassEnd.BROKEN
        except BodyCut as error:
            self._log.info("passing-cut", detail=str(error))
            return PassEnd.CUT

    async def _answer(self, stream: Stream) -> PassEnd:
        try:
            async with asyncio.timeout(ASK_S):
                asked = await stream.ask()
            async with asyncio.timeout(None) as timeout:
                with stream.within(timeout, self._stall_s):
                    await self._act(stream, asked)
        except FetchFailed as error:
            self._log.info("passing-failed", why=error.why.word, detail=error.sentence)
            await stream.say(Refused(error.why.name, error.sentence))
            return PassEnd.REFUSED
        except TimeoutError as error:
            if stream.answered:
                raise BodyCut(f"nothing moved for {self._stall_s:g} s") from error
            await stream.say(Refused(FetchFailure.UPSTREAM_TIMEOUT.name, f"nothing moved for {self._stall_s:g} s"))
            return PassEnd.REFUSED
        return PassEnd.DONE

    async def _act(self, stream: Stream, asked: Ask) -> None:
        if isinstance(asked, Forward):
            await self._forwarding.forward(stream, asked)
            return
        async for _piece in stream.body():
            raise BrokenFrame("a span is asked for without a body")
        await self._span(stream, asked)

    async def _span(self, stream: Stream, asked: Span) -> None:
        """Verified bytes of a published object. The digests keep their own deadlines; a failure behind the answer is said, too."""
        facts = await self._unstored.facts(asked.key, asked.version)
        if not 0 <= asked.first <= asked.last < facts.digests.size_bytes:
            raise FetchFailed(FetchFailure.VERSION_CHANGED, f"{asked.key} has {facts.digests.size_bytes} bytes")
        await stream.say(Answer(200, (), asked.last - asked.first + 1))
        blocks = self._unstored.blocks(facts, asked.first // BLOCK_BYTES, asked.last // BLOCK_BYTES)
        async for number, data in blocks:
            start = number * BLOCK_BYTES
            whole = memoryview(data)
            piece = whole[max(0, asked.first - start) : asked.last + 1 - start]
            self._metrics.passed_bytes.labels("span").inc(len(piece))
            await stream.send(piece)
        await stream.say(End())


def _tell_and_close(end: socket.socket, said: bytes) -> None:
    """A few bytes into an empty socket."""
    try:
        end.send(said)
    except OSError:
        return
    finally:
        end.close()
