"""The viewer page as somebody uses it, and what its video and its network show."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.browser.chromium import Tab, js
from onebox.topology import SiteSpec

PASSWORD = "a long tide comes slowly"
PICTURES = os.environ.get("LOWTIDE_TEST_PICTURES")
FIRST_FRAME = """
new Promise((done) => {
  const pressed = performance.now();
  document.querySelector(BUTTON).click();
  const look = () => {
    const video = document.querySelector("video");
    if (video) video.requestVideoFrameCallback(() => done(performance.now() - pressed));
    else setTimeout(look, 1);
  };
  look();
})
"""
"""Milliseconds from the press of a button to the first picture that is shown."""
PIXELS = """
(() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 36 });
  const pen = canvas.getContext("2d");
  pen.drawImage(document.querySelector("video"), 0, 0, 64, 36);
  return [...pen.getImageData(0, 0, 64, 36).data].filter((_, place) => place % 4 < 3);
})()
"""
"""The shown picture as 64 × 36 points of red, green, blue (0..255)."""
MEDIA = """
performance.getEntriesByType("resource")
  .map((entry) => ({ entry, url: new URL(entry.name) }))
  .filter(({ entry, url }) => /\\/media\\/.*\\.(mp4|m3u8)$/.test(url.pathname) && entry.startTime >= SINCE)
  .map(({ entry, url }) => ({
    host: url.host, file: url.pathname.split("/").pop(), token: url.pathname.split("/")[1], status: entry.responseStatus,
    at: entry.startTime, end: entry.responseEnd,
  }))
"""
_visitors = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Received:
    """An answer that the page received for media. `at_ms` and `end_ms` are the page's clock when it was asked for and whole."""

    host: str
    file: str
    token: str
    status: int
    at_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True)
class ViewerPage:
    """The page at `url` in a tab."""

    tab: Tab
    url: str

    async def arrive(self, name: str, site: SiteSpec) -> None:
        """Signs up somebody new who watches from a site's network, as far as the home page."""
        await self.tab.open(self.url)
        await self.tab.click(".sheet .link")
        await self.tab.fill("[name=email]", f"{name.lower()}-{next(_visitors)}@example.org")
        await self.tab.fill("[name=password]", PASSWORD)
        await self.tab.fill("[name=profile_name]", name)
        await self.tab.press("Enter")
        await self.tab.choose(".demo-network select", site.name)
        await self.tab.until(
            f"document.querySelector('.demo-network select').selectedOptions[0].text.includes({js(site.name)})"
        )
        await self.look("profiles")
        await self.tab.click(".face")
        await self.tab.until("document.querySelector('main.home .card')")

    async def open_title(self, name: str) -> None:
        """From the home page to a title's page by its card."""
        await self.tab.until(_card(name))
        await self.tab.value(f"{_card(name)}.querySelector('a').click()")
        await self.tab.until(f"document.querySelector('main.title h1')?.innerText === {js(name)}")

    async def press_play(self) -> float:
        """Presses what begins or resumes; milliseconds until the first picture was there."""
        return float(await self.tab.value(FIRST_FRAME.replace("BUTTON", js("main.title .main"))))

    async def position(self) -> float:
        return float(await self.tab.value("document.querySelector('video').currentTime"))

    async def until_position(self, position_s: float, within_s: float = 20.0) -> None:
        await self.tab.until(f"document.querySelector('video').currentTime >= {position_s}", within_s)

    async def jump(self, position_s: float) -> None:
        await self.tab.value(f"document.querySelector('video').currentTime = {position_s}")

    async def pixels(self) -> list[int]:
        """The shown picture as 64 × 36 points of red, green, blue."""
        found = await self.tab.value(PIXELS)
        assert isinstance(found, list)
        return found

    async def sees_a_moving_picture(self) -> None:
        """Asserts that within a second the clock of the video goes on and a good part of its points changes."""
        began, picture = await self.position(), await self.pixels()
        assert len(set(picture)) > 8, "one flat colour is no picture"
        await asyncio.sleep(1.0)
        assert await self.position() > began + 0.4
        assert changed(picture, await self.pixels()) > 0.01

    async def now_ms(self) -> float:
        return float(await self.tab.value("performance.now()"))

    async def received(self, since_ms: float = 0.0) -> list[Received]:
        """Media that came, in the order of asking."""
        return [answer for answer in await self.answers(since_ms) if 200 <= answer.status < 300]

    async def answers(self, since_ms: float = 0.0) -> list[Received]:
        """Every answer to a request for media, refusals too, in the order of asking."""
        found = await self.tab.value(MEDIA.replace("SINCE", str(since_ms)))
        return [
            Received(*(entry[name] for name in ("host", "file", "token", "status", "at", "end"))) for entry in found
        ]

    async def look(self, name: str) -> None:
        """Pictures in the folder LOWTIDE_TEST_PICTURES, where somebody wants to see them."""
        if PICTURES:
            await self.tab.pictures(Path(PICTURES), name)


def changed(before: Sequence[int], after: Sequence[int]) -> float:
    """Share of colour values that differ by more than noise."""
    return sum(abs(one - other) > 24 for one, other in zip(before, after, strict=True)) / len(before)


def _card(name: str) -> str:
    return f"[...document.querySelectorAll('.card')].find(card => card.innerText.includes({js(name)}))"
