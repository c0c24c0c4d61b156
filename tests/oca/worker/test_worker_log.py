"""What a worker writes down of its answers: the access log, bytes that arrived, networks, and CMSD in the answers themselves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oca.config import Capacity
from oca.http.reasons import Closing, Outcome
from oca.link.counters import Count
from oca.link.records import FrameCutter, Record
from oca.logger.lines import AccessLine, encode_lines, line_of
from tests.oca.worker.tls_harness import FILE as TLS_FILE
from tests.oca.worker.tls_harness import Issuer, TlsBench, tls_bench
from tests.oca.worker.worker_harness import Bench, FakeKeeper, publish, running, with_keeper

FILE = publish("v-360.mp4", 900_000)
LARGE = publish("v-2160.mp4", 4 << 20)
CMCD = "CMCD=bl%3D21300%2Cot%3Dv%2Csid%3D%226e2f%22"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with running(tmp_path, send_timeout_s=1.5) as made:
        made.store_file(FILE)
        made.store_file(LARGE)
        made.start()
        yield made


class Reader:
    """The logger's end of the pipe."""

    def __init__(self, bench: Bench) -> None:
        self._fd = bench.log_pipe
        self._cutter = FrameCutter()
        self.raw = b""
        self.records: list[Record] = []
        os.set_blocking(self._fd, False)

    async def read(self, count: int) -> list[Record]:
        """Exactly `count` records in all."""
        deadline = time.monotonic() + 30
        while len(self.records) < count:
            assert time.monotonic() < deadline, self.records
            with contextlib.suppress(BlockingIOError):
                data = os.read(self._fd, 1 << 20)
                self.raw += data
                self.records += [record for batch in self._cutter.feed(data) for record in batch.records]
            await asyncio.sleep(0.02)
        assert len(self.records) == count
        return self.records

    async def lines(self, count: int) -> list[AccessLine]:
        return [line_of(0, record) for record in await self.read(count)]


async def test_the_long_way_and_the_short_way_write_the_same_record(bench: Bench) -> None:
    client, log = await bench.connect(), Reader(bench)
    path = f"{bench.path(FILE)}?{CMCD}"
    before = time.time()
    for _ in range(3):
        assert (await client.ask(path, Range="bytes=1000-1999")).status == 206
    large = f"{bench.path(LARGE)}?{CMCD}"
    for _ in range(2):
        assert (await client.ask(large, Range="bytes=0-1048575")).status == 206
    assert (await client.ask(bench.path(FILE))).status == 200
    lines = await log.lines(6)
    assert bench.count(Count.SHORT_WAY) >= 2, "both ways were gone"
    facts = [(line.status, line.outcome, line.cache, line.bytes, line.first, line.file, line.cmcd) for line in lines]
    said = {"bl": 21300, "ot": "v", "sid": "6e2f"}
    assert facts == [
        *[(206, "hit", "hit", 1000, 1000, "v-360.mp4", said)] * 3,
        *[(206, "hit", "hit", 1 << 20, 0, "v-2160.mp4", said)] * 2,
        (200, "hit", "hit", 900_000, None, "v-360.mp4", None),
    ]
    for record, line in zip(log.records, lines, strict=True):
        assert (line.client, line.tls, line.peer, line.method, line.session) == (
            "127.0.0.0/24",
            False,
            False,
            "GET",
            "session-1",
        )
        assert (line.path, line.title, line.tier) == (f"/media/t1/hd/{line.file}", "t1", "hd")
        assert before - 1 < record.began_at <= record.finished_at < time.time() + 1
    await client.close()


async def test_refusals_are_written_down_with_their_reason(bench: Bench) -> None:
    log = Reader(bench)
    asked: list[tuple[str, dict[str, str]]] = [
        (f"/~{bench.keys.token(expires_at=time.time() - 60)}{FILE.name.path}", {}),
        (FILE.name.path, {}),
        ("/nothing", {}),
        (bench.path(FILE), {"Range": "bytes=900000-"}),
    ]
    client = await bench.connect()
    for path, headers in asked:
        await client.ask(path, "GET", "HTTP/1.1", **headers)
    await client.ask(bench.path(FILE), "HEAD")
    await client.ask(bench.path(FILE), "POST")
    client.raw(b"GET / HTTP/9.9\r\n\r\n")
    await client.reply()
    found = [(line.method, line.status, line.outcome, line.cache, line.session) for line in await log.lines(7)]
    assert found == [
        ("GET", 403, "token-expired", "none", ""),
        ("GET", 403, "token-missing", "none", ""),
        ("GET", 404, "not-found", "none", ""),
        ("GET", 416, "range-not-satisfiable", "none", "session-1"),
        ("HEAD", 200, "hit", "hit", "session-1"),
        ("POST", 405, "method", "none", ""),
        ("", 400, "bad-request", "none", ""),
    ]
    await client.close()


async def test_misses_say_how_much_had_to_be_fetched(bench: Bench) -> None:
    partly = publish("v-720.mp4", 600_000)
    bench.store_file(partly, [0])
    log = Reader(bench)
    async with with_keeper(bench) as keeper:
        keeper.files[partly.name.key] = partly
        await bench.reaches(Count.KEEPER_LINKED, 1)
        client = await bench.connect()
        assert (await client.ask(bench.path(partly))).body == partly.data
        (line,) = await log.lines(1)
        assert (line.outcome, line.cache, line.bytes, line.missed_bytes) == (
            "miss",
            "partial",
            600_000,
            600_000 - 262_144,
        )
        await client.close()


async def test_cmcd_headers_are_written_down_as_the_query_is(bench: Bench) -> None:
    client, log = await bench.connect(), Reader(bench)
    for _ in range(2):
        await client.ask(bench.path(FILE), CMCD_Request="bl=21300", CMCD_Object="ot=v", Range="bytes=0-9")
    assert [line.cmcd for line in await log.lines(2)] == [{"bl": 21300, "ot": "v"}] * 2
    await client.close()


async def test_no_part_of_a_token_gets_into_a_line(bench: Bench) -> None:
    client, log = await bench.connect(), Reader(bench)
    token = bench.keys.token()
    for path in (
        f"/~{token}{FILE.name.path}?{CMCD}",
        f"/~{token}{FILE.name.path}?{CMCD}",
        f"/~{token[:-4]}{FILE.name.path}",
        f"/media/~{token}/v.mp4",
        f"//~{token}/media",
        f"http://{bench.host}/~{token}/media/t1/../x",
        f"/~{token}?token={token}&CMCD=nor%3D%22%2F~{token}%2Fx%22",
    ):
        await client.ask(path, Range="bytes=0-9")
    text = encode_lines(await log.lines(7))
    for part in token.split("."):
        assert part[:20].encode() not in text
    await client.close()


def resetting(port: int, request: bytes, read: int) -> int:
    """A client with a small buffer that reads so much of an answer and resets. Gives what it read of the body."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    sock.connect(("127.0.0.1", port))
    sock.sendall(request)
    taken = b""
    while len(taken) < read:
        taken += sock.recv(64 * 1024)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    return len(taken) - taken.index(b"\r\n\r\n") - 4


async def served_bytes(keeper: FakeKeeper, key: str, enough: Callable[[int], bool]) -> int:
    """Of the reports so far, once they are enough."""
    deadline = time.monotonic() + 30
    while True:
        found = sum(count for report in keeper.reports for name, _, count in report.clients if name == key)
        if enough(found):
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_client_that_resets_is_accounted_what_arrived_and_not_what_was_written(
    bench: Bench, times: int
) -> None:
    """Once on the long way, and again on the short one."""
    async with with_keeper(bench) as keeper:
        await bench.reaches(Count.KEEPER_LINKED, 1)
        request = f"GET {bench.path(LARGE)} HTTP/1.1\r\nHost: {bench.host}\r\n\r\n".encode()
        read = 0
        for number in range(times):
            read += await asyncio.to_thread(resetting, bench.port, request, 2 << 20)
            await bench.reaches(Outcome.CLIENT_LEFT, number + 1)
        buffers = 256 * 1024 * times  # what the client's kernel had acknowledged and nobody has read
        found = await served_bytes(keeper, LARGE.name.key, lambda count: count > 0 and count >= read)
        assert read <= found <= read + buffers
        await asyncio.sleep(1.2)
        found = await served_bytes(keeper, LARGE.name.key, lambda count: count > 0)
        assert read <= found <= read + buffers, "nothing comes afterwards"
        networks: dict[str, int] = {}
        for report in keeper.reports:
            for name, _, count in report.networks:
                networks[name] = networks.get(name, 0) + count
        assert networks == {"127.0.0.0/24": found}


def resetting_over_tls(bench: TlsBench, read: int) -> int:
    """The same over TLS."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    raw.connect(bench.address())
    sock = bench.issuer.trusting().wrap_socket(raw, server_hostname="play.test")
    sock.sendall(f"GET {bench.bench.path(TLS_FILE)} HTTP/1.1\r\nHost: play.test\r\n\r\n".encode())
    taken = b""
    while len(taken) < read:
        taken += sock.recv(64 * 1024)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    return len(taken) - taken.index(b"\r\n\r\n") - 4


async def test_over_tls_too_what_arrived_is_accounted(tmp_path: Path) -> None:
    issuer = Issuer()
    certificate = issuer.write(tmp_path / "certificates", "play", "play.test")
    with tls_bench(tmp_path / "box", certificate, issuer=issuer) as bench:
        bench.start()
        async with with_keeper(bench.bench) as keeper:
            await bench.bench.reaches(Count.KEEPER_LINKED, 1)
            read = 0
            for number in range(3):
                read += await asyncio.to_thread(resetting_over_tls, bench, 1 << 20)
                await bench.bench.reaches(Closing.CLIENT, number + 1)
            await asyncio.sleep(1.2)
            found = await served_bytes(keeper, TLS_FILE.name.key, lambda count: count >= read)
            # A client that reads slowly leaves up to its own buffers behind, and a record that it had not whole.
            assert read <= found <= read + 3 * 256 * 1024


async def test_a_client_that_takes_nothing_is_accounted_nothing_of_what_lies_in_the_kernel(bench: Bench) -> None:
    async with with_keeper(bench) as keeper:
        await bench.reaches(Count.KEEPER_LINKED, 1)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", bench.port))
        sock.sendall(f"GET {bench.path(FILE)} HTTP/1.1\r\nHost: {bench.host}\r\n\r\n".encode())
        await bench.reaches(Closing.SEND_TIMEOUT, 1)
        found = await served_bytes(keeper, FILE.name.key, lambda count: count >= 0)
        assert found <= 64 * 1024
        sock.close()


async def test_answers_that_were_written_and_never_taken_are_taken_back(bench: Bench) -> None:
    """Small answers fit into the kernel's buffers one after another: all of them count as sent until the client goes."""
    async with with_keeper(bench) as keeper:
        await bench.reaches(Count.KEEPER_LINKED, 1)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", bench.port))
        one = f"GET {bench.path(FILE)} HTTP/1.1\r\nHost: {bench.host}\r\nRange: bytes=0-49999\r\n\r\n".encode()
        answered = -1
        while answered != bench.counters.total(Outcome.HIT) or answered < 2:
            answered = bench.counters.total(Outcome.HIT)
            sock.sendall(one)
            await asyncio.sleep(0.1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        await bench.reaches(Closing.CLIENT, 1)
        written = 50_000 * bench.counters.total(Outcome.HIT)
        taken_back = bench.count(Count.UNACKNOWLEDGED)
        assert taken_back > 0
        assert written - taken_back <= 64 * 1024
        # What was reported before the end is owed by what comes after it.
        client = await bench.connect()
        for _ in range(-(-taken_back // 900_000)):
            assert (await client.ask(bench.path(FILE))).status == 200
        wholes = 900_000 * -(-taken_back // 900_000)
        expected = written - taken_back + wholes
        assert await served_bytes(keeper, FILE.name.key, lambda count: count >= expected) == expected
        await client.close()


async def test_clients_that_take_everything_are_accounted_everything(bench: Bench) -> None:
    async with with_keeper(bench) as keeper:
        await bench.reaches(Count.KEEPER_LINKED, 1)
        for _ in range(3):
            client = await bench.connect()
            assert (await client.ask(bench.path(FILE))).status == 200
            await client.close()
        await bench.reaches(Closing.CLIENT, 3)
        found = await served_bytes(keeper, FILE.name.key, lambda count: count >= 3 * 900_000)
        assert found == 3 * 900_000
        assert bench.count(Count.UNACKNOWLEDGED) == 0


async def test_cmsd_is_said_when_it_is_switched_on(tmp_path: Path) -> None:
    with running(tmp_path, cmsd=True) as bench:
        bench.store_file(FILE)
        bench.start()
        client = await bench.connect()
        path = bench.path(FILE)
        await client.ask(path)
        for _ in range(2):
            reply = await client.ask(path, Range="bytes=0-99")
            said = re.fullmatch(r'"lowtide"(;etp=\d+)?(;mb=\d+)?;rd=\d+;rtt=\d+', reply.headers["cmsd-dynamic"])
            assert said is not None, reply.headers["cmsd-dynamic"]
            assert reply.body == FILE.data[:100]
        assert "cmsd-dynamic" in (await client.ask("/nothing")).headers
        await client.close()


async def test_cmsd_says_so_while_new_sessions_are_shed(tmp_path: Path) -> None:
    with running(tmp_path, cmsd=True, max_connections=100, capacity=Capacity(connection_share=0.03)) as bench:
        bench.store_file(FILE)
        bench.start()
        clients = [await bench.connect() for _ in range(4)]
        assert not (await clients[0].ask(bench.path(FILE))).headers["cmsd-dynamic"].endswith(";du")
        await bench.reaches(Count.SHEDDING, 1)
        assert (await clients[0].ask(bench.path(FILE))).headers["cmsd-dynamic"].endswith(";du")
        for client in clients:
            await client.close()


async def test_cmsd_is_not_said_otherwise(bench: Bench) -> None:
    client = await bench.connect()
    for _ in range(2):
        assert "cmsd-dynamic" not in (await client.ask(bench.path(FILE), Range="bytes=0-9")).headers
    await client.close()


async def test_what_is_gathered_is_written_before_a_worker_ends(bench: Bench) -> None:
    client, log = await bench.connect(), Reader(bench)
    await client.ask(bench.path(FILE), Range="bytes=0-9")
    bench.say("drain")
    assert len(await log.read(1)) == 1
    await client.close()
