"""Scrub in a keeper that serves: by itself when nothing is written, and when somebody asks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from contracts.plans import SourceKind
from oca.link import unix
from oca.link.commands import ScrubReport, keeper_socket_path
from oca.store.extents import extent_name, key_hash
from tests.oca.keeper.lab import MIB, KeeperLab, keeper_lab, until
from tests.oca.store.harness import MadeFile, spoil


async def _asked(lab: KeeperLab, line: bytes) -> list[ScrubReport]:
    reader, writer = await asyncio.open_unix_connection(sock=unix.connect(keeper_socket_path(lab.state_dir)))
    writer.write(line)
    async with asyncio.timeout(20):
        said = await reader.read()
    writer.close()
    return [msgspec.json.decode(text, type=ScrubReport) for text in said.splitlines()]


def _spoil(lab: KeeperLab, file: MadeFile, number: int, offset: int) -> None:
    assert lab.keeper is not None
    record = lab.keeper.store.find(key_hash(file.key), number)
    assert record is not None
    spoil(lab.root / "disk" / extent_name(record.extent_id), offset)


async def test_a_scrub_that_is_asked_for_finds_rot_and_what_was_bad_comes_again(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 6 * MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file])
        keeper = await lab.start()
        worker = await lab.worker()
        assert await worker.bytes_of(file) == file.data
        await until(lambda: keeper.storing.is_idle)
        _spoil(lab, file, 1, 300_000)
        _spoil(lab, file, 3, 10)
        reports = await _asked(lab, b"scrub 0\n")
        assert [report.ended for report in reports] == [False] * (len(reports) - 1) + [True]
        (disk,) = reports[-1].disks
        assert (disk.extents_passed, disk.extents, disk.bad_blocks, disk.ended) == (6, 6, 2, True)
        passed = [report.disks[0].extents_passed for report in reports]
        assert passed == sorted(passed)
        text = keeper.metrics
        text.observe_disks(keeper.store.statistics())
        assert b'lowtide_keeper_disk_bad_blocks{disk="0"} 2.0' in text.text()
        assert keeper.storing.missing(await keeper.fetcher.facts(file.key, b""), 0, 23) == [(5, 5), (12, 12)]
        assert await worker.bytes_of(file) == file.data, "fetched again, into the extents where the good ones moved"
        assert not (await _asked(lab, b"scrub 0\n"))[-1].disks[0].bad_blocks


async def test_a_second_scrub_and_an_unknown_command_are_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 8 * MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file])
        keeper = await lab.start()
        await (await lab.worker()).bytes_of(file)
        await until(lambda: keeper.storing.is_idle)
        slow = asyncio.create_task(_asked(lab, b"scrub 4194304\n"))
        await until(lambda: keeper.tidying.is_asked)
        (second,) = await _asked(lab, b"scrub 0\n")
        assert "another scrub runs" in second.refused
        (unknown,) = await _asked(lab, b"dance\n")
        assert unknown.refused
        first = (await slow)[-1]
        assert (first.ended, first.disks[0].blocks, first.refused) == (True, 32, "")


async def test_who_leaves_ends_the_scrub_and_another_may_begin(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 8 * MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file])
        keeper = await lab.start()
        await (await lab.worker()).bytes_of(file)
        await until(lambda: keeper.storing.is_idle)
        sock = unix.connect(keeper_socket_path(lab.state_dir))
        sock.sendall(b"scrub 4194304\n")
        await asyncio.to_thread(sock.recv, 4096)
        sock.close()
        for _ in range(100):
            reports = await _asked(lab, b"scrub 0\n")
            if not reports[-1].refused:
                break
            await asyncio.sleep(0.1)
        assert reports[-1].ended
        assert not reports[-1].refused


async def test_scrub_begins_by_itself_when_nothing_is_written_and_rests_for_a_day_after_a_round(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 3 * MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file])
        keeper = await lab.start()
        await (await lab.worker()).bytes_of(file)
        _spoil(lab, file, 2, 10)
        await until(lambda: keeper.store.statistics()[0].scrub_bad_blocks == 1, 20.0)
        await until(lambda: keeper.store.statistics()[0].scrub.rounds >= 1, 20.0)
        assert keeper.store.scrubs_due(86_400.0) == {}
        ended = keeper.store.statistics()[0].scrub.ended_at
        await lab.stop()
        keeper = await lab.start()
        assert keeper.store.statistics()[0].scrub.ended_at == float(int(ended))
        assert keeper.store.scrubs_due(86_400.0) == {}, "also after a restart"
        assert keeper.store.scrubs_due(-1.0).keys() == {0}
