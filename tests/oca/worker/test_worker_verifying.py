"""What is read from a disk is what was stored, or nobody gets a byte of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.digests import BLOCK_BYTES
from oca.config import Serving
from oca.http.reasons import Outcome
from oca.link.counters import Count
from oca.store.descriptors import Descriptor
from oca.store.extents import extent_name, key_hash
from oca.worker.reading import ShortFile
from oca.worker.residency import DiskPools, Residency, Window
from oca.worker.verifying import BadBlock, Share, read_verified
from tests.oca.store.harness import MIB, StoreLab, make_file, spoil
from tests.oca.worker.worker_harness import Bench, publish, with_keeper

FILM = make_file("vod|/media/film/hd/v.mp4", 3 * BLOCK_BYTES + 5000)


@pytest.fixture
def extent(tmp_path: Path) -> Iterator[Descriptor]:
    """An extent of three blocks and a short one."""
    lab = StoreLab(tmp_path, extent_bytes=MIB)
    writer = lab.open_writer()
    lab.store(writer, FILM)
    record = writer.find(key_hash(FILM.key), 0)
    assert record is not None
    writer.close()
    held = Descriptor(os.open(lab.disk_path() / extent_name(record.extent_id), os.O_RDWR), 0, 1, record.length)
    yield held
    held.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data())
def test_any_window_of_sound_blocks_is_given_and_one_that_touches_a_bad_block_is_not(
    extent: Descriptor, data: st.DataObject
) -> None:
    offset = data.draw(st.integers(0, len(FILM.data) - 1))
    length = data.draw(st.integers(1, len(FILM.data) - offset))
    assert read_verified(extent, offset, length) == FILM.data[offset : offset + length]
    at = data.draw(st.integers(0, len(FILM.data) - 1))
    before = os.pread(extent.fd, 1, at)
    os.pwrite(extent.fd, bytes([before[0] ^ 1]), at)
    try:
        touched = at // BLOCK_BYTES in range(offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES + 1)
        if touched:
            with pytest.raises(BadBlock, match=f"block {at // BLOCK_BYTES} "):
                read_verified(extent, offset, length)
        else:
            assert read_verified(extent, offset, length) == FILM.data[offset : offset + length]
    finally:
        os.pwrite(extent.fd, before, at)


def test_bad_check_bytes_and_a_short_file_give_nothing_either(extent: Descriptor) -> None:
    size = os.fstat(extent.fd).st_size
    os.ftruncate(extent.fd, size - 8)
    with pytest.raises(ShortFile):
        read_verified(extent, 3 * BLOCK_BYTES, 10)
    os.ftruncate(extent.fd, size)
    with pytest.raises(BadBlock):
        read_verified(extent, 3 * BLOCK_BYTES, 10)
    assert read_verified(extent, 0, 10) == FILM.data[:10]
    os.ftruncate(extent.fd, 100)
    with pytest.raises(ShortFile):
        read_verified(extent, 0, 10)


@pytest.mark.parametrize(("share", "taken"), [(0.0, 0), (0.1, 100), (0.25, 250), (2 / 3, 666), (1.0, 1000)])
def test_a_share_is_taken_evenly(share: float, taken: int) -> None:
    chooser = Share(share)
    chosen = [chooser.takes() for _ in range(1000)]
    assert abs(sum(chosen) - taken) <= 1
    if taken:
        gaps = "".join("x" if one else " " for one in chosen).split("x")[1:-1]
        assert max(map(len, gaps), default=0) <= 1 / share


async def test_pools_verify_their_share_and_tell_of_bad_blocks(extent: Descriptor) -> None:
    loop = asyncio.get_running_loop()
    told: list[int] = []
    for share, verified in ((1.0, 5), (0.0, 0)):
        pools = DiskPools(loop, 1, share)
        pools.found_bad = lambda file: told.append(file.extent_id)
        assert await pools.read(extent, 10, 20) == FILM.data[10:30]
        await pools.warm(extent, 0, len(FILM.data))
        assert (pools.verified_blocks, pools.errors) == (verified, 0)
        before = os.pread(extent.fd, 1, 5)
        os.pwrite(extent.fd, bytes([before[0] ^ 1]), 5)
        reading, warming = pools.read(extent, 10, 20), pools.warm(extent, 0, 1000)
        if share:
            with pytest.raises(BadBlock):
                await reading
            with pytest.raises(BadBlock):
                await warming
            await asyncio.sleep(0)  # what is told of the second comes with the next turn
            assert (pools.bad_blocks, pools.errors, told) == (2, 2, [1, 1])
            assert pools.unreadable == {0: 1}
        else:
            assert await reading == FILM.data[10:30], "nobody looked"
            await warming
        os.pwrite(extent.fd, before, 5)
        pools.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    found = Bench(tmp_path, Serving(first_byte_s=1.0))
    yield found
    found.stop()


@pytest.mark.parametrize("is_read_ahead", [False, True], ids=["cold", "read by somebody else before"])
@pytest.mark.parametrize("last", [9_999, 899_999], ids=["small", "by windows"])
async def test_rot_on_the_disk_is_never_sent_and_the_keeper_is_told(
    bench: Bench, last: int, is_read_ahead: bool
) -> None:
    rotten, sound = publish("v-rotten.mp4", 900_000), publish("v-sound.mp4", 900_000)
    for file in (rotten, sound):
        bench.store_file(file)
    record = bench.store.find(key_hash(rotten.name.key), 0)
    assert record is not None
    path = bench.folder / "disk" / extent_name(record.extent_id)
    spoil(path, 5_000)
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    in_memory = Residency().check(Descriptor(fd, 0, 1, record.length), 0, 4096) is Window.WARM
    if is_read_ahead:
        os.pread(fd, record.length, 0)
    os.close(fd)
    if in_memory:
        pytest.skip("this filesystem lives in memory")
    bench.start()
    async with with_keeper(bench) as keeper:
        client = await bench.connect()
        reply = await client.ask(bench.path(rotten), Range=f"bytes=0-{last}")
        assert (reply.status, reply.problem) == (503, "unavailable")
        await bench.reaches(Outcome.BAD_BLOCK, 1)
        for _ in range(200):
            if keeper.unread:
                break
            await asyncio.sleep(0.05)
        assert {found.extent_id for found in keeper.unread} == {record.extent_id}
        assert (await client.ask(bench.path(rotten), Range="bytes=0-9")).status == 404, (
            "a miss, of which this keeper knows nothing"
        )
        assert (await client.ask(bench.path(rotten), Range="bytes=600000-600009")).status == 404
        reply = await client.ask(bench.path(sound), Range=f"bytes=0-{last}")
        assert reply.body == sound.data[: last + 1]
        await bench.reaches(Count.BAD_BLOCKS, 1)
        await client.close()


async def test_a_keeper_that_comes_later_is_told_of_every_extent_that_was_found_bad_before(bench: Bench) -> None:
    files = [publish(f"v-{number}.mp4", 10_000) for number in range(3)]
    found: set[int] = set()
    for file in files:
        bench.store_file(file)
        record = bench.store.find(key_hash(file.name.key), 0)
        assert record is not None
        spoil(bench.folder / "disk" / extent_name(record.extent_id), 5_000)
        found.add(record.extent_id)
    bench.start()
    client = await bench.connect()
    for file in files:
        assert (await client.ask(bench.path(file), Range="bytes=0-9")).status == 503
    await client.close()
    async with with_keeper(bench) as keeper:
        for _ in range(200):
            if len(keeper.unread) >= len(files):
                break
            await asyncio.sleep(0.05)
        assert {told.extent_id for told in keeper.unread} == found
