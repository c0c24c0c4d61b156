"""Misses from end to end: workers on the link, a real store, sources with faults."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from chassis.tls import ClientCertificate, server_context
from contracts.digests import BLOCK_BYTES
from contracts.plans import SourceKind
from oca.config import Fetching
from oca.link.messages import Cancel, Done, Failed
from tests.oca.keeper.lab import MIB, Refused, keeper_lab, until
from tests.oca.keeper.plane import SigningKey
from tests.oca.keeper.sources import FakeSource


async def test_two_hundred_waiters_for_one_cold_object_cost_one_fetch_per_block(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 5 * MIB + 100)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file], gate=asyncio.Event())
        await lab.start()
        workers = [await lab.worker(number) for number in range(4)]
        asks = [asyncio.create_task(workers[n % 4].bytes_of(file)) for n in range(200)]
        await until(lambda: lab.keeper and lab.keeper.misses.waiting == 200)
        assert origin.gate is not None
        origin.gate.set()
        for answer in await asyncio.gather(*asks):
            assert answer == file.data
        asked = origin.blocks_asked("/media/t/hd/v.mp4")
        assert asked == {block: 1 for block in range(21)}
        assert origin.sent_bytes == len(file.data)


async def test_the_head_comes_first_and_says_version_size_and_headers(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file])
        await lab.start()
        worker = await lab.worker()
        request = worker.want(file.key, 1, 1)
        assert isinstance(await worker.end(request), Done)
        head = worker.heads[request]
        assert (head.version, head.size_bytes) == (file.version, MIB)
        assert f"ETag: {file.digests.etag}\r\n".encode() in head.header_block
        assert b"immutable" in head.header_block
        assert [(ready.first_block, ready.last_block) for ready in worker.ready[request]] == [(1, 1)]
        only_head = worker.want(file.key, 0, 0, head_only=True)
        assert isinstance(await worker.end(only_head), Done)
        assert worker.heads[only_head].size_bytes == MIB
        assert worker.ready[only_head] == []


async def test_a_waiter_that_leaves_does_not_stop_the_fetch(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 2 * MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file], gate=asyncio.Event())
        keeper = await lab.start()
        leaver, stayer = await lab.worker(0), await lab.worker(1)
        request = leaver.want(file.key)
        await until(lambda: origin.asked)
        leaver.send(Cancel(request))
        await leaver.close()
        await until(lambda: keeper.misses.waiting == 0)
        assert origin.gate is not None
        origin.gate.set()
        assert await stayer.bytes_of(file) == file.data
        assert set(origin.blocks_asked("/media/t/hd/v.mp4").values()) == {1}


async def test_what_is_held_is_answered_without_asking_anybody(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 3 * MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        await lab.start()
        worker = await lab.worker()
        await worker.bytes_of(file, 2, 5)
        asked = len(origin.asked)
        assert await worker.bytes_of(file, 3, 4) == file.data[3 * BLOCK_BYTES : 5 * BLOCK_BYTES]
        assert len(origin.asked) == asked
        assert await worker.bytes_of(file) == file.data
        assert set(origin.blocks_asked("/media/t/hd/v.mp4").values()) == {1}


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 404},
        {"status": 500},
        {"wrong_block": 2},
        {"truncate_in_block": 3},
        {"stall_in_block": 1},
        {"stall_head": True},
        {"grown": True},
        {"ignore_range": True, "wrong_block": 0},
    ],
    ids=lambda fault: next(iter(fault)),
)
async def test_a_source_that_fails_is_followed_by_the_next_for_all_who_wait(
    tmp_path: Path, fault: dict[str, Any]
) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 2 * MIB)
        peer = await lab.source(SourceKind.PEER, "peer", [file], **fault)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        keeper = await lab.start()
        workers = [await lab.worker(number) for number in range(2)]
        answers = await asyncio.gather(*(workers[n % 2].bytes_of(file) for n in range(10)))
        assert all(answer == file.data for answer in answers)
        assert len(peer.asked) == 1
        path = "/media/t/hd/v.mp4"
        assert set(origin.blocks_asked(path).values()) == {1}
        assert peer.headers[0]["Cache-Control"] == "only-if-cached"
        assert "Cache-Control" not in origin.headers[0]
        assert origin.headers[0]["CDN-Loop"] == "lowtide;appliance=a-1"
        assert keeper.storing.missing(await keeper.fetcher.facts(file.key), 0, 7) == []


async def test_what_a_failed_source_delivered_is_not_asked_for_again(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 2 * MIB)
        await lab.source(SourceKind.PEER, "peer", [file], truncate_in_block=5)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        await lab.start()
        assert await (await lab.worker()).bytes_of(file) == file.data
        (path, first, last) = origin.asked[0]
        assert (path, last, len(origin.asked)) == ("/media/t/hd/v.mp4", 7, 1)
        assert first in (3, 4, 5), "only what was in the broken connection's buffer is asked for once more"


async def test_wrong_bytes_are_blamed_on_their_sender_and_never_stored(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", 4 * MIB)
        liar = await lab.source(SourceKind.PEER, "liar", [file], wrong_block=0)
        await lab.source(SourceKind.ORIGIN, "origin", [file])
        keeper = await lab.start()
        worker = await lab.worker()
        assert await worker.bytes_of(file, 0, 3) == file.data[: 4 * BLOCK_BYTES]
        assert len(liar.asked) == 1
        assert await worker.bytes_of(file, 8, 11) == file.data[8 * BLOCK_BYTES : 12 * BLOCK_BYTES]
        assert len(liar.asked) == 1, "it is not asked for this file again for a while"
        assert (
            b'lowtide_keeper_upstream_outcomes_total{outcome="wrong-bytes",source="peer"} 1.0' in keeper.metrics.text()
        )


async def test_only_wrong_bytes_anywhere_end_as_wrong_bytes(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file], wrong_block=1)
        keeper = await lab.start()
        worker = await lab.worker()
        with pytest.raises(Refused, match="WRONG_BYTES"):
            await worker.bytes_of(file)
        facts = await keeper.fetcher.facts(file.key)
        assert keeper.storing.missing(facts, 0, 3) == [(1, 3)]
        origin.wrong_block = None
        assert await worker.bytes_of(file) == file.data


async def test_a_key_that_nobody_published_is_not_found_and_asked_once_for_a_while(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        origin = await lab.source(SourceKind.ORIGIN, "origin", [])
        await lab.start()
        worker = await lab.worker()
        for _ in range(3):
            ended = await worker.end(worker.want("vod|/media/no/hd/such.mp4"))
            assert isinstance(ended, Failed)
            assert ended.why == "NOT_FOUND"
        assert lab.plane.asked["/v1/digests"] == 1
        assert origin.asked == []


async def test_a_digest_list_signed_by_somebody_else_lets_nothing_in(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        lab.plane.lists[file.key] = SigningKey("d-1").sign(file.digests)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        await lab.start()
        worker = await lab.worker()
        ended = await worker.end(worker.want(file.key))
        assert isinstance(ended, Failed)
        assert ended.why == "NO_DIGESTS"
        assert origin.asked == []
        lab.plane.lists[file.key] = lab.plane.signing.sign(file.digests)
        assert await worker.bytes_of(file) == file.data


async def test_with_the_control_plane_away_kept_digest_lists_and_parents_still_serve_misses(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file, other = lab.publish("t/hd/v.mp4", 2 * MIB), lab.publish("t/hd/w.mp4", MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file, other])
        await lab.start()
        await (await lab.worker()).bytes_of(file, 0, 1)
        await lab.stop()
        lab.plane.away = True
        keeper = await lab.start(joined=False)
        await until(keeper.connection.enrolled.is_set)
        worker = await lab.worker()
        assert await worker.bytes_of(file) == file.data
        with pytest.raises(Refused, match="NO_DIGESTS"):
            await worker.bytes_of(other)


async def test_with_every_source_away_a_miss_ends_clearly_and_soon(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        await lab.start()
        await origin.close()
        worker = await lab.worker()
        with pytest.raises(Refused, match="UPSTREAM_UNREACHABLE"):
            await worker.bytes_of(file)


async def test_another_version_than_the_published_one_is_not_served(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        await lab.source(SourceKind.ORIGIN, "origin", [file])
        await lab.start()
        worker = await lab.worker()
        with pytest.raises(Refused, match="VERSION_CHANGED"):
            await worker.bytes_of(file, version=b"\x01" * 32)
        assert await worker.bytes_of(file, version=file.version) == file.data


async def test_the_least_recently_used_goes_when_room_is_needed(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, quota_bytes=5 * MIB) as lab:
        files = [lab.publish(f"t/hd/{n}.mp4", 2 * MIB) for n in range(3)]
        await lab.source(SourceKind.ORIGIN, "origin", files)
        keeper = await lab.start()
        worker = await lab.worker()
        for file in files:
            assert await worker.bytes_of(file) == file.data
        assert {file.key for file in keeper.storing.files()} == {files[1].key, files[2].key}
        assert keeper.view().evictions == 2


async def test_a_prefetch_hint_is_followed_and_answers_nothing(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file])
        keeper = await lab.start()
        worker = await lab.worker()
        request = worker.want(file.key, 0, 1, hint=True)
        await until(lambda: origin.sent_bytes == 2 * BLOCK_BYTES)
        facts = await keeper.fetcher.facts(file.key)
        await until(lambda: keeper.storing.missing(facts, 0, 3) == [(2, 3)])
        assert worker.ready[request] == []
        assert not worker.ended[request].done()


async def test_sources_over_mutual_tls_see_this_appliances_certificate(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        origin = FakeSource(SourceKind.ORIGIN, "origin", {"/media/t/hd/v.mp4": file.data})
        await origin.start(server_context(lab.plane.files("origin"), ClientCertificate.REQUIRED))
        lab.sources.append(origin)
        lab.plane.parents = (origin.ranked,)
        await lab.start()
        assert await (await lab.worker()).bytes_of(file) == file.data


async def test_idle_extents_make_way_when_unlinked_ones_are_still_being_sent(tmp_path: Path) -> None:
    """A worker that never lets go of what it reads costs room, and nobody a block."""
    async with keeper_lab(tmp_path, quota_bytes=7 * MIB) as lab:
        first, *others = [lab.publish(f"t/hd/{n}.mp4", 2 * MIB) for n in range(5)]
        await lab.source(SourceKind.ORIGIN, "origin", [first, *others])
        keeper = await lab.start()
        worker = await lab.worker()
        assert await worker.bytes_of(first) == first.data
        line = lab.board.line(0)
        line.attach(1, lab.board.head)
        for sequence in range(lab.board.head, lab.board.head + 2):
            line.hold(sequence)
        line.position = lab.board.head + 1_000_000
        for file in others:
            assert await worker.bytes_of(file) == file.data
        assert sum(disk.dead_bytes for disk in keeper.store.statistics()) >= 2 * MIB


async def test_the_last_source_is_waited_for_longer_than_one_that_others_stand_behind(tmp_path: Path) -> None:
    async with keeper_lab(tmp_path, fetching=Fetching(first_byte_s=0.3, stall_s=3.0)) as lab:
        file = lab.publish("t/hd/v.mp4", MIB)
        peer = await lab.source(SourceKind.PEER, "peer", [file], delay_s=0.8)
        origin = await lab.source(SourceKind.ORIGIN, "origin", [file], delay_s=0.8)
        await lab.start()
        assert await (await lab.worker()).bytes_of(file) == file.data
        assert (len(peer.asked), peer.sent_bytes, len(origin.asked)) == (1, 0, 1)
