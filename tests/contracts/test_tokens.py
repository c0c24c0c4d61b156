"""Media tokens: what verifies, and everything that must not (RFC 8725, RFC 9246)."""

from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey

from contracts.keys import KeyUse, PublicKey
from contracts.tokens import jwt
from contracts.tokens.claims import (
    CLOCK_SKEW_S,
    MediaClaims,
    TokenRefusal,
    TokenRefused,
    parse_uri_container,
    uri_container,
)

CLAIMS = MediaClaims("playback", "s-1", "/media/low.tide-1/", ("base", "sd"), 2_000.0, 1_000.0)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)


@dataclass(frozen=True)
class Pair:
    private: ECKey
    public: PublicKey


def pair(kid: str = "k1") -> Pair:
    key = ECKey.generate_key("P-256")
    return Pair(key, PublicKey(kid, KeyUse.MEDIA, "ES256", {k: str(v) for k, v in key.as_dict(private=False).items()}))


KEY = pair()
KEYS = {"k1": KEY.public}


def refusal(token: str, keys: dict[str, PublicKey] = KEYS) -> TokenRefusal:
    with pytest.raises(TokenRefused) as caught:
        jwt.verify(token, keys)
    return caught.value.why


def test_what_was_signed_comes_back() -> None:
    assert jwt.verify(jwt.sign(CLAIMS, KEY.private, "k1"), KEYS) == CLAIMS


def test_an_ed25519_key_signs_too() -> None:
    key = OKPKey.generate_key("Ed25519")
    public = PublicKey("e", KeyUse.MEDIA, "Ed25519", {k: str(v) for k, v in key.as_dict(private=False).items()})
    assert jwt.verify(jwt.sign(CLAIMS, key, "e", "Ed25519"), {"e": public}) == CLAIMS


def test_a_foreign_signature_and_an_unknown_key_are_told_apart() -> None:
    assert refusal(jwt.sign(CLAIMS, pair().private, "k1")) is TokenRefusal.SIGNATURE
    assert refusal(jwt.sign(CLAIMS, KEY.private, "k2")) is TokenRefusal.KEY_UNKNOWN


def test_none_and_hmac_over_the_public_key_never_verify() -> None:
    body = jwt.sign(CLAIMS, KEY.private, "k1").split(".")[1]
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": "k1"}).encode()).rstrip(b"=").decode()
    assert refusal(f"{header}.{body}.") is TokenRefusal.ALGORITHM
    secret = OctKey.import_key(json.dumps(KEY.public.jwk).encode() + b" " * 32)
    payload = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    forged = jws.serialize_compact({"alg": "HS256", "kid": "k1"}, payload, secret)
    assert refusal(forged) is TokenRefusal.ALGORITHM


def test_an_algorithm_that_is_not_the_key_s_is_refused() -> None:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "Ed25519", "kid": "k1"}).encode()).rstrip(b"=").decode()
    rest = jwt.sign(CLAIMS, KEY.private, "k1").split(".", 1)[1]
    assert refusal(f"{header}.{rest}") is TokenRefusal.ALGORITHM


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda b: base64.urlsafe_b64encode(b).decode() + ".a.b"))
def test_nothing_but_a_refusal_leaves_the_verifier(text: str) -> None:
    with pytest.raises(TokenRefused):
        jwt.verify(text, KEYS)


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_changed_character_never_verifies_as_something_else(at: int, flip: int) -> None:
    token = jwt.sign(CLAIMS, KEY.private, "k1")
    at %= len(token)
    changed = token[:at] + chr(33 + (ord(token[at]) + flip) % 90) + token[at + 1 :]
    with contextlib.suppress(TokenRefused):
        # Only the unused bits of a last base64 character may differ and still verify.
        assert jwt.verify(changed, KEYS) == CLAIMS


@pytest.mark.parametrize(
    ("path", "now", "why"),
    [
        ("/media/low.tide-1/sd/v-480.mp4", 2_000.0 + CLOCK_SKEW_S + 1, TokenRefusal.EXPIRED),
        ("/media/low.tide-1/hd/v-720.mp4", 1_500.0, TokenRefusal.SCOPE),
        ("/media/low.tide-2/sd/v-480.mp4", 1_500.0, TokenRefusal.SCOPE),
        ("/media/low.tide-1/sd/../hd/v.mp4", 1_500.0, TokenRefusal.SCOPE),
        ("/media/lowxtide-1/sd/v.mp4", 1_500.0, TokenRefusal.SCOPE),
        ("/media/low.tide-1/sd/", 1_500.0, TokenRefusal.SCOPE),
    ],
)
def test_claims_open_nothing_else(path: str, now: float, why: TokenRefusal) -> None:
    with pytest.raises(TokenRefused) as caught:
        CLAIMS.check(path, now)
    assert caught.value.why is why


def test_claims_open_what_they_say_within_the_clock_skew_until_revoked() -> None:
    CLAIMS.check("/media/low.tide-1/sd/v-480.mp4", 2_000.0 + CLOCK_SKEW_S)
    with pytest.raises(TokenRefused) as caught:
        CLAIMS.check("/media/low.tide-1/sd/v-480.mp4", 1_500.0, frozenset({"s-1"}))
    assert caught.value.why is TokenRefusal.REVOKED


@given(NAMES, st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_a_uri_container_says_its_prefix_and_tiers(title: str, tiers: list[str]) -> None:
    assert parse_uri_container(uri_container(f"/media/{title}/", tuple(tiers))) == (f"/media/{title}/", tuple(tiers))
