"""Viewers of one site: each asks steering, then reads a whole file by ranges over kept connections, and checks every block by its digest.

A range that fails goes to the next place that steering named; the last one is the origin, whose bytes came from outside. Views begin when the calendar
says so, however long others take; at most `AT_ONCE` are under way, and how late that made a view is kept.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
import msgspec

from benchmarks.cycle.catalogue import Entry, View, ranges_of
from benchmarks.cycle.town import CLIENTS, Town
from contracts.digests import BLOCK_BYTES, block_digest
from contracts.urls import with_token
from contracts.world import Choice, RankFile, Ranking, RankRequest

AT_ONCE = 96
PATIENCE_S = 15.0
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Tally:
    """What the viewers of a site saw on one day."""

    views: int = 0
    ranges: int = 0
    delivered_bytes: int = 0
    direct_bytes: int = 0
    """Of those, straight from the origin."""
    elsewhere: int = 0
    not_served: int = 0
    wrong_blocks: int = 0
    late_s: float = 0.0
    """The latest that a view began, in seconds of the machine."""


class Failed(Exception):
    """A place did not give a range; the message says what it did instead."""


@dataclass(slots=True)
class Lines:
    """Kept connections by place."""

    idle: dict[tuple[str, int], list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    async def get(self, base_url: str, target: str, first: int, last: int) -> bytes:
        """The body of a 206 for exactly this range. Raises Failed."""
        parts = urlsplit(base_url)
        place = (parts.hostname or "", parts.port or 80)
        try:
            async with asyncio.timeout(PATIENCE_S):
                # A kept connection that the other side has closed meanwhile says nothing about the place.
                while self.idle[place]:
                    try:
                        return await self._exchange(place, self.idle[place].pop(), target, first, last)
                    except (OSError, asyncio.IncompleteReadError):
                        continue
                line = await asyncio.open_connection(*place, limit=2 * BLOCK_BYTES)
                return await self._exchange(place, line, target, first, last)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise Failed(repr(error)) from error

    async def _exchange(
        self,
        place: tuple[str, int],
        line: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        target: str,
        first: int,
        last: int,
    ) -> bytes:
        reader, writer = line
        kept = False
        try:
            writer.write(
                f"GET {target} HTTP/1.1\r\nHost: {place[0]}:{place[1]}\r\nRange: bytes={first}-{last}\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            status = int(head.split(b" ", 2)[1])
            body = await reader.readexactly(int(length[1])) if length is not None else b""
            kept = length is not None and b"connection: close" not in head.lower()
            if status != 206 or len(body) != last - first + 1:
                raise Failed(f"status {status}, {len(body)} bytes")
            return body
        finally:
            if kept:
                self.idle[place].append(line)
            else:
                writer.close()

    def close(self) -> None:
        for lines in self.idle.values():
            for _, writer in lines:
                writer.close()
        self.idle.clear()


class Viewers:
    """All viewers of one site."""

    def __init__(self, town: Town, site_id: str) -> None:
        self._town = town
        self._site_id = site_id
        self._lines = Lines()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tokens: dict[str, str] = {}
        self._steering = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S))
        self.by_day: dict[int, Tally] = defaultdict(Tally)
        self.complaints: list[str] = []
        """The first words of what went wrong."""

    async def close(self) -> None:
        self._lines.close()
        await self._steering.close()

    async def watch(self, view: View, day: int, due_at: float) -> None:
        """One view from its ranking to its last byte; it should begin at `due_at`, by the machine's clock. One that is cut off, or dies, was not
        served."""
        tally = self.by_day[day]
        try:
            async with self._places:
                tally.late_s = max(tally.late_s, time.time() - due_at)
                await self._watch(tally, self._town.entries[view.entry])
        except BaseException as error:
            self._complain(f"a view ended early: {error!r}")
            tally.not_served += 1
            raise

    async def _watch(self, tally: Tally, entry: Entry) -> None:
        try:
            choices = await self._rank(entry)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            self._complain(f"steering: {error!r}")
            tally.not_served += 1
            return
        tally.views += 1
        for first, last in ranges_of(entry):
            await self._read(tally, entry, choices, first, last)

    async def _rank(self, entry: Entry) -> Sequence[Choice]:
        key = entry.media.key
        request = RankRequest(CLIENTS[self._site_id], (RankFile(key, f"{entry.title_id}/{entry.name}"),))
        body = msgspec.json.encode(request)
        headers = {"Content-Type": "application/json"}
        async with self._steering.post(f"{self._town.steering_url}/v1/rank", data=body, headers=headers) as answer:
            return msgspec.json.decode(await answer.read(), type=Ranking).groups[0].choices

    async def _read(self, tally: Tally, entry: Entry, choices: Sequence[Choice], first: int, last: int) -> None:
        if entry.title_id not in self._tokens:
            self._tokens[entry.title_id] = self._town.token(entry.title_id)
        target = with_token(self._tokens[entry.title_id], entry.media.path)
        tally.ranges += 1
        for number, choice in enumerate(choices):
            try:
                body = await self._lines.get(choice.url, target, first, last)
            except Failed as error:
                self._complain(f"{choice.appliance_id or 'origin'}: {entry.media.path} {first}-{last}: {error}")
                continue
            wrong = self._wrong_blocks(entry, first, body)
            if wrong:
                tally.wrong_blocks += wrong
                self._complain(f"{choice.appliance_id or 'origin'}: {entry.media.path} {first}-{last}: wrong bytes")
            tally.elsewhere += number > 0
            tally.delivered_bytes += len(body)
            tally.direct_bytes += 0 if choice.appliance_id else len(body)
            return
        tally.not_served += 1

    def _wrong_blocks(self, entry: Entry, first: int, body: bytes) -> int:
        digests = self._town.digests[entry.number]
        return sum(
            block_digest(memoryview(body)[at : at + BLOCK_BYTES]) != digests.block((first + at) // BLOCK_BYTES)
            for at in range(0, len(body), BLOCK_BYTES)
        )

    def _complain(self, words: str) -> None:
        if len(self.complaints) < 200:
            self.complaints.append(words)
