"""Access records from a worker's call to a line: batches, pipes that are full, torn frames, lines without tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.cmcd import CmcdItem, CmcdKey
from oca.http.reasons import Outcome
from oca.link.records import MARK, FrameCutter, Record, encode_frame
from oca.logger.columnar import COLUMNS, cmcd_columns
from oca.logger.lines import AccessLine, encode_lines, line_of
from oca.worker.accesslog import SLICE, AccessLog, client_of

PAGE = Path(__file__).parents[3] / "docs" / "access-log.md"
ROW = (b"p192.0.2.0/24", 1763717676.25, 1763717676.5, b"GET", 206, "hit", b"/media/t1/hd/v.mp4", b"", "s1", 0, 10, 0)
RECORD = Record(*ROW)


class Clock:
    """The event loop's timer, wound by hand; and a pipe with so much room."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.calls: list[Callable[[], None]] = []
        self.room = room
        self.taken = bytearray()
        self.lost = 0

    def later(self, _seconds: float, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def due(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()

    def write(self, data: bytes | memoryview) -> int:
        count = min(self.room, len(data))
        self.taken += data[:count]
        self.room -= count
        return count

    def dropped(self, records: int) -> None:
        self.lost += records

    def records(self) -> list[Record]:
        return [record for batch in FrameCutter().feed(bytes(self.taken)) for record in batch.records]


def add(log: AccessLog, number: int = 0, session: str = "s1", query: bytes = b"") -> None:
    log.add(b"p192.0.2.0/24", 1.0, 2.0, b"GET", 206, Outcome.HIT, b"/media/t1/hd/v.mp4", query, session, number, 10, 0)


def test_rows_wait_for_the_timer_and_come_out_whole_and_in_order() -> None:
    clock = Clock()
    log = AccessLog(3, clock, clock, clock.later)
    for number in range(3):
        add(log, number)
    assert clock.taken == b""
    assert len(clock.calls) == 1
    clock.due()
    (batch,) = FrameCutter().feed(bytes(clock.taken))
    assert batch.slot == 3
    assert [record.first for record in batch.records] == [0, 1, 2]
    assert batch.records[0] == Record(
        b"p192.0.2.0/24", 1.0, 2.0, b"GET", 206, "hit", b"/media/t1/hd/v.mp4", b"", "s1", 0, 10, 0
    )


def test_a_full_slice_does_not_wait_and_no_slice_is_longer() -> None:
    clock = Clock()
    log = AccessLog(0, clock, clock, clock.later)
    for number in range(2 * SLICE + 1):
        add(log, number)
    batches = FrameCutter().feed(bytes(clock.taken))
    assert [len(batch.records) for batch in batches] == [SLICE, SLICE]
    log.flush()
    assert [record.first for record in clock.records()] == list(range(2 * SLICE + 1))


def test_a_full_pipe_costs_whole_records_that_are_counted_and_no_torn_one() -> None:
    clock = Clock(room=500)
    log = AccessLog(0, clock, clock, clock.later)
    for number in range(20):
        add(log, number)
    log.flush()  # begins a frame that does not fit
    for number in range(20, 25):
        add(log, number)
    log.flush()  # finds the pipe full
    assert clock.lost == 5
    clock.room = 1 << 20
    add(log, 25)
    log.flush()
    cutter = FrameCutter()
    found = [record.first for batch in cutter.feed(bytes(clock.taken)) for record in batch.records]
    assert found == [*range(20), 25]
    assert cutter.torn_bytes == 0


def test_without_any_room_the_batch_is_dropped_and_the_next_one_is_whole() -> None:
    clock = Clock(room=0)
    log = AccessLog(0, clock, clock, clock.later)
    add(log, 1)
    log.flush()
    assert clock.lost == 1
    clock.room = 1 << 20
    add(log, 2)
    log.flush()
    assert [record.first for record in clock.records()] == [2]


def test_a_sample_takes_sessions_whole() -> None:
    clock = Clock()
    log = AccessLog(0, clock, clock, clock.later, sample=0.5)
    for number in range(400):
        add(log, number, session=f"s{number % 100}")
    log.flush()
    by_session: dict[str, int] = {}
    for record in clock.records():
        by_session[record.session] = by_session.get(record.session, 0) + 1
    assert 30 < len(by_session) < 70
    assert set(by_session.values()) == {4}


def test_what_a_client_sends_is_bounded() -> None:
    clock = Clock()
    log = AccessLog(0, clock, clock, clock.later)
    add(log, query=b"x" * 100_000)
    log.flush()
    (record,) = clock.records()
    assert len(record.query) == 4096


@pytest.mark.parametrize(
    ("peer", "tls", "bits", "expected"),
    [
        (("192.0.2.77", 5000), False, (24, 48), b"p192.0.2.0/24"),
        (("192.0.2.77", 5000), True, (32, 128), b"t192.0.2.77/32"),
        (("2001:db8:1:2::3", 5000, 0, 0), True, (24, 48), b"t2001:db8:1::/48"),
        (("::ffff:192.0.2.77", 5000, 0, 0), False, (24, 48), b"p192.0.2.0/24"),
        (("fe80::1%eth0", 5000, 0, 2), False, (24, 48), b"pfe80::/48"),
        ("", False, (24, 48), b"p?"),
        (None, True, (24, 48), b"t?"),
    ],
)
def test_a_clients_address_is_cut(peer: object, tls: bool, bits: tuple[int, int], expected: bytes) -> None:
    assert client_of(peer, tls, *bits) == expected


frames = st.lists(st.integers(1, 4), min_size=1, max_size=6)


@given(frames, st.integers(0, 10_000), st.lists(st.integers(1, 200), max_size=30))
def test_a_frame_that_a_killed_worker_left_costs_only_itself(sizes: list[int], torn: int, cuts: list[int]) -> None:
    whole = [encode_frame(0, [ROW] * size) for size in sizes]
    victim = encode_frame(0, [ROW] * 3)
    victim = victim[: torn % len(victim)]
    at = torn % (len(whole) + 1)
    stream = b"".join([*whole[:at], victim, *whole[at:]])
    cutter = FrameCutter()
    found, start = [], 0
    for cut in [*cuts, len(stream)]:
        found += cutter.feed(stream[start : start + cut])
        start += cut
    found += cutter.feed(stream[start:]) + cutter.end()
    assert [len(batch.records) for batch in found] == sizes
    assert cutter.torn_bytes == len(victim)


@given(st.lists(st.one_of(st.binary(max_size=30), st.just(MARK), st.just(encode_frame(0, [ROW]))), max_size=20))
def test_noise_never_gives_a_record_that_was_not_written(pieces: list[bytes]) -> None:
    cutter = FrameCutter()
    for batch in cutter.feed(b"".join(pieces)) + cutter.end():
        assert batch.records == [RECORD]


def test_a_line_has_its_facts_with_types() -> None:
    query = b"a=1&CMCD=bl%3D21300%2Cot%3Dv%2Csid%3D%226e2f%22%2Csu"
    line = line_of(1, msgspec.structs.replace(RECORD, query=query, missed_bytes=4, first=7, client=b"t192.0.2.0/24"))
    assert msgspec.json.decode(encode_lines([line])) == {
        "time": "2025-11-21T09:34:36.250Z",
        "worker": 1,
        "client": "192.0.2.0/24",
        "tls": True,
        "peer": False,
        "method": "GET",
        "status": 206,
        "outcome": "hit",
        "cache": "partial",
        "bytes": 10,
        "duration_ms": 250.0,
        "path": "/media/t1/hd/v.mp4",
        "title": "t1",
        "tier": "hd",
        "file": "v.mp4",
        "missed_bytes": 4,
        "first": 7,
        "session": "s1",
        "cmcd": {"bl": 21300, "ot": "v", "sid": "6e2f", "su": True},
    }


def test_the_headers_of_cmcd_count_as_the_query_does() -> None:
    line = line_of(
        0, msgspec.structs.replace(RECORD, query=b'CMCD:bl=21300, ot=v,sid="a%2Cb"', client=b"a192.0.2.0/24")
    )
    assert line.cmcd == {"bl": 21300, "ot": "v", "sid": "a%2Cb"}
    assert (line.tls, line.peer) == (True, True)


def test_lists_and_unknown_keys_of_cmcd_have_fields_of_their_own() -> None:
    query = b"CMCD=v%3D2%2Cbr%3D(128;a%203000;v)%2Cx-a%3D1%2Cbl%3Dfast"
    line = line_of(0, msgspec.structs.replace(RECORD, query=query))
    assert line.cmcd == {"v": 2, "br": 3000}
    assert line.cmcd_lists == {"br": (CmcdItem(128, {"a": True}), CmcdItem(3000, {"v": True}))}
    assert (line.cmcd_other, line.cmcd_malformed) == ({"x-a": "1"}, 1)


@pytest.mark.parametrize(
    ("changes", "cache"),
    [
        ({}, "hit"),
        ({"missed_bytes": 10}, "miss"),
        ({"missed_bytes": 1}, "partial"),
        ({"body_bytes": 0, "outcome": "not-modified", "status": 304}, "none"),
        ({"outcome": "not-found", "status": 404}, "none"),
        ({"body_bytes": 0, "outcome": "hit", "method": b"HEAD"}, "hit"),
        ({"body_bytes": 0, "outcome": "miss", "method": b"HEAD"}, "miss"),
        ({"body_bytes": 0, "outcome": "token-expired", "status": 403}, "none"),
    ],
)
def test_the_cache_result_says_where_the_bytes_came_from(changes: dict[str, object], cache: str) -> None:
    assert line_of(0, msgspec.structs.replace(RECORD, **changes)).cache == cache


TOKEN = "eyJhbGciOiJFUzI1NiIsImtpZCI6InRlc3QtMSJ9.eyJzdWIiOiJzIn0.c2lnbmF0dXJl-_c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "record",
    [
        msgspec.structs.replace(RECORD, path=f"/x/~{TOKEN}/media/t1/hd/v.mp4".encode()),
        msgspec.structs.replace(RECORD, path=f"/%7e{TOKEN}/media".encode()),
        msgspec.structs.replace(RECORD, path=f"/{TOKEN}/media/t1/hd/v.mp4".encode()),
        msgspec.structs.replace(RECORD, path=f"/media/{TOKEN}/hd/v.mp4".encode()),
        msgspec.structs.replace(RECORD, path=f"/media/t1/hd/v.mp4/{TOKEN.replace('.', '')}".encode()),
        msgspec.structs.replace(RECORD, query=f"token={TOKEN}&CMCD=bl%3D100".encode()),
        msgspec.structs.replace(RECORD, query=f"CMCD=nor%3D%22..%252F..%252F~{TOKEN}%252Fa.mp4%22".encode()),
        msgspec.structs.replace(RECORD, query=f"CMCD=nor%3D%22%252F%257E{TOKEN}%252Fa.mp4%22".encode()),
        msgspec.structs.replace(RECORD, query=f"CMCD=url%3D%22https%3A%2F%2Fh%2F~{TOKEN}%2Fmedia%2Fa%22".encode()),
        msgspec.structs.replace(RECORD, query=f"CMCD=nor%3D(%22~{TOKEN}%2Fa%22)%2Cx-u%3D%22~{TOKEN}%22".encode()),
    ],
)
def test_no_token_reaches_a_line(record: Record) -> None:
    text = encode_lines([line_of(0, record)]).decode()
    for part in TOKEN.split("."):
        assert part not in text
    assert msgspec.json.decode(text)["session"] == "s1"


def test_a_line_is_json_whatever_came() -> None:
    record = msgspec.structs.replace(RECORD, path=b'/\xff"\n\x00', query=b"CMCD=sid%3D%22%0A%FF\x00%22", method=b"\xff")
    text = encode_lines([line_of(0, record)])
    assert text.count(b"\n") == 1
    msgspec.json.decode(text)


def test_the_page_names_every_field_every_column_and_no_other() -> None:
    page = PAGE.read_text(encoding="utf-8")
    fields = re.findall(r"^\| `(\w+)` \| (\S+) \|", page.split("## Fields")[1].split("\n## ")[0], re.MULTILINE)
    assert [name for name, _ in fields] == list(AccessLine.__struct_fields__)
    keys = re.findall(r"^\| `(\w+)` \| (\w+) \| (\d) \|", page.split("## CMCD")[1].split("\n## ")[0], re.MULTILINE)
    assert keys == [(key.word, key.kind.value, str(key.version)) for key in CmcdKey]
    assert set(COLUMNS) == set(AccessLine.__struct_fields__) - {"cmcd"}
    assert list(cmcd_columns()) == [f"cmcd_{key.word}" for key in CmcdKey]
