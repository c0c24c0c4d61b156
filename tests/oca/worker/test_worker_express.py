"""The short way gives what the long way gives, or declines: the same questions to both, every byte compared."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.digests import BLOCK_BYTES
from oca.config import Serving
from oca.link.counters import Count
from oca.store.purge import PurgeKind
from tests.oca.worker.worker_harness import Bench, Client, FakeKeeper, Published, Reply, publish

FILE_BYTES = 3 * BLOCK_BYTES + 12_345 + 1024 * 1024


class Lab(Bench):
    """A bench whose connections are closed when the test ends."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Serving(workers=1))
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        client = await super().connect()
        self.clients.append(client)
        return client


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Lab]:
    lab = Lab(tmp_path)
    keeper = FakeKeeper(lab)
    await keeper.start()
    yield lab
    for client in lab.clients:
        client.writer.close()
    lab.stop()
    await keeper.stop()


async def short(client: Client, path: str, **headers: str) -> Reply:
    """Asked with header lines that were seen before."""
    return await client.ask(path, **headers)


async def long(client: Client, path: str, **headers: str) -> Reply:
    """Asked with a header line nobody has seen: only the strict parser knows what it means."""
    return await client.ask(path, X_Never_Seen=str(random.Random().random()), **headers)


def without_clock(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name not in ("date", "age")}


async def both(client: Client, path: str, **headers: str) -> tuple[Reply, Reply]:
    return await short(client, path, **headers), await long(client, path, **headers)


async def prepared(bench: Lab, file: Published, **token: object) -> tuple[Client, str]:
    """A connection, and a path whose token, file and header lines are known to the worker."""
    client = await bench.connect()
    path = bench.path(file, **token)
    for _ in range(2):
        assert (await client.ask(path, Range="bytes=0-0")).status == 206
        assert (await client.ask(path, Range="bytes=0-0", Origin="https://viewer.example")).status == 206
    await bench.reaches(Count.SHORT_WAY, 2)
    return client, path


def ranges(rng: random.Random, size: int) -> list[str]:
    edges = [0, 1, 16 * 1024, 64 * 1024, BLOCK_BYTES, 1024 * 1024, size - 1, size]
    found = [
        "bytes=0-",
        f"bytes={size - 1}-",
        f"bytes={size}-",
        "bytes=5-4",
        "bytes=-7",
        "bytes=0-0,2-3",
        "bytes=007-9",
    ]
    for _ in range(60):
        first = max(0, rng.choice(edges) + rng.randrange(-3, 4))
        found.append(f"bytes={first}-{first + max(0, rng.choice(edges) + rng.randrange(-2, 3))}")
    return found


async def test_every_range_is_answered_alike_on_both_ways(bench: Lab) -> None:
    file = publish("v1.mp4", FILE_BYTES)
    bench.store_file(file)
    bench.start()
    client, path = await prepared(bench, file)
    for asked in ranges(random.Random(1), FILE_BYTES):
        one, other = await both(client, path, Range=asked)
        assert (one.status, without_clock(one)) == (other.status, without_clock(other)), asked
        assert one.body == other.body, asked
        if one.status == 206 and "," not in asked:
            first, _, last = one.headers["content-range"].removeprefix("bytes ").partition("/")[0].partition("-")
            assert one.body == file.data[int(first) : int(last) + 1], asked
    assert bench.count(Count.SHORT_WAY) > 40


async def test_a_whole_file_a_query_and_an_origin_are_answered_alike(bench: Lab) -> None:
    file = publish("v1.mp4", 300_000)
    bench.store_file(file)
    bench.start()
    client, path = await prepared(bench, file)
    for target in (path, f"{path}?CMCD=bl%3D1000%2Csid%3D%22a%22", f"{path}?a=b?c/d"):
        for headers in (
            {},
            {"Origin": "https://viewer.example"},
            {"Range": "bytes=10-20", "Origin": "https://viewer.example"},
        ):
            one, other = await both(client, target, **headers)
            assert (one.status, without_clock(one), one.body) == (other.status, without_clock(other), other.body)
    assert bench.count(Count.SHORT_WAY) > 6


async def test_what_decides_anything_takes_the_long_way(bench: Lab) -> None:
    file = publish("v1.mp4", 300_000)
    bench.store_file(file)
    bench.start()
    client, path = await prepared(bench, file)
    etag = file.digests.etag
    for _ in range(2):
        assert (await client.ask(path, If_None_Match=etag)).status == 304
        assert (await client.ask(path, Range="bytes=0-1", If_Range='"other"')).status == 200
        assert (await client.ask(path, Range="bytes=0-1", If_Range=etag)).status == 206
        assert (await client.ask(path, method="HEAD")).status == 200
        assert (await client.ask(path, Host="elsewhere.example")).status == 421
        client = await bench.connect()
    assert bench.count(Count.SHORT_WAY) == 2


async def test_requests_that_come_together_are_answered_in_order(bench: Lab) -> None:
    file = publish("v1.mp4", FILE_BYTES)
    bench.store_file(file)
    bench.start()
    client, path = await prepared(bench, file)
    asked = [(n * 1000, n * 1000 + (400_000 if n % 3 == 0 else 50)) for n in range(20)]
    text = b"".join(
        f"GET {path} HTTP/1.1\r\nHost: {bench.host}\r\nRange: bytes={a}-{b}\r\n\r\n".encode() for a, b in asked
    )
    client.raw(text[:200])
    client.raw(text[200:])
    for first, last in asked:
        assert (await client.reply()).body == file.data[first : last + 1]


async def test_a_token_opens_only_its_own_prefix_tier_and_time_on_the_short_way_too(bench: Lab) -> None:
    file = publish("v1.mp4", 10_000)
    bench.store_file(file)
    bench.start()
    client, _ = await prepared(bench, file)
    for claims, problem in (
        ({"prefix": "/media/t2/"}, "media-token-scope"),
        ({"tiers": ("base",)}, "media-token-scope"),
        ({"expires_at": 1000.0, "issued_at": 10.0}, "media-token-expired"),
    ):
        path = bench.path(file, **claims)
        for _ in range(3):
            reply = await client.ask(path, Range="bytes=0-0")
            assert (reply.status, reply.problem) == (403, problem)


async def test_a_session_that_is_revoked_is_refused_although_all_is_remembered(bench: Lab) -> None:
    file = publish("v1.mp4", 10_000)
    bench.store_file(file)
    bench.start()
    client, path = await prepared(bench, file)
    bench.write_keys(bench.keys.public(), number=2, revoked=("session-1",))
    for _ in range(40):
        reply = await client.ask(path, Range="bytes=0-0")
        if reply.status == 403:
            break
        await asyncio.sleep(0.1)
    assert reply.problem == "media-token-revoked"


async def test_blocks_that_come_later_are_served_by_the_short_way(bench: Lab) -> None:
    file = publish("v1.mp4", 3 * BLOCK_BYTES)
    bench.store_file(file, blocks=[0])
    bench.start()
    client, path = await prepared(bench, file)
    bench.store_file(file, blocks=[1, 2])
    for _ in range(3):  # the first proves them
        reply = await client.ask(path, Range=f"bytes={BLOCK_BYTES}-{2 * BLOCK_BYTES + 5}")
        assert reply.body == file.data[BLOCK_BYTES : 2 * BLOCK_BYTES + 6]
    await bench.reaches(Count.SHORT_WAY, 4)


async def test_what_was_purged_is_not_recalled(bench: Lab) -> None:
    file = publish("v1.mp4", 10_000)
    bench.store_file(file)
    bench.start()
    client, path = await prepared(bench, file)
    assert (await client.ask(path, Range="bytes=0-9", Cache_Control="only-if-cached")).status == 206
    bench.store.purge(PurgeKind.OBJECT, file.name.key)
    reply = await client.ask(path, Range="bytes=0-9")
    assert reply.status != 206 or reply.headers["cache-status"] != "lowtide;hit"


async def test_a_file_that_was_shortened_from_outside_gives_no_foreign_byte(bench: Lab) -> None:
    file = publish("v1.mp4", 900_000)
    bench.store_file(file)
    bench.start()
    client, path = await prepared(bench, file)
    for extent in (bench.folder / "disk" / "extents").rglob("*"):
        if extent.is_file():
            with extent.open("r+b") as handle:
                handle.truncate(300_000)
    for first, last in ((299_000, 310_000), (200_000, 700_000), (0, 899_999)):
        client = await bench.connect()
        client.send(path, Range=f"bytes={first}-{last}")
        client.send(path, Range="bytes=0-9", Connection="close")
        data = await client.reader.read()
        head, _, body = data.partition(b"\r\n\r\n")
        if b" 206 " in head:
            assert file.data[first : last + 1].startswith(body), "only the file's own bytes"
            assert len(body) < last - first + 1, "and the connection ended"
        else:
            assert b" 503 " in head


async def test_a_client_that_was_gone_before_its_answer_is_no_error_of_ours(bench: Lab) -> None:
    file = publish("v1.mp4", FILE_BYTES)
    bench.store_file(file)
    bench.start()
    assert bench.process is not None
    _, path = await prepared(bench, file)
    for _ in range(3):
        client = await bench.connect()
        assert (await client.ask(path, Range="bytes=0-0")).status == 206
        bench.process.send_signal(signal.SIGSTOP)  # request and reset are both there when the worker looks
        client.send(path, Range="bytes=0-700000")
        await asyncio.sleep(0.05)
        client.reset()
        bench.process.send_signal(signal.SIGCONT)
    client = await bench.connect()
    assert (await client.ask(path, Range="bytes=5-9")).body == file.data[5:10]
    assert bench.count(Count.ERRORS) == 0
    assert "Traceback" not in bench.log.read_text()
