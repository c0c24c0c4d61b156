"""What an answer says about how it was made: the short form for all, the details for trusted networks."""

from __future__ import annotations

import re

import pytest

from oca.http.disclosure import HIT, MISS, PARTIAL, TrustedNetworks, details, refusal
from oca.http.reasons import Outcome

BLOCK = b"Content-Type: video/mp4\r\nCache-Control: public, max-age=31536000, immutable\r\n"
KEY = "vod|/media/t1/hd/v.mp4"
# RFC 9211 §2: a list of one token with parameters; RFC 8941 spells the values.
CACHE_STATUS = re.compile(
    r'Cache-Status: lowtide(;(hit|fwd=(partial|uri-miss)|ttl=-?[0-9]+|(key|detail)="[\x20-\x7e]*"|detail=[a-z-]+))+'
)


def lines(told: bytes) -> list[str]:
    assert told.endswith(b"\r\n")
    return told.decode().split("\r\n")[:-1]


def test_the_details_of_a_hit_are_what_an_operator_looks_for() -> None:
    status, timing = lines(details(HIT, KEY, BLOCK, 36, 0.0001234, (2, 77)))
    assert status == f'Cache-Status: lowtide;hit;ttl=31535964;key="{KEY}";detail="disk 2 extent 77"'
    assert timing == "Server-Timing: cache;desc=hit;dur=0.123"


@pytest.mark.parametrize(("line", "kind"), [(HIT, "hit"), (PARTIAL, "partial"), (MISS, "miss")])
def test_every_form_is_a_structured_field(line: bytes, kind: str) -> None:
    for block, place in ((BLOCK, (0, 1)), (b"", None), (b"Cache-Control: s-maxage=5, max-age=x\r\n", None)):
        status, timing = lines(details(line, KEY, block, 0, 1.5, place))
        assert CACHE_STATUS.fullmatch(status)
        assert ("ttl" in status) is (block == BLOCK)
        assert timing == f"Server-Timing: cache;desc={kind};dur=1500.000"
    (short,) = lines(line)
    assert CACHE_STATUS.fullmatch(short)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_reason_of_a_refusal_is_its_log_word(outcome: Outcome) -> None:
    (status,) = lines(refusal(outcome))
    assert CACHE_STATUS.fullmatch(status)
    assert status.endswith(f"={outcome.word}")


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("192.0.2.9", True),
        ("192.0.3.9", False),
        ("::ffff:192.0.2.9", True),
        ("2001:db8::5", True),
        ("2001:db8:1::5", False),
        ("fe80::1%eth0", True),
        ("", False),
        ("/run/lowtide.sock", False),
    ],
)
def test_trust_is_a_matter_of_networks(address: str, trusted: bool) -> None:
    assert TrustedNetworks(("192.0.2.1/24", "2001:db8::/48", "fe80::/10")).contain(address) is trusted
    assert not TrustedNetworks(()).contain(address)


def test_what_is_no_network_is_said_at_the_start() -> None:
    with pytest.raises(ValueError, match="kitchen"):
        TrustedNetworks(("kitchen",))
