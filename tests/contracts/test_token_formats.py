"""Both formats of media tokens: what opens, what is told apart, and everything that restricts without being enforced."""

from __future__ import annotations

import hmac
import json
import math
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.keys import PublicKey
from contracts.tokens import cat, jwt
from contracts.tokens.claims import MediaClaims, TokenRefusal, TokenRefused
from contracts.tokens.media import TokenFormat, codec_of, format_of, verify
from contracts.tokens.signatures import read_private
from contracts.tokens.text import from_base64url, to_base64url
from tests.contracts.forging import CAT_CLAIMS, CLAIMS, JWT_CLAIMS, PATH, Pair, cat_of, ec_pair, ed_pair, jwt_of

EC, ED, OTHER = ec_pair("k1"), ed_pair("k2"), ec_pair("k3")
KEYS = {pair.kid: pair.public for pair in (EC, ED, OTHER)}
FORMATS = list(TokenFormat)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
CATU_PATH = {1: "/media/low.tide-1/", 4: [r"^/media/low\.tide-1/(base|sd)/[^/]+$"]}


def refusal(token: str, keys: dict[str, PublicKey] = KEYS) -> TokenRefusal:
    with pytest.raises(TokenRefused) as caught:
        verify(token, keys)
    return caught.value.why


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("pair", [EC, ED, ed_pair("k4", "Ed25519")], ids=lambda pair: pair.alg)
def test_what_was_signed_comes_back_and_its_format_shows(format_: TokenFormat, pair: Pair) -> None:
    token = codec_of(format_).sign(CLAIMS, pair.private, pair.kid, pair.alg)
    assert format_of(token) is format_
    assert verify(token, {pair.kid: pair.public}) == CLAIMS
    verify(token, {pair.kid: pair.public}).check(PATH, 1_500.0)


@given(
    st.sampled_from(FORMATS), NAMES, st.lists(NAMES, min_size=1, max_size=4, unique=True),
    st.floats(0, 4e9), st.floats(0, 4e9), st.none() | st.floats(0, 4e9),
)  # fmt: skip
def test_any_claims_come_back_as_they_were(
    format_: TokenFormat, title: str, tiers: list[str], until: float, issued: float, since: float | None
) -> None:
    claims = MediaClaims("i", title, f"/media/{title}/", tuple(tiers), until, issued, since)
    token = codec_of(format_).sign(claims, EC.private, "k1")
    assert verify(token, KEYS) == claims


def test_tokens_written_by_hand_say_the_same_as_ours() -> None:
    assert verify(jwt_of(EC), KEYS) == CLAIMS
    assert verify(cat_of(EC), KEYS) == CLAIMS
    assert verify(cat_of(ED, tags=(18,)), KEYS) == CLAIMS
    assert verify(cat_of(EC, header={16: "application/cwt", 4: b"k1", 1: -7}), KEYS) == CLAIMS


def test_one_signature_does_not_open_in_the_other_format() -> None:
    header, payload, signature = jwt_of(EC).split(".")
    envelope = [from_base64url(header), {}, from_base64url(payload), from_base64url(signature)]
    assert refusal(to_base64url(cbor2.dumps(cbor2.CBORTag(18, envelope)))) is TokenRefusal.MALFORMED


@pytest.mark.parametrize("format_", FORMATS)
def test_a_foreign_signature_and_an_unknown_key_are_told_apart(format_: TokenFormat) -> None:
    sign = codec_of(format_).sign
    assert refusal(sign(CLAIMS, OTHER.private, "k1")) is TokenRefusal.SIGNATURE
    assert refusal(sign(CLAIMS, EC.private, "nobody")) is TokenRefusal.KEY_UNKNOWN


@pytest.mark.parametrize("format_", FORMATS)
def test_a_published_key_that_is_none_opens_nothing(format_: TokenFormat) -> None:
    token = codec_of(format_).sign(CLAIMS, EC.private, "k1")
    for jwk in ({}, {"kty": "oct", "k": "AAAA"}, {**EC.public.jwk, "x": "AAAA"}, {**EC.public.jwk, "crv": "P-384"}):
        broken = PublicKey("k1", EC.public.use, "ES256", jwk)
        assert refusal(token, {"k1": broken}) is TokenRefusal.KEY_UNKNOWN


# Algorithm confusion


JWT_HEADERS: dict[str, tuple[dict[str, Any], TokenRefusal]] = {
    "none": ({"alg": "none", "kid": "k1"}, TokenRefusal.ALGORITHM),
    "a shared secret": ({"alg": "HS256", "kid": "k1"}, TokenRefusal.ALGORITHM),
    "RSA": ({"alg": "RS256", "kid": "k1"}, TokenRefusal.ALGORITHM),
    "another curve": ({"alg": "ES384", "kid": "k1"}, TokenRefusal.ALGORITHM),
    "the algorithm of another key": ({"alg": "EdDSA", "kid": "k1"}, TokenRefusal.ALGORITHM),
    "in small letters": ({"alg": "es256", "kid": "k1"}, TokenRefusal.ALGORITHM),
    "its own key": ({"alg": "ES256", "kid": "k1", "jwk": EC.public.jwk}, TokenRefusal.ALGORITHM),
    "the address of its key": ({"alg": "ES256", "kid": "k1", "jku": "https://a/keys"}, TokenRefusal.ALGORITHM),
    "its own certificate": ({"alg": "ES256", "kid": "k1", "x5c": ["AAAA"]}, TokenRefusal.ALGORITHM),
    "the address of its certificate": ({"alg": "ES256", "kid": "k1", "x5u": "https://a/c"}, TokenRefusal.ALGORITHM),
    "an extension that must be understood": ({"alg": "ES256", "kid": "k1", "crit": ["b64"]}, TokenRefusal.UNENFORCED),
    "no algorithm": ({"kid": "k1"}, TokenRefusal.MALFORMED),
    "no key": ({"alg": "ES256"}, TokenRefusal.KEY_UNKNOWN),
}


@pytest.mark.parametrize("header", JWT_HEADERS)
def test_a_jwt_header_with(header: str) -> None:
    fields, why = JWT_HEADERS[header]
    assert refusal(jwt_of(EC, header=fields)) is why


def test_a_jwt_that_is_authenticated_with_the_public_key_as_a_secret_is_refused() -> None:
    header = to_base64url(b'{"alg":"HS256","kid":"k1"}')
    signed = f"{header}.{to_base64url(json.dumps(JWT_CLAIMS).encode())}"
    for secret in (json.dumps(EC.public.jwk).encode(), EC.private.as_pem(private=False)):
        tag = to_base64url(hmac.digest(secret, signed.encode(), "sha256"))
        assert refusal(f"{signed}.{tag}") is TokenRefusal.ALGORITHM
    unsigned = to_base64url(b'{"alg":"none"}')
    assert refusal(f"{unsigned}.{signed.split('.')[1]}.") is TokenRefusal.ALGORITHM


COSE_HEADERS: dict[str, tuple[dict[Any, Any], TokenRefusal]] = {
    "a shared secret": ({1: 5, 4: b"k1"}, TokenRefusal.ALGORITHM),
    "RSA": ({1: -37, 4: b"k1"}, TokenRefusal.ALGORITHM),
    "the algorithm of another key": ({1: -8, 4: b"k1"}, TokenRefusal.ALGORITHM),
    "an algorithm as a number with a point": ({1: -7.0, 4: b"k1"}, TokenRefusal.ALGORITHM),
    "an algorithm as text": ({1: "ES256", 4: b"k1"}, TokenRefusal.ALGORITHM),
    "no algorithm": ({4: b"k1"}, TokenRefusal.ALGORITHM),
    "no key": ({1: -7}, TokenRefusal.KEY_UNKNOWN),
    "a key as text": ({1: -7, 4: "k1"}, TokenRefusal.KEY_UNKNOWN),
    "its own certificate": ({1: -7, 4: b"k1", 33: b"x"}, TokenRefusal.ALGORITHM),
    "an extension that must be understood": ({1: -7, 4: b"k1", 2: [77], 77: 1}, TokenRefusal.UNENFORCED),
    "a name in text": ({1: -7, 4: b"k1", "jwk": 1}, TokenRefusal.UNENFORCED),
}


@pytest.mark.parametrize("header", COSE_HEADERS)
def test_a_cose_header_with(header: str) -> None:
    fields, why = COSE_HEADERS[header]
    assert refusal(cat_of(EC, header=fields)) is why


def test_an_algorithm_or_key_outside_the_signature_is_refused() -> None:
    for unprotected in ({1: -7}, {4: b"k1"}, {1: 5, 4: b"k1"}, {33: b"x"}):
        assert refusal(cat_of(EC, unprotected=unprotected)) is TokenRefusal.ALGORITHM
    assert refusal(cat_of(EC, header={}, unprotected={1: -7, 4: b"k1"})) is TokenRefusal.ALGORITHM


def test_other_cose_messages_are_refused() -> None:
    protected, payload = cbor2.dumps({1: 5, 4: b"k1"}), cbor2.dumps(CAT_CLAIMS)
    secret = EC.private.as_pem(private=False)
    mac = hmac.digest(secret, cbor2.dumps(["MAC0", protected, b"", payload]), "sha256")
    for tags in ((17,), (61, 17)):
        message: Any = [protected, {}, payload, mac]
        for tag in reversed(tags):
            message = cbor2.CBORTag(tag, message)
        assert refusal(to_base64url(cbor2.dumps(message))) is TokenRefusal.ALGORITHM
    wrong: tuple[tuple[int, ...], ...] = ((), (98,), (16,), (61,), (61, 61, 18), (18, 61))
    for others in wrong:
        assert refusal(cat_of(EC, tags=others)) is TokenRefusal.MALFORMED
    assert refusal(cat_of(EC, context="Signature")) is TokenRefusal.SIGNATURE
    assert refusal(cat_of(EC, context="CounterSignature")) is TokenRefusal.SIGNATURE


# What restricts


JWT_EXTRA: dict[str, tuple[dict[str, Any], TokenRefusal | None]] = {
    "another version": ({"cdniv": 2}, TokenRefusal.UNENFORCED),
    "no version": ({"cdniv": 1}, None),
    "critical claims that are enforced": ({"cdnicrit": "exp, cdniuc"}, None),
    "critical claims that are not": ({"cdnicrit": "exp,colour", "colour": "blue"}, TokenRefusal.UNENFORCED),
    "a claim nobody knows": ({"colour": "blue"}, None),
    "a client address": ({"cdniip": "eyJhbGciOi"}, TokenRefusal.UNENFORCED),
    "one use": ({"jti": "once"}, TokenRefusal.UNENFORCED),
    "one use of null": ({"jti": None}, TokenRefusal.UNENFORCED),
    "renewal after a time": ({"cdniets": 30}, TokenRefusal.UNENFORCED),
    "renewal by cookie": ({"cdnistt": 1, "cdniets": 30}, TokenRefusal.UNENFORCED),
    "renewal for a depth": ({"cdnistd": 2}, TokenRefusal.UNENFORCED),
    "no renewal": ({"cdnistt": 0, "cdnistd": 0}, None),
    "our audience": ({"aud": "vod"}, None),
    "our audience among others": ({"aud": ["live", "vod"]}, None),
    "another audience": ({"aud": "live"}, TokenRefusal.SCOPE),
    "no audience at all": ({"aud": []}, TokenRefusal.SCOPE),
    "an audience that is a number": ({"aud": 3}, TokenRefusal.MALFORMED),
    "an expiry in words": ({"exp": "2000"}, TokenRefusal.MALFORMED),
    "a session that is empty": ({"sub": ""}, TokenRefusal.MALFORMED),
    "a container of another form": ({"cdniuc": "hash:abc"}, TokenRefusal.MALFORMED),
    "a container of everything": ({"cdniuc": "regex:.*"}, TokenRefusal.MALFORMED),
    "a tier that is no name": ({"cdniuc": "regex:[^/]+//[^/]+/media/a/(..)/[^/?]+"}, TokenRefusal.MALFORMED),
}


@pytest.mark.parametrize("extra", JWT_EXTRA)
def test_a_jwt_with(extra: str) -> None:
    claims, why = JWT_EXTRA[extra]
    token = jwt_of(EC, {**JWT_CLAIMS, **claims})
    if why is None:
        assert verify(token, KEYS) == CLAIMS
    else:
        assert refusal(token) is why


@pytest.mark.parametrize("claim", JWT_CLAIMS)
def test_a_jwt_without_a_claim_is_malformed_except_for_the_version(claim: str) -> None:
    token = jwt_of(EC, {name: value for name, value in JWT_CLAIMS.items() if name != claim})
    if claim == "cdniv":
        assert verify(token, KEYS) == CLAIMS
    else:
        assert refusal(token) is TokenRefusal.MALFORMED


@pytest.mark.parametrize("text", ["1e999", "-1", "253402300800", "NaN", "1" * 400])
def test_a_jwt_whose_expiry_is_no_instant_is_malformed(text: str) -> None:
    raw = json.dumps(JWT_CLAIMS).replace('"exp": 2000', f'"exp": {text}').encode()
    assert refusal(jwt_of(EC, raw=raw)) is TokenRefusal.MALFORMED


@pytest.mark.parametrize("number", sorted(set(cat.NAMES) - set(CAT_CLAIMS) - {3, 5, 7, 308, 313}))
def test_a_cat_with_a_claim_that_restricts_and_is_not_enforced_is_refused_by_name(number: int) -> None:
    values: tuple[Any, ...] = (0, [], {}, "x")
    for value in values:
        with pytest.raises(TokenRefused, match=cat.NAMES[number]) as caught:
            verify(cat_of(EC, {**CAT_CLAIMS, number: value}), KEYS)
        assert caught.value.why is TokenRefusal.UNENFORCED


CAT_EXTRA: dict[str, tuple[dict[Any, Any], TokenRefusal | None]] = {
    "an identifier": ({7: b"id"}, None),
    "replay allowed": ({308: 0}, None),
    "replay forbidden": ({308: 1}, TokenRefusal.UNENFORCED),
    "all that players do": ({313: ["OPTIONS", "GET", "HEAD"]}, None),
    "less than players do": ({313: ["GET"]}, TokenRefusal.UNENFORCED),
    "another version": ({310: 2}, TokenRefusal.UNENFORCED),
    "our audience": ({3: ["live", "vod"]}, None),
    "another audience": ({3: "live"}, TokenRefusal.SCOPE),
    "a number nobody knows": ({70_000: 1}, TokenRefusal.UNENFORCED),
    "a negative number": ({-1: 1}, TokenRefusal.UNENFORCED),
    "a name in text": ({"colour": "blue"}, TokenRefusal.UNENFORCED),
    "a name that equals a number": ({True: "playback"}, TokenRefusal.UNENFORCED),
    "an expiry without end": ({4: math.inf}, TokenRefusal.MALFORMED),
    "an expiry that is no number": ({4: math.nan}, TokenRefusal.MALFORMED),
    "an expiry that is true": ({4: True}, TokenRefusal.MALFORMED),
    "an expiry before all times": ({4: -1}, TokenRefusal.MALFORMED),
    "a start that is no number": ({5: math.nan}, TokenRefusal.MALFORMED),
    "a date in a tag": ({4: cbor2.CBORTag(1, 2000)}, TokenRefusal.MALFORMED),
    "a session that is empty": ({2: ""}, TokenRefusal.MALFORMED),
    "a path down to a tier": ({312: {3: {1: "/media/low.tide-1/sd/"}}}, None),
    "a path down to a title": ({312: {3: {1: "/media/low.tide-1/"}}}, TokenRefusal.UNENFORCED),
    "a path that stops in a name": ({312: {3: {1: "/media/low.tide-1/s"}}}, TokenRefusal.UNENFORCED),
    "any path": ({312: {3: {1: "/"}}}, TokenRefusal.UNENFORCED),
    "no match": ({312: {3: {}}}, TokenRefusal.UNENFORCED),
    "no part of the address": ({312: {}}, TokenRefusal.UNENFORCED),
    "a host too": ({312: {1: {0: "a.example"}, 3: CATU_PATH}}, TokenRefusal.UNENFORCED),
    "an end too": ({312: {3: {**CATU_PATH, 2: ".mp4"}}}, TokenRefusal.UNENFORCED),
    "a hash of the path": ({312: {3: {-1: "abc"}}}, TokenRefusal.UNENFORCED),
    "a pattern of its own": ({312: {3: {**CATU_PATH, 4: [".*"]}}}, TokenRefusal.UNENFORCED),
    "a pattern with groups": ({312: {3: {**CATU_PATH, 4: [*CATU_PATH[4], "sd"]}}}, TokenRefusal.UNENFORCED),
    "a pattern of another title": (
        {312: {3: {**CATU_PATH, 4: [r"^/media/other/(base|sd)/[^/]+$"]}}},
        TokenRefusal.UNENFORCED,
    ),
    "a pattern without tiers": ({312: {3: {**CATU_PATH, 4: [r"^/media/low\.tide-1/()/[^/]+$"]}}}, TokenRefusal.MALFORMED),
    "an address that is text": ({312: "/media/"}, TokenRefusal.MALFORMED),
}  # fmt: skip


@pytest.mark.parametrize("extra", CAT_EXTRA)
def test_a_cat_with(extra: str) -> None:
    claims, why = CAT_EXTRA[extra]
    body = {name: value for name, value in CAT_CLAIMS.items() if not (name == 1 and True in claims)}
    token = cat_of(EC, {**body, **claims})
    if why is not None:
        assert refusal(token) is why
        return
    found = verify(token, KEYS)
    assert found.covers(PATH)
    assert not found.covers(PATH.replace("sd", "hd"))
    assert (found.session, found.expires_at) == ("s-1", 2_000.0)


@pytest.mark.parametrize("claim", CAT_CLAIMS)
def test_a_cat_without_a_claim_is_malformed_except_for_the_version(claim: int) -> None:
    token = cat_of(EC, {name: value for name, value in CAT_CLAIMS.items() if name != claim})
    if claim == cat.CATV:
        assert verify(token, KEYS) == CLAIMS
    else:
        assert refusal(token) is TokenRefusal.MALFORMED


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\xff", b"\xa1", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", b"\x81" * 400, b"\xbf\x01\x61a\xff", b"\xa2\x01\x61a\x01\x61b", b"\xa1\x80\x00",
        b"\xa1\xa0\x00", b"\x01",
    ],
)  # fmt: skip
def test_claims_that_are_no_plain_map_are_malformed_and_cost_nothing(payload: bytes) -> None:
    assert refusal(cat_of(EC, raw=payload)) in (TokenRefusal.MALFORMED, TokenRefusal.UNENFORCED)
    token = [payload, {}, b"", b""]
    assert refusal(to_base64url(cbor2.dumps(cbor2.CBORTag(18, token)))) in (
        TokenRefusal.MALFORMED,
        TokenRefusal.UNENFORCED,
    )


# Spelling


@pytest.mark.parametrize("format_", FORMATS)
def test_a_token_has_one_spelling(format_: TokenFormat) -> None:
    token = codec_of(format_).sign(CLAIMS, EC.private, "k1")
    for other in (
        token + "=",
        token + "A",
        token + "\n",
        " " + token,
        token + ".",
        token.replace("-", "+") + "+",
        token[:-1],
    ):
        assert refusal(other) in (TokenRefusal.MALFORMED, TokenRefusal.SIGNATURE)
    assert refusal("x" * 3000) is TokenRefusal.MALFORMED


def test_bits_behind_the_last_byte_are_refused() -> None:
    assert from_base64url("AA") == b"\0"
    for text in ("AB", "A", "A===", "A B", "é"):
        with pytest.raises(ValueError, match="base64url"):
            from_base64url(text)


# Keys for signing


@pytest.mark.parametrize("pair", [EC, ED], ids=lambda pair: pair.alg)
def test_a_private_key_is_read_from_pem_and_jwk(pair: Pair) -> None:
    for data in (pair.private.as_pem(private=True), json.dumps(pair.private.as_dict(private=True)).encode()):
        token = jwt.sign(CLAIMS, read_private(data), pair.kid, pair.alg)
        assert verify(token, KEYS) == CLAIMS


@pytest.mark.parametrize(
    "data",
    [
        b"", b"secret", b"{}", b'{"kty":"EC","crv":"P-256","d":"!"}', b'{"kty":"oct","crv":"","d":"AAAA"}',
        b'{"kty":"EC","crv":"P-256","d":"AA"}', EC.private.as_pem(private=False),
    ],
)  # fmt: skip
def test_what_is_no_private_key_is_said_in_words(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^is n"):
        read_private(data)


@pytest.mark.parametrize("format_", FORMATS)
def test_nothing_is_signed_under_another_algorithm(format_: TokenFormat) -> None:
    for alg in ("HS256", "none", "EdDSA", "RS256", ""):
        with pytest.raises(ValueError, match="algorithm"):
            codec_of(format_).sign(CLAIMS, EC.private, "k1", alg)
