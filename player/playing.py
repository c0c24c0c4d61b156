"""One play: manifest, segments, adaptation, verification, facts for a report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from contracts.urls import split_token
from player.adaptation import Throughput, choose
from player.asking import Asking, Told
from player.fetching import Attempt, NothingAnswered, RangeFetcher, TokenRefusedByServer
from player.presentation import Address, Presentation, Representation, SegmentRange, parse_mpd, parse_sidx
from player.steering import Steering
from player.timeline import Timeline
from player.verification import Verifier

MAX_BUFFER_S = 12.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to play and how: positions in media seconds, `rate` in media seconds per second."""

    start_s: float = 0.0
    until_s: float | None = None
    rate: float = 1.0
    session: str = ""
    title: str = ""
    buffer_s: float = MAX_BUFFER_S
    """Media seconds ahead; the next segment is fetched when there is less."""
    steered: bool = True
    """Follow content steering where the manifest offers it."""


@dataclass
class PlayReport:
    """What happened in one play. `failure` is empty when it reached its end; times in wall seconds."""

    title: str = ""
    startup_s: float = 0.0
    started_at_position_s: float = 0.0
    position_s: float = 0.0
    stalls: int = 0
    stalled_s: float = 0.0
    switches: int = 0
    fresh_manifests: int = 0
    failure: str = ""
    checked_bytes: int = 0
    received_bytes: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    renditions: list[str] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    """What content steering said."""

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(sorted({attempt.host for attempt in self.attempts if attempt.got_bytes}))


class Playback:
    """Plays one presentation. `manifest` fetches the MPD's text (again after a refused token).

    `run` returns a report also when playing fails; it raises WrongBytes when a byte was wrong, and nothing else of ours.
    """

    def __init__(
        self,
        manifest: Callable[[], Awaitable[str]],
        fetcher: RangeFetcher,
        verifier: Verifier,
        wishes: Wishes,
        *,
        now: Callable[[], float] = time.monotonic,
        pressed_at: float | None = None,
    ) -> None:
        self._manifest = manifest
        self._fetcher = fetcher
        self._verifier = verifier
        self._wishes = wishes
        self._now = now
        self._pressed_at = now() if pressed_at is None else pressed_at
        self._presentation = Presentation(0.0, (), ())
        self._have: set[tuple[str, int]] = set()
        self._throughput = Throughput()
        self._indexes: dict[str, tuple[SegmentRange, ...]] = {}
        self.timeline = Timeline(wishes.start_s, wishes.rate)
        self.report = PlayReport(title=wishes.title, started_at_position_s=wishes.start_s)

    async def run(self) -> PlayReport:
        try:
            await self._play()
            await self._prove_edges()
        except NothingAnswered as error:
            self.report.failure = f"{error} (statuses {', '.join(map(str, error.statuses))})"
        self._close_report()
        return self.report

    async def _play(self) -> None:
        self._presentation = parse_mpd(await self._manifest())
        async with self._steered():
            await self._play_through()

    @asynccontextmanager
    async def _steered(self) -> AsyncIterator[None]:
        """Content steering beside what happens inside; nothing where the manifest has none."""
        tag = self._presentation.steering
        if tag is None or not self._wishes.steered:
            yield
            return
        self._fetcher.places = steering = Steering(tag, self._now())
        asking = Asking(steering, self._fetcher, self._now, self._all_addresses)
        self.report.told = asking.told
        if tag.before_start:
            await asking.before_start()
        task = asyncio.create_task(asking.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()

    def _all_addresses(self) -> list[tuple[Address, ...]]:
        return [track.addresses for track in (*self._presentation.video, *self._presentation.audio)]

    async def _play_through(self) -> None:
        end_s = min(self._wishes.until_s or self._presentation.duration_s, self._presentation.duration_s)
        self.timeline.ends_at_s = end_s
        rung: int | None = None
        at_s, started = self._wishes.start_s, False
        while at_s < end_s - 0.05:
            rung = self._next_rung(rung)
            segment = await self._segment("video", rung, at_s)
            await self._audio_until(at_s, segment.starts_at_s + segment.duration_s)
            at_s = segment.starts_at_s + segment.duration_s
            self.timeline.appended(min(at_s, end_s), self._now())
            if not started:
                started = True
                self.report.startup_s = self._now() - self._pressed_at
                self.timeline.start(self._now())
            await asyncio.sleep(self.timeline.wait_s(self._wishes.buffer_s, self._now()))
        await asyncio.sleep(self.timeline.wait_s(0.0, self._now()))
        self.timeline.advance(self._now())

    def _next_rung(self, current: int | None) -> int:
        rates = [track.bandwidth_bps for track in self._presentation.video]
        affordable = self._throughput.bps / self._wishes.rate
        rung = choose(rates, affordable, self.timeline.buffer_s(self._now()), current)
        if current is not None and rung != current:
            self.report.switches += 1
        if current is None or rung != current:
            self.report.renditions.append(self._presentation.video[rung].id)
        return rung

    async def _audio_until(self, from_s: float, to_s: float) -> None:
        at_s = from_s
        while self._presentation.audio and at_s < to_s - 0.05:
            segment = await self._segment("audio", 0, at_s)
            if segment.starts_at_s + segment.duration_s <= at_s:
                return
            at_s = segment.starts_at_s + segment.duration_s

    async def _segment(self, kind: str, rung: int, at_s: float) -> SegmentRange:
        """The segment at a moment, fetched unless it is there already."""
        track = self._track(kind, rung)
        index = await self._index(kind, rung, track)
        middle = at_s + 0.05
        segment = next((part for part in index if part.starts_at_s + part.duration_s > middle), index[-1])
        if (track.id, segment.offset) not in self._have:
            await self._get(kind, rung, segment.offset, segment.offset + segment.length - 1)
            self._have.add((track.id, segment.offset))
        return segment

    def _track(self, kind: str, rung: int) -> Representation:
        return (self._presentation.video if kind == "video" else self._presentation.audio)[rung]

    async def _index(self, kind: str, rung: int, track: Representation) -> tuple[SegmentRange, ...]:
        if track.id not in self._indexes:
            first, last = min(track.init[0], track.index[0]), max(track.init[1], track.index[1])
            data = await self._get(kind, rung, first, last)
            self._indexes[track.id] = parse_sidx(data[track.index[0] - first :], track.index[0], track.index[1] + 1)
        return self._indexes[track.id]

    async def _get(self, kind: str, rung: int, first: int, last: int) -> bytes:
        track = self._track(kind, rung)
        try:
            found = await self._fetcher.fetch(track.addresses, first, last, self._cmcd(track))
        except TokenRefusedByServer:
            self.report.fresh_manifests += 1
            self._presentation = parse_mpd(await self._manifest())
            track = self._track(kind, rung)
            try:
                found = await self._fetcher.fetch(track.addresses, first, last, self._cmcd(track))
            except TokenRefusedByServer as error:
                raise NothingAnswered(str(error), (403,)) from error
        self._throughput = self._throughput.with_download(len(found.data), found.took_s)
        self.report.received_bytes += len(found.data)
        _token, path = split_token(urlsplit(track.addresses[0].url).path)
        self._verifier.add(path, first, found.data)
        return found.data

    def _cmcd(self, track: Representation) -> str:
        """CTA-5004 keys as a query value: br (kbit/s), bl (ms), mtp (kbit/s), ot, cid, sid, sf, st."""
        buffer_ms = round(self.timeline.buffer_s(self._now()) * 10) * 100
        speed = round(self._throughput.bps / 1e5) * 100
        parts = [
            f"bl={buffer_ms}",
            f"br={track.bandwidth_bps // 1000}",
            f'cid="{self._wishes.title}"',
            f"mtp={speed}",
            f"ot={'v' if track.kind == 'video' else 'a'}",
            "sf=d",
            f'sid="{self._wishes.session}"',
            "st=v",
        ]
        return ",".join(parts)

    async def _prove_edges(self) -> None:
        """Fetches what completes partly received blocks, so that every byte used has been checked."""
        tracks = {
            split_token(urlsplit(track.addresses[0].url).path)[1]: track
            for track in (*self._presentation.video, *self._presentation.audio)
        }
        for path, low, high in self._verifier.missing():
            if path in tracks:
                found = await self._fetcher.fetch(tracks[path].addresses, low, high - 1)
                self._verifier.add(path, low, found.data)

    def _close_report(self) -> None:
        self.timeline.advance(self._now())
        self.report.position_s = self.timeline.position_s
        self.report.stalls = self.timeline.stalls
        self.report.stalled_s = self.timeline.stalled_s
        self.report.checked_bytes = self._verifier.checked_bytes
        self.report.attempts = list(self._fetcher.attempts)
