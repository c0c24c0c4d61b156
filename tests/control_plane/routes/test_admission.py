"""Which routes are taken, and the reason for each that is not."""

from __future__ import annotations

import ipaddress
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.routes import Route, RoutePolicy, RouteRefusal
from control_plane.routes.admission import Gate, PolicyError, Refused
from control_plane.routes.roas import RoaListError, Roas, Validity, read_roas

R = RouteRefusal
ISP = RoutePolicy(allow=("81.2.0.0/16", "2a01:100::/32"), allow_as=(64500,))


def verdict(
    cidr: str, policy: RoutePolicy = ISP, path: tuple[int, ...] = (), roas: Roas | None = None
) -> RouteRefusal | None:
    found = Gate(policy, roas).judge(Route(cidr, path))
    return found.refusal if isinstance(found, Refused) else None


@pytest.mark.parametrize(
    ("cidr", "refusal"),
    [
        ("81.2.0.0/16", None),
        ("81.2.3.0/24", None),
        ("2a01:100:1::/48", None),
        ("81.2.3.0/25", R.TOO_LONG),
        ("2a01:100:1::/49", R.TOO_LONG),
        ("81.3.0.0/16", R.NOT_ALLOWED),
        ("81.0.0.0/8", R.NOT_ALLOWED),
        ("2a01:101::/32", R.NOT_ALLOWED),
        ("0.0.0.0/0", R.DEFAULT),
        ("::/0", R.DEFAULT),
        ("10.0.0.0/8", R.RESERVED),
        ("10.255.0.0/16", R.RESERVED),
        ("100.64.0.0/10", R.RESERVED),
        ("100.127.255.0/24", R.RESERVED),
        ("172.16.0.0/12", R.RESERVED),
        ("192.168.1.0/24", R.RESERVED),
        ("127.0.0.0/8", R.RESERVED),
        ("169.254.0.0/16", R.RESERVED),
        ("203.0.113.0/24", R.RESERVED),
        ("224.0.0.0/4", R.RESERVED),
        ("240.0.0.0/8", R.RESERVED),
        ("fc00::/7", R.RESERVED),
        ("fe80::/10", R.RESERVED),
        ("::1/128", R.RESERVED),
        ("2001:db8::/32", R.RESERVED),
        ("192.0.0.0/8", R.RESERVED),
        ("81.2.0.1/16", R.MALFORMED),
        ("nonsense", R.MALFORMED),
        ("81.2.0.0/33", R.MALFORMED),
        ("fe80::%eth0/64", R.MALFORMED),
        ("", R.MALFORMED),
    ],
)
def test_each_route_is_taken_or_has_its_reason(cidr: str, refusal: RouteRefusal | None) -> None:
    assert verdict(cidr) is refusal


def test_just_outside_of_a_reserved_network_is_ordinary() -> None:
    everything = RoutePolicy(allow=("0.0.0.0/0",))
    for cidr in (
        "9.0.0.0/8",
        "11.0.0.0/8",
        "100.63.0.0/16",
        "100.128.0.0/9",
        "172.15.0.0/16",
        "172.32.0.0/11",
        "223.0.0.0/8",
    ):
        assert verdict(cidr, everything) is None, cidr


def test_without_a_policy_nothing_is_taken() -> None:
    assert verdict("81.2.0.0/16", RoutePolicy()) is R.NOT_ALLOWED


def test_an_origin_that_is_allowed_may_announce_ordinary_prefixes_anywhere() -> None:
    assert verdict("85.0.0.0/16", path=(64499, 64500)) is None
    assert verdict("85.0.0.0/16", path=(64500, 64499)) is R.NOT_ALLOWED
    assert verdict("10.0.0.0/16", path=(64500,)) is R.RESERVED
    assert verdict("85.0.0.0/25", path=(64500,)) is R.TOO_LONG


def test_a_reserved_network_is_taken_where_the_list_names_it_or_one_around_it_that_is_reserved() -> None:
    lab = RoutePolicy(allow=("10.0.0.0/8", "127.1.0.0/16", "fd00:1::/32"))
    for cidr in ("10.0.0.0/8", "10.1.2.128/25", "127.1.0.1/32", "fd00:1:2:3::/64"):
        assert verdict(cidr, lab) is None, cidr
    assert verdict("127.2.0.0/16", lab) is R.RESERVED
    assert verdict("10.0.0.0/7", lab) is R.RESERVED


def test_a_list_of_everything_names_the_default_route_and_no_reserved_network() -> None:
    everything = RoutePolicy(allow=("0.0.0.0/0", "::/0"))
    assert verdict("0.0.0.0/0", everything) is None
    assert verdict("10.0.0.0/8", everything) is R.RESERVED
    assert verdict("fd00::/8", everything) is R.RESERVED
    assert verdict("81.2.3.0/25", everything) is R.TOO_LONG


def test_a_prefix_that_the_list_names_itself_may_be_as_long_as_it_is() -> None:
    assert verdict("81.9.9.128/25", RoutePolicy(allow=("81.9.9.128/25",))) is None
    assert verdict("81.9.9.192/26", RoutePolicy(allow=("81.9.9.128/25",))) is R.TOO_LONG
    assert verdict("81.9.9.192/26", RoutePolicy(allow=("81.9.9.128/25",), longest_v4=26)) is None


ROAS = read_roas(
    json.dumps(
        {
            "metadata": {"buildtime": "2026-11-20T00:00:00Z"},
            "roas": [
                {"prefix": "81.2.0.0/16", "maxLength": 20, "asn": 64500, "ta": "ripe"},
                {"prefix": "81.2.0.0/16", "maxLength": 16, "asn": "AS64501"},
                {"prefix": "85.0.0.0/8", "maxLength": 8, "asn": 0},
                {"prefix": "2a01:100::/32", "maxLength": 48, "asn": 64500},
            ],
        }
    ).encode()
)


@pytest.mark.parametrize(
    ("cidr", "origin", "validity"),
    [
        ("81.2.0.0/16", 64500, Validity.VALID),
        ("81.2.0.0/16", 64501, Validity.VALID),
        ("81.2.16.0/20", 64500, Validity.VALID),
        ("81.2.16.0/20", 64501, Validity.INVALID),
        ("81.2.16.0/21", 64500, Validity.INVALID),
        ("81.2.0.0/16", 64502, Validity.INVALID),
        ("81.2.0.0/16", None, Validity.INVALID),
        ("81.3.0.0/16", 64502, Validity.UNKNOWN),
        ("81.0.0.0/15", 64502, Validity.UNKNOWN),
        ("85.1.0.0/16", 0, Validity.INVALID),
        ("2a01:100:1::/48", 64500, Validity.VALID),
    ],
)
def test_origins_are_validated_as_rfc_6811_says(cidr: str, origin: int | None, validity: Validity) -> None:
    assert ROAS.validity(ipaddress.ip_network(cidr), origin) is validity


def test_what_the_rpki_calls_invalid_is_refused_even_where_the_list_names_it() -> None:
    named = RoutePolicy(allow=("81.2.0.0/16",))
    assert verdict("81.2.0.0/16", named, (64500,), ROAS) is None
    assert verdict("81.2.0.0/16", named, (64999,), ROAS) is R.RPKI_INVALID
    assert verdict("81.2.0.0/16", named, (64999,), None) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{}", b'{"roas": []}', b"\xff", b'{"roas": [{"prefix": "81.2.0.1/16", "asn": 1, "maxLength": 16}]}',
        b'{"roas": [{"prefix": "81.2.0.0/16", "asn": "ASx", "maxLength": 16}]}',
        b'{"roas": [{"prefix": "81.2.0.0/16", "asn": 1, "maxLength": 15}]}',
        b'{"roas": [{"prefix": "81.2.0.0/16", "asn": 1, "maxLength": 33}]}',
    ],
)  # fmt: skip
def test_a_list_that_makes_no_sense_is_no_list(raw: bytes) -> None:
    with pytest.raises(RoaListError):
        read_roas(raw)


def test_a_policy_that_makes_no_sense_says_everything_that_is_wrong() -> None:
    with pytest.raises(PolicyError) as caught:
        Gate(RoutePolicy(allow=("10.0.0.1/8", "10.0.0.0/8", "x"), allow_as=(0, 5)), None)
    assert [line.split(":")[0] for line in caught.value.errors] == ["allow[0]", "allow[2]", "allow_as[0]"]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20), st.lists(st.integers(0, 1 << 32), max_size=3).map(tuple))
def test_no_text_gets_past_the_gate_that_is_no_network_of_the_list(text: str, path: tuple[int, ...]) -> None:
    found = Gate(ISP, ROAS).judge(Route(text, path))
    if not isinstance(found, Refused):
        assert str(found) == str(ipaddress.ip_network(text))
