"""Asking sources, on a real keeper with real sources: hedging, circuits, the retry budget, bounded requests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from contracts.digests import BLOCK_BYTES
from contracts.plans import SourceKind
from oca.config import Fetching
from oca.keeper.app import Keeper
from oca.keeper.sourcing import spread
from oca.link.messages import Done, FetchFailure
from tests.oca.keeper.lab import MIB, Refused, keeper_lab, until


def counted(keeper: Keeper, name: str) -> float:
    """The sum of a counter over its labels, as it is written out."""
    rows = [row for row in keeper.metrics.text().decode().splitlines() if row.startswith(f"lowtide_keeper_{name}")]
    assert rows or name.endswith("_total"), name
    return sum(float(row.rpartition(" ")[2]) for row in rows)


async def test_beside_a_late_first_byte_another_source_is_asked_and_the_first_to_begin_is_taken(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=Fetching(hedge_s=0.1, first_byte_s=20.0, stall_s=20.0)) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        slow = await lab.source(SourceKind.TIER, "slow", [file], delay_s=15.0)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        keeper = await lab.start()
        async with asyncio.timeout(30):
            assert await (await lab.worker()).bytes_of(file) == file.data
        assert (len(slow.asked), slow.sent_bytes, len(origin.asked)) == (1, 0, 1)
        assert counted(keeper, 'hedges_total{end="won"}') == 1


async def test_who_was_asked_first_is_taken_when_it_begins_first_and_nothing_is_fetched_twice(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=Fetching(hedge_s=0.1, first_byte_s=20.0, stall_s=20.0)) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        tier = await lab.source(SourceKind.TIER, "tier", [file], delay_s=0.6)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file], delay_s=15.0)
        keeper = await lab.start()
        async with asyncio.timeout(30):
            assert await (await lab.worker()).bytes_of(file) == file.data
        assert (tier.sent_bytes, origin.sent_bytes, len(origin.asked)) == (MIB, 0, 1)
        assert counted(keeper, 'hedges_total{end="lost"}') == 1


async def test_where_one_of_two_fails_the_other_is_waited_for(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=Fetching(hedge_s=0.1, first_byte_s=20.0, stall_s=20.0)) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        await lab.source(SourceKind.TIER, "tier", [file], delay_s=0.5)
        await lab.source(SourceKind.ORIGIN, "origin", [file], status=500)
        await lab.start()
        async with asyncio.timeout(30):
            assert await (await lab.worker()).bytes_of(file) == file.data


async def test_beside_a_late_peer_of_the_site_nobody_outside_it_is_asked_before_its_longer_wait(tmp_path: Path) -> None:
    patient = Fetching(hedge_s=0.05, hedge_far_s=20.0, first_byte_s=20.0, stall_s=20.0)
    async with keeper_lab(tmp_path, fetching=patient) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        peer = await lab.source(SourceKind.PEER, "peer", [file], delay_s=0.5)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        await lab.start()
        assert await (await lab.worker()).bytes_of(file) == file.data
        assert (peer.sent_bytes, origin.asked) == (MIB, [])


async def test_beside_a_late_peer_another_peer_is_asked(tmp_path: Path) -> None:
    patient = Fetching(hedge_s=0.05, hedge_far_s=20.0, first_byte_s=20.0, stall_s=20.0)
    async with keeper_lab(tmp_path, fetching=patient) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        peers = [await lab.source(SourceKind.PEER, name, [file]) for name in ("one", "other")]
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        late = spread(lab.plane.parents, file.key)[0].name
        for peer in peers:
            peer.delay_s = 15.0 if peer.name == late else 0.0
        await lab.start()
        async with asyncio.timeout(30):
            assert await (await lab.worker()).bytes_of(file) == file.data
        assert {peer.name: peer.sent_bytes for peer in peers if peer.sent_bytes} == {
            ({"one", "other"} - {late}).pop(): MIB
        }
        assert origin.asked == []


async def test_a_peer_that_stays_silent_for_the_longer_wait_has_the_origin_beside_it(tmp_path: Path) -> None:
    async with keeper_lab(
        tmp_path, fetching=Fetching(hedge_s=0.05, hedge_far_s=0.3, first_byte_s=20.0, stall_s=20.0)
    ) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        peer = await lab.source(SourceKind.PEER, "peer", [file], delay_s=15.0)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        await lab.start()
        async with asyncio.timeout(30):
            assert await (await lab.worker()).bytes_of(file) == file.data
        assert (peer.sent_bytes, origin.sent_bytes) == (0, MIB)


async def test_without_hedging_a_late_first_byte_is_waited_for(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=Fetching(hedge_s=0.0)) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        await lab.source(SourceKind.TIER, "tier", [file], delay_s=0.7)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        await lab.start()
        assert await (await lab.worker()).bytes_of(file) == file.data
        assert origin.asked == []


async def test_a_source_that_fails_again_and_again_is_left_in_peace_and_probed_until_it_is_back(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        files = [lab.publish(f"t/hd/v{number}.mp4", BLOCK_BYTES, number) for number in range(40)]
        origin = await lab.source(SourceKind.ORIGIN, "origin", files, status=500)
        keeper = await lab.start()
        worker = await lab.worker()
        for file in files[:10]:
            with pytest.raises(Refused):
                await worker.bytes_of(file)
        assert len(origin.asked) < 10, "the last of them were not asked for at all"
        assert keeper.sources.open_circuits == [origin.url]
        with pytest.raises(Refused) as refused:
            await worker.bytes_of(files[11])
        assert refused.value.why == FetchFailure.UPSTREAM_UNREACHABLE.name
        origin.status = None
        await until(lambda: not keeper.sources.open_circuits)
        assert await worker.bytes_of(files[12]) == files[12].data
        assert await worker.bytes_of(files[13]) == files[13].data


async def test_failures_do_not_multiply_requests(tmp_path: Path) -> None:
    """Two hundred misses of which one source in two fails: failing over is paid from a budget."""
    async with keeper_lab(tmp_path, fetching=Fetching(retry_share=0.0, hedge_s=0.0)) as lab:
        files = [lab.publish(f"t/hd/v{number}.mp4", 1000, number) for number in range(200)]
        # It breaks off, and is asked again each time because it had begun: no circuit is meant to hide the budget.
        first = await lab.source(SourceKind.PEER, "peer", files, status=500)
        second = await lab.source(SourceKind.ORIGIN, "origin", files, status=500)
        keeper = await lab.start()
        worker = await lab.worker()
        wants = [worker.want(file.key) for file in files]
        for want in wants:
            assert not isinstance(await worker.end(want), Done)
        assert len(first.asked) + len(second.asked) <= 200 + 50 + 20
        assert len(second.asked) < 200
        assert counted(keeper, "failed_fetches_total") == 200


async def test_a_storm_of_misses_reaches_the_origin_as_a_trickle(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=Fetching(client_fetches=3, first_byte_s=20.0, stall_s=20.0)) as lab:
        files = [lab.publish(f"t/hd/v{number}.mp4", 1000, number) for number in range(300)]
        origin = await lab.source(SourceKind.ORIGIN, "origin", files, delay_s=0.005)
        await lab.start()
        worker = await lab.worker()
        wants = [worker.want(file.key) for file in files]
        for want in wants:
            assert isinstance(await worker.end(want, within_s=30), Done)
        assert len(origin.asked) == 300
        assert 1 <= origin.most_at_once <= 3


async def test_a_source_that_trickles_is_given_up_and_what_it_sent_is_kept(tmp_path: Path) -> None:
    """Every byte comes before the silence is noticed; only the bound on the whole request ends it."""
    fetching = Fetching(request_s=1.0, stall_s=5.0, first_byte_s=5.0, hedge_s=0.0)
    async with keeper_lab(tmp_path, fetching=fetching) as lab:
        file = lab.publish("t/hd/v.mp4", 4 * BLOCK_BYTES)
        slow = await lab.source(SourceKind.TIER, "slow", [file], trickle_in_block=2)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        await lab.start()
        assert await (await lab.worker()).bytes_of(file) == file.data
        assert slow.asked == [("/media/t/hd/v.mp4", 0, 3)]
        assert origin.asked == [("/media/t/hd/v.mp4", 2, 3)]
