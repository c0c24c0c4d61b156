"""A page of its own origin with three real players, and what it says of their requests and pictures."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from contracts.members import SignUp
from contracts.viewing import ANY_DEVICE, DeviceLimits, PlayAnswer
from player.membership import Member
from tests.browser.chromium import Tab, js
from tests.browser.observations import Answered, Frame
from tests.browser.viewer_page import PASSWORD
from tests.system.small_system import SmallSystem

HERE = Path(__file__).resolve().parent
VENDOR = HERE.parents[1] / "web" / "vendor"
PLAYERS = ("shaka", "hls.js", "dash.js")
SMALL_BUFFER: dict[str, dict[str, Any]] = {
    "shaka": {"streaming": {"bufferingGoal": 8}},
    "hls.js": {"maxBufferLength": 8, "maxMaxBufferLength": 8},
    "dash.js": {"streaming": {"buffer": {"bufferTimeDefault": 8, "bufferTimeAtTopQuality": 8}}},
}
"""So that a short film is not in the buffer at once."""
LOW_START: dict[str, dict[str, Any]] = {
    "shaka": {"streaming": {"bufferingGoal": 12}, "abr": {"defaultBandwidthEstimate": 100_000}},
    "hls.js": {"maxBufferLength": 12, "maxMaxBufferLength": 12, "startLevel": 0, "abrEwmaDefaultEstimate": 100_000},
    "dash.js": {
        "streaming": {
            "buffer": {"bufferTimeDefault": 12, "bufferTimeAtTopQuality": 12},
            "abr": {"initialBitrate": {"video": 100}},
        }
    },
}
"""Begins on the lowest rung with a buffer that is healthy and soon full."""
KEEP_LOW = {
    "shaka": "player.configure('abr.restrictions.maxHeight', 180)",
    "hls.js": "player.autoLevelCapping = 0",
    "dash.js": "player.updateSettings({ streaming: { abr: { maxBitrate: { video: 500 } } } })",
}
"""Stays on the lowest rung, as if the network had been bad, …"""
LET_GO = {
    "shaka": "bed.player.configure('abr.restrictions.maxHeight', Infinity)",
    "hls.js": "bed.player.autoLevelCapping = -1",
    "dash.js": "bed.player.updateSettings({ streaming: { abr: { maxBitrate: { video: -1 } } } })",
}
"""… and then may choose again."""
GOAL_S = 24.0
"""What STEADY keeps in the buffer: what is shown later was fetched later."""
PIECE_S = 4.0
"""What may be missing of it while the next piece is on its way."""
STEADY: dict[str, dict[str, Any]] = {
    "shaka": {"streaming": {"bufferingGoal": 24}},
    "hls.js": {"maxBufferLength": 24, "maxMaxBufferLength": 24},
    "dash.js": {"streaming": {"buffer": {"bufferTimeDefault": 24, "bufferTimeAtTopQuality": 24}}},
}
"""A buffer in which twenty seconds without anybody are nothing, and a long film does not lie."""
REFUSED = 403
_members = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Resumption:
    """What became of a play after an address of it was refused: seconds from the refusal to the first picture made from
    what came after it, the longest time without a new picture meanwhile, and how far from the old position it went on."""

    resumed_s: float
    longest_still_s: float
    moved_s: float


@dataclass(frozen=True, slots=True)
class PlayerBed:
    """The page in a tab."""

    tab: Tab
    url: str

    async def play(self, player: str, answer: PlayAnswer, more: dict[str, Any] | None = None, then: str = "") -> None:
        """Opens the page anew and plays; returns when pictures move. `then` is done with `player` before that."""
        manifest = answer.dash_url if player == "dash.js" else answer.hls_url
        await self.tab.open(self.url)
        await self.tab.until("window.bed")
        settings = msgspec.json.encode(more or {}).decode()
        await self.tab.value(f"bed.play({js(player)}, {js(manifest)}, {settings}, {js(then)})")
        await self.until_position(0.5)

    async def play_steadily(self, player: str, answer: PlayAnswer, within_s: float = 60.0) -> str:
        """Plays as STEADY says until the buffer is full but for a piece; the host that gave the last piece of picture."""
        await self.play(player, answer, STEADY[player])
        await self.tab.until(f"observed.samples.at(-1)?.[2] >= {GOAL_S - PIECE_S}", within_s)
        return await self.host()

    async def until_position(self, position_s: float, within_s: float = 30.0) -> None:
        await self.tab.until(f"bed.frames.at(-1)?.[1] >= {position_s}", within_s)

    async def until_height(self, height: int, within_s: float) -> float:
        """Waits until all pictures of three seconds have this height; the position of the first picture that had it."""
        latest = "bed.frames.filter(frame => frame[1] > bed.frames.at(-1)[1] - 3)"
        await self.tab.until(f"{latest}.every(frame => frame[2] === {height})", within_s)
        return next(frame.position_s for frame in await self.frames() if frame.height == height)

    async def play_on(self, seconds: float, within_s: float = 60.0) -> None:
        """Returns when pictures have moved on so far."""
        await self.until_position((await self.frames())[-1].position_s + seconds, within_s)

    async def jump(self, position_s: float, within_s: float = 30.0) -> None:
        """Seeks; returns when a picture from there was shown, and two seconds more."""
        await self.tab.value(f"bed.video.currentTime = {position_s}")
        await self.tab.until(
            f"!bed.video.seeking && (at => at >= {position_s + 2} && at < {position_s + within_s})(bed.frames.at(-1)[1])",
            within_s,
        )

    async def host(self) -> str:
        """Who gave the last piece of picture."""
        pictures = [answer for answer in await self.answers() if answer.is_good and answer.file.startswith("v-")]
        return max((answer for answer in pictures if answer.is_media), key=lambda answer: answer.asked_ms).host

    async def answers(self) -> list[Answered]:
        return msgspec.convert(await self.tab.value("bed.answers"), type=list[Answered], strict=False)

    async def frames(self) -> list[Frame]:
        return msgspec.convert(await self.tab.value("bed.frames"), type=list[Frame], strict=False)

    async def until_refused(self, within_s: float) -> Answered:
        """The first answer that was a 403."""
        await self.tab.until(f"bed.answers.some(row => row[2] === {REFUSED})", within_s)
        return next(answer for answer in await self.answers() if answer.status == REFUSED)

    async def resumption(self, refused: Answered, within_s: float = 20.0) -> Resumption:
        """Waits until pictures move again after a refusal, and measures."""
        fresh = f"bed.answers.find(row => row[2] === 206 && row[0] > {refused.answered_ms} && row[4].startsWith('v-'))"
        at_s = max(
            (frame.position_s for frame in await self.frames() if frame.shown_ms <= refused.answered_ms), default=0.0
        )
        moving = f"(row => row && bed.frames.find(f => f[0] > row[1] && f[1] > {at_s}))({fresh})"
        first = msgspec.convert(await self.tab.until(moving, within_s), type=Frame, strict=False)
        frames = await self.frames()
        shown = [frame.shown_ms for frame in frames if refused.answered_ms - 500 <= frame.shown_ms <= first.shown_ms]
        still = [after - before for before, after in itertools.pairwise(shown)]
        return Resumption(
            (first.shown_ms - refused.answered_ms) / 1000, max(still, default=0.0) / 1000, first.position_s - at_s
        )


@asynccontextmanager
async def open_bed(tab: Tab) -> AsyncIterator[PlayerBed]:
    """Serves the page; its origin is neither playback's nor an appliance's."""
    app = web.Application()
    app.router.add_get("/", _index)
    app.router.add_static("/vendor", VENDOR)
    app.router.add_static("/", HERE / "bed")
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield PlayerBed(tab, f"http://127.0.0.1:{runner.addresses[0][1]}/")
    finally:
        await runner.cleanup()


async def press_play(system: SmallSystem, title_id: str, device: DeviceLimits = ANY_DEVICE) -> PlayAnswer:
    """A new member of the first network plays a title on a device."""
    network, number = system.networks[0], next(_members)
    member = Member(system.services, network.address(number))
    try:
        await member.sign_up(SignUp(f"player-{number}@example.org", PASSWORD, network.region))
        profile = (await member.account()).profiles[0]
        return await member.play(title_id, profile.id, "bed", device)
    finally:
        await member.aclose()


async def counted(status_url: str, metric: str, label: str = "") -> float:
    """The sum of an appliance's counter over all rows that carry a label such as `outcome="preflight"`."""
    async with aiohttp.ClientSession() as session, session.get(f"{status_url}/metrics") as answer:
        text = await answer.text()
    rows = re.findall(rf"^{metric}(\{{.*?\}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for labels, value in rows if label in labels)


async def _index(_request: web.Request) -> web.FileResponse:
    return web.FileResponse(HERE / "bed" / "index.html")
