"""Purges on a keeper with a world around it: triggers applied in order and acknowledged, swept, found to be current, never outrun."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.plans import SourceKind
from contracts.triggers import Selection, Trigger, Triggers, TriggerType
from oca.cli import purge_words
from oca.keeper.errors import FetchFailed
from oca.keeper.purging import orders_of
from oca.link.commands import PurgeCommand, PurgeReport, keeper_socket_path
from oca.link.messages import FetchFailure, ReloadWhat
from oca.store.purge import PurgeKind, PurgeMode, PurgeOrder
from oca.store.reader import StoreReader
from tests.oca.keeper.lab import MIB, KeeperLab, Refused, keeper_lab, until
from tests.oca.store.harness import MadeFile, make_file

PURGE, INVALIDATE = TriggerType.PURGE, TriggerType.INVALIDATE


def held(lab: KeeperLab) -> set[str]:
    assert lab.keeper is not None
    return {file.key for file in lab.keeper.store.holdings()}


def is_current(lab: KeeperLab) -> bool:
    assert lab.keeper is not None
    return lab.keeper.purging.is_current


async def quiet(lab: KeeperLab) -> None:
    """Everything is applied, acknowledged and swept."""
    assert lab.keeper is not None
    purging, plane = lab.keeper.purging, lab.plane
    newest = plane.triggers[-1].number if plane.triggers else 0
    await until(lambda: plane.applied[-1] == newest and purging.is_current and not purging.waiting)


def publish_again(lab: KeeperLab, file: MadeFile, seed: int) -> MadeFile:
    """Other bytes under the same name, at the control plane and at every source."""
    newer = make_file(file.key, len(file.data), seed)
    lab.plane.lists[file.key] = lab.plane.signing.sign(newer.digests)
    for source in lab.sources:
        source.files[file.key.partition("|")[2]] = newer.data
    return newer


async def test_a_trigger_is_applied_acknowledged_and_swept_and_what_is_fetched_then_is_new(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file, other = lab.publish("t/hd/v.mp4", MIB), lab.publish("u/hd/v.mp4", MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file, other])
        await lab.start()
        worker = await lab.worker()
        for one in (file, other):
            assert await worker.bytes_of(one) == one.data
        newer = publish_again(lab, file, seed=7)
        await lab.plane.trigger(PURGE, Selection.PREFIX, "vod|/media/t/")
        await quiet(lab)
        assert held(lab) == {other.key}
        assert ReloadWhat.PURGE in [reload.what for reload in worker.reloads]
        assert lab.plane.applied[-1] == 1
        assert await worker.bytes_of(newer) == newer.data, "the list of digests was asked for again, too"


async def test_triggers_that_were_made_while_the_box_was_away_come_before_it_says_that_it_serves(
    tmp_path: Path,
) -> None:
    async with keeper_lab(tmp_path) as lab:
        files = [lab.publish(f"t{number}/hd/v.mp4", 300_000) for number in range(4)]
        await lab.source(SourceKind.ORIGIN, "origin", files)
        await lab.start()
        worker = await lab.worker()
        for file in files:
            await worker.bytes_of(file)
        await quiet(lab)
        await worker.close()
        await lab.stop()
        for file in files[:3]:
            await lab.plane.trigger(PURGE, Selection.OBJECT, file.key)
        lab.plane.triggers_at_once = 2
        lab.plane.beats.clear()
        await lab.start()
        await lab.worker(1)
        await quiet(lab)
        assert held(lab) == {files[3].key}
        await until(lambda: lab.plane.beats and lab.plane.beats[-1].serving)
        assert lab.plane.applied[-1] == 3


async def test_while_the_control_plane_has_said_nothing_since_the_line_broke_the_box_does_not_say_that_it_serves(
    tmp_path: Path,
) -> None:
    async with keeper_lab(tmp_path) as lab:
        await lab.start()
        await lab.worker()
        await until(lambda: lab.plane.beats and lab.plane.beats[-1].serving)
        assert lab.keeper is not None
        lab.keeper.purging.unconnected()
        assert not is_current(lab)
        lab.keeper.purging.nudged(0)
        assert is_current(lab)
        lab.keeper.purging.nudged(1)
        assert not is_current(lab), "there is one that is not applied"


async def test_of_triggers_that_nobody_remembers_the_worst_is_assumed(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file])
        await lab.start()
        worker = await lab.worker()
        await worker.bytes_of(file)
        lab.plane.forgotten = 40
        await lab.plane.trigger(PURGE, Selection.OBJECT, "vod|/media/else/hd/v.mp4")
        await quiet(lab)
        assert held(lab) == set()
        assert lab.plane.applied[-1] == 41


async def test_a_worker_that_does_not_obey_holds_up_the_acknowledgement_and_the_sweep(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file])
        keeper = await lab.start()
        worker = await lab.worker()
        await worker.bytes_of(file)
        await quiet(lab)
        shared = {number: disk.index for number, disk in keeper.store.disks.items()}
        reader = StoreReader.open(keeper.store.settings, lab.board, 2, shared)
        await lab.plane.trigger(PURGE, Selection.ALL)
        await until(lambda: keeper.purging.applied == 1)
        await asyncio.sleep(0.2)
        assert 1 not in lab.plane.applied
        assert held(lab) == {file.key}
        reader.poll()
        await quiet(lab)
        assert held(lab) == set()
        reader.close()


async def test_what_was_invalidated_and_is_still_published_stays_and_costs_no_fetch(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        kept, changed, gone = (lab.publish(f"{name}/hd/v.mp4", MIB) for name in ("kept", "changed", "gone"))
        origin = await lab.source(SourceKind.ORIGIN, "origin", [kept, changed, gone])
        keeper = await lab.start()
        worker = await lab.worker()
        for file in (kept, changed, gone):
            await worker.bytes_of(file)
        newer = publish_again(lab, changed, seed=3)
        del lab.plane.lists[gone.key]
        sent = origin.sent_bytes
        await lab.plane.trigger(INVALIDATE, Selection.TAG, "tier:hd")
        await quiet(lab)
        assert held(lab) == {kept.key}
        assert await worker.bytes_of(kept) == kept.data
        assert origin.sent_bytes == sent
        assert await worker.bytes_of(newer) == newer.data
        assert keeper.store.rules == ()


@pytest.mark.parametrize("hard", [False, True])
async def test_while_the_control_plane_is_away_what_was_invalidated_is_served_and_what_was_purged_is_not(
    tmp_path: Path, hard: bool
) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file])
        keeper = await lab.start()
        worker = await lab.worker()
        await worker.bytes_of(file)
        lab.plane.away = True
        mode = PurgeMode.HARD if hard else PurgeMode.SOFT
        await keeper.purging.order([PurgeOrder(PurgeKind.OBJECT, file.key, mode)])
        if hard:
            with pytest.raises(Refused) as refusal:
                await worker.bytes_of(file)
            assert refusal.value.why == FetchFailure.NO_DIGESTS.name
            return
        assert await worker.bytes_of(file) == file.data
        assert keeper.purging.waiting == 1, "it waits until somebody can be asked"
        lab.plane.away = False
        await quiet(lab)
        assert held(lab) == {file.key}


async def test_what_could_not_be_found_current_for_too_long_goes(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        lab.stale_s = 0.0
        file = lab.publish("t/hd/v.mp4", MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file])
        keeper = await lab.start()
        worker = await lab.worker()
        await worker.bytes_of(file)
        lab.plane.away = True
        await keeper.purging.order([PurgeOrder(PurgeKind.ALL, mode=PurgeMode.SOFT)])
        await until(lambda: not keeper.purging.waiting)
        assert held(lab) == set()


@pytest.mark.parametrize("newer", [False, True])
async def test_a_fetch_that_a_purge_overtakes_goes_on_by_what_is_published_now(tmp_path: Path, newer: bool) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 2 * MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file], gate=asyncio.Event())
        keeper = await lab.start()
        worker = await lab.worker()
        asking = asyncio.create_task(worker.bytes_of(file))
        await until(lambda: keeper.fetcher.blocks_under_way == 8)
        if newer:
            lab.plane.lists[file.key] = lab.plane.signing.sign(make_file(file.key, 2 * MIB, seed=5).digests)
        rule = (await keeper.purging.order([PurgeOrder(PurgeKind.OBJECT, file.key)])).rules[0]
        assert origin.gate is not None
        origin.gate.set()
        if newer:
            with pytest.raises(Refused) as refusal:
                await asking
            assert refusal.value.why == FetchFailure.VERSION_CHANGED.name
            assert held(lab) == set()
        else:
            assert await asking == file.data
            epochs = {e.stored_epoch for d in keeper.store.disks.values() for e in d.holdings.extents.values()}
            assert epochs == {rule.epoch}


async def test_an_operator_at_the_box_purges_by_hand(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file, other = lab.publish("t/hd/v.mp4", MIB), lab.publish("u/hd/v.mp4", MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file, other])
        keeper = await lab.start()
        worker = await lab.worker()
        for one in (file, other):
            await worker.bytes_of(one)
        reader, writer = await asyncio.open_unix_connection(str(keeper_socket_path(lab.state_dir)))
        wanted = PurgeCommand(PURGE, Selection.TAG, "title:t")
        writer.write(b"purge " + msgspec.json.encode(wanted) + b"\n")
        report = msgspec.json.decode(await reader.readline(), type=PurgeReport)
        assert (report.number, report.ended, report.refused) == (1, True, "")
        writer.close()
        await until(lambda: purge_words(keeper.status()).startswith("number 1, all swept"))
        assert held(lab) == {other.key}


async def test_a_keeper_that_comes_back_sweeps_what_the_one_before_left(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file])
        keeper = await lab.start()
        worker = await lab.worker()
        await worker.bytes_of(file)
        await quiet(lab)
        keeper.store.purge(PurgeKind.ALL)
        await worker.close()
        await lab.stop()
        await lab.start()
        await quiet(lab)
        assert held(lab) == set()


async def test_a_list_of_digests_that_is_not_at_hand_and_cannot_be_asked_for_is_none(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        keeper = await lab.start()
        await keeper.digests.get(file.key)
        await keeper.purging.order([PurgeOrder(PurgeKind.TAG, "title:t")])
        await lab.stop()
        lab.plane.away = True
        keeper = await lab.start(joined=False)
        with pytest.raises(FetchFailed, match="no digest list"):
            await keeper.digests.get(file.key)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_what_is_applied_is_everything_above_what_was(applied: int, forgotten: int, more: int) -> None:
    newest = forgotten + more
    triggers = tuple(Trigger(n, PURGE, Selection.OBJECT, f"k{n}", 0.0) for n in range(forgotten + 1, newest + 1))
    orders = orders_of(Triggers(newest, triggers, forgotten), applied)
    known = applied if applied <= newest else 0
    expected = list(range(max(known, forgotten) + 1, newest + 1))
    assert [order.trigger for order in orders if order.kind is PurgeKind.OBJECT] == expected
    assert (orders[:1] == [PurgeOrder(PurgeKind.ALL, trigger=forgotten)]) == (known < forgotten)
