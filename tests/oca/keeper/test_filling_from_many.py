"""Fills from end to end, from several sources and through what disturbs them: a keeper in this process, real sources."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from contracts.digests import BLOCK_BYTES
from contracts.plans import SourceKind
from contracts.reports import FillState
from oca.config import Fetching
from oca.keeper.app import Keeper
from oca.keeper.state import FillUse
from oca.link.messages import Served
from tests.oca.keeper.lab import MIB, KeeperLab, keeper_lab, until
from tests.oca.store.harness import MadeFile

PATH = "/media/t/hd/v.mp4"
PATIENT = Fetching(connect_s=20.0, first_byte_s=20.0, stall_s=20.0)
"""A busy machine makes no source look dead."""


def state_of(keeper: Keeper, file: MadeFile) -> FillState | None:
    return next((order.state for order in keeper.filler.progress() if order.key == file.key), None)


def reason_of(keeper: Keeper) -> str:
    return keeper.filler.progress()[0].reason


def held_blocks(keeper: Keeper, file: MadeFile) -> int:
    found = next((held for held in keeper.storing.files() if held.key == file.key), None)
    return found.present_bytes // BLOCK_BYTES if found is not None else 0


def counted(keeper: Keeper, row: str) -> float:
    lines = keeper.metrics.text().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"lowtide_keeper_{row}"))


async def until_filled(lab: KeeperLab, file: MadeFile, within_s: float = 30.0) -> Keeper:
    assert lab.keeper is not None, "it was started"
    keeper = lab.keeper
    await until(lambda: state_of(keeper, file) is FillState.DONE, within_s)
    return keeper


async def test_several_peers_give_a_file_together_each_block_once_and_slow_ones_less(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=PATIENT) as lab:
        file = lab.publish("t/hd/v.mp4", 16 * MIB)
        quick = [await lab.source(SourceKind.PEER, f"quick-{n}", [file], parent=False, block_s=0.01) for n in range(2)]
        slow = await lab.source(SourceKind.PEER, "slow", [file], parent=False, block_s=0.08)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file], parent=False)
        lab.plan(1, lab.order(file, *((one, 0.0) for one in (*quick, slow, origin))))
        await lab.start()
        await until_filled(lab, file)
        given = {one.name: one.sent_bytes // BLOCK_BYTES for one in (*quick, slow)}
        assert all(given.values()), given
        assert given["slow"] < min(given["quick-0"], given["quick-1"]), given
        assert origin.asked == [], "what the peers hold does not cross the border"
        assert sum(given.values()) <= 64 + 4, "but for blocks at the end that two were asked for, each came once"


async def test_a_peer_that_is_stuck_at_the_end_is_overtaken(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=PATIENT) as lab:
        file = lab.publish("t/hd/v.mp4", 8 * MIB)
        stuck = await lab.source(SourceKind.PEER, "stuck", [file], parent=False, block_s=20.0)
        quick = await lab.source(SourceKind.PEER, "quick", [file], parent=False, block_s=0.01)
        lab.plan(1, lab.order(file, (stuck, 0.0), (quick, 0.0)))
        await lab.start()
        keeper = await until_filled(lab, file)
        assert (stuck.sent_bytes, quick.sent_bytes) == (0, len(file.data))
        assert counted(keeper, 'upstream_outcomes_total{outcome="overtaken",source="peer"}') >= 1
        assert keeper.sources.is_well(stuck.ranked, file.key), "to be slower is no fault"


async def test_a_source_that_was_overtaken_is_not_blamed_for_what_its_overtaker_spoils(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=PATIENT) as lab:
        file = lab.publish("t/hd/v.mp4", 8 * MIB)
        # The first that is asked has blocks 0 to 15; the later half of them, with the last one, is taken over when the other has given its own.
        slow = await lab.source(SourceKind.PEER, "slow", [file], parent=False, block_s=0.3)
        liar = await lab.source(SourceKind.PEER, "liar", [file], parent=False, block_s=0.01, wrong_block=15)
        lab.plan(1, lab.order(file, (slow, 0.0), (liar, 0.0)))
        keeper = await lab.start()
        reasons: set[str] = set()

        def is_filled() -> bool:
            reasons.add(reason_of(keeper).partition(":")[0])
            return state_of(keeper, file) is FillState.DONE

        await until(is_filled)
        assert counted(keeper, 'upstream_outcomes_total{outcome="wrong-bytes",source="peer"}') >= 1
        assert keeper.sources.is_well(slow.ranked, file.key)
        assert reasons <= {"", "queued"}, "the order was never put off: one source of two was left, and well"


async def test_a_poisoned_peer_is_found_out_by_its_first_block_blamed_and_avoided(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=PATIENT) as lab:
        first, second = lab.publish("t/hd/v.mp4", 8 * MIB), lab.publish("t/hd/w.mp4", 8 * MIB)
        liar = await lab.source(SourceKind.PEER, "liar", [first, second], parent=False, wrong_block=0)
        honest = await lab.source(SourceKind.PEER, "honest", [first, second], parent=False, block_s=0.01)
        lab.plan(1, lab.order(first, (liar, 0.0), (honest, 0.0)))
        await lab.start()
        keeper = await until_filled(lab, first)
        assert counted(keeper, 'upstream_outcomes_total{outcome="wrong-bytes",source="peer"}') == 1
        assert counted(keeper, 'fetched_bytes_total{purpose="fill",source="peer"}') <= len(first.data) + BLOCK_BYTES
        assert {path for path, _, _ in liar.asked} == {PATH}
        assert len(liar.asked) == 1, "one request, and no second one beside it"
        assert await (await lab.worker()).bytes_of(first) == first.data
        assert keeper.sources.is_well(liar.ranked, second.key)
        assert not keeper.sources.is_well(liar.ranked, first.key)
        assert honest.sent_bytes == len(first.data)
        await until(lambda: any(report.blamed for report in lab.plane.reports))
        found = next(report.blamed for report in reversed(lab.plane.reports) if report.blamed)
        assert [(one.url, one.key) for one in found] == [(liar.url, first.key)]


async def test_a_peer_without_the_file_is_not_asked_for_run_after_run(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=PATIENT) as lab:
        file = lab.publish("t/hd/v.mp4", 24 * MIB)
        peer = await lab.source(SourceKind.PEER, "peer", [file], parent=False, held={})
        lab.plan(1, lab.order(file, (peer, 0.0)))
        keeper = await lab.start()
        await until(lambda: reason_of(keeper) == "not-held-by-sources")
        first_round = len(peer.asked)
        assert first_round <= 4, "two runs in a round, of at most two rounds"


async def test_a_source_that_dies_in_mid_file_is_made_good_for_by_the_others(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=PATIENT) as lab:
        file = lab.publish("t/hd/v.mp4", 8 * MIB)
        dying = await lab.source(SourceKind.PEER, "dying", [file], parent=False, block_s=0.03)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file], parent=False)
        lab.plan(1, lab.order(file, (dying, 0.0), (origin, 0.0)))
        await lab.start()
        await until(lambda: dying.sent_bytes > MIB)
        await dying.close()
        keeper = await until_filled(lab, file)
        by_source = keeper.filler.progress()[0].by_source
        assert by_source["peer"] >= MIB
        assert by_source["peer"] + by_source["origin"] == len(file.data)
        assert set(origin.blocks_asked(PATH).values()) == {1}


async def test_a_window_that_closes_in_mid_file_ends_requests_and_the_next_night_fetches_the_rest(
    tmp_path: Path,
) -> None:
    async with keeper_lab(tmp_path, fetching=PATIENT) as lab:
        file = lab.publish("t/hd/v.mp4", 8 * MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file], block_s=0.05)
        lab.plan(1, lab.order(file, (origin, 0.0)))
        keeper = await lab.start()
        await until(lambda: keeper.filler.progress()[0].bytes_done >= MIB)
        lab.clock.set_by_s = 3600.0
        await until(lambda: state_of(keeper, file) is FillState.FAILED)
        assert reason_of(keeper) == "window-closed"
        await until(lambda: keeper.fetcher.blocks_under_way == 0)
        kept = held_blocks(keeper, file)
        assert MIB // BLOCK_BYTES <= kept < 32
        now = lab.clock.wall_s()
        lab.plan(2, lab.order(file, (origin, 0.0)), created_at=now, window_opens_at=now - 1, window_closes_at=now + 600)
        sent = origin.sent_bytes
        await lab.plane.nudge()
        await until_filled(lab, file)
        assert origin.sent_bytes - sent <= (32 - kept + 2) * BLOCK_BYTES, "what was verified stayed"
        assert await (await lab.worker()).bytes_of(file) == file.data


async def test_a_clock_that_is_set_stops_and_resumes_a_fill_as_its_window_says(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=PATIENT) as lab:
        file = lab.publish("t/hd/v.mp4", 8 * MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file], block_s=0.05)
        lab.plan(1, lab.order(file, (origin, 0.0)))
        keeper = await lab.start()
        await until(lambda: keeper.filler.progress()[0].bytes_done >= MIB)
        lab.clock.set_by_s = -7200.0
        await until(lambda: reason_of(keeper) == "window-not-open")
        await until(lambda: keeper.fetcher.blocks_under_way == 0)
        asked = len(origin.asked)
        lab.clock.set_by_s = 7200.0
        await until(lambda: reason_of(keeper) == "window-closed")
        assert len(origin.asked) == asked, "outside the window nobody is asked"
        lab.clock.set_by_s = 30.0
        await until_filled(lab, file)


async def test_a_clock_set_in_mid_window_changes_no_rate(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=PATIENT) as lab:
        file = lab.publish("t/hd/v.mp4", 3 * MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        lab.plan(1, lab.order(file, (origin, 0.0)), rate_bps=8_000_000)
        keeper = await lab.start()
        await until(lambda: keeper.filler.progress()[0].bytes_done > 0)
        began, done = time.monotonic(), keeper.filler.progress()[0].bytes_done
        for jump_s in (200.0, -40.0, 300.0, 0.0):
            lab.clock.set_by_s = jump_s
            await asyncio.sleep(0.3)
        came = keeper.filler.progress()[0].bytes_done - done
        assert came <= 1_000_000 * (time.monotonic() - began + 0.5) + BLOCK_BYTES
        await until_filled(lab, file)


async def test_the_volume_is_exact_to_a_block_with_several_sources_and_over_a_kill(tmp_path: Path) -> None:
    volume = 5 * MIB + 1000
    async with keeper_lab(tmp_path, fetching=PATIENT) as lab:
        files = [lab.publish(f"t/hd/{n}.mp4", 4 * MIB) for n in range(3)]
        peers = [await lab.source(SourceKind.PEER, f"p-{n}", files, parent=False, block_s=0.05) for n in range(2)]
        orders = [lab.order(file, *((peer, 0.0) for peer in peers)) for file in files]
        lab.plan(1, *orders, volume_bytes=volume)
        process = await lab.start_process()
        await until(lambda: sum(peer.sent_bytes for peer in peers) > 2 * MIB, within_s=20)
        process.kill()
        await asyncio.to_thread(process.wait)
        kept = msgspec.json.decode((lab.state_dir / "fill.json").read_bytes(), type=FillUse)
        assert kept.used_bytes >= 2 * MIB - BLOCK_BYTES, "what was promised counts as spent"
        keeper = await lab.start(joined=False)
        await until(lambda: {order.state for order in keeper.filler.progress()} == {FillState.FAILED}, within_s=20)
        assert {order.reason for order in keeper.filler.progress()} == {"volume-used"}
        used = msgspec.json.decode((lab.state_dir / "fill.json").read_bytes(), type=FillUse)
        await until(lambda: keeper.fetcher.blocks_under_way == 0)
        assert volume - BLOCK_BYTES < used.used_bytes <= volume
        assert sum(peer.sent_bytes for peer in peers) <= volume


async def test_a_fill_yields_while_a_worker_sheds_says_so_and_comes_back(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=PATIENT) as lab:
        file = lab.publish("t/hd/v.mp4", 24 * MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        lab.plan(1, lab.order(file, (origin, 0.0)), rate_bps=16_000_000)
        keeper = await lab.start()
        worker = await lab.worker()
        await until(lambda: keeper.filler.progress()[0].bytes_done > 0)
        worker.send(Served((), (), 0, 0, 0, 0, 1, shedding="disk-queue"))
        await until(lambda: reason_of(keeper) == "yielding: shedding")
        assert counted(keeper, "fill_given_up_share") >= 0.5
        assert counted(keeper, 'fill_yields_total{why="shedding"}') >= 1
        worker.send(Served((), (), 0, 0, 0, 0, 1))
        await until(lambda: counted(keeper, "fill_given_up_share") < 0.5 or reason_of(keeper) == "", within_s=20.0)
        assert state_of(keeper, file) is FillState.FILLING
