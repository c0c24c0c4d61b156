"""One suite for every daemon that holds an appliance's BGP sessions: real routers announce, withdraw, reset and vanish."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from contracts.routes import Route
from oca.config import Routes
from oca.routes.following import sessions_of
from oca.routes.table import Heard, RoutesUnreadable, Sessions
from onebox.ports import free_port
from tests.oca.routes.daemons import PATIENCE_S, ROUTER_AS, Daemon, Router, box_daemon, has_bird, settings

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not has_bird(), reason="BIRD is not installed: scripts/system-parts"),
    pytest.mark.parametrize("kind", ["bird", "exabgp"]),
]
ROUTER, BOX = "127.0.0.21", "127.0.0.22"


class Bed:
    """A router and a box with its daemon, on loopback."""

    def __init__(self, router: Router, daemon: Daemon, routes: Routes, state_dir: Path) -> None:
        self.router, self.daemon = router, daemon
        self._routes, self._state_dir = routes, state_dir
        self.sessions = self._opened()

    def _opened(self) -> Sessions:
        sessions = sessions_of(self._routes, self._state_dir)
        assert sessions is not None
        return sessions

    async def restart_keeper(self) -> None:
        await self.sessions.close()
        self.sessions = self._opened()
        with suppress(RoutesUnreadable):
            await self.sessions.heard()

    async def hears(self, holds: Callable[[Heard], bool]) -> Heard:
        """Looks until it holds of the one session."""
        seen: object = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        (seen,) = await self.sessions.heard()
                        if holds(seen):
                            return seen
                    except RoutesUnreadable as error:
                        seen = error
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{seen}\nrouter: {self.router.words}\nbox: {self.daemon.words}") from None

    async def hears_without_end(self) -> None:
        """Until the daemon can no longer be read: raises RoutesUnreadable."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await self.sessions.heard()
                await asyncio.sleep(0.05)


@asynccontextmanager
async def bed(kind: str, folder: Path, maximum: int = 50_000) -> AsyncIterator[Bed]:
    ports = free_port(ROUTER), free_port(BOX)
    router = Router(folder / "router", ROUTER, BOX, ports)
    routes = settings(kind, folder / "box", [router], BOX, ports, maximum)
    state_dir = folder / "state"
    daemon = box_daemon(routes, folder / "box", state_dir / "run" / "exabgp.sock")
    it = Bed(router, daemon, routes, state_dir)
    with pytest.raises(RoutesUnreadable):
        await it.sessions.heard()
    try:
        await router.start()
        await daemon.start()
        yield it
    finally:
        # A daemon whose listener goes first ends by itself meanwhile.
        await daemon.stop()
        await it.sessions.close()
        await router.stop()


async def test_what_a_router_announces_changes_and_withdraws_is_heard(kind: str, tmp_path: Path) -> None:
    async with bed(kind, tmp_path) as it:
        await it.router.announce("81.2.0.0/16", "2a01:100::/32")
        await it.router.announce("81.3.0.0/16", via="bgp_med = 7; bgp_path.prepend(64999);")
        heard = await it.hears(lambda one: len(one.routes) == 3 and one.settled)
        assert (heard.name, heard.up, heard.peer, heard.peer_as) == ("r1", True, ROUTER, ROUTER_AS)
        assert heard.routes["81.2.0.0/16"] == Route("81.2.0.0/16", (ROUTER_AS,), 0, ROUTER)
        assert heard.routes["81.3.0.0/16"].as_path == (ROUTER_AS, 64999)
        assert heard.routes["2a01:100::/32"].next_hop == "2001:db8::1"
        await it.router.withdraw("81.2.0.0/16")
        heard = await it.hears(lambda one: len(one.routes) == 2)
        assert set(heard.routes) == {"81.3.0.0/16", "2a01:100::/32"}


async def test_a_router_that_dies_takes_its_session_down_and_one_that_returns_is_heard_again(
    kind: str, tmp_path: Path
) -> None:
    async with bed(kind, tmp_path) as it:
        await it.router.announce("81.2.0.0/16")
        await it.hears(lambda one: set(one.routes) == {"81.2.0.0/16"})
        await it.router.stop(signal.SIGKILL)
        heard = await it.hears(lambda one: not one.up)
        assert (dict(heard.routes), heard.detail != "") == ({}, True)
        await it.router.start()
        await it.hears(lambda one: set(one.routes) == {"81.2.0.0/16"})


async def test_a_daemon_that_dies_is_said_to_be_gone_and_tells_everything_again_when_it_is_back(
    kind: str, tmp_path: Path
) -> None:
    async with bed(kind, tmp_path) as it:
        await it.router.announce("81.2.0.0/16")
        await it.hears(lambda one: set(one.routes) == {"81.2.0.0/16"})
        await it.daemon.stop(signal.SIGKILL)
        with pytest.raises(RoutesUnreadable):
            await it.hears_without_end()
        await it.daemon.start()
        await it.hears(lambda one: set(one.routes) == {"81.2.0.0/16"})


async def test_a_keeper_that_starts_again_hears_everything_again(kind: str, tmp_path: Path) -> None:
    async with bed(kind, tmp_path) as it:
        await it.router.announce("81.2.0.0/16")
        await it.hears(lambda one: set(one.routes) == {"81.2.0.0/16"})
        await it.restart_keeper()
        if kind == "exabgp":
            await it.daemon.ended()
            await it.daemon.start()
        await it.hears(lambda one: set(one.routes) == {"81.2.0.0/16"})
