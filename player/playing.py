"""One play: manifest, segments, adaptation, verification, facts for a report."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urljoin, urlsplit

from contracts.urls import split_token
from player.adaptation import Throughput, choose
from player.asking import Asking, Told
from player.fetching import Attempt, Fetched, NothingAnswered, RangeFetcher, TokenRefusedByServer
from player.playlists import FIRST_LINE, parse_media, parse_multivariant
from player.presentation import Address, BadManifest, Presentation, Representation, SegmentRange, parse_mpd, parse_sidx
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
    """Plays one presentation. `manifest` fetches the text of an MPD or of a multivariant playlist (again after a refused token).

    `run` returns a report also when playing fails; it raises WrongBytes when a byte was wrong, what `manifest` raises, and nothing else of
    ours. `report` then says what was seen until then.
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
        self._files: dict[str, tuple[str, tuple[int, int]]] = {}
        """Track id → the file that its media playlist names, and its initialisation bytes."""
        self.timeline = Timeline(wishes.start_s, wishes.rate)
        self.report = PlayReport(title=wishes.title, started_at_position_s=wishes.start_s)

    async def run(self) -> PlayReport:
        try:
            await self._play()
            await self._prove_edges()
        except NothingAnswered as error:
            self.report.failure = f"{error} (statuses {', '.join(map(str, error.statuses))})"
        except BadManifest as error:
            self.report.failure = f"the manifest cannot be played: {error}"
        finally:
            self._close_report()
        return self.report

    async def _play(self) -> None:
        self._presentation = parse(await self._manifest())
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
        duration_s = self._presentation.duration_s
        if math.isinf(duration_s):
            last = (await self._index("video", 0))[-1]
            duration_s = last.starts_at_s + last.duration_s
        end_s = min(self._wishes.until_s or duration_s, duration_s)
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
        index = await self._index(kind, rung)
        track = self._track(kind, rung)
        middle = at_s + 0.05
        segment = next((part for part in index if part.starts_at_s + part.duration_s > middle), index[-1])
        if (track.id, segment.offset) not in self._have:
            await self._get(kind, rung, segment.offset, segment.offset + segment.length - 1)
            self._have.add((track.id, segment.offset))
        return segment

    def _track(self, kind: str, rung: int) -> Representation:
        """With the addresses of its media where they are known."""
        track = (self._presentation.video if kind == "video" else self._presentation.audio)[rung]
        return _with_media(track, *self._files[track.id]) if track.id in self._files else track

    async def _index(self, kind: str, rung: int) -> tuple[SegmentRange, ...]:
        track = self._track(kind, rung)
        if track.id not in self._indexes:
            reading = self._read_playlist if track.playlist else self._read_sidx
            self._indexes[track.id] = await reading(kind, rung)
        return self._indexes[track.id]

    async def _read_sidx(self, kind: str, rung: int) -> tuple[SegmentRange, ...]:
        track = self._track(kind, rung)
        first, last = min(track.init[0], track.index[0]), max(track.init[1], track.index[1])
        data = await self._get(kind, rung, first, last)
        return parse_sidx(data[track.index[0] - first :], track.index[0], track.index[1] + 1)

    async def _read_playlist(self, kind: str, rung: int) -> tuple[SegmentRange, ...]:
        """The media playlist, and the initialisation bytes that it names."""
        track = self._track(kind, rung)
        found = await self._renewing(kind, rung, lambda now: self._fetcher.fetch_whole(now.addresses))
        self._verifier.add(_path(track), 0, found.data)
        media = parse_media(found.data.decode(errors="replace"))
        self._files[track.id] = (media.uri, media.init)
        await self._get(kind, rung, *media.init)
        return media.segments

    async def _get(self, kind: str, rung: int, first: int, last: int) -> bytes:
        found = await self._renewing(
            kind, rung, lambda track: self._fetcher.fetch(track.addresses, first, last, self._cmcd(track))
        )
        self._throughput = self._throughput.with_download(len(found.data), found.took_s)
        self.report.received_bytes += len(found.data)
        self._verifier.add(_path(self._track(kind, rung)), first, found.data)
        return found.data

    async def _renewing(self, kind: str, rung: int, fetch: Callable[[Representation], Awaitable[Fetched]]) -> Fetched:
        """What is fetched of a track; a token that is refused is replaced once, by a fresh manifest. Raises NothingAnswered."""
        try:
            return await fetch(self._track(kind, rung))
        except TokenRefusedByServer:
            self.report.fresh_manifests += 1
            self._presentation = parse(await self._manifest())
        try:
            return await fetch(self._track(kind, rung))
        except TokenRefusedByServer as error:
            raise NothingAnswered(str(error), (403,)) from error

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
            f"sf={'d' if math.isfinite(self._presentation.duration_s) else 'h'}",
            f'sid="{self._wishes.session}"',
            "st=v",
        ]
        return ",".join(parts)

    async def _prove_edges(self) -> None:
        """Fetches what completes partly received blocks, so that every byte used has been checked."""
        rungs = [("video", rung) for rung in range(len(self._presentation.video))]
        rungs += [("audio", rung) for rung in range(len(self._presentation.audio))]
        tracks = {_path(track): track for track in (self._track(kind, rung) for kind, rung in rungs)}
        for path, low, high in self._verifier.missing():
            if path in tracks:
                found = await self._fetcher.fetch(tracks[path].addresses, low, high - 1)
                self._verifier.add(path, low, found.data)

    def _close_report(self) -> None:
        self.timeline.close(self._now())
        self.report.position_s = self.timeline.position_s
        self.report.stalls = self.timeline.stalls
        self.report.stalled_s = self.timeline.stalled_s
        self.report.checked_bytes = self._verifier.checked_bytes
        self.report.attempts = list(self._fetcher.attempts)


def parse(text: str) -> Presentation:
    """An MPD or a multivariant playlist, whichever it is; addresses in it are absolute. Raises player.presentation.BadManifest."""
    return parse_multivariant(text, "") if text.startswith(FIRST_LINE) else parse_mpd(text)


def _with_media(track: Representation, uri: str, init: tuple[int, int]) -> Representation:
    """A track of a playlist with the addresses of the file that the playlist names."""
    addresses = tuple(Address(urljoin(address.url, uri), address.location) for address in track.addresses)
    return replace(track, addresses=addresses, init=init)


def _path(track: Representation) -> str:
    return split_token(urlsplit(track.addresses[0].url).path)[1]
