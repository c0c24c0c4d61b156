"""Asks a play's steering server whenever that is due, beside the playing, which never waits for it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from player.fetching import RangeFetcher
from player.presentation import Address
from player.steering import Heard, Steering

BEFORE_START_S = 2.0


@dataclass(frozen=True, slots=True)
class Told:
    """One question: when it was asked, how long the answer took, and the host:port it wants each track fetched from."""

    at_s: float
    took_s: float
    heard: Heard
    hosts: tuple[str, ...]


class Asking:
    """`tracks` gives the addresses of each track as the manifest has them. `told` grows by a row a question."""

    def __init__(
        self,
        steering: Steering,
        fetcher: RangeFetcher,
        now: Callable[[], float],
        tracks: Callable[[], Iterable[tuple[Address, ...]]],
    ) -> None:
        self._steering = steering
        self._fetcher = fetcher
        self._now = now
        self._tracks = tracks
        self.told: list[Told] = []

    async def before_start(self) -> None:
        """One question that the start waits for, `BEFORE_START_S` at most."""
        try:
            async with asyncio.timeout(BEFORE_START_S):
                await self._ask()
        except TimeoutError:
            return

    async def run(self) -> None:
        """Until steering is gone for good."""
        while math.isfinite(self._steering.due_at):
            await asyncio.sleep(max(0.0, self._steering.due_at - self._now()))
            await self._ask()

    async def _ask(self) -> None:
        asked_at_s = self._now()
        answer = await self._fetcher.ask(self._steering.question())
        now = self._now()
        heard = self._steering.heard(answer, now)
        hosts = (urlsplit(self._steering.preferred(addresses)[0].url).netloc for addresses in self._tracks())
        self.told.append(Told(asked_at_s, now - asked_at_s, heard, tuple(hosts)))
