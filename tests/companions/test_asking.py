"""Remembered answers, with a virtual clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from chassis.clock import VirtualClock
from chassis.errors import Retry, ServiceError, Source
from companions.recommendation.asking import Known, LastKnown, Patience


def _away() -> ServiceError:
    return ServiceError("gone", source=Source.UPSTREAM, retry=Retry.YES, status=502)


@dataclass
class Answering:
    """A service: answers its number of the question, or fails; waits while `gate` is closed."""

    asked: int = 0
    failing: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> int:
        self.asked += 1
        await self.gate.wait()
        if self.failing:
            raise _away()
        return self.asked


@pytest.fixture
def service() -> Answering:
    made = Answering()
    made.gate.set()
    return made


def _table(clock: VirtualClock, *, stale_s: float = 0.0) -> LastKnown[str, int]:
    return LastKnown("test", Patience(fresh_s=10.0, stale_s=stale_s, pause_s=2.0, limit=3), clock)


async def test_a_fresh_answer_is_not_asked_for_again(service: Answering) -> None:
    clock = VirtualClock()
    table = _table(clock)
    assert await table.get("k", service) == Known(1, False)
    await clock.advance(9.9)
    assert await table.get("k", service) == Known(1, False)
    await clock.advance(0.2)
    assert await table.get("k", service) == Known(2, False)


async def test_many_who_wait_ask_once(service: Answering) -> None:
    table = _table(VirtualClock())
    service.gate.clear()
    waiting = [asyncio.create_task(table.get("k", service)) for _ in range(20)]
    await asyncio.sleep(0)
    service.gate.set()
    assert {(await task).value for task in waiting} == {1}
    assert service.asked == 1


async def test_the_last_known_answer_stands_in_and_is_named_degraded(service: Answering) -> None:
    clock = VirtualClock()
    table = _table(clock)
    await table.get("k", service)
    service.failing = True
    await clock.advance(11)
    assert await table.get("k", service) == Known(1, True)
    assert await table.get("never asked", service) == Known(None, True)


async def test_a_service_that_is_away_is_left_alone_for_a_while_whatever_is_asked(service: Answering) -> None:
    clock = VirtualClock()
    table = _table(clock)
    service.failing = True
    for key in ("a", "b", "c"):
        assert await table.get(key, service) == Known(None, True)
    assert service.asked == 1
    service.failing = False
    await clock.advance(2.0)
    assert await table.get("b", service) == Known(2, False)
    assert await table.get("a", service) == Known(3, False)


async def test_with_stale_answers_allowed_only_the_first_caller_waits(service: Answering) -> None:
    clock = VirtualClock()
    table = _table(clock, stale_s=60.0)
    await table.get("k", service)
    await clock.advance(11)
    service.gate.clear()
    assert await table.get("k", service) == Known(1, False)
    service.gate.set()
    await asyncio.sleep(0.01)
    assert await table.get("k", service) == Known(2, False)


async def test_an_answer_that_is_too_old_is_waited_for_and_stands_in_only_when_the_service_is_away(
    service: Answering,
) -> None:
    clock = VirtualClock()
    table = _table(clock, stale_s=60.0)
    await table.get("k", service)
    await clock.advance(61)
    assert await table.get("k", service) == Known(2, False)
    await clock.advance(61)
    service.failing = True
    assert await table.get("k", service) == Known(2, True)


async def test_closing_gives_up_what_is_under_way(service: Answering) -> None:
    table = _table(VirtualClock())
    service.gate.clear()
    waiting = asyncio.create_task(table.get("k", service))
    await asyncio.sleep(0)
    await table.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
