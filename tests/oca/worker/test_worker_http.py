"""HTTP/1.1 at a worker's socket, byte for byte: framing, bodies, targets, methods, connections, pages of other origins."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oca.http.reasons import Closing, Outcome
from tests.oca.http.shapes import BODIES, SMUGGLING
from tests.oca.worker.worker_harness import Bench, Client, publish, running

FILE = publish("v-360.mp4", 300_000)
SMALL = publish("a-und.mp4", 700, tier="base")
TAG = SMALL.digests.etag


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running(tmp_path_factory.mktemp("worker")) as made:
        for file in (FILE, SMALL):
            made.store_file(file)
        made.start()
        yield made


def filled(bench: Bench, shape: bytes) -> bytes:
    return shape.replace(b"{p}", bench.path(SMALL).encode()).replace(b"{h}", bench.host.encode())


async def everything(client: Client) -> bytes:
    """All bytes up to the end of the connection. This side writes no more."""
    client.writer.write_eof()
    data = await client.reader.read(-1)
    await client.close()
    return data


def without_clock(data: bytes) -> bytes:
    return re.sub(rb"\n(Date|Age): [^\r]*\r\n", rb"\n\1: *\r\n", data)


CORS = (
    "Access-Control-Allow-Origin: *\r\n"
    "Access-Control-Expose-Headers: Accept-Ranges, Age, Cache-Status, CMSD-Dynamic, CMSD-Static, Content-Length, Content-Range, Date, "
    "ETag, Last-Modified, Retry-After, Server-Timing\r\n"
    "Timing-Allow-Origin: *\r\n"
)
STORED = f"ETag: {TAG}\r\nCache-Control: public, max-age=31536000, immutable\r\n"
MODIFIED = "Last-Modified: Sat, 01 Nov 2025 10:00:00 GMT\r\n"
OPENING = "Date: *\r\nAccept-Ranges: bytes\r\n"
OPENED, MALFORMED = (200,), (400,)
NOTHING = (403, 404)
"""No address, or none that the token covers."""
FACTS = "Cache-Status: lowtide;hit\r\nAge: *\r\n"


@pytest.mark.parametrize(
    ("request_text", "head", "body"),
    [
        (
            "GET {p} HTTP/1.1\r\nHost: {h}\r\nRange: bytes=1-3\r\nConnection: close\r\n\r\n",
            f"HTTP/1.1 206 Partial Content\r\n{OPENING}Content-Type: video/mp4\r\n{STORED}{MODIFIED}{FACTS}"
            f"Content-Range: bytes 1-3/700\r\n{CORS}Content-Length: 3\r\nConnection: close\r\n\r\n",
            SMALL.data[1:4],
        ),
        (
            "GET {p} HTTP/1.0\r\n\r\n",
            f"HTTP/1.1 200 OK\r\n{OPENING}Content-Type: video/mp4\r\n{STORED}{MODIFIED}{FACTS}"
            f"{CORS}Content-Length: 700\r\nConnection: close\r\n\r\n",
            SMALL.data,
        ),
        (
            "HEAD {p} HTTP/1.1\r\nHost: {h}\r\nRange: bytes=1-3\r\nConnection: close\r\n\r\n",
            f"HTTP/1.1 200 OK\r\n{OPENING}Content-Type: video/mp4\r\n{STORED}{MODIFIED}{FACTS}"
            f"{CORS}Content-Length: 700\r\nConnection: close\r\n\r\n",
            b"",
        ),
        (
            "GET {p} HTTP/1.1\r\nHost: {h}\r\nIf-None-Match: *\r\nConnection: close\r\n\r\n",
            f"HTTP/1.1 304 Not Modified\r\n{OPENING}{STORED}{FACTS}{CORS}Connection: close\r\n\r\n",
            b"",
        ),
        (
            "GET {p} HTTP/1.1\r\nHost: {h}\r\nRange: bytes=700-\r\nConnection: close\r\n\r\n",
            f"HTTP/1.1 416 Range Not Satisfiable\r\nDate: *\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n{CORS}"
            "Content-Range: bytes */700\r\nContent-Length: 166\r\nConnection: close\r\n\r\n",
            b'{"type":"https://lowtide.example/problems/range-not-satisfiable","title":"The range lies outside the representation",'
            b'"status":416,"detail":"the object has 700 bytes"}',
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: {h}\r\nOrigin: https://tv.example\r\nAccess-Control-Request-Private-Network: true\r\n"
            "Connection: close\r\n\r\n",
            f"HTTP/1.1 204 No Content\r\nDate: *\r\nAllow: GET, HEAD, OPTIONS\r\n{CORS}"
            "Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"
            "Access-Control-Allow-Headers: CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status, Cache-Control, Content-Type, "
            "If-Match, If-Modified-Since, If-None-Match, If-Range, If-Unmodified-Since, Range\r\n"
            "Access-Control-Max-Age: 86400\r\nAccess-Control-Allow-Private-Network: true\r\nConnection: close\r\n\r\n",
            b"",
        ),
    ],
    ids=["206", "200-to-1.0", "head", "304", "416", "preflight"],
)
async def test_every_byte_of_an_answer_is_meant(bench: Bench, request_text: str, head: str, body: bytes) -> None:
    client = await bench.connect()
    client.raw(filled(bench, request_text.encode()))
    data = await client.reader.read(-1)
    await client.close()
    got_head, end, got_body = without_clock(data).partition(b"\r\n\r\n")
    assert (got_head + end).decode() == head
    assert got_body == body


@pytest.mark.parametrize("name", SMUGGLING)
async def test_what_means_two_things_is_400_and_the_end_of_the_connection(bench: Bench, name: str) -> None:
    client = await bench.connect()
    client.raw(filled(bench, SMUGGLING[name] + b"GET {p} HTTP/1.1\r\nHost: {h}\r\n\r\n"))
    data = await everything(client)
    assert data.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nConnection: close\r\n" in data
    assert b"\r\nAccess-Control-Allow-Origin: *\r\n" in data
    assert data.count(b"HTTP/1.1 ") == 1, "nothing behind it was answered"
    assert SMALL.data not in data


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE"])
@pytest.mark.parametrize("name", BODIES)
async def test_a_body_is_thrown_away_and_the_connection_goes_on(bench: Bench, name: str, method: str) -> None:
    client = await bench.connect()
    client.raw(filled(bench, method.encode() + b" {p} HTTP/1.1\r\nHost: {h}\r\n" + BODIES[name]))
    client.raw(filled(bench, b"GET {p} HTTP/1.1\r\nHost: {h}\r\nRange: bytes=5-9\r\n\r\n"))
    reply = await client.reply(head=method == "HEAD")
    assert reply.status == {"GET": 200, "HEAD": 200, "OPTIONS": 204}.get(method, 405)
    assert reply.body == (SMALL.data if method == "GET" else reply.body)
    reply = await client.reply()
    assert (reply.status, reply.body) == (206, SMALL.data[5:10])
    await client.close()


async def test_a_body_that_comes_slowly_is_waited_for_and_the_next_request_is_answered(bench: Bench) -> None:
    client = await bench.connect()
    client.raw(filled(bench, b"POST {p} HTTP/1.1\r\nHost: {h}\r\nContent-Length: 65536\r\n\r\n"))
    for _ in range(16):
        client.raw(b"\r\n\r\n" * 1024)
        await client.writer.drain()
    assert (await client.reply()).status == 405
    assert (await client.ask(bench.path(SMALL))).body == SMALL.data
    await client.close()


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 10000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n989680\r\n"]
)
async def test_a_larger_body_is_not_read_the_answer_comes_and_the_connection_ends(bench: Bench, framing: bytes) -> None:
    client = await bench.connect()
    client.raw(filled(bench, b"GET {p} HTTP/1.1\r\nHost: {h}\r\n" + framing) + b"x" * 65537)
    reply = await client.reply()
    assert (reply.status, reply.body, reply.headers["connection"]) == (200, SMALL.data, "close")
    client.raw(b"x" * 1_000_000)
    client.raw(filled(bench, b"GET {p} HTTP/1.1\r\nHost: {h}\r\n\r\n"))
    assert await client.ended()


async def test_who_waits_to_be_told_to_go_on_gets_the_final_answer(bench: Bench) -> None:
    client = await bench.connect()
    client.raw(filled(bench, b"POST {p} HTTP/1.1\r\nHost: {h}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"))
    reply = await client.reply()
    assert (reply.status, reply.headers["connection"]) == (405, "close"), "whether the body comes cannot be known"
    assert await client.ended()
    client = await bench.connect()
    client.raw(filled(bench, b"POST {p} HTTP/1.1\r\nHost: {h}\r\nExpect: x\r\nContent-Length: 5\r\n\r\n"))
    reply = await client.reply()
    assert (reply.status, reply.headers["connection"]) == (417, "close")
    assert await client.ended()
    client = await bench.connect()
    reply = await client.ask(bench.path(SMALL), Expect="100-continue")
    assert (reply.status, reply.body) == (200, SMALL.data)
    reply = await client.ask(bench.path(SMALL), Expect="the-unexpected")
    assert (reply.status, reply.problem) == (417, "expectation-failed")
    assert (await client.ask(bench.path(SMALL))).body == SMALL.data
    await client.close()
    await bench.reaches(Outcome.EXPECTATION, 2)


async def test_ten_thousand_header_lines_are_refused_at_the_limit_without_work(bench: Bench) -> None:
    assert bench.process is not None
    stat = f"/proc/{bench.process.pid}/stat"

    def ticks() -> int:
        with open(stat) as file:
            return sum(int(part) for part in file.read().rpartition(")")[2].split()[11:13])

    head = f"GET {bench.path(SMALL)} HTTP/1.1\r\nHost: {bench.host}\r\n".encode()
    lines = b"".join(b"X-%d: a\r\n" % number for number in range(10_000))
    refused = bench.counters.total(Outcome.HEADER_TOO_LARGE)
    before, began = ticks(), time.monotonic()
    for _ in range(20):
        client = await bench.connect()
        client.raw(head + lines + b"\r\n")
        reply = await client.reply()
        assert (reply.status, reply.problem, reply.headers["connection"]) == (431, "header-too-large", "close")
        await client.close()
    assert bench.counters.total(Outcome.HEADER_TOO_LARGE) == refused + 20
    spent, passed = ticks() - before, time.monotonic() - began
    assert spent <= 100 * max(1.0, passed / 2), "200,000 lines cost less than a second of CPU"


async def test_a_target_of_8_kib_is_an_address_and_one_byte_more_is_414(bench: Bench) -> None:
    client = await bench.connect()
    path = bench.path(SMALL) + "?CMCD="
    longest = path + "a" * (8192 - len(path))
    assert (await client.ask(longest)).body == SMALL.data
    reply = await client.ask(longest + "a")
    assert (reply.status, reply.problem, reply.headers["connection"]) == (414, "uri-too-long", "close")
    client.writer.write_eof()
    assert await client.ended()


@pytest.mark.parametrize(
    ("spelling", "statuses"),
    [
        ("/media/t1/base/%61-und.mp4", OPENED),
        ("/%6dedia/t1/%62ase/a%2Dund%2emp4", OPENED),
        ("/media/t1/base/a-und.mp4?a=b&CMCD=bl%3D1%2Csid%3D%22x%22", OPENED),
        ('/media/t1/base/a-und.mp4?CMCD=sid="x"', OPENED),
        ("/media/t1/base/a-und.mp4?../../x", OPENED),
        ("/media/t1/base/x/../a-und.mp4", NOTHING),
        ("/media/t1/base/./a-und.mp4", NOTHING),
        ("/media/t1/base/%2e%2e/base/a-und.mp4", NOTHING),
        ("/media/t1/base/..%2fbase%2fa-und.mp4", NOTHING),
        ("/media/t1/base%2fa-und.mp4", NOTHING),
        ("/media/t1/base%5ca-und.mp4", NOTHING),
        ("/media/t1/base/a-und%252emp4", NOTHING),
        ("/media/t1/base/a-und.mp4%00", NOTHING),
        ("/media/t1/base/a-und.mp4%0d%0aX:%20y", NOTHING),
        ("/media/t1/base/%ff", NOTHING),
        ("/media/t1/base/%c0%ae%c0%ae/a-und.mp4", NOTHING),
        ("/media/t1/base/A-UND.mp4", NOTHING),
        ("/media/t1/base//a-und.mp4", NOTHING),
        ("/media/t1/base/a-und.mp4/", NOTHING),
        ("/media/t1/base/a-und.mp4;x=y", NOTHING),
        ("/../media/t1/base/a-und.mp4", NOTHING),
        ("/media/t1/base/a-und.mp4%", MALFORMED),
        ("/media/t1/base/a-und.mp4%4", MALFORMED),
        ("/media/t1/base/a-und.mp4%u0041", MALFORMED),
        ("/media/t1/base/a-und.mp4#start", MALFORMED),
    ],
)
async def test_a_file_has_one_path_and_nothing_leads_out_of_it(
    bench: Bench, spelling: str, statuses: tuple[int, ...]
) -> None:
    client = await bench.connect()
    reply = await client.ask(f"/~{bench.keys.token()}{spelling}")
    assert reply.status in statuses
    assert (reply.body == SMALL.data) is (statuses == OPENED)
    await client.close()


async def test_each_form_of_a_target_has_its_place(bench: Bench) -> None:
    path = bench.path(SMALL)
    for target, method, host, status in (
        (f"http://{bench.host}{path}", "GET", "other.example", 200),
        (f"HTTP://{bench.host}{path}", "GET", bench.host, 200),
        (f"http://{bench.host}{path}", "OPTIONS", bench.host, 204),
        (f"http://u@{bench.host}{path}", "GET", bench.host, 400),
        (f"ftp://{bench.host}{path}", "GET", bench.host, 400),
        (f"http://other.example{path}", "GET", bench.host, 421),
        (path, "GET", bench.host.upper(), 200),
        ("*", "OPTIONS", bench.host, 204),
        ("*", "GET", bench.host, 400),
        ("*", "HEAD", bench.host, 400),
        ("/%zz", "OPTIONS", bench.host, 400),
        (bench.host, "CONNECT", bench.host, 405),
    ):
        client = await bench.connect()
        reply = await client.ask(target, method, Host=host)
        assert (target, method, reply.status) == (target, method, status)
        await client.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PURGE", "PROPFIND", "LINK"])
async def test_what_is_no_method_of_media_is_405_with_those_that_are(bench: Bench, method: str) -> None:
    client = await bench.connect()
    reply = await client.ask(bench.path(SMALL), method)
    assert (reply.status, reply.problem, reply.headers["allow"]) == (405, "method-not-allowed", "GET, HEAD, OPTIONS")
    assert (await client.ask(bench.path(SMALL))).status == 200
    await client.close()


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        ("HTTP/1.1", "", True),
        ("HTTP/1.1", "keep-alive", True),
        ("HTTP/1.1", "te, x-close", True),
        ("HTTP/1.1", "close", False),
        ("HTTP/1.1", "TE,\tClose , x", False),
        ("HTTP/1.1", "keep-alive, close", False),
        ("HTTP/1.0", "", False),
        ("HTTP/1.0", "x", False),
        ("HTTP/1.0", "x, Keep-Alive", True),
        ("HTTP/1.0", "close, keep-alive", False),
    ],
)
async def test_a_connection_stays_as_the_tokens_say(bench: Bench, version: str, connection: str, stays: bool) -> None:
    client = await bench.connect()
    for path, status in ((bench.path(SMALL), 200), ("/media/t9/hd/x.mp4", 403)):
        reply = await client.ask(path, version=version, Connection=connection)
        assert reply.status == status
        assert reply.headers.get("connection") == (
            "close" if not stays else "keep-alive" if version == "HTTP/1.0" else None
        )
        if not stays:
            assert await client.ended()
            return
    await client.close()


async def test_pipelined_requests_of_every_kind_are_answered_in_order(bench: Bench) -> None:
    client = await bench.connect()
    post = f"POST {bench.path(SMALL)} HTTP/1.1\r\nHost: {bench.host}\r\nContent-Length: 3\r\n\r\nabc".encode()
    for _ in range(5):
        client.send(bench.path(FILE))
        client.raw(post)
        client.send(bench.path(SMALL), "HEAD")
        client.send("/media/t9/hd/x.mp4")
        client.send(bench.path(SMALL), Range="bytes=0-0,699-")
        client.send("*", "OPTIONS")
    for _ in range(5):
        assert (await client.reply()).body == FILE.data
        assert (await client.reply()).status == 405
        assert (await client.reply(head=True)).headers["content-length"] == "700"
        assert (await client.reply()).status == 403
        assert (await client.reply()).headers["content-type"].startswith("multipart/byteranges")
        assert (await client.reply()).status == 204
    await client.close()


async def test_pages_of_other_origins_may_read_every_answer(bench: Bench) -> None:
    path = bench.path(SMALL)
    for target, method, headers, status in (
        (path, "GET", {}, 200),
        (path, "GET", {"Range": "bytes=0-0"}, 206),
        (path, "GET", {"Range": "bytes=0-0,2-2"}, 206),
        (path, "HEAD", {}, 200),
        (path, "GET", {"If-None-Match": TAG}, 304),
        (path, "GET", {"If-Match": '"x"'}, 412),
        (path, "GET", {"Range": "bytes=700-"}, 416),
        (path, "GET", {"Expect": "x"}, 417),
        (path, "POST", {}, 405),
        (path, "GET", {"Host": "other.example"}, 421),
        (path + "%", "GET", {}, 400),
        (path, "GET", {"X": "a" * 20_000}, 431),
        ("/" + "a" * 9000, "GET", {}, 414),
        ("/media/t1/base/a-und.mp4", "GET", {}, 403),
        ("/", "GET", {}, 404),
        (bench.path(publish("none.mp4", 5)), "GET", {"Cache-Control": "only-if-cached"}, 504),
    ):
        client = await bench.connect()
        reply = await client.ask(target, method, Origin="https://tv.example", **headers)
        assert reply.status == status
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "Content-Range" in reply.headers["access-control-expose-headers"]
        assert reply.headers["timing-allow-origin"] == "*"
        assert "date" in reply.headers
        assert "vary" not in reply.headers
        await client.close()


WHOLE = (200, SMALL.data)
RANGES = {
    "Bytes=1-2": (206, SMALL.data[1:3]),
    "bytes=1-": (206, SMALL.data[1:]),
    "bytes=-2": (206, SMALL.data[-2:]),
    "bytes=-99999999999999999999": (206, SMALL.data),
    "bytes=5-99999999999999999999": (206, SMALL.data[5:]),
    "bytes=00000000000000000000005-6": (206, SMALL.data[5:7]),
    "bytes= 5-6 ,": (206, SMALL.data[5:7]),
    "bytes=5-6,700-": (206, SMALL.data[5:7]),
    "bytes=99999999999999999999-": (416, None),
    "bytes=700-,-0": (416, None),
    "bytes=18446744073709551621-6": WHOLE,
    "bytes =5-6": WHOLE,
    "bytes=5 - 6": WHOLE,
    "bytes=6-5": WHOLE,
    "seconds=5-6": WHOLE,
    "none": WHOLE,
    "bytes=0-9,5-14,10-20": WHOLE,
    "bytes=0-,0-": WHOLE,
    "bytes=" + ",".join(f"{at}-{at}" for at in range(0, 34, 2)): WHOLE,
}


@pytest.mark.parametrize("wanted", RANGES)
async def test_each_form_of_a_range_is_what_the_rfc_makes_of_it(bench: Bench, wanted: str) -> None:
    client = await bench.connect()
    status, body = RANGES[wanted]
    for _ in range(2):
        reply = await client.ask(bench.path(SMALL), Range=wanted)
        assert reply.status == status
        assert body is None or reply.body == body
        if status == 416:
            assert reply.headers["content-range"] == "bytes */700"
    await client.close()


async def test_two_range_lines_are_no_range(bench: Bench) -> None:
    client = await bench.connect()
    head = f"GET {bench.path(SMALL)} HTTP/1.1\r\nHost: {bench.host}\r\n"
    for _ in range(2):
        client.raw(f"{head}Range: bytes=0-1\r\nRange: bytes=2-3\r\n\r\n".encode())
        reply = await client.reply()
        assert (reply.status, reply.body) == WHOLE
        client.raw(f"{head}X: Range: bytes=0-1\r\nRange: bytes=2-3\r\n\r\n".encode())
        assert (await client.reply()).body == SMALL.data[2:4]
    await client.close()


async def test_preconditions_come_in_their_order_with_dates_in_all_three_forms(bench: Bench) -> None:
    client = await bench.connect()
    same = ("Sat, 01 Nov 2025 10:00:00 GMT", "Saturday, 01-Nov-25 10:00:00 GMT", "Sat Nov  1 10:00:00 2025")
    before = ("Sat, 01 Nov 2025 09:59:59 GMT", "Saturday, 01-Nov-25 09:59:59 GMT", "Sat Nov  1 09:59:59 2025")
    for date, earlier in zip(same, before, strict=True):
        for headers, status in (
            ({"If-Modified-Since": date}, 304),
            ({"If-Modified-Since": earlier}, 200),
            ({"If-Modified-Since": date, "If-None-Match": '"x"'}, 200),
            ({"If-Unmodified-Since": date}, 200),
            ({"If-Unmodified-Since": earlier}, 412),
            ({"If-Unmodified-Since": earlier, "If-Match": f'"x" , {TAG}'}, 200),
            ({"If-Unmodified-Since": earlier, "If-None-Match": TAG}, 412),
            ({"If-Match": f"W/{TAG}", "If-None-Match": TAG}, 412),
            ({"If-Match": "*", "If-None-Match": f'"x",W/{TAG}'}, 304),
            ({"If-Modified-Since": f"{date}, {date}"}, 200),
            ({"If-Modified-Since": "soon"}, 200),
            ({"If-Unmodified-Since": "soon"}, 200),
            ({"If-Range": date, "Range": "bytes=0-0"}, 206),
            ({"If-Range": earlier, "Range": "bytes=0-0"}, 200),
            ({"If-Range": f"W/{TAG}", "Range": "bytes=0-0"}, 200),
            ({"If-Range": f"{TAG}, {TAG}", "Range": "bytes=0-0"}, 200),
            ({"If-Range": TAG, "Range": "bytes=700-"}, 416),
            ({"If-Range": '"x"', "Range": "bytes=700-"}, 200),
            ({"If-Range": '"x"'}, 200),
            ({"If-Match": '"x"', "Range": "bytes=700-"}, 412),
            ({"If-None-Match": TAG, "Range": "bytes=700-"}, 304),
        ):
            reply = await client.ask(bench.path(SMALL), **headers)
            assert (headers, reply.status) == (headers, status)
            head = await client.ask(bench.path(SMALL), "HEAD", **headers)
            assert head.status == (200 if status in (206, 416) else status), "HEAD knows no Range"
    await client.close()


async def test_where_origins_are_named_every_answer_varies_by_origin(tmp_path: Path) -> None:
    with running(tmp_path, cors_origins=("https://tv.example",)) as bench:
        bench.store_file(SMALL)
        bench.start()
        client = await bench.connect()
        for origin, opened in (
            ("https://tv.example", True),
            ("https://evil.example", False),
            ("null", False),
            ("", False),
        ):
            for path, method, status in (
                (bench.path(SMALL), "GET", 200),
                (bench.path(SMALL), "GET", 200),
                ("/", "GET", 404),
                ("*", "OPTIONS", 204),
                (bench.path(SMALL), "POST", 405),
            ):
                reply = await client.ask(path, method, Origin=origin)
                assert reply.status == status
                assert reply.headers["vary"] == "Origin"
                for name in ("access-control-allow-origin", "timing-allow-origin"):
                    assert reply.headers.get(name) == ("https://tv.example" if opened else None)
        await client.close()


async def test_a_refusal_knows_what_was_read_of_its_request(tmp_path: Path) -> None:
    """A HEAD has no body, and a page of a named origin reads why, as far as the lines before the wrong one tell."""
    with running(tmp_path, cors_origins=("https://tv.example",)) as bench:
        bench.start()
        lines = f"Host: {bench.host}\r\nOrigin: https://tv.example\r\nAccept: */*\r\n"
        for method, wrong, status in (
            ("GET", "X : y\r\n\r\n", 400),
            ("HEAD", "X : y\r\n\r\n", 400),
            ("GET", "X: " + "y" * 20_000, 431),
            ("HEAD", "X: y\r\n" * 101, 431),
        ):
            client = await bench.connect()
            client.raw(f"{method} / HTTP/1.1\r\n{lines}{wrong}".encode())
            head, _, body = (await everything(client)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert b"\r\nAccess-Control-Allow-Origin: https://tv.example\r\n" in head
            assert (body == b"") is (method == "HEAD")


async def test_half_a_body_is_dropped_after_the_header_timeout(tmp_path: Path) -> None:
    with running(tmp_path, header_timeout_s=0.5) as bench:
        bench.start()
        client = await bench.connect()
        client.raw(f"POST / HTTP/1.1\r\nHost: {bench.host}\r\nContent-Length: 5\r\n\r\nhel".encode())
        assert await client.ended()
        await bench.reaches(Closing.HEADER_TIMEOUT, 1)


async def test_a_named_host_is_served_with_and_without_its_default_port(tmp_path: Path) -> None:
    with running(tmp_path, hosts=("Cdn.example",)) as bench:
        bench.store_file(SMALL)
        bench.start()
        client = await bench.connect()
        for host, status in (
            ("cdn.example", 200),
            ("CDN.EXAMPLE:443", 200),
            ("cdn.example:", 200),
            ("cdn.example:8080", 421),
            ("cdn.example.evil", 421),
            (bench.host, 421),
        ):
            assert (host, (await client.ask(bench.path(SMALL), Host=host)).status) == (host, status)
        await client.close()
