"""A network, a film and a clock that are made up: plays of minutes in milliseconds, the same every time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import msgspec

from contracts.digests import DigestBuilder, FileDigests
from contracts.urls import split_token
from player.fetching import RangeFetcher
from player.playing import Playback, PlayReport, Wishes
from player.verification import Verifier
from tests.player.test_presentation import sidx

T = TypeVar("T")
SEGMENT_S = 4
INIT_BYTES = 100
VIDEO, AUDIO = "/media/x/sd/v.mp4", "/media/x/base/a.mp4"
STEERING = "steering.lab:80"
LATENCY_S = 0.02


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time stands still while anything can run, and jumps to the next timer when nothing can."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 0.0
        selector: Any = self._selector  # type: ignore[attr-defined]
        really = selector.select

        def select(timeout: float | None) -> Any:
            if timeout:
                self._virtual_s += timeout
            return really(0)

        selector.select = select

    def time(self) -> float:
        return self._virtual_s


def run(main: Coroutine[Any, Any, T]) -> T:
    """In virtual time, which begins at 0."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Film:
    """Two files of random bytes with a segment index and a playlist, as the packager lays them out."""

    seconds: int
    files: dict[str, bytes]
    ranges: dict[str, str]

    @property
    def digests(self) -> dict[str, FileDigests]:
        found = {}
        for path, data in self.files.items():
            builder = DigestBuilder(f"vod|{path}", "video/mp4")
            builder.update(data)
            found[path] = builder.finish()
        return found

    def m3u8(self, bases: Sequence[tuple[str, str]], steering: str = "") -> str:
        """As `mpd`, in HLS; media playlists lie beside the files."""
        lines = ["#EXTM3U", f'#EXT-X-CONTENT-STEERING:SERVER-URI="{steering}",PATHWAY-ID="{bases[0][0]}"']
        for name, base in bases:
            audio = f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio-{name}",NAME="a",STABLE-RENDITION-ID="a"'
            lines.append(f'{audio},URI="{base}/~t{playlist_of(AUDIO)}"')
        for name, base in bases:
            variant = f'#EXT-X-STREAM-INF:BANDWIDTH=200000,CODECS="avc1.64001e,mp4a.40.2",AUDIO="audio-{name}"'
            lines += [
                f'{variant},STABLE-VARIANT-ID="v",PATHWAY-ID="{name}"',
                f"{base}/~t{playlist_of(VIDEO)}",
            ]
        return "\n".join(lines) + "\n"

    def mpd(self, bases: Sequence[tuple[str, str]], steering: str = "", before_start: bool = False) -> str:
        """`bases`: (pathway, base URL), best first."""
        tag = (
            f'<ContentSteering defaultServiceLocation="{bases[0][0]}" queryBeforeStart="{str(before_start).lower()}">'
            f"{steering}</ContentSteering>"
        )
        sets = []
        for path in (VIDEO, AUDIO):
            kind = "video" if "/v" in path else "audio"
            urls = "".join(f'<BaseURL serviceLocation="{name}">{base}/~t{path}</BaseURL>' for name, base in bases)
            sets.append(
                f'<AdaptationSet contentType="{kind}"><Representation id="{path}" bandwidth="200000">{urls}'
                f'<SegmentBase indexRange="{self.ranges[path]}"><Initialization range="0-{INIT_BYTES - 1}"/></SegmentBase>'
                "</Representation></AdaptationSet>"
            )
        return (
            f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT{self.seconds}S">'
            f"{tag if steering else ''}<Period>{''.join(sets)}</Period></MPD>"
        )


def make_film(seconds: int, seed: int = 1) -> Film:
    rng = random.Random(seed)
    files, ranges = {}, {}
    for path, size in ((VIDEO, 40_000), (AUDIO, 9_000)):
        sizes = [size + rng.randrange(2000) for _ in range(seconds // SEGMENT_S)]
        index = sidx([(length, SEGMENT_S * 1000) for length in sizes])
        files[path] = rng.randbytes(INIT_BYTES) + index + rng.randbytes(sum(sizes))
        ranges[path] = f"{INIT_BYTES}-{INIT_BYTES + len(index) - 1}"
        files[playlist_of(path)] = _playlist(path, INIT_BYTES + len(index), sizes)
    return Film(seconds, files, ranges)


def playlist_of(path: str) -> str:
    return path.replace(".mp4", ".m3u8")


def _playlist(path: str, first: int, sizes: Sequence[int]) -> bytes:
    name = path.rpartition("/")[2]
    lines = ["#EXTM3U", f"#EXT-X-TARGETDURATION:{SEGMENT_S}", f'#EXT-X-MAP:URI="{name}",BYTERANGE="{INIT_BYTES}@0"']
    for number, size in enumerate(sizes):
        where = f"{size}@{first}" if not number else str(size)
        lines += [f"#EXTINF:{SEGMENT_S}.000,", f"#EXT-X-BYTERANGE:{where}", name]
    return "\n".join([*lines, "#EXT-X-ENDLIST"]).encode()


@dataclass
class Network(httpx.AsyncBaseTransport):
    """Hosts with the film's files, one that steers, and some that are dead. `asked` are (instant, host) of every request for media."""

    film: Film
    guidance: Callable[[httpx.Request], httpx.Response] | None = None
    dead: set[str] = field(default_factory=set)
    silent: bool = False
    """The server that steers takes every question and says nothing."""
    asked: list[tuple[float, str]] = field(default_factory=list)
    questions: list[tuple[float, httpx.URL]] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = f"{request.url.host}:{request.url.port or 80}"
        if host == STEERING:
            self.questions.append((now(), request.url))
            await asyncio.sleep(3600 if self.silent else LATENCY_S)
            if self.guidance is None or host in self.dead:
                raise httpx.ConnectError("nobody there")
            return self.guidance(request)
        self.asked.append((now(), host))
        await asyncio.sleep(LATENCY_S)
        if host in self.dead:
            raise httpx.ConnectError("nobody there")
        return self._media(request)

    def _media(self, request: httpx.Request) -> httpx.Response:
        data = self.film.files[split_token(request.url.path)[1]]
        if "Range" not in request.headers:
            return httpx.Response(200, stream=httpx.ByteStream(data))
        first, last = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
        head = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        return httpx.Response(206, headers=head, stream=httpx.ByteStream(data[first : last + 1]))


def guidance(*priority: str, ttl: float = 30, clones: Sequence[tuple[str, str]] = ()) -> httpx.Response:
    """A steering server's answer; `clones` of `pathway-1` are (id, host)."""
    made = [{"BASE-ID": "pathway-1", "ID": name, "URI-REPLACEMENT": {"HOST": host}} for name, host in clones]
    body = {"VERSION": 1, "TTL": ttl, "PATHWAY-PRIORITY": priority, "PATHWAY-CLONES": made}
    return httpx.Response(200, stream=httpx.ByteStream(msgspec.json.encode(body)))


async def play(network: Network, manifest: str, buffer_s: float = 20.0) -> PlayReport:
    """One play to its end, every byte checked."""
    fetcher = RangeFetcher(now=now, transport=network)

    async def mpd() -> str:
        return manifest

    wishes = Wishes(buffer_s=buffer_s, title="x", session="s-1")
    playback = Playback(mpd, fetcher, Verifier(network.film.digests), wishes, now=now)
    try:
        return await playback.run()
    finally:
        await fetcher.aclose()
