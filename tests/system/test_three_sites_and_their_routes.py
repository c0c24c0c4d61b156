"""Three sites in network namespaces: real routers announce to real BIRDs, a real control plane judges, steering follows.

Each site is a router and a box, two namespaces on one link. Where namespaces cannot be made the same is played on loopback.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from chassis.clock import SYSTEM_CLOCK
from contracts.routes import QuarantineList, RouteAnswer, RoutePolicy, RouteRefusal, RouteReport
from control_plane.config import RouteSettings
from oca.routes.following import RouteFollowing, sessions_of
from onebox.ports import free_port
from steering.prefixes import parse_address
from tests.control_plane.plane import Plane, running
from tests.control_plane.routes.test_route_desk import Reader
from tests.oca.routes.daemons import Daemon, Router, box_daemon, has_bird, settings

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not has_bird(), reason="BIRD is not installed: scripts/system-parts"),
]
SITES = "abc"
PATIENCE_S = 40.0


@dataclass
class Place:
    """A site: its router, its box with a daemon, and the task of the box's keeper."""

    router: Router
    daemon: Daemon
    following: RouteFollowing
    link: list[str]
    """The command that takes the router's end of the link up or down, without that word; empty on loopback."""

    def cut(self) -> None:
        subprocess.run([*self.link, "down"], check=True)

    def mend(self) -> None:
        subprocess.run([*self.link, "up"], check=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def can_make_namespaces() -> bool:
    """With a link between two: some machines have namespaces and no veth."""
    names = tuple(f"lt{os.getpid()}probe{which}" for which in "rb")
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "up0", "netns", names[0], "type", "veth", "peer", "name", "up0", "netns", names[1])
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        for name in names:
            unmake(name)
    return True


def unmake(name: str) -> None:
    """One that is not there is none of a test's concern."""
    with suppress(OSError):
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def namespaces_of(number: int) -> tuple[str, str]:
    """(router's, box's)."""
    return f"lt{os.getpid()}r{number}", f"lt{os.getpid()}b{number}"


def wire(number: int) -> None:
    """Makes both namespaces with a link. Addresses 192.168.N.1 and .2."""
    router, box = namespaces_of(number)
    for name in (router, box):
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
    ip("link", "add", "up0", "netns", router, "type", "veth", "peer", "name", "up0", "netns", box)
    for name, host in ((router, 1), (box, 2)):
        ip("-n", name, "addr", "add", f"192.168.{number}.{host}/24", "dev", "up0")
        ip("-n", name, "link", "set", "up0", "up")


@asynccontextmanager
async def place(site: str, plane: Plane, folder: Path, *, is_wired: bool) -> AsyncIterator[Place]:
    number = SITES.index(site) + 1
    async with AsyncExitStack() as stack:
        names, ports, link = ("", ""), (0, 0), list[str]()
        router_address, box_address = f"192.168.{number}.1", f"192.168.{number}.2"
        if is_wired:
            names = namespaces_of(number)
            for name in names:
                stack.callback(unmake, name)
            wire(number)
            link = ["ip", "-n", names[0], "link", "set", "up0"]
        else:
            router_address, box_address = f"127.0.1{number}.1", f"127.0.1{number}.2"
            ports = free_port(router_address), free_port(box_address)
        router = Router(folder / site / "router", router_address, box_address, ports, names[0], 64500 + number)
        routes = settings("bird", folder / site / "box", [router], box_address, ports)
        daemon = box_daemon(routes, folder / site / "box", folder / site / "unused", names[1])
        caller = await plane.add_box(f"{site}1", site)
        sessions = sessions_of(routes, folder / site)
        assert sessions is not None

        async def tell(report: RouteReport) -> RouteAnswer:
            return await caller.post("/v1/appliance/routes", report, RouteAnswer)

        following = RouteFollowing(routes, folder / site, sessions, tell, site, SYSTEM_CLOCK)
        for process in (router, daemon):
            await process.start()
            stack.push_async_callback(process.stop, signal.SIGKILL)
        task = asyncio.create_task(following.run())
        stack.push_async_callback(_ended, task)
        yield Place(router, daemon, following, link)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def town(folder: Path, *, is_wired: bool) -> AsyncIterator[tuple[Plane, dict[str, Place], Reader]]:
    """A control plane, three sites that may announce 81.N.0.0/16 each (`c` also what `a` has), and a reader as steering is."""
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(running(folder / "plane", routes=RouteSettings(hold_s=1.0)))
        places = {}
        for number, site in enumerate(SITES, 1):
            await plane.add_site(site)
            allowed = (f"81.{number}.0.0/16", *(("81.1.0.0/16",) if site == "c" else ()))
            await plane.operator.put(f"/v1/sites/{site}/route-policy", RoutePolicy(allowed), RoutePolicy)
            places[site] = await stack.enter_async_context(place(site, plane, folder, is_wired=is_wired))
        reader = Reader(await plane.service_caller("steering"))
        task = asyncio.create_task(reader.read())
        stack.push_async_callback(_ended, task)
        yield plane, places, reader


@pytest.mark.parametrize("is_wired", [True, False], ids=["namespaces", "loopback"])
async def test_steering_follows_what_the_routers_of_three_sites_announce(tmp_path: Path, is_wired: bool) -> None:
    if is_wired and not can_make_namespaces():
        pytest.skip("no right to make network namespaces: played on loopback alone")
    async with town(tmp_path, is_wired=is_wired) as (plane, places, reader):
        a, b, c = (places[site] for site in SITES)

        async def follows(client: str, *sites: str) -> None:
            async with asyncio.timeout(PATIENCE_S):
                await reader.sees(lambda it: it.sites(client) == list(sites))

        for number, site in enumerate(SITES, 1):
            await places[site].router.announce(f"81.{number}.0.0/16")
        for number, site in enumerate(SITES, 1):
            await follows(f"81.{number}.0.1", site)

        # What belongs to another is quarantined and moves nobody; what two sites may announce, both are known by.
        await b.router.announce("81.1.5.0/24", "0.0.0.0/0", "10.0.0.0/8")
        await c.router.announce("81.1.0.0/16", via="bgp_path.prepend(64999);")
        await follows("81.1.5.1", "a", "c")
        refused = await quarantined(plane, 3)
        assert refused == {
            "81.1.5.0/24": RouteRefusal.NOT_ALLOWED,
            "0.0.0.0/0": RouteRefusal.DEFAULT,
            "10.0.0.0/8": RouteRefusal.RESERVED,
        }
        (match,) = reader.world.covering(parse_address("81.1.5.1"))
        assert [one.as_path_length for one in match.announcements] == [1, 2]

        await a.router.withdraw("81.1.0.0/16")
        await follows("81.1.5.1", "c")
        await a.router.announce("81.1.0.0/16")
        await follows("81.1.5.1", "a", "c")

        # A session that is lost takes its prefixes with it, and brings them back.
        if is_wired:
            a.cut()
        else:
            await a.router.stop(signal.SIGKILL)
        await follows("81.1.5.1", "c")
        if is_wired:
            a.mend()
        else:
            await a.router.start()
        await follows("81.1.5.1", "a", "c")
        await b.daemon.stop(signal.SIGKILL)
        await follows("81.2.0.1")
        await b.daemon.start()
        await follows("81.2.0.1", "b")


async def quarantined(plane: Plane, count: int) -> dict[str, RouteRefusal]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = (await plane.operator.get("/v1/routes/quarantine", QuarantineList)).quarantined
            if len(found) >= count:
                return {one.cidr: one.refusal for one in found}
            await asyncio.sleep(0.1)
