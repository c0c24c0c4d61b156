"""Media tokens as somebody else would write them: any header, any claims, any envelope, signed with any key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cbor2
from joserfc.jwk import ECKey, OKPKey

from contracts.keys import KeyUse, PublicKey
from contracts.tokens.claims import MediaClaims
from contracts.tokens.signatures import signature_of
from contracts.tokens.text import to_base64url

CLAIMS = MediaClaims("playback", "s-1", "/media/low.tide-1/", ("base", "sd"), 2_000.0, 1_000.0)
PATH = "/media/low.tide-1/sd/v-480.mp4"


@dataclass(frozen=True)
class Pair:
    """A key and what is published of it."""

    kid: str
    alg: str
    private: ECKey | OKPKey

    @property
    def public(self) -> PublicKey:
        jwk = {name: str(value) for name, value in self.private.as_dict(private=False).items()}
        return PublicKey(self.kid, KeyUse.MEDIA, self.alg, jwk)


def ec_pair(kid: str) -> Pair:
    return Pair(kid, "ES256", ECKey.generate_key("P-256"))


def ed_pair(kid: str, alg: str = "EdDSA") -> Pair:
    return Pair(kid, alg, OKPKey.generate_key("Ed25519"))


JWT_CLAIMS: dict[str, Any] = {
    "iss": "playback",
    "sub": "s-1",
    "exp": 2000,
    "iat": 1000,
    "cdniv": 1,
    "cdniuc": r"regex:[^/]+//[^/]+/media/low\.tide-1/(base|sd)/[^/?]+",
}
CAT_CLAIMS: dict[int, Any] = {
    1: "playback",
    2: "s-1",
    4: 2000,
    6: 1000,
    310: 1,
    312: {3: {1: "/media/low.tide-1/", 4: [r"^/media/low\.tide-1/(base|sd)/[^/]+$"]}},
}


def jwt_of(
    pair: Pair,
    claims: Mapping[str, Any] = JWT_CLAIMS,
    *,
    header: Mapping[str, Any] | None = None,
    raw: bytes | None = None,
) -> str:
    """A JWS over these claims (or a raw payload) under this header."""
    wanted = {"alg": pair.alg, "kid": pair.kid} if header is None else header
    payload = json.dumps(claims).encode() if raw is None else raw
    signed = f"{to_base64url(json.dumps(wanted).encode())}.{to_base64url(payload)}"
    return f"{signed}.{to_base64url(signature_of(signed.encode(), pair.private, pair.alg))}"


def cat_of(
    pair: Pair,
    claims: Mapping[int, Any] = CAT_CLAIMS,
    *,
    header: Mapping[Any, Any] | None = None,
    unprotected: Mapping[Any, Any] | None = None,
    raw: bytes | None = None,
    tags: tuple[int, ...] = (61, 18),
    context: str = "Signature1",
) -> str:
    """A COSE message over these claims (or a raw payload) under these headers, inside these tags."""
    wanted = {1: -7 if pair.alg == "ES256" else -8, 4: pair.kid.encode()} if header is None else header
    protected = cbor2.dumps(wanted)
    payload = cbor2.dumps(claims) if raw is None else raw
    signature = signature_of(cbor2.dumps([context, protected, b"", payload]), pair.private, pair.alg)
    message: Any = [protected, dict(unprotected or {}), payload, signature]
    for tag in reversed(tags):
        message = cbor2.CBORTag(tag, message)
    return to_base64url(cbor2.dumps(message))
