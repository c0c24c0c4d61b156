"""A play that is watched from the press to its end: its result as JSON and as a picture in a folder.

`build/players` unless LOWTIDE_PLAYERS_DIR names another: RUN.json (`run_result.RunResult`), RUN.html (its timeline).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import httpx
import msgspec

from chassis.logs import redact_path
from tests.browser.chromium import Tab, js
from tests.browser.observations import PRESSED, Observed, Page
from tests.browser.run_result import Bounds, Name, RunResult, Verdict, result_of
from tests.browser.timeline import draw
from tests.browser.wire import Wire

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
Record = Callable[[str, object], None]
"""The fixture `record_property`."""
RUN = "run"
"""The property of a test that names its run."""
OBSERVING = HERE / "bed" / "observing.js"
FAILURES = "[...(window.bed?.failures ?? []), ...[...document.querySelectorAll('.curtain')].map(one => one.innerText)]"
"""What a player of the bed, or the viewer page, says when it gives up."""
SESSION = "performance.getEntriesByType('resource').map(one => one.name.match(/^.*\\/v1\\/play\\/[^/]+\\//)?.[0]).findLast(Boolean)"
"""Where the manifests of the session lie that the page played last."""
_VERSIONS = {"hls.js": "hls.js", "dash.js": "dashjs", "shaka": "shaka-player", "viewer": "shaka-player"}


class _Vendored(msgspec.Struct):
    name: str
    version: str


@dataclass
class Run:
    """A play in a tab. `mark` what is done to it; `end` it once."""

    tab: Tab
    name: Name
    wire: Wire
    is_over: bool = False

    async def mark(self, what: str) -> None:
        await self.tab.value(f"observed.mark({js(what)})")

    async def end(self, bounds: Bounds) -> RunResult:
        """Judges what was seen until now. Raises LookupError when a mark of the bounds was never set."""
        self.is_over = True
        session = await self.tab.value(SESSION)
        pathways = await pathways_of(f"{session}manifest.mpd") if session else {}
        page = msgspec.convert(await self.tab.value("observed.everything()"), type=Page, strict=False)
        seen = Observed(
            page,
            pathways,
            await self.wire.steered(page.clock_began_s),
            self.wire.preflights,
            tuple(redact_path(str(words)) for words in await self.tab.value(FAILURES)),
        )
        result = result_of(self.name, seen, bounds)
        _write(result, seen)
        return result

    async def hold(self, bounds: Bounds, record: Record) -> RunResult:
        """Ends the run and says so; the words of a failure are those of its result."""
        result = await self.end(bounds)
        record(RUN, result.run)
        assert result.verdict is Verdict.HELD, result.why
        return result


@asynccontextmanager
async def watched(tab: Tab, scenario: str, player: str, seed: int) -> AsyncIterator[Run]:
    """Begins before the page is opened; the page is observed whether it knows of it or not. A scenario that breaks off leaves a
    result that says so."""
    wire = Wire(tab)
    await wire.listen()
    await tab.command("Page.addScriptToEvaluateOnNewDocument", source=OBSERVING.read_text(encoding="utf-8"))
    run = Run(tab, Name(scenario, player, version_of(player), seed), wire)
    try:
        yield run
    finally:
        if not run.is_over and await tab.value(f"window.observed?.marks.some(row => row[1] === {js(PRESSED)})"):
            await run.end(Bounds(is_whole=False))


def folder() -> Path:
    """Where results lie."""
    return Path(os.environ.get("LOWTIDE_PLAYERS_DIR") or ROOT / "build" / "players")


def version_of(player: str) -> str:
    """The version that is vendored."""
    listed = msgspec.json.decode((ROOT / "web" / "vendor" / "manifest.json").read_bytes(), type=list[_Vendored])
    return next(entry.version for entry in listed if entry.name == _VERSIONS[player])


async def pathways_of(dash_url: str) -> dict[tuple[str, str], str]:
    """(host, file) → pathway, as a manifest says it now; nothing when its session is over."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(dash_url)
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return {}
    return pathways_in(answer.raise_for_status().text)


def pathways_in(mpd: str) -> dict[tuple[str, str], str]:
    """(host, file) → pathway, of every place that an MPD names."""
    found = {}
    for element in ElementTree.fromstring(mpd).iterfind(".//{*}BaseURL"):
        url = urlsplit(element.text or "")
        if element.get("serviceLocation"):
            found[url.netloc, url.path.rpartition("/")[2]] = element.get("serviceLocation", "")
    return found


def _write(result: RunResult, seen: Observed) -> None:
    where = folder()
    where.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(result), indent=2)
    (where / f"{result.run}.json").write_bytes(text)
    (where / f"{result.run}.html").write_text(draw(result, seen), encoding="utf-8")
