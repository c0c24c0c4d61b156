"""One suite for every prefix table."""

from __future__ import annotations

import ipaddress
import random

import pytest

from steering.prefixes import Announcement, HashedPrefixes, TableMaker, parse_address
from steering.trie import make_table

TABLES = pytest.mark.parametrize("make", [HashedPrefixes, make_table], ids=["hashed", "trie"])


def _sites(make: TableMaker, announced: list[tuple[str, str]], client: str) -> list[tuple[str, list[str]]]:
    table = make(Announcement(cidr, site) for cidr, site in announced)
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
    table = make(Announcement(str(network), str(network)) for network in networks)
    clients = [ipaddress.ip_address(rng.getrandbits(32)) for _ in range(200)]
    clients += [network.network_address for network in list(networks)[:100]]
    for client in clients:
        expected = [n for n in networks if n.version == client.version and client in n]
        expected.sort(key=lambda n: -n.prefixlen)
        assert [match.cidr for match in table.covering(client)] == [str(n) for n in expected]


def test_a_zone_is_no_part_of_an_address() -> None:
    assert str(parse_address("fe80::1%eth0")) == "fe80::1"
