"""Disks of a running appliance: added, drained, removed and brought back by command, while players are served."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from oca.config import Appliance, Disk
from oca.link import unix
from oca.link.commands import DISK, DiskAnswer, DiskDo, DiskOrder, socket_path
from oca.link.files import DiskStatus, KeeperStatus
from oca.link.settings import store_settings
from oca.store.board import Board, BoardShape
from oca.store.writer import StoreWriter
from tests.oca.supervisor.box import Box, box, settings_of, until
from tests.oca.worker.worker_harness import Keys, Published, publish, put_file, write_keys

FILES = [publish(f"v-{number}.mp4", 900_000) for number in range(24)]


def two_disks(folder: Path) -> Appliance:
    settings = settings_of(folder)
    disks = tuple(Disk(str(folder / f"disk{number}"), 64 << 20) for number in range(2))
    return dataclasses.replace(settings, store=dataclasses.replace(settings.store, disks=disks))


def stocked(settings: Appliance, files: list[Published]) -> Keys:
    keys = Keys()
    Path(settings.state_dir, "run").mkdir(parents=True)
    write_keys(Path(settings.state_dir), keys.public())
    board = Board.create(BoardShape(1, 2, 4096))
    store = StoreWriter.open(store_settings(settings), board, time.time)
    for file in files:
        put_file(store, settings.store.extent_bytes, file)
    assert all(disk.holdings.extents for disk in store.disks.values())
    store.close()
    board.close()
    return keys


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Box]:
    settings = two_disks(tmp_path)
    with box(settings, tmp_path, stocked(settings, FILES)) as found:
        yield found


async def order(appliance: Box, do: DiskDo, target: str, **more: object) -> DiskAnswer:
    def ask() -> bytes:
        with unix.connect(socket_path(Path(appliance.settings.state_dir))) as sock, sock.makefile("rb") as lines:
            sock.sendall(DISK + msgspec.json.encode(DiskOrder(do, target, **more)) + b"\n")  # type: ignore[arg-type]
            return lines.readline()

    return msgspec.json.decode(await asyncio.to_thread(ask), type=DiskAnswer)


def status_of(appliance: Box) -> dict[int, DiskStatus]:
    path = Path(appliance.settings.state_dir) / "run" / "keeper.json"
    if not path.exists():
        return {}
    return {disk.number: disk for disk in msgspec.json.decode(path.read_bytes(), type=KeeperStatus).disks}


def extents_on(folder: Path) -> int:
    return sum(1 for _ in (folder / "extents").glob("*/*"))


async def state_becomes(appliance: Box, number: int, state: str) -> None:
    def there() -> bool:
        found = status_of(appliance).get(number)
        return found is not None and found.state == state

    await until(there, 30.0)


class Players:
    """Ask for every file again and again; whatever is not the right bytes is remembered."""

    def __init__(self, appliance: Box) -> None:
        self._appliance = appliance
        self.right = 0
        self.wrong: list[str] = []
        self._stop = False
        self._task = asyncio.create_task(self._play())

    async def _play(self) -> None:
        async with httpx.AsyncClient(timeout=30) as client:
            while not self._stop:
                for file in FILES:
                    await self._ask(client, file)

    async def _ask(self, client: httpx.AsyncClient, file: Published) -> None:
        path = f"/~{self._appliance.keys.token()}{file.name.path}"
        reply = await client.get(self._appliance.media + path, headers={"Range": "bytes=0-899999"})
        if reply.status_code == 206 and reply.content == file.data:
            self.right += 1
        else:
            self.wrong.append(f"{reply.status_code} {reply.text[:200]}")

    async def end(self) -> None:
        self._stop = True
        await self._task


async def all_right(appliance: Box) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        for file in FILES:
            path = f"/~{appliance.keys.token()}{file.name.path}"
            reply = await client.get(appliance.media + path, headers={"Range": "bytes=0-899999"})
            assert reply.status_code == 206, reply.text
            assert reply.content == file.data


async def test_a_disk_joins_and_another_drains_and_leaves_while_every_hit_stays_one(pair: Box, tmp_path: Path) -> None:
    players = Players(pair)
    new = tmp_path / "disk2"
    answer = await order(pair, DiskDo.ADD, str(new), quota_bytes=64 << 20)
    assert answer.done, answer.sentence
    assert answer.number == 2
    await state_becomes(pair, 2, "takes part")
    answer = await order(pair, DiskDo.REMOVE, "0")
    assert not answer.done
    assert "drain it first" in answer.sentence
    assert (await order(pair, DiskDo.DRAIN, str(tmp_path / "disk0"))).done
    await state_becomes(pair, 0, "drained")
    assert extents_on(tmp_path / "disk0") == 0
    assert extents_on(new) > 0
    assert (await order(pair, DiskDo.REMOVE, "0")).done
    await until(lambda: 0 not in status_of(pair))
    seen = players.right
    await until(lambda: players.right > seen + len(FILES), 30.0)
    await players.end()
    assert players.wrong == [], "the keeper has no source: whatever was no hit failed"
    assert players.right > len(FILES)
    assert await pair.metric("lowtide_oca_wants_total") == 0


async def test_what_was_changed_by_command_holds_over_a_restart_of_the_appliance(tmp_path: Path) -> None:
    settings = two_disks(tmp_path)
    keys = stocked(settings, FILES)
    with box(settings, tmp_path, keys) as first:
        assert (await order(first, DiskDo.ADD, str(tmp_path / "disk2"), quota_bytes=64 << 20)).done
        await state_becomes(first, 2, "takes part")
        assert (await order(first, DiskDo.DRAIN, "1")).done
        await state_becomes(first, 1, "drained")
        assert (await order(first, DiskDo.REMOVE, "1")).done
        await until(lambda: 1 not in status_of(first))
    with box(settings, tmp_path, keys) as second:
        await state_becomes(second, 1, "takes part")
        assert {disk.path for disk in status_of(second).values()} == {str(tmp_path / "disk0"), str(tmp_path / "disk2")}
        await all_right(second)


async def test_a_disk_that_is_gone_is_out_within_a_second_and_comes_back_by_command(pair: Box, tmp_path: Path) -> None:
    """Nobody asks for its files meanwhile: only the probe can notice."""
    disk, away = tmp_path / "disk1", tmp_path / "elsewhere"
    workers = pair.children("oca.worker")
    keeper = pair.children("oca.keeper")
    await state_becomes(pair, 1, "takes part")
    disk.rename(away)
    began = time.monotonic()
    await state_becomes(pair, 1, "out")
    took_s = time.monotonic() - began
    assert "No such file" in status_of(pair)[1].reason
    assert took_s < 10, "a second on a machine that does nothing else"
    await all_right_or_missing(pair)
    away.rename(disk)
    assert (await order(pair, DiskDo.ADD, str(disk))).done
    await state_becomes(pair, 1, "takes part")
    await all_right(pair)
    assert pair.children("oca.worker") == workers
    assert pair.children("oca.keeper") == keeper


async def all_right_or_missing(appliance: Box) -> None:
    refused = 0
    async with httpx.AsyncClient(timeout=30) as client:
        for file in FILES:
            path = f"/~{appliance.keys.token()}{file.name.path}"
            reply = await client.get(appliance.media + path, headers={"Range": "bytes=0-9999"})
            refused += reply.status_code >= 500
            assert reply.status_code >= 500 or reply.content == file.data[:10_000]
    assert 0 < refused < len(FILES), "its share is misses, that of the other disk is not"


async def test_another_disk_under_the_path_of_one_that_was_lost_gets_another_number(pair: Box, tmp_path: Path) -> None:
    disk = tmp_path / "disk1"
    await state_becomes(pair, 1, "takes part")
    disk.rename(tmp_path / "lost")
    await state_becomes(pair, 1, "out")
    answer = await order(pair, DiskDo.ADD, str(disk))
    assert answer.done, answer.sentence
    assert answer.number == 2
    await state_becomes(pair, 2, "takes part")
    assert 1 not in status_of(pair)
    shutil.rmtree(tmp_path / "lost")


async def test_what_cannot_be_done_is_said(pair: Box, tmp_path: Path) -> None:
    for answer, words in (
        (await order(pair, DiskDo.ADD, str(tmp_path / "disk0")), "takes part already"),
        (await order(pair, DiskDo.ADD, "disk7", quota_bytes=1 << 30), "whole path"),
        (await order(pair, DiskDo.ADD, str(tmp_path / "disk7")), "--quota"),
        (await order(pair, DiskDo.ADD, str(tmp_path / "disk7"), quota_bytes=1 << 60), "more than its whole filesystem"),
        (await order(pair, DiskDo.DRAIN, "9"), "there is no disk 9"),
    ):
        assert not answer.done
        assert words in answer.sentence


async def test_a_disk_that_was_not_there_at_the_start_joins_by_command(tmp_path: Path) -> None:
    settings = two_disks(tmp_path)
    keys = stocked(settings, FILES)
    (tmp_path / "disk1").rename(tmp_path / "away")
    (tmp_path / "disk1").write_text("a file where a folder should be")
    with box(settings, tmp_path, keys) as appliance:
        await state_becomes(appliance, 1, "out")
        (tmp_path / "disk1").unlink()
        (tmp_path / "away").rename(tmp_path / "disk1")
        answer = await order(appliance, DiskDo.ADD, str(tmp_path / "disk1"))
        assert answer.done, answer.sentence
        assert answer.number == 1
        await state_becomes(appliance, 1, "takes part")
        await all_right(appliance)
