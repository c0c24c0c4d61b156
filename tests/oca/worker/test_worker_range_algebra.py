"""Any set of ranges over any layout of blocks is the same slices of the bytes: plan → parts → pieces → bytes, first purely, then at a socket.

What is expected is said here a second time, from RFC 9110 §14 and the limits that docs/serving.md states.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.digests import BLOCK_BYTES
from oca.http.cors import Cors
from oca.http.reasons import Outcome
from oca.http.request import Request
from oca.http.response import Answer, Surroundings, plan, read_representation
from oca.store.descriptors import Descriptor
from oca.store.extents import ExtentRecord
from oca.store.purge import PurgeMode
from oca.worker.holdings import Holdings, Missing, Version
from tests.oca.worker.worker_harness import EXTENT_BYTES, Bench, Published, publish, running, with_keeper

BLOCKS = 2
EXTENT = BLOCKS * BLOCK_BYTES
DATA = random.Random(14).randbytes(3 * EXTENT)
AROUND = Surroundings(Cors(("*",)), b"Date: now\r\n", 1_762_000_000.0, True)
HEADER = b'Content-Type: video/mp4\r\nETag: "b3-1"\r\n'


@dataclass(frozen=True)
class Asked:
    """A Range header and what it means for `size` bytes: None for all of them, otherwise spans, none of them for 416."""

    header: bytes
    spans: tuple[tuple[int, int], ...] | None


@st.composite
def asked(draw: st.DrawFn, size: int) -> Asked:
    edges = sorted({0, 1, size - 1, size, size + 1, *range(0, size, BLOCK_BYTES), *range(0, size, EXTENT)})
    near = st.builds(lambda edge, by: max(0, edge + by), st.sampled_from(edges), st.integers(-2, 2))
    positions = st.one_of(near, st.integers(0, size + 10))
    kinds = draw(st.lists(st.sampled_from(["closed", "open", "suffix"]), min_size=1, max_size=5))
    texts: list[bytes] = []
    spans: list[tuple[int, int]] = []
    wrong = False
    for kind in kinds:
        first = draw(positions)
        if kind == "closed":
            last = draw(st.one_of(positions, st.integers(0, 2000).map(lambda by, first=first: first + by)))  # type: ignore[misc]
            texts.append(b"%d-%d" % (first, last))
            wrong |= last < first
            spans += [(first, min(last, size - 1))] if first < size else []
        elif kind == "open":
            texts.append(b"%d-" % first)
            spans += [(first, size - 1)] if first < size else []
        else:
            texts.append(b"-%d" % first)
            spans += [(max(0, size - first), size - 1)] if first else []
    comma = draw(st.sampled_from([b",", b", ", b" ,\t", b",,"]))
    header = draw(st.sampled_from([b"bytes=", b"Bytes="])) + comma.join(texts)
    ordered = sorted(spans)
    overlapping = sum(first <= max((s[1] for s in ordered[:at]), default=-1) for at, (first, _) in enumerate(ordered))
    greedy = len(spans) > 1 and (overlapping > 1 or sum(last - first + 1 for first, last in spans) > size)
    return Asked(header, None if wrong or (spans and greedy) else tuple(spans))


def expected_body(spans: tuple[tuple[int, int], ...] | None, data: bytes, boundary: bytes) -> tuple[int, bytes]:
    """(status, body) for what was asked. The body of 416 is of no interest."""
    if spans is None:
        return 200, data
    if not spans:
        return 416, b""
    if len(spans) == 1:
        return 206, data[spans[0][0] : spans[0][1] + 1]
    body = b"".join(
        b"\r\n--%b\r\nContent-Type: video/mp4\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%b"
        % (boundary, first, last, len(data), data[first : last + 1])
        for first, last in spans
    )
    return 206, body[2:] + b"\r\n--%b--\r\n" % boundary


class Layout:
    """A store in a dictionary: which blocks of which extent are here. Descriptor numbers are extent numbers."""

    def __init__(self, size: int, present: dict[int, int]) -> None:
        self._size = size
        self.present = present
        self.held = 0

    @property
    def descriptors(self) -> Layout:
        return self

    def acquire(self, disk: int, extent_id: int, length: int) -> Descriptor | None:
        self.held += 1
        return Descriptor(extent_id, disk, extent_id, length)

    def release(self, held: Descriptor) -> None:
        self.held -= 1

    def lookup(self, hashed: bytes, extent_number: int) -> ExtentRecord | None:
        bits = self.present.get(extent_number, 0)
        length = min(EXTENT, self._size - extent_number * EXTENT)
        version, number = b"v" * 32, extent_number
        return (
            ExtentRecord(0, number, number, version, self._size, length, bits, HEADER, 0, 0, 0, 0.0) if bits else None
        )

    def touch(self, record: ExtentRecord, epoch: int) -> None: ...

    def touch_extent(self, disk: int, slot: int, extent_id: int, epoch: int) -> None: ...

    def judge(self, key: str, record: ExtentRecord, held: Descriptor | None = None) -> PurgeMode | None:
        return None

    @property
    def purge_epoch(self) -> int:
        return 0

    def judge_epoch(self, key: str, stored_epoch: int) -> PurgeMode | None:
        return None

    def recall(self, place: bytes) -> Descriptor | None:
        """It remembers nothing."""
        return None

    def remember(self, place: bytes, record: ExtentRecord) -> Descriptor | None:
        return self.descriptors.acquire(record.disk, record.extent_id, record.length)

    def fetch(self, run: Missing) -> None:
        for block in range(run.first, run.last + 1):
            number, inside = divmod(block, BLOCKS)
            self.present[number] = self.present.get(number, 0) | 1 << inside


def sent(answer: Answer, size: int, layout: Layout) -> bytes:
    """The body, as a sender makes it from pieces; what is missing comes when it is asked for."""
    holdings = Holdings(layout, EXTENT)
    version = Version("k", b"h" * 20, b"v" * 32, size)
    body = b""
    for part in answer.parts:
        if isinstance(part, bytes):
            body += part
            continue
        at, last = part
        while at <= last:
            piece = holdings.piece(version, at, last)
            if isinstance(piece, Missing):
                layout.fetch(piece)
                continue
            start = piece.fd * EXTENT + piece.start
            body += DATA[start : start + piece.length]
            at += piece.length
            holdings.release(piece)
    assert layout.held == 0
    return body


@settings(deadline=None)
@given(st.integers(1, 3 * EXTENT), st.data(), st.dictionaries(st.integers(0, 2), st.integers(0, (1 << BLOCKS) - 1)))
def test_any_ranges_over_any_blocks_are_slices_of_the_bytes(
    size: int, data: st.DataObject, present: dict[int, int]
) -> None:
    wanted = data.draw(asked(size))
    request = Request(b"GET", b"/", headers={b"range": wanted.header})
    answer = plan(request, read_representation(size, HEADER, 0.0), AROUND, Outcome.HIT)
    boundary = answer.head.partition(b"boundary=")[2].partition(b"\r\n")[0]
    status, body = expected_body(wanted.spans, DATA[:size], boundary)
    assert answer.status == status
    if status == 416:
        assert b"\r\nContent-Range: bytes */%d\r\n" % size in answer.head
        return
    got = sent(answer, size, Layout(size, {n: bits for n, bits in present.items() if n * EXTENT < size}))
    assert got == body
    assert b"\r\nContent-Length: %d\r\n" % len(body) in answer.head
    if status == 206 and not boundary:
        assert wanted.spans is not None
        assert b"\r\nContent-Range: bytes %d-%d/%d\r\n" % (*wanted.spans[0], size) in answer.head


FILES = [
    publish("one.mp4", 1),
    publish("less.mp4", BLOCK_BYTES - 1),
    publish("block.mp4", BLOCK_BYTES),
    publish("more.mp4", BLOCK_BYTES + 1),
    publish("extent.mp4", EXTENT_BYTES),
    publish("two.mp4", EXTENT_BYTES + 70_000),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running(tmp_path_factory.mktemp("worker")) as made:
        for file in FILES:
            made.store_file(file)
        made.start()
        yield made


def ask(sock: socket.socket, bench: Bench, file: Published, header: bytes) -> tuple[int, bytes, bytes]:
    """(status, head, body) of one request on a connection that stays."""
    sock.sendall(
        b"GET %b HTTP/1.1\r\nHost: %b\r\nRange: %b\r\n\r\n" % (bench.path(file).encode(), bench.host.encode(), header)
    )
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(sock, 65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.partition(b"\r\nContent-Length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += received(sock, length - len(body))
    assert len(body) == length, "not a byte more"
    return int(head[9:12]), head, body


def received(sock: socket.socket, most: int) -> bytes:
    piece = sock.recv(most)
    assert piece, "the connection ended inside an answer"
    return piece


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.data())
def test_a_worker_sends_the_slices_that_were_asked_for(bench: Bench, file: Published, data: st.DataObject) -> None:
    asks = data.draw(st.lists(asked(len(file.data)), min_size=1, max_size=3))
    with socket.create_connection(("127.0.0.1", bench.port), 20) as sock:
        for wanted in asks:
            status, head, body = ask(sock, bench, file, wanted.header)
            boundary = head.partition(b"boundary=")[2].partition(b"\r\n")[0]
            expected = expected_body(wanted.spans, file.data, boundary)
            assert status == expected[0]
            assert status == 416 or body == expected[1]


@pytest.mark.parametrize("held", [(), (0,), (1, 3), (0, 1, 2, 3, 5), (4,)])
async def test_what_is_missing_comes_in_its_place(tmp_path: Path, held: tuple[int, ...]) -> None:
    file = publish("v.mp4", EXTENT_BYTES + BLOCK_BYTES + 5)
    with running(tmp_path) as bench:
        bench.store_file(file, list(held))
        bench.start()
        async with with_keeper(bench) as keeper:
            keeper.files[file.name.key] = file
            client = await bench.connect()
            size, edge = len(file.data), BLOCK_BYTES
            for header, spans in (
                (f"bytes={edge - 3}-{edge + 3}", [(edge - 3, edge + 3)]),
                (f"bytes={2 * edge}-{2 * edge},0-0,-2", [(2 * edge, 2 * edge), (0, 0), (size - 2, size - 1)]),
                ("bytes=1-", [(1, size - 1)]),
            ):
                reply = await client.ask(bench.path(file), Range=header)
                boundary = reply.headers["content-type"].partition("boundary=")[2].encode()
                assert (reply.status, reply.body) == expected_body(tuple(spans), file.data, boundary)
            await client.close()
