"""What is done to the system while somebody watches, and the film that is long enough for it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from contracts.places import ApplianceState, StateChange
from demo.footage import SourceTitle
from tests.browser.chromium import Tab
from tests.browser.line import Line
from tests.browser.run_result import Leaving
from tests.browser.runs import Run
from tests.system.small_system import Film, SmallSystem

LONG_FILM_S = 240
LONG_FILM = Film(
    SourceTitle("slow-tide", "The Slow Tide", "Bars, a clock, and time.", ("documentary",), 2022),
    f"testsrc2=size=640x360:rate=15:duration={LONG_FILM_S}",
    f"sine=frequency=520:duration={LONG_FILM_S}",
)
TTL_S = 5
SLOW_MOVE_S = 15
STEERED_OFTEN = {
    "LOWTIDE_STEERING_CONTENT_STEERING__TTL_S": str(TTL_S),
    "LOWTIDE_STEERING_CONTENT_STEERING__TROUBLE_TTL_S": "2",
    "LOWTIDE_STEERING_CONTENT_STEERING__SLOW_MOVE_S": str(SLOW_MOVE_S),
}
"""For the environment of a system's processes: a minute is long for a test."""
STEERED_WITHIN_S = TTL_S + 5.0
"""One TTL, and what it takes on a busy machine until steering has heard and the player has asked for its next piece."""
UNLIMITED = -1
HEARD_WITHIN_S = 30.0
POLL_S = 0.2
_spare = itertools.count(101)
"""The last part of loopback addresses that nobody listens on."""


@dataclass(frozen=True, slots=True)
class Away:
    """An appliance that is not to be used between two marks."""

    began: str
    ended: str

    def leaving(self, host: str, within_s: float | None = STEERED_WITHIN_S) -> Leaving:
        """Nobody asks it any more, one TTL of steering after it began."""
        return Leaving(host, self.began, within_s, self.ended)


@asynccontextmanager
async def without_power(system: SmallSystem, name: str, run: Run) -> AsyncIterator[Away]:
    """kill −9 for an appliance; behind the block it lives again, and steering may send there."""
    away = Away(f"{name} killed", f"{name} returned")
    system.box.pull_the_plug(name)
    try:
        await run.mark(away.began)
        yield away
    finally:
        await run.mark(away.ended)
        system.box.revive(name)
        await system.until_live(name)


@asynccontextmanager
async def in_maintenance(system: SmallSystem, name: str, run: Run) -> AsyncIterator[Away]:
    """Drained by its operator; behind the block it went through maintenance and is live again."""
    away = Away(f"{name} drained", f"{name} back from maintenance")
    await system.operator.put_state(name, StateChange(ApplianceState.DRAINING, "a disk is changed"))
    try:
        await run.mark(away.began)
        yield away
        for state in (ApplianceState.DRAINED, ApplianceState.MAINTENANCE):
            await system.operator.put_state(name, StateChange(state, "a disk is changed"))
    finally:
        await run.mark(away.ended)
        await system.operator.put_state(name, StateChange(ApplianceState.LIVE, "back"))
        await system.until_live(name)


@asynccontextmanager
async def squeezed(tab: Tab, run: Run, rate_bps: float) -> AsyncIterator[None]:
    """The browser's network gives no more than this."""
    await _conditions(tab, rate_bps / 8)
    try:
        await run.mark(f"network of {rate_bps / 1000:.0f} kbit/s")
        yield
    finally:
        await _conditions(tab, UNLIMITED)
    await run.mark("network without bound")


async def _conditions(tab: Tab, bytes_per_s: float) -> None:
    await tab.command(
        "Network.emulateNetworkConditions",
        offline=False,
        latency=0,
        downloadThroughput=bytes_per_s,
        uploadThroughput=bytes_per_s,
    )


@asynccontextmanager
async def behind_lines(system: SmallSystem, names: Sequence[str]) -> AsyncIterator[dict[str, Line]]:
    """Players reach these appliances over a `Line` each, by its host and port; behind the block directly again."""
    async with AsyncExitStack() as stack:
        lines: dict[str, Line] = {}
        for name in names:
            media = urlsplit(system.box.processes[name].listening["media"])
            assert media.hostname is not None
            assert media.port is not None
            before = media.hostname.rpartition(".")[0]
            line = Line(media.hostname, media.port)
            # The same port as all: content steering replaces hosts only.
            await line.open(f"{before}.{next(_spare)}", media.port)
            stack.push_async_callback(line.close)
            lines[line.host] = line
        try:
            await asyncio.gather(
                *(_told(system, name, [host]) for name, host in zip(names, lines, strict=True)),
            )
            yield lines
        finally:
            await asyncio.gather(*(_told(system, name, []) for name in names))


async def _told(system: SmallSystem, name: str, hosts: list[str]) -> None:
    """Starts an appliance again with other host names for players; returns when the control plane knows them."""
    await system.change(name, {"serving": {"hosts": hosts}})
    wanted = set(hosts) or set(system.box.media_hosts(name))
    async with asyncio.timeout(HEARD_WITHIN_S):
        while True:
            entries = (await system.operator.overview()).appliances
            urls = next(entry.appliance.player_urls for entry in entries if entry.appliance.id == name)
            if {urlsplit(url).netloc for url in urls} == wanted:
                break
            await asyncio.sleep(POLL_S)
    await system.until_live(name)
