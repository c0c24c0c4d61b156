"""The prefix table against looking at each prefix, and that a table never changes."""

from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steering.prefixes import (
    Announcement,
    HashedPrefixes,
    PrefixTable,
    TableMaker,
    is_prefix,
    network_words,
    parse_address,
    parse_prefix,
)

TABLES = pytest.mark.parametrize("make", [HashedPrefixes], ids=["hashed"])


def _sites(make: TableMaker, announced: list[tuple[str, str]], client: str) -> list[tuple[str, list[str]]]:
    return answers(make((cidr, Announcement(site)) for cidr, site in announced), client)


def answers(table: PrefixTable, client: str) -> list[tuple[str, list[str]]]:
    return [(m.cidr, [a.site_id for a in m.announcements]) for m in table.covering(parse_address(client))]


@TABLES
def test_all_covering_prefixes_are_given_the_longest_first(make: TableMaker) -> None:
    announced = [("10.0.0.0/8", "far"), ("10.1.0.0/16", "near"), ("10.1.2.0/24", "next-door"), ("10.1.2.3/32", "here")]
    assert [site for _, (site,) in _sites(make, announced, "10.1.2.3")] == ["here", "next-door", "near", "far"]
    assert [site for _, (site,) in _sites(make, announced, "10.1.9.9")] == ["near", "far"]
    assert _sites(make, announced, "11.0.0.1") == []


@TABLES
def test_one_prefix_may_be_announced_by_several_sites(make: TableMaker) -> None:
    assert _sites(make, [("10.0.0.0/8", "b"), ("10.0.0.0/8", "a")], "10.0.0.1") == [("10.0.0.0/8", ["a", "b"])]


@TABLES
def test_the_families_do_not_see_each_other(make: TableMaker) -> None:
    announced = [("0.0.0.0/0", "four"), ("::/0", "six"), ("2001:db8::/32", "six-near")]
    assert _sites(make, announced, "192.0.2.1") == [("0.0.0.0/0", ["four"])]
    assert _sites(make, announced, "2001:db8::1") == [("2001:db8::/32", ["six-near"]), ("::/0", ["six"])]


@TABLES
def test_an_ipv4_client_in_ipv6_form_is_an_ipv4_client(make: TableMaker) -> None:
    assert _sites(make, [("10.0.0.0/8", "a")], "::ffff:10.1.2.3") == [("10.0.0.0/8", ["a"])]


@TABLES
def test_an_empty_table_covers_nobody(make: TableMaker) -> None:
    assert _sites(make, [], "10.0.0.1") == []


@TABLES
@pytest.mark.parametrize("seed", range(3))
def test_every_table_agrees_with_looking_at_each_prefix(make: TableMaker, seed: int) -> None:
    rng = random.Random(seed)
    networks = {ipaddress.ip_network((rng.getrandbits(32), rng.randint(0, 32)), strict=False) for _ in range(300)}
    networks |= {ipaddress.ip_network((rng.getrandbits(128), rng.randint(0, 128)), strict=False) for _ in range(100)}
    table = make((str(network), Announcement(str(network))) for network in networks)
    assert len(table) == len(networks)
    clients = [ipaddress.ip_address(rng.getrandbits(32)) for _ in range(200)]
    clients += [network.network_address for network in list(networks)[:100]]
    for client in clients:
        expected = [n for n in networks if n.version == client.version and client in n]
        expected.sort(key=lambda n: -n.prefixlen)
        assert [match.cidr for match in table.covering(client)] == [str(n) for n in expected]


CIDRS = ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16", "2001:db8::/32", "2001:db8:1::/48")
EDITS = st.lists(
    st.tuples(st.booleans(), st.sampled_from(CIDRS), st.sampled_from("ab"), st.booleans(), st.integers(1, 3)),
    max_size=30,
)


@TABLES
@settings(max_examples=60, deadline=None)
@given(st.lists(EDITS, max_size=4))
def test_edits_in_any_pieces_make_the_table_of_what_is_left_and_leave_earlier_tables_alone(
    make: TableMaker, pieces: list[list[tuple[bool, str, str, bool, int]]]
) -> None:
    table = make(())
    left: dict[tuple[str, str, bool], Announcement] = {}
    earlier: list[tuple[PrefixTable, set[tuple[str, Announcement]]]] = []
    for piece in pieces:
        editor = table.edit()
        for is_put, cidr, site, by_hand, length in piece:
            if is_put:
                one = Announcement(site, length, 0, by_hand)
                editor.put(cidr, one)
                left[cidr, site, by_hand] = one
            else:
                editor.drop(cidr, site, by_hand=by_hand)
                left.pop((cidr, site, by_hand), None)
        table = editor.freeze()
        expected = {(cidr, one) for (cidr, _, _), one in left.items()}
        assert set(table.announced()) == expected
        assert len(table) == len({cidr for cidr, _ in expected})
        earlier.append((table, expected))
    for old, was in earlier:
        assert set(old.announced()) == was


@TABLES
def test_what_a_site_has_learnt_goes_at_once_and_what_it_has_by_hand_stays(make: TableMaker) -> None:
    learnt = Announcement("a", by_hand=False)
    table = make([("10.0.0.0/8", Announcement("a")), ("10.0.0.0/8", learnt), ("10.1.0.0/16", learnt)])
    editor = table.edit()
    editor.put("10.1.0.0/16", Announcement("b", by_hand=False))
    editor.drop_learnt("a")
    editor.drop_learnt("a")
    assert answers(editor.freeze(), "10.1.0.1") == [("10.1.0.0/16", ["b"]), ("10.0.0.0/8", ["a"])]
    assert answers(table, "10.1.0.1") == [("10.1.0.0/16", ["a"]), ("10.0.0.0/8", ["a", "a"])]


@TABLES
def test_an_editor_goes_on_after_it_gave_a_table_without_touching_it(make: TableMaker) -> None:
    editor = make(()).edit()
    editor.put("10.0.0.0/8", Announcement("a"))
    first = editor.freeze()
    editor.put("10.0.0.0/8", Announcement("b"))
    assert answers(first, "10.0.0.1") == [("10.0.0.0/8", ["a"])]
    assert answers(editor.freeze(), "10.0.0.1") == [("10.0.0.0/8", ["a", "b"])]


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(alphabet="0123456789abcdef:./% x", max_size=24),
        st.ip_addresses().flatmap(lambda a: st.integers(0, 129).map(lambda n: f"{a}/{n}")),
        st.ip_addresses().map(str),
    )
)
def test_a_prefix_is_what_the_standard_library_takes_for_one(text: str) -> None:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        assert not is_prefix(text)
        return
    if "%" in text:
        assert not is_prefix(text), "a zone is no part of a prefix"
        return
    bits = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
    assert parse_prefix(text) == (network.version, network.prefixlen, bits)


def test_a_zone_is_no_part_of_an_address() -> None:
    assert str(parse_address("fe80::1%eth0")) == "fe80::1"


@given(st.integers(0, 128), st.lists(st.sampled_from([0, 0, 1, 0x2001, 0xFFFF]), min_size=8, max_size=8))
def test_the_words_of_a_network_are_those_of_the_standard_library(length: int, words: list[int]) -> None:
    bits = sum(word << 16 * at for at, word in enumerate(words)) >> (128 - length) << (128 - length)
    assert network_words(6, length, bits) == str(ipaddress.IPv6Address(bits))
    if length <= 32:
        assert network_words(4, length, bits >> 96) == str(ipaddress.IPv4Address(bits >> 96))
