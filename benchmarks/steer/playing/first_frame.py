"""`play/first-frame-s`: from pressing play on the viewer page, in headless Chromium, to the first frame that is shown.

The page is the real one on a system that is up and warm: films published and filled, the page loaded, one play before the first that
counts. Each press is of another film than the last one, from the film's own page; the time is the page's own clock from the click to the
video's `requestVideoFrameCallback`.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks.browser.chromium import PROGRAMS, open_tab
from benchmarks.browser.viewer_page import ViewerPage
from benchmarks.serve.rows import Plain, Row
from benchmarks.steer.playing.stage import Stage, open_stage
from benchmarks.suite.shell import LeftOut

NAME = "play/first-frame-s"
FILM_S = 60
LADDER = ("180@250", "360@700")
WATCHED_S = 1.0


def rows(folder: Path, *, presses: int, say: Callable[[str], None]) -> list[Row]:
    """Raises LeftOut where there is no browser."""
    if not any(map(shutil.which, PROGRAMS)):
        raise LeftOut("Chromium is not installed: sudo scripts/system-parts")
    found = asyncio.run(_measured(folder, presses))
    say(f"  {', '.join(f'{one:.3f}' for one in found)} s")
    facts = {"worst s": max(found), "best s": min(found), "presses": float(len(found))}
    unit = "s from pressing play in the browser to the first frame, local system"
    return [Row(NAME, unit, statistics.median(found), None, None, (Plain(statistics.median(found), facts),))]


async def _measured(folder: Path, presses: int) -> list[float]:
    async with open_stage(folder, FILM_S, LADDER) as stage:
        async with open_tab(folder / "browser") as tab:
            page = ViewerPage(tab, stage.box.viewer_url)
            site = next(spec for spec in stage.box.topology.sites if spec.id == stage.network.site_id)
            await page.arrive("Meter", site)
            found = [await _pressed(page, stage, number) for number in range(presses + 1)]
    return found[1:]


async def _pressed(page: ViewerPage, stage: Stage, number: int) -> float:
    """Seconds. Afterwards the page is home again."""
    await page.open_title(stage.names[number % len(stage.names)])
    took_s = await page.press_play() / 1000
    await page.until_position(WATCHED_S)
    await page.tab.value("location.hash = '#/'")
    await page.tab.until("document.querySelector('main.home .card')")
    return took_s
