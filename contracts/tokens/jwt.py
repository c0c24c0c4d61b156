"""Media tokens as signed JWTs: URI Signing for CDNI (RFC 9246), asymmetric algorithms only (RFC 8725 §3.1).

The algorithm is taken from the key that `kid` names, never from the token alone; `none` and HMAC never verify.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping

import msgspec
from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey, OKPKey

from contracts.keys import PublicKey
from contracts.tokens.claims import (
    MediaClaims,
    TokenRefusal,
    TokenRefused,
    parse_uri_container,
    uri_container,
)

ALGORITHMS = ("ES256", "Ed25519", "EdDSA")
MAX_TOKEN_CHARS = 2048
SigningKey = ECKey | OKPKey


class _Claims(msgspec.Struct):
    iss: str
    sub: str
    exp: float
    iat: float
    cdniuc: str
    cdniv: int = 1
    nbf: float | None = None


class _Header(msgspec.Struct):
    alg: str
    kid: str = ""


def sign(claims: MediaClaims, key: SigningKey, kid: str, alg: str = "ES256") -> str:
    """A compact JWS of the claims."""
    if alg not in ALGORITHMS:
        raise ValueError(f"{alg} is not an asymmetric algorithm of this service")
    body = _Claims(
        iss=claims.issuer,
        sub=claims.session,
        exp=claims.expires_at,
        iat=claims.issued_at,
        nbf=claims.not_before,
        cdniuc=uri_container(claims.prefix, claims.tiers),
    )
    payload = {name: value for name, value in msgspec.to_builtins(body).items() if value is not None}
    return jws.serialize_compact(
        {"alg": alg, "kid": kid, "typ": "JWT"}, msgspec.json.encode(payload), key, algorithms=[alg]
    )


def verify(token: str, keys: Mapping[str, PublicKey]) -> MediaClaims:
    """The claims of a token whose signature holds. Expiry and scope are `MediaClaims.check`'s. Raises TokenRefused."""
    if len(token) > MAX_TOKEN_CHARS:
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token is too long")
    header = _header(token)
    if header.alg not in ALGORITHMS:
        raise TokenRefused(TokenRefusal.ALGORITHM, "the media token's algorithm is not accepted")
    known = keys.get(header.kid)
    if known is None:
        raise TokenRefused(TokenRefusal.KEY_UNKNOWN, "the media token names an unknown key")
    if known.alg != header.alg:
        raise TokenRefused(TokenRefusal.ALGORITHM, "the media token's algorithm is not that of its key")
    try:
        found = jws.deserialize_compact(token, public_key(known), algorithms=[known.alg])
    except BadSignatureError as error:
        raise TokenRefused(TokenRefusal.SIGNATURE, "the media token's signature is wrong") from error
    except (JoseError, ValueError, binascii.Error) as error:
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token is malformed") from error
    return _claims(found.payload)


def public_key(key: PublicKey) -> SigningKey:
    """The key object of a published JWK. Raises ValueError for a kind that is not asymmetric."""
    kind = key.jwk.get("kty")
    if kind == "EC":
        return ECKey.import_key(dict(key.jwk))
    if kind == "OKP":
        return OKPKey.import_key(dict(key.jwk))
    raise ValueError(f"key {key.kid}: kty {kind!r} is not an asymmetric key of this service")


def _header(token: str) -> _Header:
    part, dot, _rest = token.partition(".")
    try:
        if not dot:
            raise ValueError("no header")
        raw = binascii.a2b_base64(part.replace("-", "+").replace("_", "/") + "=" * (-len(part) % 4), strict_mode=True)
        return msgspec.json.decode(raw, type=_Header)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token is malformed") from error


def _claims(payload: bytes) -> MediaClaims:
    try:
        body = msgspec.json.decode(payload, type=_Claims)
    except (ValueError, msgspec.MsgspecError) as error:
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token's claims are malformed") from error
    prefix, tiers = parse_uri_container(body.cdniuc)
    return MediaClaims(body.iss, body.sub, prefix, tiers, body.exp, body.iat, body.nbf)
