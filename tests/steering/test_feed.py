"""The feed, by a virtual clock and scripted streams."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from chassis.clock import VirtualClock
from chassis.errors import Retry, ServiceError, Source
from chassis.health import NotReady
from contracts.world import Change
from steering.feed import Feed, State, StreamEnd
from steering.prefixes import HashedPrefixes
from steering.world import World
from tests.steering.worlds import box, routes, site, suspect, two_networks, well, world

WHOLE = Change(1, snapshot_complete=True)


class Stream:
    """One connection: its lines come from a queue; an error in the queue breaks it, None closes it."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[Change | ServiceError | None] = asyncio.Queue()

    def say(self, *lines: Change | ServiceError | None) -> None:
        for line in lines:
            self.lines.put_nowait(line)


class ControlPlane:
    """Hands out streams; while `away`, nobody can connect."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.away = False
        self.attempts = 0
        self.asked_after: list[int] = []

    async def __call__(self, after: int) -> AsyncIterator[Change]:
        self.attempts += 1
        self.asked_after.append(after)
        if self.away:
            raise broken(502)
        stream = Stream()
        self.streams.append(stream)
        while (line := await stream.lines.get()) is not None:
            if isinstance(line, ServiceError):
                raise line
            yield line


def broken(status: int) -> ServiceError:
    return ServiceError("the stream broke", source=Source.UPSTREAM, retry=Retry.YES, status=status)


class Running:
    """A feed at work."""

    def __init__(self, known: World) -> None:
        self.clock = VirtualClock()
        self.plane = ControlPlane()
        self.state = State(known)
        self.ends: list[StreamEnd] = []
        self.feed = Feed(
            self.plane,
            self.state,
            HashedPrefixes,
            self.clock,
            longest_wait_s=5.0,
            rng=random.Random(1),
            on_change=lambda _is_change: None,
            on_end=self.ends.append,
        )

    async def hear(self, *lines: Change | ServiceError | None) -> None:
        self.plane.streams[-1].say(*lines)
        await self.clock.advance(0.0)

    async def why_not_ready(self) -> str:
        with pytest.raises(NotReady) as caught:
            await self.feed.ready()
        return str(caught.value)


@asynccontextmanager
async def running(known: World | None = None) -> AsyncIterator[Running]:
    it = Running(known or World())
    task = asyncio.create_task(it.feed.run())
    await it.clock.advance(0.0)
    try:
        yield it
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_snapshot_is_built_aside_until_it_is_complete() -> None:
    old = world([box("old", "a")])
    async with running(old) as it:
        await it.hear(*two_networks())
        assert it.state.world is old
        assert "no change stream" in await it.why_not_ready()
        await it.hear(WHOLE)
        assert it.state.world == world(two_networks())
        assert it.state.live
        assert await it.feed.ready() == "world 1"


async def test_changes_after_the_snapshot_are_applied_as_they_come() -> None:
    async with running() as it:
        await it.hear(*two_networks(), WHOLE, suspect("a1"), Change(1, tick=True))
        assert [health.suspect for health in it.state.world.health.values()] == [True, False, False, False]
        await it.hear(well("a1"), Change(2, appliance_gone="a2"))
        assert not any(health.suspect for health in it.state.world.health.values())
        assert "a2" not in it.state.world.appliances
        assert it.ends == []


async def test_nothing_known_is_not_ready() -> None:
    async with running() as it:
        assert "nothing is known yet" in await it.why_not_ready()


@pytest.mark.parametrize(
    ("last", "end"),
    [
        ((broken(502),), StreamEnd.UNREACHABLE),
        ((broken(504),), StreamEnd.SILENT),
        ((None,), StreamEnd.CLOSED),
        ((Change(9, tick=True), Change(8, tick=True)), StreamEnd.BACKWARDS),
    ],
)
async def test_a_broken_stream_keeps_the_last_world_raises_the_alarm_and_is_opened_again(
    last: Sequence[Change | ServiceError | None], end: StreamEnd
) -> None:
    async with running() as it:
        await it.hear(*two_networks(), WHOLE, *last)
        assert it.ends == [end]
        assert not it.state.live
        assert it.state.world.appliances.keys() == {"a1", "a2", "a3", "b1"}
        assert "monitoring is presumed broken" in await it.why_not_ready()
        await it.clock.advance(1.0)
        assert it.plane.attempts == 2
        await it.hear(*two_networks()[:-2], WHOLE)
        assert await it.feed.ready() == "world 1"


async def test_half_a_snapshot_before_a_break_changes_nothing() -> None:
    old = world(two_networks())
    async with running(old) as it:
        await it.hear(site("only", "10.9.0.0/16"), broken(502))
        assert it.state.world is old


async def test_a_control_plane_that_is_away_is_asked_less_and_less_often_but_never_given_up() -> None:
    async with running() as it:
        it.plane.away = True
        it.plane.streams[-1].say(None)
        await it.clock.advance(10.0)
        early = it.plane.attempts
        await it.clock.advance(100.0)
        late = it.plane.attempts - early
        assert early >= 4
        assert 20 <= late <= 45, "every 2.5 to 5 seconds"
        it.plane.away = False
        await it.clock.advance(6.0)
        await it.hear(*two_networks(), WHOLE)
        assert it.state.live


async def test_many_suspects_at_once_raise_the_alarm_and_stay_in_the_world_as_doubted() -> None:
    async with running() as it:
        await it.hear(*two_networks(), WHOLE)
        await it.hear(suspect("a1"))
        assert await it.feed.ready() == "world 1"
        await it.hear(suspect("a2"), suspect("b1"))
        assert it.state.world.doubted == {"a1", "a2", "b1"}
        assert "too many suspects at once; ranked last: a1, a2, b1" in await it.why_not_ready()
        await it.hear(well("a1"), well("a2"))
        assert it.state.world.doubted == frozenset()
        assert await it.feed.ready() == "world 1"


async def test_suspects_that_come_slowly_raise_no_alarm() -> None:
    async with running() as it:
        await it.hear(*two_networks(), WHOLE)
        for name in ("a1", "a2", "b1"):
            await it.hear(suspect(name))
            await it.clock.advance(11.0)
        assert it.state.world.doubted == frozenset()
        assert await it.feed.ready() == "world 1"


async def test_a_feed_that_dies_of_what_nobody_expected_does_not_look_live() -> None:
    async def source(after: int) -> AsyncIterator[Change]:
        for line in (*two_networks(), WHOLE):
            yield line
        raise RuntimeError("a change that nobody thought of")

    it = Running(World())
    feed = Feed(
        source,
        it.state,
        HashedPrefixes,
        it.clock,
        longest_wait_s=5.0,
        rng=random.Random(1),
        on_change=lambda _is_change: None,
        on_end=it.ends.append,
    )
    with pytest.raises(RuntimeError, match="nobody thought of"):
        await feed.run()
    assert it.ends == [StreamEnd.DIED]
    assert not it.state.live
    assert it.state.world == world(two_networks())


async def test_a_stream_goes_on_where_the_one_before_broke_when_nothing_is_missing() -> None:
    async with running() as it:
        await it.hear(*two_networks(), WHOLE, Change(5, health=suspect("a1").health), broken(502))
        before = it.state.world
        await it.clock.advance(1.0)
        assert it.plane.asked_after == [0, 5]
        await it.hear(Change(5, resumed=True))
        assert (it.state.live, it.state.world is before) == (True, True)
        await it.hear(Change(6, appliance_gone="a2"))
        assert it.state.world.number == 6
        assert it.state.world.appliances.keys() == {"a1", "a3", "b1"}


async def test_a_control_plane_that_has_forgotten_too_much_sends_a_whole_world_again() -> None:
    async with running() as it:
        await it.hear(*two_networks(), WHOLE, None)
        await it.clock.advance(1.0)
        await it.hear(site("only", "10.9.0.0/16"), box("x", "only"))
        assert it.state.world.sites.keys() == {"a", "b"}
        await it.hear(Change(9, snapshot_complete=True))
        assert (it.state.world.number, set(it.state.world.sites)) == (9, {"only"})


async def test_a_change_that_killed_the_feed_is_not_asked_for_again() -> None:
    async with running() as it:
        await it.hear(*two_networks(), WHOLE, Change(9, tick=True), Change(8, tick=True))
        assert it.ends == [StreamEnd.BACKWARDS]
        await it.clock.advance(1.0)
        assert it.plane.asked_after == [0, 0]


async def test_a_resumption_that_was_not_asked_for_makes_no_world_of_nothing() -> None:
    async with running() as it:
        await it.hear(Change(5, resumed=True), *two_networks())
        assert not it.state.live
        assert "no change stream" in await it.why_not_ready() or "nothing is known" in await it.why_not_ready()


async def test_other_work_is_done_between_two_lines_of_routes() -> None:
    lines = [routes("a", f"10.{n}.0.0/16") for n in range(40)]
    async with running() as it:
        it.plane.streams[-1].say(*two_networks(), WHOLE, *lines)
        seen: set[int] = set()
        for _ in range(500):
            await asyncio.sleep(0)
            seen.add(len(it.state.world.prefixes))
        assert len(it.state.world.prefixes) == 40
        assert len(seen) > 20, "the loop came round between lines"
