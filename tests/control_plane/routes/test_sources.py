"""One suite for every source that is read from a file, and what each alone understands."""

from __future__ import annotations

import bz2
import gzip
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.routes import Route, RouteSource, RouteSourceError
from control_plane.routes import lines, mrt
from control_plane.routes.mrt import MrtError
from control_plane.routes.reading import GeoDatabase, HandMadeFile, MrtDump
from tests.control_plane.routes import dumps

PEERS = (("192.0.2.1", 64500), ("2001:db8::1", 64501))
TABLE = dumps.peers(*PEERS) + dumps.joined(
    [
        dumps.rib("10.1.0.0/16", (0, (64500, 64510), 5, "192.0.2.1")),
        dumps.rib("10.2.128.0/17", (0, (64500,), 0, "192.0.2.1")),
        dumps.rib("2001:db8:1::/48", (1, (64501, 64511), 0, "2001:db8::1")),
    ]
)
LINES = """
# from the NOC
10.1.0.0/16 64500 64510 med=5 via=192.0.2.1
10.2.128.0/17   64500     # the new town
2001:db8:1::/48
"""
NETWORKS = {
    "10.1.0.0/16": {"autonomous_system_number": 64510},
    "10.2.128.0/17": {"autonomous_system_number": 64510},
    "10.3.0.0/16": {"autonomous_system_number": 64999},
    "2001:db8:1::/48": {"autonomous_system_number": 64510},
}
SAME = ["10.1.0.0/16", "10.2.128.0/17", "2001:db8:1::/48"]
Make = Callable[[Path, bytes], RouteSource]


def mrt_dump(folder: Path, raw: bytes) -> RouteSource:
    return MrtDump(_written(folder, raw))


def hand_made(folder: Path, raw: bytes) -> RouteSource:
    return HandMadeFile(_written(folder, raw))


def geo(folder: Path, raw: bytes) -> RouteSource:
    return GeoDatabase(_written(folder, raw), asn=64510)


def _written(folder: Path, raw: bytes) -> Path:
    path = folder / "source"
    path.write_bytes(raw)
    return path


ALL = pytest.mark.parametrize(
    ("make", "good"),
    [(mrt_dump, TABLE), (hand_made, LINES.encode()), (geo, dumps.mmdb(NETWORKS))],
    ids=["mrt", "lines", "geo"],
)


@ALL
def test_every_source_gives_each_prefix_once(make: Make, good: bytes, tmp_path: Path) -> None:
    found = [route.cidr for route in make(tmp_path, good).routes()]
    assert sorted(found) == SAME


@ALL
def test_a_source_may_be_read_again(make: Make, good: bytes, tmp_path: Path) -> None:
    source = make(tmp_path, good)
    assert list(source.routes()) == list(source.routes())


@ALL
def test_garbage_and_nothing_are_refused_in_words_that_name_the_file(make: Make, good: bytes, tmp_path: Path) -> None:
    for raw in (b"", b"\0" * 100, b"\xff\xfe garbage\n", good[: len(good) // 2] + b"\xff" * 40):
        source = make(tmp_path, raw)
        with pytest.raises(RouteSourceError, match="source"):
            list(source.routes())


@ALL
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_anywhere_raises_nothing_but_the_sources_own_error(
    make: Make, good: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    source = make(tmp_path_factory.mktemp("damaged"), bytes(raw[: data.draw(st.integers(1, len(raw)))]))
    with suppress(RouteSourceError):
        assert all(isinstance(route, Route) for route in source.routes())


@ALL
def test_a_file_that_is_not_there_is_an_error_of_the_source(make: Make, good: bytes, tmp_path: Path) -> None:
    source = make(tmp_path, good)
    (tmp_path / "source").unlink()
    with pytest.raises(RouteSourceError):
        list(source.routes())


# -- MRT ---------------------------------------------------------------------------------------------------------


def test_a_dump_gives_path_med_and_next_hop() -> None:
    assert list(mrt.routes(TABLE)) == [
        Route("10.1.0.0/16", (64500, 64510), 5, "192.0.2.1"),
        Route("10.2.128.0/17", (64500,), 0, "192.0.2.1"),
        Route("2001:db8:1::/48", (64501, 64511), 0, "2001:db8::1"),
    ]


def test_of_several_peers_the_shortest_path_then_the_lowest_med_is_given() -> None:
    table = dumps.peers(*PEERS) + dumps.rib(
        "10.1.0.0/16", (0, (1, 2), 0, "192.0.2.1"), (0, (3,), 9, "192.0.2.2"), (1, (4,), 5, "192.0.2.3")
    )
    assert [route.as_path for route in mrt.routes(table)] == [(4,)]
    assert [route.as_path for route in mrt.routes(table, peer_as=64500)] == [(3,)]
    assert list(mrt.routes(table, peer_as=1)) == []


def test_tables_with_several_paths_per_peer_are_read_and_multicast_is_passed_over() -> None:
    table = dumps.peers(*PEERS) + dumps.rib("10.1.0.0/16", (0, (7,), 0, "192.0.2.1"), with_paths=True)
    table += dumps.record(3, b"whatever") + dumps.record(6, b"whatever")
    assert [route.as_path for route in mrt.routes(table)] == [(7,)]


def test_a_set_ends_a_path_without_an_origin_and_confederations_are_inside_matters() -> None:
    path = dumps.segment(3, (65001,)) + dumps.segment(2, (1, 2)) + dumps.segment(1, (3, 4)) + dumps.segment(2, (5,))
    raw = dumps.attribute(2, path, extended=True)
    table = dumps.peers(*PEERS) + dumps.rib("10.1.0.0/16", (0, (), 0, "192.0.2.1"), raw=raw)
    assert [(route.as_path, route.origin_as) for route in mrt.routes(table)] == [((1, 2, 0), 0)]


def test_the_whole_form_of_an_ipv6_next_hop_is_understood_too() -> None:
    hop = b"\0\2\1" + bytes([32]) + b"\x20\x01" + b"\0" * 14 + b"\xfe\x80" + b"\0" * 14 + b"\0"
    raw = dumps.attribute(2, dumps.segment(2, (1,))) + dumps.attribute(14, hop)
    table = dumps.peers(*PEERS) + dumps.rib("2001:db8::/32", (1, (), 0, "::1"), raw=raw)
    assert [route.next_hop for route in mrt.routes(table)] == ["2001::"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (dumps.rib("10.1.0.0/16", (0, (1,), 0, "192.0.2.1")), "routes before the index of peers"),
        (dumps.peers(*PEERS) + dumps.rib("10.1.0.0/16", (2, (1,), 0, "192.0.2.1")), "peer 2 is not among the 2"),
        (dumps.record(4, b"", type_=16), "type 16 is no TABLE_DUMP_V2"),
        (dumps.record(1, b"", type_=12), "type 12 is no TABLE_DUMP_V2"),
        (dumps.record(99, b""), "subtype 99"),
        (dumps.peers(*PEERS) + dumps.record(2, struct.pack("!IB", 0, 33) + b"\x0a" * 5 + b"\0\0"), "a prefix of /33"),
        (dumps.peers(*PEERS) + dumps.record(2, struct.pack("!IB", 0, 8) + b"\x0a" + b"\0\0more"), "4 bytes too many"),
        (dumps.peers(*PEERS) + dumps.record(2, struct.pack("!IB", 0, 12) + b"\x0a\xff\0\0"), "host bits"),
        (dumps.peers(*PEERS)[:-1], "a record needs"),
        (b"\0" * 5, "the header of a record needs 12 bytes and 5 are left"),
        (b"", "no index of peers"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(raw: bytes, words: str) -> None:
    with pytest.raises(MrtError, match=r"byte \d+") as caught:
        list(mrt.routes(raw))
    assert words in str(caught.value)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_packed_dumps_are_unpacked(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    assert [route.cidr for route in mrt_dump(tmp_path, pack(TABLE)).routes()] == SAME


# -- lines -------------------------------------------------------------------------------------------------------


def test_a_line_says_path_med_and_next_hop_in_any_order() -> None:
    assert list(lines.routes("10.0.0.0/8 med=3 1 via=::1 2")) == [Route("10.0.0.0/8", (1, 2), 3, "::1")]


def test_every_wrong_line_is_named_at_once() -> None:
    text = "10.0.0.0/8\n10.0.0.1/8\n\n10.1.0.0/16 x\n10.0.0.0/8 # again\n10.2.0.0/16 med=-1\n10.3.0.0/16 via=here"
    with pytest.raises(lines.LinesError) as caught:
        lines.routes(text)
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "line 2", "line 4", "line 5", "line 6", "line 7",
    ]  # fmt: skip


# -- geo ---------------------------------------------------------------------------------------------------------


def test_a_country_is_asked_for_by_its_code(tmp_path: Path) -> None:
    raw = dumps.mmdb({"10.1.0.0/16": {"country": {"iso_code": "CH"}}, "10.2.0.0/16": {"country": {"iso_code": "DE"}}})
    path = _written(tmp_path, raw)
    assert [route.cidr for route in GeoDatabase(path, country="CH").routes()] == ["10.1.0.0/16"]


def test_routes_of_an_as_have_it_for_their_origin(tmp_path: Path) -> None:
    path = _written(tmp_path, dumps.mmdb(NETWORKS))
    assert {route.origin_as for route in GeoDatabase(path, asn=64510).routes()} == {64510}
    for source in (GeoDatabase(path), GeoDatabase(path, asn=1, country="CH")):
        with pytest.raises(RouteSourceError, match="either an AS or a country"):
            list(source.routes())
