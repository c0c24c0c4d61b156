"""Media tokens as signed JWTs: URI Signing for CDNI (RFC 9246) in a compact JWS (RFC 7515), by the advice of RFC 8725.

What is enforced: `exp`, `nbf`, `aud`, `sub` (revocation), `cdniuc` in the one form that `uri_container` writes. What RFC 9246 lets a token
restrict besides that refuses it: `cdniip` (a client's address), `jti` (one use), `cdniets`, `cdnistt`, `cdnistd` (renewal), every claim in
`cdnicrit` that is not enforced here, another `cdniv` than 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from contracts.keys import PublicKey
from contracts.tokens.claims import (
    MediaClaims,
    TokenRefusal,
    TokenRefused,
    check_audience,
    check_length,
    parse_uri_container,
    uri_container,
)
from contracts.tokens.signatures import ALGORITHMS, Envelope, SigningKey, opened, signature_of
from contracts.tokens.text import from_base64url, to_base64url

ENFORCED = frozenset(("exp", "nbf", "aud", "sub", "cdniv", "cdniuc"))
"""Claims that `cdnicrit` may name (RFC 9246 §2.1.9)."""
_OWN_KEYS = ("jwk", "jku", "x5c", "x5u")


class _Claims(msgspec.Struct, omit_defaults=True):
    iss: str
    sub: str
    exp: float
    iat: float
    cdniuc: str
    cdniv: int = 1
    nbf: float | None = None
    aud: str | tuple[str, ...] | None = None
    jti: msgspec.Raw = msgspec.Raw()
    cdniip: msgspec.Raw = msgspec.Raw()
    cdnicrit: str = ""
    cdniets: float = 0
    cdnistt: int = 0
    cdnistd: int = 0


class _Header(msgspec.Struct):
    alg: str
    kid: str = ""
    crit: msgspec.Raw = msgspec.Raw()
    jwk: msgspec.Raw = msgspec.Raw()
    jku: msgspec.Raw = msgspec.Raw()
    x5c: msgspec.Raw = msgspec.Raw()
    x5u: msgspec.Raw = msgspec.Raw()


def sign(claims: MediaClaims, key: SigningKey, kid: str, alg: str = "ES256") -> str:
    """A compact JWS of the claims. Raises ValueError when the key does not sign with `alg`."""
    body = _Claims(
        iss=claims.issuer,
        sub=claims.session,
        exp=claims.expires_at,
        iat=claims.issued_at,
        nbf=claims.not_before,
        cdniuc=uri_container(claims.prefix, claims.tiers),
    )
    header = to_base64url(msgspec.json.encode({"alg": alg, "kid": kid, "typ": "JWT"}))
    payload = {"cdniv": 1, **msgspec.to_builtins(body)}
    signed = f"{header}.{to_base64url(msgspec.json.encode(payload))}"
    return f"{signed}.{to_base64url(signature_of(signed.encode(), key, alg))}"


def verify(token: str, keys: Mapping[str, PublicKey]) -> MediaClaims:
    """The claims of a token whose signature holds. Expiry and scope are `MediaClaims.check`'s. Raises TokenRefused."""
    return _read(opened(_unwrapped(token), keys))


def shown(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims as they stand there, unverified. Raises TokenRefused (MALFORMED)."""
    try:
        header, payload = (msgspec.json.decode(from_base64url(part), type=dict) for part in token.split(".")[:2])
    except (ValueError, msgspec.MsgspecError) as error:
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token is malformed") from error
    return header, payload


def _unwrapped(token: str) -> Envelope:
    check_length(token)
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token is malformed: a JWT has three parts")
    try:
        raw_header, payload, signature = (from_base64url(part) for part in parts)
        header = msgspec.json.decode(raw_header, type=_Header)
    except (ValueError, msgspec.MsgspecError) as error:
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token is malformed") from error
    if header.alg not in ALGORITHMS:
        raise TokenRefused(TokenRefusal.ALGORITHM, "the media token's algorithm is not accepted")
    if any(bytes(getattr(header, name)) for name in _OWN_KEYS):
        raise TokenRefused(TokenRefusal.ALGORITHM, "the media token brings its own key")
    if bytes(header.crit):
        raise TokenRefused(TokenRefusal.UNENFORCED, "the media token's header has extensions that must be understood")
    message = token[: token.rindex(".")].encode()
    return Envelope((header.alg,), header.kid, message, payload, signature)


def _read(payload: bytes) -> MediaClaims:
    try:
        body = msgspec.json.decode(payload, type=_Claims)
    except (ValueError, msgspec.MsgspecError) as error:
        raise TokenRefused(TokenRefusal.MALFORMED, "the media token's claims are malformed") from error
    unenforced = _unenforced(body)
    if unenforced:
        raise TokenRefused(TokenRefusal.UNENFORCED, f"the media token restricts by {unenforced}, not enforced here")
    check_audience(body.aud)
    return MediaClaims.checked(
        issuer=body.iss,
        session=body.sub,
        scope=parse_uri_container(body.cdniuc),
        expires_at=body.exp,
        issued_at=body.iat,
        not_before=body.nbf,
    )


def _unenforced(body: _Claims) -> str:
    """The first thing that restricts and is not enforced; empty when there is none."""
    if body.cdniv != 1:
        return f"cdniv {body.cdniv}"
    critical = sorted({name.strip() for name in body.cdnicrit.split(",")} - ENFORCED) if body.cdnicrit else []
    if critical:
        return f"cdnicrit {critical[0]}"
    present = {
        "jti": bytes(body.jti),
        "cdniip": bytes(body.cdniip),
        "cdniets": body.cdniets,
        "cdnistt": body.cdnistt,
        "cdnistd": body.cdnistd,
    }
    return next((name for name, value in present.items() if value), "")
