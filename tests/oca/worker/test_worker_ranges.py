"""A worker process over a real store: what players ask by raw sockets and what comes back, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.oca.worker.worker_harness import EXTENT_BYTES, Bench, Published, publish, running

SIZE = 2 * EXTENT_BYTES + 300_000


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running(tmp_path_factory.mktemp("worker")) as made:
        for file in (BIG, SMALL):
            made.store_file(file)
        made.start()
        yield made


BIG = publish("v-360.mp4", SIZE)
SMALL = publish("a-und.mp4", 700, tier="base")


async def test_a_range_is_that_slice_of_the_file(bench: Bench) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(BIG), Range="bytes=100-1123")
    assert (reply.status, reply.body) == (206, BIG.data[100:1124])
    assert reply.headers["content-range"] == f"bytes 100-1123/{SIZE}"
    assert reply.headers["content-type"] == "video/mp4"
    assert reply.headers["etag"] == BIG.digests.etag
    assert reply.headers["accept-ranges"] == "bytes"
    assert reply.headers["cache-status"] == "lowtide;hit"
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "Content-Range" in reply.headers["access-control-expose-headers"]
    assert reply.headers["timing-allow-origin"] == "*"
    assert reply.headers["date"].endswith("GMT")
    assert int(reply.headers["age"]) < 60
    await client.close()


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=-1", SIZE - 1, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("bytes=0-65535", 0, 65536),
        ("bytes=0-65536", 0, 65537),
        (f"bytes={EXTENT_BYTES - 10}-{EXTENT_BYTES + 9}", EXTENT_BYTES - 10, EXTENT_BYTES + 10),
        (f"bytes=5-{2 * EXTENT_BYTES + 7}", 5, 2 * EXTENT_BYTES + 8),
        (f"bytes=1000-{SIZE * 9}", 1000, SIZE),
        (f"bytes=-{SIZE * 9}", 0, SIZE),
        ("bytes=262143-262144", 262143, 262145),
    ],
)
async def test_ranges_at_every_edge_are_exact(bench: Bench, wanted: str, start: int, stop: int) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(BIG), Range=wanted)
    assert reply.status == 206
    assert reply.body == BIG.data[start:stop]
    assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    await client.close()


async def test_without_a_range_the_whole_file_comes(bench: Bench) -> None:
    client = await bench.connect()
    for file in (BIG, SMALL, BIG):
        reply = await client.ask(bench.path(file))
        assert (reply.status, reply.body) == (200, file.data)
        assert "content-range" not in reply.headers
    await client.close()


async def test_head_says_what_get_would_and_ignores_the_range(bench: Bench) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(BIG), "HEAD", Range="bytes=0-9")
    assert reply.status == 200
    assert reply.headers["content-length"] == str(SIZE)
    again = await client.ask(bench.path(BIG), Range="bytes=0-9")
    assert again.body == BIG.data[:10]
    await client.close()


async def test_several_ranges_come_as_multipart(bench: Bench) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(BIG), Range=f"bytes=0-99, 70000-200000, -5, {SIZE}-")
    assert reply.status == 206
    kind, _, boundary = reply.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    expected = b"".join(
        b"%s--%s\r\nContent-Type: video/mp4\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%s"
        % (b"\r\n" if number else b"", boundary.encode(), first, last, SIZE, BIG.data[first : last + 1])
        for number, (first, last) in enumerate([(0, 99), (70000, 200000), (SIZE - 5, SIZE - 1)])
    )
    assert reply.body == expected + b"\r\n--%s--\r\n" % boundary.encode()
    await client.close()


async def test_a_range_outside_is_416_with_the_size(bench: Bench) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(BIG), Range=f"bytes={SIZE}-", Origin="https://page.example")
    assert reply.status == 416
    assert reply.headers["content-range"] == f"bytes */{SIZE}"
    assert reply.headers["access-control-allow-origin"] == "*"
    assert reply.problem == "range-not-satisfiable"
    assert (await client.ask(bench.path(BIG), Range="bytes=0-1")).status == 206
    await client.close()


@pytest.mark.parametrize("wanted", ["bytes=5-2", "bytes=a-b", "items=0-1", "bytes=", "bytes 0-1", "bytes=0-1;x"])
async def test_a_malformed_range_is_ignored(bench: Bench, wanted: str) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(SMALL), Range=wanted)
    assert (reply.status, reply.body) == (200, SMALL.data)
    await client.close()


async def test_conditions_decide_before_ranges(bench: Bench) -> None:
    client = await bench.connect()
    path, etag = bench.path(SMALL), SMALL.digests.etag
    assert (await client.ask(path, If_None_Match=etag)).status == 304
    assert (await client.ask(path, If_None_Match=f'"other", W/{etag}', Range="bytes=0-1")).status == 304
    assert (await client.ask(path, If_None_Match='"other"', Range="bytes=0-1")).status == 206
    assert (await client.ask(path, If_Modified_Since="Sat, 01 Nov 2025 10:00:00 GMT")).status == 304
    assert (await client.ask(path, If_Modified_Since="Sat, 01 Nov 2025 09:59:59 GMT")).status == 200
    assert (await client.ask(path, If_Match='"other"')).problem == "precondition-failed"
    assert (await client.ask(path, If_Match="*")).status == 200
    assert (await client.ask(path, Range="bytes=0-1", If_Range=etag)).status == 206
    assert (await client.ask(path, Range="bytes=0-1", If_Range=f"W/{etag}")).status == 200
    assert (await client.ask(path, Range="bytes=0-1", If_Range='"other"')).body == SMALL.data
    reply = await client.ask(path, If_None_Match=etag)
    assert reply.headers["etag"] == etag
    assert "content-type" not in reply.headers
    await client.close()


async def test_a_preflight_needs_no_token_and_lasts_a_day(bench: Bench) -> None:
    client = await bench.connect()
    reply = await client.ask(
        "/media/t1/hd/v-360.mp4",
        "OPTIONS",
        Origin="https://page.example",
        Access_Control_Request_Method="GET",
        Access_Control_Request_Headers="range",
    )
    assert reply.status == 204
    assert reply.headers["access-control-max-age"] == "86400"
    assert "Range" in reply.headers["access-control-allow-headers"]
    assert reply.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert (await client.ask("*", "OPTIONS")).status == 204
    await client.close()


async def test_pipelined_requests_are_answered_in_order(bench: Bench) -> None:
    client = await bench.connect()
    path = bench.path(BIG)
    for start in range(0, 300_000, 3_000):
        client.send(path, Range=f"bytes={start}-{start + 2999}")
    for start in range(0, 300_000, 3_000):
        assert (await client.reply()).body == BIG.data[start : start + 3000]
    await client.close()


async def test_a_request_in_single_bytes_is_a_request(bench: Bench) -> None:
    client = await bench.connect()
    text = f"GET {bench.path(SMALL)} HTTP/1.1\r\nhost: {bench.host}\r\nRange: bytes=1-3\r\n\r\n".encode()
    for byte in text:
        client.raw(bytes((byte,)))
        await client.writer.drain()
    assert (await client.reply()).body == SMALL.data[1:4]
    await client.close()


async def test_http_10_closes_unless_asked_to_stay(bench: Bench) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(SMALL), version="HTTP/1.0", Connection="keep-alive", Host="")
    assert (reply.status, reply.headers["connection"], reply.version) == (200, "keep-alive", "HTTP/1.1")
    reply = await client.ask(bench.path(SMALL), version="HTTP/1.0", Host="")
    assert (reply.body, reply.headers["connection"]) == (SMALL.data, "close")
    assert await client.ended()


async def test_connection_close_is_honoured(bench: Bench) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(BIG), Connection="close")
    assert (reply.body, reply.headers["connection"]) == (BIG.data, "close")
    assert await client.ended()


async def test_a_client_that_only_writes_no_more_still_gets_its_answer(bench: Bench) -> None:
    client = await bench.connect()
    client.send(bench.path(BIG))
    client.writer.write_eof()
    assert (await client.reply()).body == BIG.data
    assert await client.ended()


async def test_all_that_was_pipelined_before_the_end_is_answered(bench: Bench) -> None:
    client = await bench.connect()
    for start in (0, 100, 200):
        client.send(bench.path(BIG), Range=f"bytes={start}-{start + 99}")
    client.raw(b"GET /half")
    client.writer.write_eof()
    for start in (0, 100, 200):
        assert (await client.reply()).body == BIG.data[start : start + 100]
    assert await client.ended()


async def test_an_absolute_target_names_its_host(bench: Bench) -> None:
    client = await bench.connect()
    reply = await client.ask(f"http://{bench.host}{bench.path(SMALL)}", Host="other.example")
    assert reply.status == 200
    assert (await client.ask(f"http://other.example{bench.path(SMALL)}")).status == 421
    await client.close()


@pytest.mark.parametrize(
    ("path", "status", "problem"),
    [
        ("/", 404, "not-found"),
        ("/favicon.ico", 404, "not-found"),
        ("/media/t1/hd/v-360.mp4", 403, "media-token-missing"),
        ("/~nonsense/media/t1/hd/v-360.mp4", 403, "media-token-invalid"),
    ],
)
async def test_addresses_that_open_nothing_say_why(bench: Bench, path: str, status: int, problem: str) -> None:
    client = await bench.connect()
    reply = await client.ask(path)
    assert (reply.status, reply.problem) == (status, problem)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["access-control-allow-origin"] == "*"
    assert (await client.ask(bench.path(SMALL))).status == 200
    await client.close()


async def test_an_unknown_host_is_misdirected(bench: Bench) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(SMALL), Host="other.example")
    assert (reply.status, reply.problem) == (421, "misdirected")
    await client.close()


async def test_escaped_letters_are_the_letters_and_other_spellings_are_not_the_file(bench: Bench) -> None:
    client = await bench.connect()
    path = bench.path(SMALL)
    assert (await client.ask(path.replace("a-und", "%61%2Dund") + "?CMCD=bl%3D1")).body == SMALL.data
    for wrong in (path.replace("a-und", "%2e%2e/a-und"), path.replace("/base/", "//base/"), path + "/"):
        assert (await client.ask(wrong)).status in (403, 404)
    await client.close()


async def test_other_methods_are_405_and_keep_the_connection(bench: Bench) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(SMALL), "DELETE")
    assert (reply.status, reply.problem) == (405, "method-not-allowed")
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS"
    assert (await client.ask(bench.path(SMALL))).status == 200
    await client.close()


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("GET {p} HTTP/1.1\r\nHost: {h}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET {p} HTTP/1.1\r\nHost: {h}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
        ("GET {p} HTTP/1.1\nHost: {h}\n\n", 400),
        ("GET {p} HTTP/1.1\r\nHost: {h}\r\n folded\r\n\r\n", 400),
        ("GET {p} HTTP/1.1\r\nHost : {h}\r\n\r\n", 400),
        ("GET {p} HTTP/1.1\r\nHost: {h}\r\nHost: {h}\r\n\r\n", 400),
        ("GET {p} HTTP/1.1\r\n\r\n", 400),
        ("GET {p} HTTP/2.0\r\nHost: {h}\r\n\r\n", 400),
        ("GET {p}\r\n\r\n", 400),
        ("GET {p} HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET {p}#x HTTP/1.1\r\nHost: {h}\r\n\r\n", 400),
        ("GET {p}%zz HTTP/1.1\r\nHost: {h}\r\n\r\n", 400),
        ("BREW {p} HTTP/1.1\r\nHost: {h}\r\n\r\n", 400),
        ("GET /" + "a" * 9000 + " HTTP/1.1\r\nHost: {h}\r\n\r\n", 414),
        ("GET {p} HTTP/1.1\r\nHost: {h}\r\nX: " + "a" * 40000 + "\r\n\r\n", 431),
        ("GET {p} HTTP/1.1\r\nHost: {h}\r\n" + "X: a\r\n" * 200 + "\r\n", 431),
        ("\x16\x03\x01\x02\x00\x01\x00", 400),
    ],
)
async def test_what_cannot_be_trusted_is_refused_and_the_connection_ends(bench: Bench, text: str, status: int) -> None:
    client = await bench.connect()
    sent = text.replace("{p}", bench.path(SMALL)).replace("{h}", bench.host).encode("latin-1")
    client.raw(sent + f"GET {bench.path(SMALL)} HTTP/1.1\r\nHost: {bench.host}\r\n\r\n".encode())
    reply = await client.reply()
    assert reply.status == status
    assert reply.headers["connection"] == "close"
    assert reply.headers["content-type"] == "application/problem+json"
    client.writer.write_eof()
    assert await client.ended()


async def test_what_was_asked_before_the_refusal_is_still_answered(bench: Bench) -> None:
    client = await bench.connect()
    client.send(bench.path(SMALL))
    client.raw(b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
    assert (await client.reply()).body == SMALL.data
    assert (await client.reply()).status == 400
    client.writer.write_eof()
    assert await client.ended()


def test_a_file_of_the_harness_has_its_size() -> None:
    assert [len(file.data) for file in (BIG, SMALL)] == [SIZE, 700]
    assert isinstance(BIG, Published)
