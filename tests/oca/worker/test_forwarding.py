"""Requests to the upstream of a pull-through service over real sockets: what goes on, what comes back, who ends it."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path

import pytest

from oca.http.reasons import Closing, Outcome
from oca.link.counters import Count
from oca.link.passing import PassEnd
from tests.oca.keeper.lab import until
from tests.oca.worker.forwarding_harness import LIMIT, SERVICE, Asked, Upstream, forwarding, ok
from tests.oca.worker.worker_harness import Client

MIB = 1 << 20
HEAD = f"Host: {SERVICE}\r\n"


def request(method: str, target: str, *lines: str, version: str = "1.1") -> bytes:
    further = "".join(f"{line}\r\n" for line in lines)
    return f"{method} {target} HTTP/{version}\r\n{HEAD}{further}\r\n".encode()


async def head_of(client: Client) -> tuple[int, list[tuple[str, str]]]:
    block = (await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 20)).decode("latin-1")
    line, *lines = block[:-4].split("\r\n")
    return int(line.split(" ")[1]), [
        (name.lower(), value.strip()) for name, _, value in (x.partition(":") for x in lines)
    ]


async def chunks_of(client: Client) -> bytes:
    body = b""
    while size := int(await asyncio.wait_for(client.reader.readline(), 20), 16):
        body += await client.reader.readexactly(size)
        assert await client.reader.readexactly(2) == b"\r\n"
    assert await client.reader.readline() == b"\r\n", "no trailers"
    return body


async def test_a_body_of_each_framing_arrives_as_it_was_sent_and_so_does_the_answer(tmp_path: Path) -> None:
    upstream = Upstream()
    async with forwarding(tmp_path, upstream) as bench:
        client = await bench.worker.connect()
        data = random.Random(1).randbytes(300_000)
        client.raw(request("POST", "/a/b?x=1&CMCD=br%3D1&y=", f"Content-Length: {len(data)}") + data)
        reply = await client.reply()
        assert (reply.status, reply.body == data, reply.headers["x-said"]) == (200, True, "yes")
        assert reply.headers["cache-status"] == "lowtide;fwd=method"
        client.raw(request("PUT", "/c", "Transfer-Encoding: chunked"))
        for piece in (data[:1], data[1:70_000], b"\r\n\r\n0\r\n\r\n", data[70_000:]):
            client.raw(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
        client.raw(b"0\r\nX-Checksum: 1\r\n\r\n")
        reply = await client.reply()
        assert reply.body == data[:70_000] + b"\r\n\r\n0\r\n\r\n" + data[70_000:]
        for method in ("DELETE", "PATCH", "PROPFIND", "OPTIONS", "GET", "POST"):
            client.raw(request(method, "/d"))
            assert (await client.reply()).body == b""
        assert [asked.line for asked in upstream.asked[:3]] == [
            "POST /base/a/b?x=1&y= HTTP/1.1",
            "PUT /base/c HTTP/1.1",
            "DELETE /base/d HTTP/1.1",
        ]
        assert upstream.asked[1].values("content-length") == []
        assert upstream.asked[1].trailers == b""
        assert bench.changed == [f"api|{path}" for path in ("/a/b?x=1&y=", "/c", "/d", "/d", "/d")], "unsafe ones only"
        await bench.worker.reaches(Outcome.PASSED, 8)
        await until(lambda: bench.ended(PassEnd.DONE) == 8)
        await client.close()


async def test_what_belongs_to_one_connection_stays_on_it_and_the_rest_goes_on_in_order(tmp_path: Path) -> None:
    async def script(asked: Asked) -> None:
        await asked.body()
        await asked.say(
            b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: x-secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n"
            b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nLocation: /new\r\nCache-Status: inner;hit\r\nTrailer: X\r\n"
            b"Access-Control-Allow-Origin: https://app.example\r\n\r\n"
        )

    upstream = Upstream(script)
    async with forwarding(tmp_path, upstream) as bench:
        client = await bench.worker.connect()
        client.raw(
            request(
                "POST", "/", "Connection: X-Hop", "X-Hop: 1", "TE: trailers", "Proxy-Authorization: x", "Cookie: s=1",
                "Authorization: Bearer t", "X-Two: 1", "x-two: 2", "Via: 1.0 front", "CDN-Loop: other", "Content-Length: 2",
                "Content-Type: text/plain; charset=utf-8", "User-Agent: it", "X-Utf: ä",
            )
            + b"hi"
        )  # fmt: skip
        status, fields = await head_of(client)
        assert status == 201
        names = [name for name, _ in fields]
        assert {"x-secret", "keep-alive", "trailer", "connection"} & set(names) == set()
        assert [value for name, value in fields if name == "set-cookie"] == ["a=1", "b=2"]
        assert [value for name, value in fields if name == "cache-status"] == ["inner;hit", "lowtide;fwd=method"]
        assert [v for n, v in fields if n == "access-control-allow-origin"] == ["https://app.example"]
        asked = upstream.asked[0]
        for name in ("x-hop", "connection", "te", "proxy-authorization", "accept", "accept-encoding"):
            assert asked.values(name) == [] or (name, asked.values(name)) == ("connection", ["close"]), name
        assert asked.values("x-two") == ["1", "2"]
        assert (asked.values("cookie"), asked.values("authorization")) == (["s=1"], ["Bearer t"])
        assert (asked.values("user-agent"), asked.values("x-utf")[0].encode("latin-1")) == (["it"], "ä".encode())
        assert asked.values("via") == ["1.0 front", "1.1 lowtide"]
        assert asked.values("cdn-loop") == ["other, lowtide;appliance=unnamed"]
        assert asked.values("content-type") == ["text/plain; charset=utf-8"]
        await client.close()


async def test_pipelined_requests_with_bodies_are_forwarded_one_after_the_other(tmp_path: Path) -> None:
    upstream = Upstream()
    async with forwarding(tmp_path, upstream) as bench:
        client = await bench.worker.connect()
        bodies = [b"a" * 5000, b"", b"GET / HTTP/1.1\r\n\r\n", b"z" * 100_000]
        client.raw(b"".join(request("POST", f"/{len(b)}", f"Content-Length: {len(b)}") + b for b in bodies))
        assert [(await client.reply()).body for _ in bodies] == bodies
        await client.close()


async def test_64_mib_go_up_and_down_with_little_in_memory(tmp_path: Path) -> None:
    piece = random.Random(2).randbytes(MIB)
    seen = hashlib.sha256()

    async def script(asked: Asked) -> None:
        async for data in asked.pieces():
            seen.update(data)
        if "warm" in asked.line:
            await asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        await asked.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(64):
            await asked.say(b"%x\r\n%b\r\n" % (len(piece), piece))
        await asked.say(b"0\r\nX-Trailer: 1\r\n\r\n")

    async with forwarding(tmp_path, Upstream(script)) as bench:
        client = await bench.worker.connect()
        client.raw(request("POST", "/warm", "Content-Length: 1000000") + bytes(1_000_000))
        await head_of(client)
        seen = hashlib.sha256()
        before, most = bench.rss_bytes, 0
        client.raw(request("POST", "/", f"Content-Length: {64 * MIB}"))
        for number in range(64):
            client.raw(piece)
            await client.writer.drain()
            most = max(most, bench.rss_bytes if number % 8 == 7 else 0)
        status, _fields = await head_of(client)
        assert status == 200
        came, whole = hashlib.sha256(), hashlib.sha256()
        for _ in range(64):
            whole.update(piece)
        chunks = 0
        while size := int(await client.reader.readline(), 16):
            came.update(await client.reader.readexactly(size))
            assert await client.reader.readexactly(2) == b"\r\n"
            chunks += 1
            most = max(most, bench.rss_bytes if chunks % 128 == 64 else 0)
        assert came.digest() == whole.digest() == seen.digest()
        assert most - before < 4 * MIB
        await client.close()


async def test_a_slow_client_stops_the_upstream_and_a_slow_upstream_the_client(tmp_path: Path) -> None:
    sent = taken = 0
    go = asyncio.Event()

    async def script(asked: Asked) -> None:
        nonlocal sent, taken
        if asked.line.startswith("PUT"):
            await go.wait()
            async for data in asked.pieces():
                taken += len(data)
            await asked.say(b"HTTP/1.1 204 No Content\r\n\r\n")
            return
        await asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        for _ in range(64):
            await asked.say(bytes(MIB))
            sent += MIB

    async with forwarding(tmp_path, Upstream(script)) as bench:
        reading = await bench.worker.connect()
        reading.raw(request("GET", "/"))
        await until(lambda: sent)
        stood = -1
        while stood != sent:
            stood = sent
            await asyncio.sleep(0.5)
        assert sent < 32 * MIB, "what the test's own sockets hold, and 1 MiB"
        status, _ = await head_of(reading)
        assert len(await reading.reader.readexactly(64 * MIB)) == 64 * MIB
        await reading.close()
        writing = await bench.worker.connect()
        writing.raw(request("PUT", "/", f"Content-Length: {64 * MIB}"))
        writing.raw(bytes(64 * MIB))
        stood = -1
        transport = writing.writer.transport
        while stood != (left := transport.get_write_buffer_size()):
            stood = left
            await asyncio.sleep(0.5)
        assert left > 32 * MIB
        go.set()
        status, _ = await head_of(writing)
        assert (status, taken) == (204, 64 * MIB)
        await writing.close()


async def test_a_client_is_told_to_go_on_when_the_upstream_says_so(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def script(asked: Asked) -> None:
        assert asked.values("expect") == ["100-continue"]
        if "refused" in asked.line:
            await asked.say(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
            return
        await go.wait()
        await asked.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        await ok(asked)

    async with forwarding(tmp_path, Upstream(script)) as bench:
        client = await bench.worker.connect()
        client.raw(request("POST", "/", "Expect: 100-continue", "Content-Length: 5"))
        told = asyncio.create_task(client.reader.readuntil(b"\r\n\r\n"))
        await asyncio.sleep(0.2)
        assert not told.done()
        go.set()
        assert await told == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.raw(b"hello")
        assert (await client.reply()).body == b"hello"
        client.raw(request("POST", "/refused", "Expect: 100-continue", "Transfer-Encoding: chunked"))
        reply = await client.reply()
        assert (reply.status, reply.body, reply.headers["connection"]) == (401, b"no", "close")
        assert await client.ended()


async def test_informational_answers_and_trailers_are_left_out(tmp_path: Path) -> None:
    async def script(asked: Asked) -> None:
        await asked.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
        await asked.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n")
        await asked.say(b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n")

    async with forwarding(tmp_path, Upstream(script)) as bench:
        client = await bench.worker.connect()
        for _ in range(2):
            client.raw(request("GET", "/"))
            status, fields = await head_of(client)
            assert (status, dict(fields)["transfer-encoding"]) == (200, "chunked")
            assert "trailer" not in dict(fields)
            assert await chunks_of(client) == b"abc"
        await client.close()


async def test_answers_without_a_body_and_those_to_http_1_0(tmp_path: Path) -> None:
    async def script(asked: Asked) -> None:
        method, target, _ = asked.line.split(" ")
        if target.endswith("204"):
            await asked.say(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif target.endswith("304"):
            await asked.say(b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 99\r\n\r\n')
        elif method == "HEAD":
            await asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n")
        elif target.endswith("close"):
            await asked.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end")
            asked.writer.close()
        else:
            await asked.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nparts\r\n0\r\n\r\n")

    async with forwarding(tmp_path, Upstream(script)) as bench:
        client = await bench.worker.connect()
        client.raw(request("POST", "/204") + request("HEAD", "/h") + request("GET", "/304") + request("GET", "/close"))
        assert (await head_of(client))[0] == 204
        assert dict((await head_of(client))[1])["content-length"] == "77"
        assert (await head_of(client))[0] == 304
        await head_of(client)
        assert await chunks_of(client) == b"until the end"
        client.raw(request("GET", "/chunked", version="1.0"))
        status, fields = await head_of(client)
        assert (status, dict(fields).get("transfer-encoding"), dict(fields)["connection"]) == (200, None, "close")
        assert await client.reader.read() == b"parts"
        await client.close()


async def test_an_answer_that_breaks_off_breaks_the_connection_off(tmp_path: Path) -> None:
    async def script(asked: Asked) -> None:
        await asked.body()
        if "before" not in asked.line:
            chunked = "chunked" in asked.line
            await asked.say(
                b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 9")
            )
            await asked.say(b"\r\n\r\n" + (b"3\r\nabc\r\n" if chunked else b"abc"))
        asked.writer.close()

    async with forwarding(tmp_path, Upstream(script)) as bench:
        for target in ("/length", "/chunked"):
            client = await bench.worker.connect()
            client.raw(request("POST", target))
            await head_of(client)
            came = await client.reader.read()
            assert came in (b"abc", b"3\r\nabc\r\n"), "fewer than were promised, and no last chunk"
            await client.close()
        client = await bench.worker.connect()
        client.raw(request("POST", "/before", "Content-Length: 1") + b"x")
        reply = await client.reply()
        assert (reply.status, reply.problem) == (502, "upstream-failed")
        await client.close()
        await until(lambda: (bench.ended(PassEnd.CUT), bench.ended(PassEnd.REFUSED)) == (2, 1))


async def test_the_next_upstream_is_asked_when_the_first_cannot_be_reached(tmp_path: Path) -> None:
    upstream = Upstream()
    async with forwarding(tmp_path, upstream, also=("http://127.0.0.1:1/first",)) as bench:
        client = await bench.worker.connect()
        client.raw(request("POST", "/x", "Content-Length: 3") + b"abc")
        assert (await client.reply()).body == b"abc"
        assert [asked.line for asked in upstream.asked] == ["POST /base/x HTTP/1.1"]
        await upstream.close()
        client.raw(request("POST", "/x", "Content-Length: 3") + b"abc")
        reply = await client.reply()
        assert (reply.status, reply.problem) == (504, "upstream-timeout")
        await client.close()


async def test_an_upstream_that_is_left_in_peace_is_asked_last(tmp_path: Path) -> None:
    async def silent(asked: Asked) -> None:
        await asyncio.sleep(30)

    sick, well = Upstream(silent), Upstream()
    await sick.start()
    url = f"http://127.0.0.1:{sick.port}"
    async with forwarding(tmp_path, well, also=(url,)) as bench:
        bench.in_peace.add(url)
        client = await bench.worker.connect()
        client.raw(request("POST", "/x", "Content-Length: 3") + b"abc")
        assert (await client.reply()).body == b"abc"
        assert (len(sick.asked), len(well.asked)) == (0, 1)
        await client.close()
    await sick.close()


async def test_a_silent_upstream_is_504_in_time(tmp_path: Path) -> None:
    async def script(asked: Asked) -> None:
        await asyncio.sleep(30)

    async with forwarding(tmp_path, Upstream(script), stall_s=0.5) as bench:
        for lines in ((), ("Expect: 100-continue", "Content-Length: 1")):
            client = await bench.worker.connect()
            client.raw(request("POST", "/x", *lines))
            reply = await client.reply()
            assert (reply.status, reply.problem) == (504, "upstream-timeout")
            await client.close()
        await until(lambda: bench.passing.under_way == 0)


@pytest.mark.parametrize("when", ["upload", "wait", "download"])
async def test_a_client_that_leaves_takes_the_upstream_with_it(tmp_path: Path, when: str) -> None:
    async def script(asked: Asked) -> None:
        if asked.line.startswith("HEAD"):
            await asked.say(b"HTTP/1.1 204 No Content\r\n\r\n")
            return
        if when == "download":
            await asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
            for _ in range(64):
                await asked.say(bytes(MIB))
        await asked.body()
        await asked.reader.read(1)

    upstream = Upstream(script)
    async with forwarding(tmp_path, upstream) as bench:
        primed = await bench.worker.connect()
        primed.raw(request("HEAD", "/"))
        await head_of(primed)
        await primed.close()
        await until(lambda: bench.passing.under_way == 0)
        await bench.worker.reaches(Outcome.PASSED, 1)
        before = bench.open_files
        clients = [await bench.worker.connect() for _ in range(5)]
        for client in clients:
            length = 10_000 if when == "upload" else 0
            client.raw(request("POST", "/", f"Content-Length: {length}") + bytes(length // 2))
        await until(lambda: len(upstream.asked) == 6)
        assert bench.passing.under_way == 5
        for client in clients:
            client.reset()
        await until(lambda: upstream.gone >= 5)
        await until(lambda: bench.passing.under_way == 0)
        await until(lambda: bench.open_files <= before)
        assert bench.worker.count(Count.PASSING) == 0


async def test_a_keeper_that_goes_cuts_what_runs_and_the_rest_is_504(tmp_path: Path) -> None:
    async def script(asked: Asked) -> None:
        if "begun" in asked.line:
            await asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        await asyncio.sleep(30)

    upstream = Upstream(script)
    async with forwarding(tmp_path, upstream) as bench:
        begun, waiting = await bench.worker.connect(), await bench.worker.connect()
        begun.raw(request("POST", "/begun"))
        waiting.raw(request("POST", "/waiting"))
        await head_of(begun)
        await until(lambda: len(upstream.asked) == 2)
        await bench.stop_keeper()
        reply = await waiting.reply()
        assert (reply.status, reply.problem) == (504, "upstream-timeout")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await begun.reader.readexactly(9)
        waiting.raw(request("POST", "/again"))
        assert (await waiting.reply()).status == 503
        await begun.close()
        await waiting.close()


async def test_a_body_that_is_too_long_is_413_and_a_broken_one_400(tmp_path: Path) -> None:
    async with forwarding(tmp_path, Upstream(), header_timeout_s=1.0) as bench:
        client = await bench.worker.connect()
        client.raw(request("POST", "/", f"Content-Length: {LIMIT + 1}"))
        reply = await client.reply()
        assert (reply.status, reply.problem, reply.headers["connection"]) == (413, "too-large", "close")
        assert await client.ended()
        client = await bench.worker.connect()
        client.raw(request("POST", "/", "Transfer-Encoding: chunked") + b"3\r\nabc\r\nzz\r\n")
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        assert await client.ended()
        client = await bench.worker.connect()
        client.raw(request("POST", "/", "Content-Length: 9") + b"half")
        assert await client.ended(), "half a body is dropped after the header timeout"
        await until(lambda: bench.passing.under_way == 0)


async def test_what_is_never_forwarded(tmp_path: Path) -> None:
    upstream = Upstream()
    async with forwarding(tmp_path, upstream) as bench:
        for method, lines, status in (
            ("TRACE", (), 405),
            ("POST", ("CDN-Loop: x, lowtide;appliance=unnamed",), 200),
            ("GET", ("Expect: something",), 417),
        ):
            client = await bench.worker.connect()
            client.raw(request(method, "/", *lines))
            assert (await client.reply()).status == status
            await client.close()
        client = await bench.worker.connect()
        client.raw(request("GET", "/../x"))
        assert (await client.reply()).status == 400
        client.raw(
            f"POST /media/t/hd/v.mp4 HTTP/1.1\r\nHost: {bench.worker.host}\r\nContent-Length: 3\r\n\r\nabc".encode()
        )
        assert (await client.reply()).status == 405, "media take no body"
        client.raw(b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n")
        assert (await client.reply()).status == 421
        assert len(upstream.asked) == 1
        await client.close()


async def test_no_upgrade_is_passed_on(tmp_path: Path) -> None:
    upstream = Upstream()
    async with forwarding(tmp_path, upstream) as bench:
        client = await bench.worker.connect()
        client.raw(request("GET", "/", "Connection: Upgrade", "Upgrade: websocket"))
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert upstream.asked[0].values("upgrade") == []
        await client.close()


async def test_a_body_that_ends_with_the_connection_and_breaks_off_does_not_look_whole(tmp_path: Path) -> None:
    async def script(asked: Asked) -> None:
        await asked.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await go.wait()
        asked.writer.close()

    go = asyncio.Event()
    async with forwarding(tmp_path, Upstream(script)) as bench:
        client = await bench.worker.connect()
        client.raw(request("GET", "/", version="1.0"))
        await head_of(client)
        assert await client.reader.readexactly(3) == b"abc"
        go.set()
        with pytest.raises(ConnectionResetError):
            await client.reader.read()
        await client.close()


async def test_what_passes_counts_into_the_egress_cap(tmp_path: Path) -> None:
    async def script(asked: Asked) -> None:
        await asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * MIB) + bytes(2 * MIB))

    async with forwarding(tmp_path, Upstream(script), egress_bps=16 * MIB) as bench:
        client = await bench.worker.connect()
        client.raw(request("GET", "/"))
        await head_of(client)
        began = asyncio.get_running_loop().time()
        assert len(await client.reader.readexactly(2 * MIB)) == 2 * MIB
        assert asyncio.get_running_loop().time() - began > 0.4, "at 2 MiB/s"
        assert bench.worker.count(Count.EGRESS_TAKEN) == 2 * MIB
        await client.close()


async def test_a_client_that_takes_nothing_is_dropped_and_its_upstream_too(tmp_path: Path) -> None:
    async def script(asked: Asked) -> None:
        await asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        for _ in range(64):
            await asked.say(bytes(MIB))

    upstream = Upstream(script)
    async with forwarding(tmp_path, upstream, send_timeout_s=1.0) as bench:
        client = await bench.worker.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.raw(request("GET", "/"))
        await bench.worker.reaches(Closing.SEND_TIMEOUT, 1)
        await until(lambda: upstream.gone == 1)
        await until(lambda: bench.passing.under_way == 0)
        client.reset()
