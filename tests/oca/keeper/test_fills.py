"""Fills from end to end: a plan is taken, carried out and survives what happens meanwhile."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec

from contracts.digests import BLOCK_BYTES
from contracts.plans import AppliancePlan, SourceKind
from contracts.reports import FillState
from oca.keeper.app import Keeper
from oca.keeper.state import FillUse
from oca.link.files import KeeperStatus
from tests.oca.keeper.lab import MIB, keeper_lab, until
from tests.oca.store.harness import MadeFile


def held_and_pinned(keeper: Keeper) -> set[str]:
    return {file.key for file in keeper.storing.files() if file.complete and file.plan is not None}


def state_of(keeper: Keeper, file: MadeFile) -> FillState | None:
    return next((order.state for order in keeper.filler.progress() if order.key == file.key), None)


async def test_orders_are_filled_pinned_and_reported_with_their_source(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        files = [lab.publish(f"t/hd/{n}.mp4", 2 * MIB + n) for n in range(4)]
        origin = await lab.source(SourceKind.ORIGIN, "origin", files)
        lab.plan(1, *(lab.order(file, (origin, 0.0), priority=n) for n, file in enumerate(files)))
        keeper = await lab.start()
        await until(lambda: held_and_pinned(keeper) == {file.key for file in files})
        assert origin.sent_bytes == sum(len(file.data) for file in files)

        def reported() -> bool:
            done = {o.key: o for report in lab.plane.reports for o in report.orders if o.state is FillState.DONE}
            holdings = {h.key: h for report in lab.plane.reports for h in report.holdings}
            return all(
                file.key in done
                and done[file.key].by_source == {"origin": len(file.data)}
                and holdings[file.key].pinned
                and holdings[file.key].present_bytes == len(file.data)
                for file in files
            )

        await until(reported)
        sources = {(row.source.value, row.purpose.value): row.bytes for row in lab.plane.reports[-1].sources}
        assert sources["origin", "fill"] == sum(len(file.data) for file in files)


async def test_a_box_waits_for_its_peer_and_follows_it_block_by_block(tmp_path: Path) -> None:
    """The peer is being filled itself: nothing of the file is asked of the origin."""
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 8 * MIB)
        path = "/media/t/hd/v.mp4"
        peer = await lab.source(SourceKind.PEER, "peer", [file], held={path: set()}, parent=False)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file], parent=False)
        lab.plan(1, lab.order(file, (peer, 0.0), (origin, 60.0)))
        keeper = await lab.start()
        await until(lambda: len(peer.asked) >= 2)
        await until(lambda: keeper.filler.progress()[0].state is FillState.WAITING)
        assert keeper.filler.progress()[0].reason == "not-held-by-sources"
        assert peer.held is not None
        peer.held[path] = set(range(16))
        await until(lambda: keeper.filler.progress()[0].bytes_done == 16 * BLOCK_BYTES)
        peer.held[path] = set(range(32))
        await until(lambda: state_of(keeper, file) is FillState.DONE)
        assert origin.asked == []
        assert peer.sent_bytes == len(file.data)


async def test_after_its_wait_the_origin_is_asked_for_what_no_peer_has(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 2 * MIB)
        peer = await lab.source(SourceKind.PEER, "peer", [file], held={}, parent=False)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file], parent=False)
        began = time.time()
        lab.plan(1, lab.order(file, (peer, 0.0), (origin, 1.0)))
        keeper = await lab.start()
        await until(lambda: state_of(keeper, file) is FillState.DONE)
        assert time.time() - began >= 1.0
        assert peer.asked
        assert keeper.filler.progress()[0].by_source == {"origin": len(file.data)}


async def test_a_killed_keeper_fetches_only_what_is_missing_when_it_comes_back(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 12 * MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        lab.plan(1, lab.order(file, (origin, 0.0)), rate_bps=24_000_000)
        process = await lab.start_process()
        await until(lambda: origin.sent_bytes > 5 * MIB, within_s=20)
        process.kill()
        await asyncio.to_thread(process.wait)
        await asyncio.sleep(0.2)
        before = origin.sent_bytes
        lab.plan(1, lab.order(file, (origin, 0.0)), rate_bps=0)
        keeper = await lab.start(joined=False)
        facts = await keeper.fetcher.facts(file.key)
        await until(lambda: keeper.storing.missing(facts, 0, 47) == [], within_s=20)
        assert origin.sent_bytes - before <= len(file.data) - 2 * MIB, "what was durable is not fetched again"
        worker = await lab.worker()
        asked = len(origin.asked)
        assert await worker.bytes_of(file) == file.data
        assert len(origin.asked) == asked


async def test_what_a_plan_lets_go_is_evicted_for_what_it_wants_and_pins_never_are(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, quota_bytes=9 * MIB, cache_share=0.3) as lab:
        old = [lab.publish(f"old/hd/{n}.mp4", 2 * MIB) for n in range(3)]
        new = [lab.publish(f"new/hd/{n}.mp4", 2 * MIB) for n in range(2)]
        passing = [lab.publish(f"passing/hd/{n}.mp4", 2 * MIB) for n in range(3)]
        origin = await lab.source(SourceKind.ORIGIN, "origin", [*old, *new, *passing])
        lab.plan(1, *(lab.order(file, (origin, 0.0)) for file in old))
        keeper = await lab.start()
        await until(lambda: held_and_pinned(keeper) == {file.key for file in old})
        worker = await lab.worker()
        for file in passing:
            assert await worker.bytes_of(file) == file.data
        assert held_and_pinned(keeper) == {file.key for file in old}, (
            "pins stayed under the pressure of passing traffic"
        )
        lab.plan(2, *(lab.order(file, (origin, 0.0)) for file in new), pins=[old[0].key])
        await lab.plane.nudge()
        wanted = {old[0].key, *(file.key for file in new)}
        await until(lambda: held_and_pinned(keeper) == wanted)
        await until(lambda: lab.plane.reports[-1].plan_number == 2)


async def test_more_pins_than_the_plans_share_end_in_words_and_harm_nothing(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, quota_bytes=9 * MIB, cache_share=0.3) as lab:
        files = [lab.publish(f"t/hd/{n}.mp4", 2 * MIB) for n in range(4)]
        origin = await lab.source(SourceKind.ORIGIN, "origin", files)
        lab.plan(1, *(lab.order(file, (origin, 0.0), priority=n) for n, file in enumerate(files)))
        keeper = await lab.start()
        await until(lambda: len(held_and_pinned(keeper)) == 3)
        await until(lambda: any("pinned-quota" in order.reason for order in keeper.filler.progress()))
        assert held_and_pinned(keeper) == {file.key for file in files[:3]}
        await asyncio.sleep(1.5)
        assert origin.blocks_asked("/media/t/hd/3.mp4") == {}, (
            "what finds no room is not fetched, however often it is tried"
        )


async def test_a_client_hurries_a_block_that_a_slow_fill_is_fetching(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 4 * MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        lab.plan(1, lab.order(file, (origin, 0.0)), rate_bps=400_000)
        await lab.start()
        worker = await lab.worker()
        await until(lambda: origin.asked)
        began = time.monotonic()
        assert await worker.bytes_of(file) == file.data
        assert time.monotonic() - began < 10, "4 MiB at the fill's rate would take 80 s"
        assert set(origin.blocks_asked("/media/t/hd/v.mp4").values()) == {1}


async def test_the_rate_cap_holds(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 4 * MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        lab.plan(1, lab.order(file, (origin, 0.0)), rate_bps=16_000_000)
        keeper = await lab.start()
        await until(lambda: keeper.filler.progress()[0].bytes_done > 0)
        began = time.monotonic()
        start_bytes = keeper.filler.progress()[0].bytes_done
        await until(lambda: state_of(keeper, file) is FillState.DONE)
        rate = (len(file.data) - start_bytes) * 8 / (time.monotonic() - began)
        assert rate < 16_000_000 * 1.4, "the last stretch may use the burst"


async def test_the_volume_cap_ends_the_fill_and_survives_a_restart(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        files = [lab.publish(f"t/hd/{n}.mp4", 4 * MIB) for n in range(3)]
        origin = await lab.source(SourceKind.ORIGIN, "origin", files)
        orders = [lab.order(file, (origin, 0.0), priority=n) for n, file in enumerate(files)]
        lab.plan(1, *orders, volume_bytes=2 * MIB)
        keeper = await lab.start()
        await until(lambda: {order.state for order in keeper.filler.progress()} == {FillState.FAILED})
        assert {order.reason for order in keeper.filler.progress()} == {"volume-used"}
        await lab.stop()
        sent = origin.sent_bytes
        kept = msgspec.json.decode((lab.state_dir / "fill.json").read_bytes(), type=FillUse)
        assert kept.plan_number == 1
        assert kept.used_bytes >= 2 * MIB
        keeper = await lab.start()
        await until(lambda: {order.state for order in keeper.filler.progress()} == {FillState.FAILED})
        assert origin.sent_bytes == sent


async def test_before_its_window_nothing_is_fetched(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        lab.plan(1, lab.order(file, (origin, 0.0)), window_opens_at=time.time() + 2.0)
        keeper = await lab.start()
        await until(lambda: [o.reason for o in keeper.filler.progress()] == ["window-not-open"])
        assert origin.asked == []
        await until(lambda: state_of(keeper, file) is FillState.DONE)


async def test_the_plan_goes_on_while_the_control_plane_is_away(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 2 * MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        origin.status = 503
        lab.plan(1, lab.order(file, (origin, 0.0)))
        keeper = await lab.start()
        await until(lambda: origin.asked)
        await lab.stop()
        lab.plane.away = True
        origin.status = None
        keeper = await lab.start(joined=False)
        await until(lambda: state_of(keeper, file) is FillState.DONE)


async def test_a_plan_that_cannot_be_kept_is_followed_and_costs_no_heartbeat(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        keeper = await lab.start()
        await until(lambda: keeper.pulse.connected)
        (lab.state_dir / "plan.json" / "in the way").mkdir(parents=True)
        lab.plan(1, lab.order(file, (origin, 0.0)))
        await lab.plane.nudge()
        await until(lambda: state_of(keeper, file) is FillState.DONE)
        assert keeper.pulse.connected
        assert keeper.metrics.task_deaths.labels("control-plane")._value.get() == 0


async def test_in_cache_only_mode_plans_are_ignored(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, cache_only=True) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        lab.plan(1, lab.order(file, (origin, 0.0)))
        keeper = await lab.start()
        await until(lambda: len(lab.plane.reports) >= 2)
        assert keeper.filler.progress() == []
        assert await (await lab.worker()).bytes_of(file) == file.data
        assert held_and_pinned(keeper) == set()
        assert lab.plane.asked["/v1/appliance/plan"] == 0


async def test_a_keeper_process_says_how_it_is_and_stops_clean(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        lab.plan(3, lab.order(file, (origin, 0.0)))
        process = await lab.start_process()

        def status() -> KeeperStatus:
            path = lab.state_dir / "run" / "keeper.json"
            return msgspec.json.decode(path.read_bytes(), type=KeeperStatus) if path.exists() else KeeperStatus()

        await until(lambda: status().orders.get("done") == 1)
        assert (status().ready, status().plan_number, status().appliance_id) == (True, 3, "a-1")
        metrics, counted = (
            lab.state_dir / "run" / "keeper.metrics",
            'fetched_bytes_total{purpose="fill",source="origin"}',
        )
        await until(
            lambda: f"lowtide_keeper_{counted} 1.048576e+06" in metrics.read_text()
        )  # written behind the status
        process.terminate()
        assert await asyncio.to_thread(process.wait, 10) == 0
        plan = msgspec.json.decode((lab.state_dir / "plan.json").read_bytes(), type=AppliancePlan)
        assert plan.number == 3
        keeper = await lab.start(joined=False)
        assert keeper.store.recovered[0].clean


async def test_a_second_keeper_on_the_same_disk_is_refused(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        first = await lab.start_process()
        second = lab.spawn_process()
        assert await asyncio.to_thread(second.wait, 20) == 2
        assert first.poll() is None


PARENT = (
    "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], close_fds=False); print(p.pid, flush=True); p.wait()"
)


async def test_a_keeper_whose_parent_died_lets_go_of_the_disks(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        reading, writing = os.pipe()
        parent = lab.spawn_process(writing, through=(sys.executable, "-c", PARENT))
        os.close(writing)
        assert await asyncio.to_thread(os.read, reading, 64) == b"ready\n"
        os.close(reading)
        assert parent.stdout is not None
        child = int(await asyncio.to_thread(parent.stdout.readline))
        parent.stdout.close()
        parent.kill()
        await asyncio.to_thread(parent.wait)
        await until(lambda: not Path(f"/proc/{child}").exists() or b"Z" in _stat(child))
        keeper = await lab.start(joined=False)
        assert keeper.store.recovered[0].clean


def _stat(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except FileNotFoundError:
        return b"Z"
