"""A whole appliance without room: everything is served, nothing is stored, and the answers say so (DESIGN §3.5 "Disk full")."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from contracts.plans import SourceKind
from tests.oca.keeper.lab import MIB, KeeperLab, until
from tests.oca.keeper.plane import FakeControlPlane
from tests.oca.keeper.sources import FakeSource
from tests.oca.keeper.test_two_appliances import appliance, media_path, status_of
from tests.oca.store.harness import MadeFile

SIZE = 5 * MIB + 1234


@asynccontextmanager
async def full_box(root: Path) -> AsyncIterator[tuple[KeeperLab, MadeFile, FakeSource, httpx.AsyncClient]]:
    """Its quota is less than what one extent takes."""
    plane = FakeControlPlane(root)
    await plane.start()
    lab = KeeperLab(root, plane, quota_bytes=MIB)
    file = lab.publish("t/hd/v.mp4", SIZE)
    origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
    try:
        async with appliance(lab) as urls:
            await until(lambda: status_of(lab).ready and status_of(lab).keys_number == 1)
            async with httpx.AsyncClient(base_url=urls["media"], timeout=30.0) as player:
                yield lab, file, origin, player
    finally:
        await lab.close_world()
        lab.board.close()


def extents(lab: KeeperLab) -> list[str]:
    found = [
        path.name for path in (lab.root / "disk").rglob("*") if path.is_file() and path.stat().st_size >= 256 * 1024
    ]
    return [name for name in found if "mdb" not in name]


async def test_every_byte_is_served_none_is_stored_and_the_answer_says_so(tmp_path: Path) -> None:
    async with full_box(tmp_path) as (lab, file, _origin, player):
        path = media_path(lab.plane, "/media/t/hd/v.mp4")
        whole = await player.get(path)
        assert (whole.status_code, whole.content) == (200, file.data)
        assert whole.headers["cache-status"] == "lowtide;fwd=uri-miss;stored=?0"
        spans = ((0, 0), (0, SIZE - 1), (262_143, 262_144), (1_000_000, 3_333_333), (SIZE - 1, SIZE - 1), (1, SIZE - 2))
        for first, last in spans:
            part = await player.get(path, headers={"Range": f"bytes={first}-{last}"})
            assert (part.status_code, part.content) == (206, file.data[first : last + 1])
            assert part.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
        some = await player.get(path, headers={"Range": "bytes=5-9,2000000-2000003,-7"})
        assert some.status_code == 206
        for piece in (file.data[5:10], file.data[2_000_000:2_000_004], file.data[-7:]):
            assert piece in some.content
        assert int(some.headers["content-length"]) == len(some.content)
        assert (await player.head(path)).headers["content-length"] == str(SIZE)
        assert extents(lab) == []


async def test_a_wave_of_readers_makes_one_fetch_per_block_without_a_store(tmp_path: Path) -> None:
    async with full_box(tmp_path) as (lab, file, origin, player):
        path = media_path(lab.plane, "/media/t/hd/v.mp4")
        origin.gate = asyncio.Event()
        asking = [asyncio.create_task(player.get(path, headers={"Range": "bytes=0-1048575"})) for _ in range(40)]
        await until(lambda: origin.asked)
        await asyncio.sleep(0.3)
        origin.gate.set()
        answers = await asyncio.gather(*asking)
        assert all(answer.content == file.data[:MIB] for answer in answers)
        assert set(origin.blocks_asked("/media/t/hd/v.mp4").values()) == {1}


async def test_wrong_bytes_of_a_source_never_pass(tmp_path: Path) -> None:
    async with full_box(tmp_path) as (lab, file, origin, player):
        origin.wrong_block = 3
        path = media_path(lab.plane, "/media/t/hd/v.mp4")
        answer = await player.get(path, headers={"Range": f"bytes={3 * 262_144}-"})
        assert answer.status_code == 502
        came = b""
        try:
            async with player.stream("GET", path) as answer:
                async for piece in answer.aiter_raw():
                    came += piece
        except httpx.RemoteProtocolError:
            pass
        assert came == file.data[: 3 * 262_144], "what was right before it"


async def test_a_reader_goes_on_when_the_keeper_is_killed_under_it(tmp_path: Path) -> None:
    async with full_box(tmp_path) as (lab, file, origin, player):
        path = media_path(lab.plane, "/media/t/hd/v.mp4")
        origin.stall_in_block = 6
        came = b""
        async with player.stream("GET", path) as answer:
            async for piece in answer.aiter_raw():
                came += piece
                if origin.stall_in_block is not None and len(came) >= 5 * 262_144:
                    origin.stall_in_block = None
                    os.kill(status_of(lab).pid, signal.SIGKILL)
        assert came == file.data
