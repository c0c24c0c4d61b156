"""Hot extents on a real store of a hot and a cold disk: they move up, byte for byte, and make way for each other."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from chassis.clock import SYSTEM_CLOCK
from oca.config import Appliance, ControlPlane, Disk, Store
from oca.keeper.lineup import Lineup
from oca.keeper.metrics import KeeperMetrics
from oca.keeper.promoting import Promoting
from oca.keeper.storing import Storing
from oca.keeper.tidying import Tidying
from oca.store.disks import StoreSettings
from oca.store.extents import key_hash
from oca.store.moving import MoveReason
from oca.store.placement import DiskClass
from tests.oca.store.harness import FULL, MIB, StoreLab, make_file, promised_bytes_are_right

HOT, COLD = 0, 1


class TwoClasses(StoreLab):
    """Disk 0 is hot and small, disk 1 cold."""

    @property
    def settings(self) -> StoreSettings:
        settings = super().settings
        hot = dataclasses.replace(settings.disks[0], disk_class=DiskClass.HOT, quota_bytes=4 * FULL)
        cold = dataclasses.replace(settings.disks[1], quota_bytes=64 * FULL)
        return dataclasses.replace(settings, disks=(hot, cold))


@pytest.fixture
def lab(tmp_path: Path) -> StoreLab:
    return TwoClasses(tmp_path, disks=2)


def parts(lab: StoreLab, budget: int) -> Promoting:
    assert lab.writer is not None
    disks = tuple(Disk(str(lab.disk_path(n)), 64 * MIB) for n in range(2))
    settings = Appliance(str(lab.root), Store(disks, move_bytes_per_s=1 << 40), ControlPlane("https://127.0.0.1:1"))
    storing = Storing(lab.writer, lab.extent_bytes, SYSTEM_CLOCK)
    tidying = Tidying(lab.writer, 0, lambda: True, SYSTEM_CLOCK)
    lineup = Lineup(settings, storing, tidying, KeeperMetrics(), SYSTEM_CLOCK)
    return Promoting(lab.writer, lineup, budget, SYSTEM_CLOCK)


async def test_what_is_used_much_moves_up_and_what_cooled_makes_way(lab: StoreLab) -> None:
    writer, reader = lab.open_writer(), lab.open_reader()
    files = [make_file(f"vod|/media/{number}", MIB) for number in range(10)]
    writer.drain(HOT)  # as when the hot disk joined later
    for file in files:
        lab.store(writer, file)
    writer.use(HOT)
    assert len(writer.disks[COLD].holdings.extents) == 10
    promoting = parts(lab, budget=100 * MIB)
    promoting.listen()
    for hits, file in enumerate(files):
        record = reader.lookup(key_hash(file.key), 0)
        assert record is not None
        for _ in range(10 * hits):
            reader.touch(record, 1)
    writer.collect_marks(1)
    done = await promoting.round()
    on_hot = {extent.object.key for extent in writer.disks[HOT].holdings.extents.values()}
    assert done[MoveReason.PROMOTE] == len(on_hot) > 0
    assert on_hot == {file.key for file in files[-len(on_hot) :]}, "the hottest ones"
    assert all(promised_bytes_are_right(lab, reader, file) == 4 for file in files)

    async def worker_polls() -> None:
        while True:
            reader.poll()
            await asyncio.sleep(0.02)

    polling = asyncio.create_task(worker_polls())
    promoting.heat.cool(36_000)
    promoting.heat.add([(extent.identity, 500) for extent in list(writer.disks[COLD].holdings.extents.values())[:1]])
    done = await promoting.round()
    polling.cancel()
    assert done == {MoveReason.PROMOTE: 1, MoveReason.DEMOTE: 1}
    assert all(promised_bytes_are_right(lab, reader, file) == 4 for file in files)
    for disk in writer.disks.values():
        assert disk.space.live_bytes == sum(extent.size for extent in disk.holdings.extents.values())
        assert disk.space.used_bytes <= disk.space.quota_bytes
