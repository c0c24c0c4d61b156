"""Askers who want the same share one request to the keeper; each of them hears everything, leaves alone, and none hears twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from oca.link.messages import Done, Failed, FetchFailure, Head, Ready, ReloadWhat, Served, Unreadable, Want
from oca.link.server import Link, LinkServer
from oca.link.worker import LinkClient

VERSION = b"v" * 32


class Keeper:
    """The other end: keeps what it hears."""

    def __init__(self) -> None:
        self.wants: list[Want] = []
        self.left_requests: list[int] = []
        self.link: Link | None = None

    def joined(self, link: Link) -> None:
        self.link = link

    def left(self, link: Link) -> None:
        self.link = None

    def wanted(self, link: Link, want: Want) -> None:
        self.wants.append(want)

    def cancelled(self, link: Link, request: int) -> None:
        self.left_requests.append(request)

    def served(self, link: Link, served: Served) -> None: ...

    def unreadable(self, link: Link, found: Unreadable) -> None: ...


class Events:
    def linked(self) -> None: ...

    def unlinked(self) -> None: ...

    def reload(self, what: ReloadWhat) -> None: ...

    def reasked(self, asks: int) -> None: ...


class Waiter:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.leaves: list[tuple[LinkClient, object, Waiter]] = []
        """Whose asks are cancelled when a block comes."""

    def head(self, head: Head) -> None:
        self.heard.append("head")

    def ready(self, ready: Ready) -> None:
        self.heard.append(f"ready {ready.first_block}")
        for client, ask, waiter in self.leaves:
            client.cancel(ask, waiter)  # type: ignore[arg-type]

    def done(self) -> None:
        self.heard.append("done")

    def failed(self, why: FetchFailure) -> None:
        self.heard.append(why.name)


class World:
    def __init__(self, folder: Path) -> None:
        self.keeper = Keeper()
        self.server = LinkServer(folder, self.keeper, lambda _worker, _why: None)
        self.client = LinkClient(folder, 0, Events())

    async def becomes(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not true():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)

    def say(self, *messages: Ready | Done | Head | Failed) -> None:
        assert self.keeper.link is not None
        for message in messages:
            self.keeper.link.send(message)


def ready(want: Want, block: int) -> Ready:
    return Ready(want.request, 0, 1, 0, block, block, VERSION, 1 << 20, 0, 0)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.server.start()
    made.client.start()
    await made.becomes(lambda: made.client.is_linked)
    yield made
    await made.client.close()
    await made.server.close()


async def test_a_thousand_waiters_are_one_request_and_all_hear_all(world: World) -> None:
    waiters = [Waiter() for _ in range(1000)]
    for waiter in waiters:
        world.client.want(waiter, "key", 0, 1, VERSION)
    await world.becomes(lambda: world.keeper.wants)
    (want,) = world.keeper.wants
    world.say(ready(want, 0), ready(want, 1), Done(want.request))
    await world.becomes(lambda: waiters[-1].heard[-1:] == ["done"])
    assert {tuple(waiter.heard) for waiter in waiters} == {("ready 0", "ready 1", "done")}
    assert len(world.keeper.wants) == 1


async def test_what_differs_in_anything_is_asked_for_by_itself(world: World) -> None:
    client = world.client
    client.want(Waiter(), "key", 0, 1, VERSION)
    client.want(Waiter(), "other", 0, 1, VERSION)
    client.want(Waiter(), "key", 0, 2, VERSION)
    client.want(Waiter(), "key", 1, 1, VERSION)
    client.want(Waiter(), "key", 0, 1, b"w" * 32)
    client.want(Waiter(), "key", 0, 1, VERSION, head_only=True)
    client.want(Waiter(), "key", 0, 1, VERSION, fields=((b"accept", b"a"),))
    client.want(Waiter(), "key", 0, 1, VERSION, shared=False)
    await world.becomes(lambda: len(world.keeper.wants) == 8)


async def test_who_comes_after_the_first_block_asks_anew_and_misses_nothing(world: World) -> None:
    early, late = Waiter(), Waiter()
    world.client.want(early, "key", 0, 1, VERSION)
    await world.becomes(lambda: world.keeper.wants)
    first = world.keeper.wants[0]
    world.say(ready(first, 0))
    await world.becomes(lambda: early.heard)
    world.client.want(late, "key", 0, 1, VERSION)
    await world.becomes(lambda: len(world.keeper.wants) == 2)
    second = world.keeper.wants[1]
    world.say(ready(second, 0), ready(first, 1), ready(second, 1), Done(second.request), Done(first.request))
    await world.becomes(lambda: early.heard[-1:] == ["done"])
    assert early.heard == late.heard == ["ready 0", "ready 1", "done"]


async def test_only_the_last_who_leaves_is_told_to_the_keeper(world: World) -> None:
    one, other = Waiter(), Waiter()
    ask = world.client.want(one, "key", 0, 0, VERSION)
    assert world.client.want(other, "key", 0, 0, VERSION) is ask
    await world.becomes(lambda: world.keeper.wants)
    world.client.cancel(ask, one)
    world.say(ready(world.keeper.wants[0], 0))
    await world.becomes(lambda: other.heard)
    assert (one.heard, world.keeper.left_requests) == ([], [])
    world.client.cancel(ask, other)
    await world.becomes(lambda: world.keeper.left_requests == [ask.request])


async def test_who_was_sent_away_by_another_waiter_is_not_called_any_more(world: World) -> None:
    one, other = Waiter(), Waiter()
    ask = world.client.want(one, "key", 0, 0, VERSION)
    world.client.want(other, "key", 0, 0, VERSION)
    one.leaves = [(world.client, ask, other)]
    await world.becomes(lambda: world.keeper.wants)
    world.say(ready(world.keeper.wants[0], 0), Done(ask.request))
    await world.becomes(lambda: one.heard[-1:] == ["done"])
    assert other.heard == []


async def test_a_failure_is_everybodys_and_the_next_who_asks_is_a_request_of_its_own(world: World) -> None:
    waiters = [Waiter(), Waiter()]
    for waiter in waiters:
        world.client.want(waiter, "key", 0, 0, VERSION)
    await world.becomes(lambda: world.keeper.wants)
    world.say(Failed(world.keeper.wants[0].request, FetchFailure.NOT_FOUND.name))
    await world.becomes(lambda: waiters[-1].heard)
    assert [waiter.heard for waiter in waiters] == [["NOT_FOUND"], ["NOT_FOUND"]]
    world.client.want(Waiter(), "key", 0, 0, VERSION)
    await world.becomes(lambda: len(world.keeper.wants) == 2)


async def test_after_a_break_all_of_them_hear_the_rest_once(world: World) -> None:
    waiters = [Waiter(), Waiter()]
    for waiter in waiters:
        world.client.want(waiter, "key", 0, 1, VERSION)
    await world.becomes(lambda: world.keeper.wants)
    world.say(ready(world.keeper.wants[0], 0))
    await world.becomes(lambda: waiters[-1].heard)
    await world.server.close()
    await world.server.start()
    await world.becomes(lambda: len(world.keeper.wants) == 2)
    again = world.keeper.wants[1]
    assert (again.first_block, again.last_block) == (1, 1)
    world.say(ready(again, 1), Done(again.request))
    await world.becomes(lambda: waiters[-1].heard[-1:] == ["done"])
    assert [waiter.heard for waiter in waiters] == [["ready 0", "ready 1", "done"]] * 2


async def test_the_keeper_is_told_nothing_of_an_ask_that_ended_before(world: World) -> None:
    waiter = Waiter()
    ask = world.client.want(waiter, "key", 0, 0, VERSION)
    await world.becomes(lambda: world.keeper.wants)
    world.say(Done(ask.request))
    await world.becomes(lambda: waiter.heard)
    world.client.cancel(ask, waiter)
    world.client.want(Waiter(), "key", 0, 0, VERSION)
    await world.becomes(lambda: len(world.keeper.wants) == 2)
    assert world.keeper.left_requests == []
