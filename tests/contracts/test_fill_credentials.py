"""Fill credentials: what they open, and what passes for none."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.tokens.claims import MediaClaims, TokenRefusal, TokenRefused
from contracts.tokens.fills import FillClaims, sign, verify
from contracts.tokens.jwt import sign as sign_media
from contracts.tokens.signatures import signature_of
from contracts.tokens.text import from_base64url, to_base64url
from tests.oca.keeper.plane import SigningKey

KEY = SigningKey("d-1")
KEYS = {"d-1": KEY.public}
NOW = 1_700_000_000.0
CLAIMS = FillClaims("o-1", "a-1", "vod|/media/t/hd/v.mp4", NOW + 60)


def refusal(credential: str, keys: dict[str, object] | None = None) -> TokenRefusal:
    with pytest.raises(TokenRefused) as refused:
        verify(credential, KEYS if keys is None else {})
    return refused.value.why


def test_a_credential_opens_its_file_to_its_appliance_until_it_ends() -> None:
    claims = verify(sign(CLAIMS, KEY.key, "d-1"), KEYS)
    assert claims == CLAIMS
    claims.check("a-1", "vod|/media/t/hd/v.mp4", NOW)
    for appliance, key, now, why in (
        ("a-2", CLAIMS.key, NOW, TokenRefusal.SCOPE),
        ("a-1", "vod|/media/t/hd/w.mp4", NOW, TokenRefusal.SCOPE),
        ("a-1", CLAIMS.key, NOW + 100, TokenRefusal.EXPIRED),
    ):
        with pytest.raises(TokenRefused) as refused:
            claims.check(appliance, key, now)
        assert refused.value.why is why


def test_the_same_order_has_the_same_credential() -> None:
    assert sign(CLAIMS, KEY.key, "d-1") == sign(CLAIMS, KEY.key, "d-1")


def test_other_signatures_keys_and_kinds_of_token_are_none() -> None:
    good = sign(CLAIMS, KEY.key, "d-1")
    assert refusal(sign(CLAIMS, SigningKey("d-1").key, "d-1")) is TokenRefusal.SIGNATURE
    assert refusal(good, {}) is TokenRefusal.KEY_UNKNOWN
    header, payload, signature = good.split(".")
    other = to_base64url(from_base64url(payload).replace(b"a-1", b"a-9"))
    assert refusal(f"{header}.{other}.{signature}") is TokenRefusal.SIGNATURE
    now = time.time()
    media = sign_media(MediaClaims("playback", "s", "/media/t/", ("hd",), now + 60, now), KEY.key, "d-1")
    assert refusal(media) is TokenRefusal.ALGORITHM, "a media token by the same key"
    untyped = to_base64url(b'{"alg":"ES256","kid":"d-1"}')
    digests = f"{untyped}.{payload}.{signature}"
    assert refusal(digests) is TokenRefusal.MALFORMED


def test_a_header_or_claims_nested_deeper_than_any_reader_goes_are_malformed() -> None:
    deep = b"[" * 1200
    header, payload, signature = sign(CLAIMS, KEY.key, "d-1").split(".")
    nested = to_base64url(b'{"x":' + deep)
    assert refusal(f"{nested}.{payload}.{signature}") is TokenRefusal.MALFORMED
    message = f"{header}.{nested}"
    signed = to_base64url(signature_of(message.encode(), KEY.key, "ES256"))
    assert refusal(f"{message}.{signed}") is TokenRefusal.MALFORMED


@given(st.text(max_size=300))
def test_whatever_is_shown_only_refusals_come_out(text: str) -> None:
    with pytest.raises(TokenRefused):
        verify(text, KEYS)
