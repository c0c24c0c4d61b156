"""Access tokens: ES256 JWTs of a few minutes (RFC 7519, RFC 8725), and the JWKS that verifies them."""

from __future__ import annotations

import msgspec
from joserfc import jws

from chassis.auth import Jwks
from companions.signing import ALGORITHM, OwnKey
from contracts.members import AccessClaims, Account

ISSUER = "lowtide-auth"
AUDIENCE = "lowtide"


def claims_of(account: Account, family_id: str, now: float, ttl_s: float) -> AccessClaims:
    return AccessClaims(
        iss=ISSUER,
        sub=account.id,
        aud=AUDIENCE,
        exp=now + ttl_s,
        iat=now,
        plan=account.plan,
        region=account.region,
        profiles=tuple(profile.id for profile in account.profiles),
        session=family_id,
    )


def sign(claims: AccessClaims, key: OwnKey) -> str:
    header = {"alg": ALGORITHM, "kid": key.kid, "typ": "JWT"}
    return jws.serialize_compact(header, msgspec.json.encode(claims), key.private)


def jwks_of(key: OwnKey) -> Jwks:
    return Jwks(({**key.public.jwk, "kid": key.kid, "alg": ALGORITHM, "use": "sig"},))
