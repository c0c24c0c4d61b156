"""A dump that a real BIRD wrote, read as an import."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from contracts.routes import Route
from control_plane.routes.reading import MrtDump
from onebox.ports import free_port
from tests.oca.routes.daemons import BOX_AS, Router, box_daemon, has_bird, settings

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not has_bird(), reason="BIRD is not installed: scripts/system-parts"),
]
ROUTER, BOX = "127.0.0.31", "127.0.0.32"


async def dumped(socket: Path, table: str, path: Path) -> list[Route]:
    """The table as BIRD dumps it now; nothing of one that is only starting, or has no table yet."""
    path.unlink(missing_ok=True)
    command = f'mrt dump table "{table}" to "{path}"'
    asked = await asyncio.create_subprocess_exec("birdc", "-s", str(socket), command, stdout=asyncio.subprocess.DEVNULL)
    if await asked.wait() != 0 or not path.exists():
        return []
    return sorted(MrtDump(path).routes(), key=lambda route: route.cidr)


async def test_what_bird_dumps_is_what_it_heard(tmp_path: Path) -> None:
    ports = free_port(ROUTER), free_port(BOX)
    router = Router(tmp_path / "router", ROUTER, BOX, ports)
    box = settings("bird", tmp_path / "box", [router], BOX, ports)
    daemon = box_daemon(box, tmp_path / "box", tmp_path / "unused")
    v4 = [f"81.{n}.0.0/16" for n in range(3)]
    router.announce_later(*v4, via="bgp_path.prepend(64999); bgp_med = 7;")
    router.announce_later("2a01:100::/32")
    await router.start()
    await daemon.start()
    try:
        found, sixes = list[Route](), list[Route]()
        async with asyncio.timeout(30):
            while len(found) < len(v4) or not sixes:
                await asyncio.sleep(0.2)
                found = await dumped(Path(box.bird_socket), "master4", tmp_path / "four")
                sixes = await dumped(Path(box.bird_socket), "master6", tmp_path / "six")
        assert [route.cidr for route in found] == v4
        assert {(route.as_path, route.next_hop) for route in found} == {((router.asn, 64999), ROUTER)}
        assert [(six.cidr, six.as_path) for six in sixes] == [("2a01:100::/32", (router.asn,))]
        assert BOX_AS not in found[0].as_path
    finally:
        await daemon.stop()
        await router.stop()
