"""A token in words: the same for both formats, without any private key, and never a traceback."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.keys import KeySet
from contracts.tokens.claims import TokenRefusal, TokenRefused
from contracts.tokens.inspecting import described, find_token, judged
from contracts.tokens.media import TokenFormat, codec_of
from tests.contracts.forging import CLAIMS, PATH, cat_of, ec_pair

PAIR = ec_pair("k1")
KEYS = KeySet(1, (PAIR.public,), ("gone",))
TOKENS = {format_: codec_of(format_).sign(CLAIMS, PAIR.private, "k1") for format_ in TokenFormat}


@pytest.mark.parametrize("format_", list(TokenFormat))
def test_a_token_says_its_format_header_claims_and_times(format_: TokenFormat) -> None:
    said = dict(described(TOKENS[format_], 1_990.0))
    assert said["format"].startswith(f"{format_.value}, ")
    assert (said["alg"], said["kid"], said["sub"]) == ("ES256", "k1", "s-1")
    assert said["exp"] == "1970-01-01T00:33:20Z, in 10 s"
    assert said["iat"] == "1970-01-01T00:16:40Z, 16 min 30 s ago"
    assert "low" in said["cdniuc" if format_ is TokenFormat.JWT else "catu"]


def test_times_are_told_in_the_two_largest_units() -> None:
    token = TOKENS[TokenFormat.CAT]
    assert dict(described(token, 2_000.0 - 90_061.0))["exp"].endswith(", in 1 d 1 h")
    assert dict(described(token, 2_000.0 + 7_200.0))["exp"].endswith(", 2 h ago")
    assert dict(described(token, 2_000.0))["exp"].endswith(", now")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("abc.def.g", ("abc.def.g", "")),
        (" abc\n", ("abc", "")),
        ("https://a.example:8/~abc/media/t/hd/v.mp4?CMCD=x", ("abc", "/media/t/hd/v.mp4")),
        ("/~abc/media/t/hd/v.mp4?x", ("abc", "/media/t/hd/v.mp4")),
        ("https://a.example/media/t/hd/v.mp4", ("", "/media/t/hd/v.mp4")),
    ],
)
def test_a_token_is_found_in_an_address(text: str, found: tuple[str, str]) -> None:
    assert find_token(text) == found


@pytest.mark.parametrize("format_", list(TokenFormat))
def test_the_verdict_is_the_appliance_s(format_: TokenFormat) -> None:
    token = TOKENS[format_]
    assert judged(token, KEYS, PATH, 1_500.0).sentence == f"opens {PATH}"
    late = judged(token, KEYS, PATH, 2_031.0)
    assert late.refused is not None
    assert late.refused.why is TokenRefusal.EXPIRED
    assert late.sentence == (
        f"does not open {PATH}: 403 media-token-expired (token-expired): the media token has expired"
    )
    for other, why in (
        (KeySet(2, ()), TokenRefusal.KEY_UNKNOWN),
        (KeySet(2, KEYS.keys, ("s-1",)), TokenRefusal.REVOKED),
    ):
        found = judged(token, other, PATH, 1_500.0).refused
        assert found is not None
        assert found.why is why


def test_claims_nobody_knows_are_shown_by_their_number() -> None:
    said = dict(described(cat_of(PAIR, {1: "i", 4: "soon", 70_000: b"x"}), 0.0))
    assert (said["iss"], said["exp"], said["70000"]) == ("i", "soon, no instant", "b'x'")


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda data: cat_of(PAIR, raw=data)))
def test_what_cannot_be_read_is_a_refusal_and_nothing_else(text: str) -> None:
    for token in (text, find_token(text)[0]):
        try:
            for name, words in described(token, 0.0):
                assert isinstance(name, str)
                assert isinstance(words, str)
        except TokenRefused:
            assert judged(token, KEYS, PATH, 1_500.0).refused is not None
