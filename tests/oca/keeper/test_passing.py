"""Spans of published objects that pass without being stored: a worker's and a keeper's end over real sockets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contracts.plans import SourceKind
from oca.config import Fetching
from oca.http.reasons import Outcome
from oca.keeper.app import Keeper
from oca.link.counters import Count, Counters
from oca.link.passing import PassEnd, Span
from oca.worker.passing import PassedSpan, Passing
from tests.oca.keeper.lab import MIB, KeeperLab, keeper_lab, until
from tests.oca.keeper.sources import FakeSource
from tests.oca.store.harness import MadeFile

PATH = "/media/t/hd/v.mp4"


class Reader:
    """Takes what comes; `room` bytes at most before it pauses."""

    def __init__(self, room: int | None = None) -> None:
        self.got = b""
        self.room = room
        self.span: PassedSpan | None = None

    def wake(self) -> None:
        span = self.span
        assert span is not None
        self.got += span.take(len(span.come))
        if self.room is not None and len(self.got) >= self.room:
            span.passage.pause()

    def go_on(self) -> None:
        self.room = None
        assert self.span is not None
        self.span.passage.resume()

    @property
    def is_over(self) -> bool:
        span = self.span
        return span is not None and (span.is_whole or span.is_cut or span.failure is not None)


class Bench:
    def __init__(self, lab: KeeperLab, keeper: Keeper, file: MadeFile, origin: FakeSource, limit: int) -> None:
        self.lab, self.keeper, self.file, self.origin = lab, keeper, file, origin
        self.counters = Counters.create(1)
        loop = asyncio.get_running_loop()
        self.passing = Passing(loop, lab.state_dir, 0, limit, self.counters.line(0))

    def read(
        self, first: int, last: int, *, room: int | None = None, version: bytes = b"", stall_s: float = 10.0
    ) -> Reader:
        reader = Reader(room)
        span = Span(self.file.key, version or self.file.version, first, last)
        reader.span = self.passing.span(span, reader.wake, stall_s, stall_s)
        return reader

    def ended(self, how: PassEnd) -> float:
        found = self.keeper.metrics.registry.get_sample_value(
            "lowtide_keeper_passed_exchanges_total", {"end": how.value}
        )
        return found or 0.0


@asynccontextmanager
async def bench(root: Path, size: int = 8 * MIB, limit: int = 100, passing: int = 100) -> AsyncIterator[Bench]:
    fetching = Fetching(connect_s=0.5, first_byte_s=0.5, stall_s=0.5, passing=passing)
    async with keeper_lab(root, fetching=fetching) as lab:
        file = lab.publish("t/hd/v.mp4", size)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        made = Bench(lab, await lab.start(), file, origin, limit)
        try:
            yield made
        finally:
            made.passing.close()
            os.close(made.counters.fd)


async def test_a_span_is_right_to_the_byte_and_leaves_no_descriptor(tmp_path: Path) -> None:
    async with bench(tmp_path, 2 * MIB + 77) as b:
        whole = b.read(0, 2 * MIB + 76)
        await until(lambda: whole.is_over)
        before = len(os.listdir("/proc/self/fd"))
        for first, last in ((0, 0), (1, 262_144), (262_143, 524_288), (2 * MIB, 2 * MIB + 76), (5, 2 * MIB)):
            reader = b.read(first, last)
            await until(lambda: reader.is_over)  # noqa: B023
            assert reader.got == b.file.data[first : last + 1]
        assert whole.got == b.file.data
        await until(lambda: b.keeper.passing.under_way == 0)
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        assert b.ended(PassEnd.DONE) == 6
        assert b.counters.total(Count.PASSING) == 0
        assert b.keeper.store.statistics()[0].extents == 0


async def test_a_slow_client_stops_the_source_with_little_in_flight(tmp_path: Path) -> None:
    async with bench(tmp_path, 16 * MIB) as b:
        reader = b.read(0, 16 * MIB - 1, room=1)
        await until(lambda: reader.got)
        stands = -1
        while stands != b.origin.sent_bytes:
            stands = b.origin.sent_bytes
            await asyncio.sleep(0.3)
        assert stands - len(reader.got) <= 2 * MIB, "two runs of two blocks, and what the sockets hold"
        reader.go_on()
        await until(lambda: reader.is_over)
        assert reader.got == b.file.data
        assert b.origin.sent_bytes == 16 * MIB


async def test_who_leaves_ends_the_exchange(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.origin.stall_in_block = 2
        readers = [b.read(0, 8 * MIB - 1, room=1) for _ in range(5)]
        await until(lambda: all(reader.got for reader in readers))
        for reader in readers:
            assert reader.span is not None
            reader.span.passage.close()
        await until(lambda: b.keeper.passing.under_way == 0)
        assert b.ended(PassEnd.LEFT) == 5


async def test_a_worker_opens_no_more_than_it_may(tmp_path: Path) -> None:
    async with bench(tmp_path, limit=2) as b:
        first, second, third = (b.read(0, 8 * MIB - 1, room=1) for _ in range(3))
        assert third.span is None
        await until(lambda: first.got and second.got)
        first.go_on()
        await until(lambda: first.is_over)
        fourth = b.read(0, 9)
        await until(lambda: fourth.is_over)
        assert fourth.got == b.file.data[:10]


async def test_beyond_the_limit_of_the_keeper_nothing_passes(tmp_path: Path) -> None:
    async with bench(tmp_path, passing=2) as b:
        first, second = (b.read(0, 8 * MIB - 1, room=1) for _ in range(2))
        await until(lambda: first.got and second.got)
        third = b.read(0, 8 * MIB - 1)
        await until(lambda: third.is_over)
        assert third.span is not None
        assert third.span.failure is Outcome.UNAVAILABLE
        assert b.ended(PassEnd.OVERLOADED) == 1
        for reader in (first, second):
            reader.go_on()
        await until(lambda: first.is_over and second.is_over)
        assert first.got == second.got == b.file.data


async def test_failures_are_told_before_and_behind_the_first_byte(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        other = b.read(0, 9, version=b"\1" * 32)
        behind = b.read(0, 8 * MIB)
        await until(lambda: other.is_over and behind.is_over)
        assert [reader.span and reader.span.failure for reader in (other, behind)] == [Outcome.UPSTREAM_FAILED] * 2
        b.origin.truncate_in_block = 3
        cut = b.read(0, 8 * MIB - 1)
        await until(lambda: cut.is_over)
        assert cut.span is not None
        assert cut.span.failure is Outcome.UPSTREAM_FAILED
        assert len(cut.got) in (2 * 262_144, 3 * 262_144), "whole blocks before the one that broke off"
        assert b.file.data.startswith(cut.got)


@pytest.mark.parametrize("stopping", ["stop", "silent"])
async def test_a_keeper_that_stops_cuts_and_one_that_is_silent_is_late(tmp_path: Path, stopping: str) -> None:
    async with bench(tmp_path) as b:
        b.origin.gate = asyncio.Event()
        reader = b.read(0, 8 * MIB - 1, stall_s=10.0 if stopping == "stop" else 0.2)
        await until(lambda: b.origin.asked)
        if stopping == "stop":
            await b.lab.stop()
        await until(lambda: reader.is_over)
        assert reader.span is not None
        assert reader.span.is_cut is (stopping == "stop")
        assert (reader.span.failure is Outcome.UPSTREAM_TIMEOUT) is (stopping == "silent")
        b.origin.gate.set()
