"""An appliance of two disks, one of which becomes sick: supervisor, two workers and keeper as in service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest

from chassis.health import Readiness
from oca.config import Appliance, ControlPlane, Disk, Fetching, Serving, Store
from oca.link.settings import store_settings
from oca.store.board import Board, BoardShape
from oca.store.extents import key_hash
from oca.store.writer import StoreWriter
from tests.faults.mounting import Mounted, can_mount, faulty_disk
from tests.oca.supervisor.box import Box, box
from tests.oca.worker.worker_harness import Keys, Published, publish, put_file, write_keys

pytestmark = [pytest.mark.system, pytest.mark.skipif(not can_mount(), reason="mounting needs root and /dev/fuse")]
FILE_BYTES = 900_000
"""One extent, several blocks, windows by `sendfile` and by copy."""
EVERYTHING = ["index", "extents"]


@dataclass
class Pair:
    """A box whose second disk is the one that becomes sick."""

    appliance: Box
    sick: Mounted
    on_healthy: list[Published]
    on_sick: list[Published]

    @property
    def files(self) -> list[Published]:
        return self.on_healthy + self.on_sick

    async def ask(self, client: httpx.AsyncClient, file: Published, first: int = 0, last: int = FILE_BYTES - 1) -> str:
        """ "right", "refused" (5xx) or "cut"; any other answer fails the test."""
        path = f"/~{self.appliance.keys.token()}{file.name.path}"
        try:
            reply = await client.get(self.appliance.media + path, headers={"Range": f"bytes={first}-{last}"})
        except httpx.TransportError:
            return "cut"
        if reply.status_code >= 500:
            assert msgspec.json.decode(reply.content)["status"] == reply.status_code
            return "refused"
        assert reply.status_code == 206, reply.text
        assert reply.content == file.data[first : last + 1], "a wrong byte was served"
        return "right"

    async def ask_all(self, files: list[Published], last: int = FILE_BYTES - 1) -> list[str]:
        async with httpx.AsyncClient(timeout=30) as client:
            return list(await asyncio.gather(*(self.ask(client, file, 0, last) for file in files)))

    def people(self) -> list[int]:
        return self.appliance.children("oca.worker") + self.appliance.children("oca.keeper")

    async def ready(self) -> Readiness:
        async with httpx.AsyncClient() as client:
            return msgspec.json.decode((await client.get(f"{self.appliance.status}/readyz")).content, type=Readiness)

    async def comes_to_be(self, metric: str, value: float, wait_s: float = 15.0) -> None:
        deadline = time.monotonic() + wait_s
        found: object = None
        while found != value:
            assert time.monotonic() < deadline, f"{metric} stays at {found}"
            await asyncio.sleep(0.1)
            with contextlib.suppress(RuntimeError):  # not there yet: StopIteration in a coroutine
                found = await self.appliance.metric(metric)


def forget_everything(pair: Pair) -> None:
    pair.sick.forget()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


@contextlib.contextmanager
def two_disks(folder: Path) -> Iterator[Pair]:
    with faulty_disk(folder) as sick:
        settings = Appliance(
            state_dir=str(folder / "state"),
            store=Store(
                disks=(Disk(str(folder / "healthy"), 64 << 20), Disk(str(sick.path), 64 << 20)),
                extent_bytes=1 << 20,
                index_map_bytes=4 << 20,
                cache_share=1.0,
                scrub_bytes_per_s=0,  # what players meet is looked at here
            ),
            control_plane=ControlPlane(url="https://127.0.0.1:1"),
            serving=Serving(workers=2, first_byte_s=2.0),
            fetching=Fetching(connect_s=0.5),
        )
        keys, files = Keys(), [publish(f"v-{number}.mp4", FILE_BYTES) for number in range(24)]
        Path(settings.state_dir, "run").mkdir(parents=True)
        write_keys(Path(settings.state_dir), keys.public())
        board = Board.create(BoardShape(1, 2, 4096))
        store = StoreWriter.open(store_settings(settings), board, time.time)
        for file in files:
            put_file(store, settings.store.extent_bytes, file)
        records = [(file, store.find(key_hash(file.name.key), 0)) for file in files]
        store.close()
        board.close()
        by_disk = [[file for file, record in records if record and record.disk == number] for number in range(2)]
        assert all(len(some) > 3 for some in by_disk)
        with box(settings, folder, keys) as appliance:
            yield Pair(appliance, sick, *by_disk)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with two_disks(tmp_path) as found:
        yield found


async def is_taken_out_and_the_other_serves(pair: Pair, **faults: object) -> None:
    assert set(await pair.ask_all(pair.files)) == {"right"}
    ready = await pair.ready()
    assert ready.checks["index"].detail == "2 indexes are locked in memory"
    people = pair.people()
    forget_everything(pair)
    pair.sick.becomes(**faults)
    seen: list[str] = []
    for last in (FILE_BYTES - 1, 20_000, FILE_BYTES - 1):
        healthy, sick = await asyncio.gather(pair.ask_all(pair.on_healthy, last), pair.ask_all(pair.on_sick, last))
        assert set(healthy) == {"right"}
        seen += sick
    assert set(seen) <= {"refused", "cut"}, "nothing of it was in memory"
    await pair.comes_to_be('lowtide_keeper_disk_healthy{disk="1"}', 0.0)
    assert await pair.appliance.metric('lowtide_keeper_disk_healthy{disk="0"}') == 1.0
    if "dead" not in faults:  # the keeper asks for free space and may be the first to meet that
        assert await pair.appliance.metric("lowtide_oca_disk_errors_total") > 0
    assert await pair.appliance.metric('lowtide_keeper_disk_failures_total{disk="1"}') == 1.0, "by worker or probe"
    ready = await pair.ready()
    assert ready.checks["disks"].ready, "one disk of two is left"
    assert str(pair.sick.path) in ready.checks["disks"].detail
    assert set(await pair.ask_all(pair.on_healthy)) == {"right"}
    assert set(await pair.ask_all(pair.on_sick)) == {"refused"}, "a taken-out disk is not asked: its files are misses"
    assert pair.people() == people, "nobody died"
    assert pair.sick.becomes(**faults)["errors"] > 0


async def test_a_disk_whose_index_and_extents_cannot_be_read_is_taken_out_alone(pair: Pair) -> None:
    await is_taken_out_and_the_other_serves(pair, unreadable=EVERYTHING)
    # It comes back when the keeper opens it anew: what it holds is checked and served again, with the same workers.
    workers = pair.appliance.children("oca.worker")
    pair.sick.becomes()
    (keeper,) = pair.appliance.children("oca.keeper")
    os.kill(keeper, signal.SIGTERM)
    await pair.comes_to_be('lowtide_keeper_disk_healthy{disk="1"}', 1.0, 30.0)
    assert set(await pair.ask_all(pair.files)) == {"right"}
    assert pair.appliance.children("oca.worker") == workers


async def test_a_disk_that_answers_nothing_any_more_is_taken_out_alone(pair: Pair) -> None:
    await is_taken_out_and_the_other_serves(pair, dead=True)


async def test_a_keeper_that_starts_while_the_disk_is_sick_goes_on_without_it(pair: Pair) -> None:
    assert set(await pair.ask_all(pair.files)) == {"right"}
    forget_everything(pair)
    pair.sick.becomes(dead=True)
    workers = pair.appliance.children("oca.worker")
    (keeper,) = pair.appliance.children("oca.keeper")
    os.kill(keeper, signal.SIGKILL)
    await pair.comes_to_be('lowtide_oca_child_deaths_total{child="keeper"}', 1.0)
    await pair.comes_to_be("lowtide_oca_keeper_up", 1.0, 30.0)
    assert set(await pair.ask_all(pair.on_healthy)) == {"right"}
    assert set(await pair.ask_all(pair.on_sick)) <= {"refused", "cut"}
    assert pair.appliance.children("oca.worker") == workers
    assert str(pair.sick.path) in (await pair.ready()).checks["disks"].detail


async def test_a_worker_that_starts_while_the_disk_is_sick_serves_the_other(pair: Pair) -> None:
    forget_everything(pair)
    pair.sick.becomes(dead=True)
    first, _second = pair.appliance.children("oca.worker")
    os.kill(first, signal.SIGKILL)
    await pair.comes_to_be('lowtide_oca_child_deaths_total{child="worker"}', 1.0)
    await pair.comes_to_be("lowtide_oca_workers_ready", 2.0, 20.0)
    for _ in range(3):
        assert set(await pair.ask_all(pair.on_healthy)) == {"right"}
    assert await pair.appliance.metric('lowtide_oca_child_deaths_total{child="worker"}') == 1.0
    # When the disk is sound again, the keeper opens it and a rolling restart gives it to the workers that began without it.
    pair.sick.becomes()
    (keeper,) = pair.appliance.children("oca.keeper")
    os.kill(keeper, signal.SIGTERM)
    await pair.comes_to_be('lowtide_oca_child_deaths_total{child="keeper"}', 1.0)
    await pair.comes_to_be('lowtide_keeper_disk_healthy{disk="1"}', 1.0, 30.0)
    pair.appliance.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 30
    while set(await pair.ask_all(pair.files)) != {"right"}:
        assert time.monotonic() < deadline, "it is not taken up"
        await asyncio.sleep(0.2)


async def test_while_a_disk_is_slow_the_loop_serves_what_others_hold(pair: Pair) -> None:
    assert set(await pair.ask_all(pair.files)) == {"right"}
    pair.sick.forget()
    pair.sick.becomes(delay_s=2.0)
    slow = asyncio.create_task(pair.ask_all(pair.on_sick))
    before = await pair.appliance.metric("lowtide_oca_cold_windows_total")
    deadline = time.monotonic() + 30
    while await pair.appliance.metric("lowtide_oca_cold_windows_total") < before + 3:
        assert time.monotonic() < deadline, "nothing waits for the slow disk"
        await asyncio.sleep(0.02)
    reads = pair.sick.becomes(delay_s=2.0)["reads"]
    for _ in range(3):
        assert set(await pair.ask_all(pair.on_healthy)) == {"right"}
    assert not slow.done(), "the hits did not wait behind it"
    assert reads > 0
    pair.sick.becomes()
    assert set(await slow) == {"right"}, "late, and right"


async def test_a_read_only_disk_is_served_from(pair: Pair) -> None:
    forget_everything(pair)
    pair.sick.becomes(read_only=True)
    for _ in range(2):
        assert set(await pair.ask_all(pair.files)) == {"right"}
    assert (await pair.ready()).checks["disks"].detail == "2 disks take part"


async def test_a_disk_that_flips_bits_sends_nobody_a_wrong_byte_and_stays(pair: Pair) -> None:
    """`ask` fails at the first wrong byte. By windows that `sendfile` sends: FUSE gives smaller ones to a read that is not to wait, too (decision 0010)."""
    assert set(await pair.ask_all(pair.files)) == {"right"}
    forget_everything(pair)
    pair.sick.becomes(flips=["extents"])
    healthy, sick = await asyncio.gather(pair.ask_all(pair.on_healthy), pair.ask_all(pair.on_sick))
    assert set(healthy) == {"right"}
    assert set(sick) <= {"refused", "cut"}
    await pair.comes_to_be('lowtide_keeper_disk_extents{disk="1"}', 0.0, 30.0)
    assert await pair.appliance.metric("lowtide_oca_bad_blocks_total") >= len(pair.on_sick)
    assert await pair.appliance.metric('lowtide_keeper_removed_extents_total{reason="quarantined"}') == len(
        pair.on_sick
    )
    assert await pair.appliance.metric('lowtide_keeper_disk_healthy{disk="1"}') == 1.0, "blocks are bad, not the disk"
    pair.sick.becomes()
    assert set(await pair.ask_all(pair.on_healthy)) == {"right"}
    assert set(await pair.ask_all(pair.on_sick)) == {"refused"}, "misses, and nobody to ask here"
