"""The zone as records and as a file, and which addresses of a box are told."""

from __future__ import annotations

import dns.rdatatype
import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.names.telling import PublicName, told_families, told_urls, wrong_urls
from control_plane.names.zone import (
    Apex,
    addresses_of,
    challenges_of,
    difference,
    host_of,
    next_serial,
    serial_in,
    zone_text,
)

APEX = Apex("cdn.test", ("ns1.example.net", "ns2.example.net"), "dns.team@example.net", 60)
OWNERS = st.tuples(st.sampled_from(("a1.cdn.test", "a2.cdn.test", "b1.cdn.test")), st.sampled_from(("A", "AAAA")))
RRSETS = st.dictionaries(OWNERS, st.tuples(st.sampled_from(("1", "2"))))


def test_ids_that_can_be_names_are() -> None:
    assert host_of("a1", "cdn.test") == "a1.cdn.test"
    assert host_of("rack-2.berlin", "cdn.test") == "rack-2.berlin.cdn.test"
    assert [host_of(wrong, "cdn.test") for wrong in ("a_1", "-a", "a-", "a..b", "a" * 64)] == [""] * 5


def test_addresses_go_by_family_each_once_in_order() -> None:
    found = addresses_of("a1.cdn.test", ("192.0.2.20", "2001:db8:0::1", "192.0.2.3", "2001:db8::1"))
    assert found == {
        ("a1.cdn.test", "A"): ("192.0.2.3", "192.0.2.20"),
        ("a1.cdn.test", "AAAA"): ("2001:db8::1",),
    }


@given(before=RRSETS, wanted=RRSETS)
def test_the_difference_makes_the_wanted_out_of_what_was(
    before: dict[tuple[str, str], tuple[str, ...]], wanted: dict[tuple[str, str], tuple[str, ...]]
) -> None:
    found = difference(before, wanted)
    kept = {owner: values for owner, values in before.items() if owner not in found.drop}
    assert kept | dict(found.put) == wanted
    assert not any(before.get(owner) == values for owner, values in found.put.items())


@given(before=st.integers(0, 2**32 - 1) | st.none(), now=st.floats(0, 2**33))
def test_a_serial_is_always_ahead_of_the_one_before(before: int | None, now: float) -> None:
    after = next_serial(before, now)
    assert 0 <= after < 2**32
    if before is not None:
        assert 0 < (after - before) % 2**32 < 2**31


def test_a_zone_file_is_read_by_another_reader_as_it_was_meant() -> None:
    rrsets = {
        **addresses_of("a1.cdn.test", ("192.0.2.1", "2001:db8::1")),
        **challenges_of({"a1.cdn.test": ('an "odd" \\ answer', "second")}),
    }
    text = zone_text(APEX, rrsets, 4_000_000_000)
    zone = dns.zone.from_text(text, origin="cdn.test.")
    zone.check_origin()
    soa = zone.get_soa()
    assert (soa.serial, serial_in(text)) == (4_000_000_000, 4_000_000_000)
    assert soa.rname.to_text() == "dns\\.team.example.net."
    assert {r.to_text() for r in zone.get_rdataset("a1", "A") or ()} == {"192.0.2.1"}
    assert {r.to_text() for r in zone.get_rdataset("a1", "AAAA") or ()} == {"2001:db8::1"}
    texts = zone.get_rdataset("_acme-challenge.a1", dns.rdatatype.TXT)
    assert {b"".join(r.strings) for r in texts or ()} == {b'an "odd" \\ answer', b"second"}
    assert len(zone.get_rdataset("@", "NS") or ()) == 2


REPORTED = ("http://192.0.2.1:8080", "https://a1.cdn.test", "https://a2.cdn.test", "https://own.example:8443")


def test_a_box_is_known_in_the_zone_by_its_own_name_only_and_while_that_is_usable() -> None:
    usable = PublicName("cdn.test", "a1.cdn.test", True, (4,))
    assert told_urls(REPORTED, usable) == (REPORTED[0], REPORTED[1], REPORTED[3])
    assert told_families(told_urls(REPORTED, usable), usable) == (4,)
    spent = PublicName("cdn.test", "a1.cdn.test", False, (4,))
    assert told_urls(REPORTED, spent) == (REPORTED[0], REPORTED[3])
    assert told_families(told_urls(REPORTED, spent), spent) == ()
    assert told_urls(REPORTED, PublicName("cdn.test")) == (REPORTED[0], REPORTED[3])


def test_without_a_managed_zone_all_addresses_pass() -> None:
    assert told_urls(REPORTED, None) == REPORTED
    assert told_families(REPORTED, None) == ()


@pytest.mark.parametrize(
    "url",
    [
        "https://[::1",
        "https://own.example:99999",
        "https://own.example:0",
        "https://own.example:x",
        "https://a2.cdn.test.",
        "https://a2.cdn%2etest",
        "https://a2.cdn\u3002test",
        "https://a2.cdn.test\\@own.example",
        "https://own.example\\@a2.cdn.test",
        "https://ann@own.example",
        "https://own.example/a b",
        "https://own.example\n",
        "https:///own.example",
        "https://192.0.2.256",
        "https://[fe80::1%25eth0]",
        "http://0.0.0.0:8080",
        "unix:/run/x",
        "a2.cdn.test",
        "",
    ],
)
def test_a_url_that_cannot_be_read_or_reads_otherwise_for_a_browser_is_refused_and_told_to_nobody(url: str) -> None:
    name = PublicName("cdn.test", "a1.cdn.test", True, (4,))
    assert [line.partition(":")[0] for line in wrong_urls((*REPORTED, url))] == ["player_urls"]
    assert told_urls(("http://192.0.2.1", url), None) == ("http://192.0.2.1",)
    assert told_urls(("http://192.0.2.1", url), name) == ("http://192.0.2.1",)
    assert told_families((url,), name) == ()


def test_urls_that_players_can_dial_are_taken_but_not_without_end() -> None:
    good = (*REPORTED, "http://[2001:db8::1]:8080", "https://Own.Example/under", "http://own.example:80/")
    assert wrong_urls(good) == ()
    assert told_urls(good, None) == good
    assert wrong_urls(tuple(f"http://192.0.2.{n}" for n in range(17))) == ("player_urls: at most 16, not 17",)
