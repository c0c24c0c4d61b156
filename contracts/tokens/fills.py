"""Fill credentials: what lets one appliance take the blocks of one file from others, by order of the control plane (DESIGN §4.4).

A compact JWS (RFC 7515) whose header says `typ: lowtide-fill+jwt` (explicit typing, RFC 8725 §3.11), signed with the key that signs digest lists, so that no
other token of ours passes for one. It goes with an order and, in the field `Lowtide-Fill`, with every request that is made for it. It names the
appliance, so that a copy of it opens nothing to another certificate.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from contracts.keys import PublicKey
from contracts.tokens.claims import CLOCK_SKEW_S, LATEST_S, TokenRefusal, TokenRefused, check_length
from contracts.tokens.signatures import Envelope, SigningKey, opened, signature_of
from contracts.tokens.text import from_base64url, to_base64url

FIELD = "Lowtide-Fill"
TYPE = "lowtide-fill+jwt"
ALGORITHM = "ES256"
GRACE_S = 600.0
"""So long after the window a request that was begun in it may be finished."""


class FillClaims(msgspec.Struct, frozen=True):
    """`order` asks `appliance` to fetch the file `key` until `expires_at` (seconds since the epoch)."""

    order: str
    appliance: str
    key: str
    expires_at: float

    def check(self, appliance: str, key: str, now: float) -> None:
        """Raises TokenRefused (SCOPE, EXPIRED) unless it lets this appliance have this file now."""
        if self.appliance != appliance:
            raise TokenRefused(TokenRefusal.SCOPE, "the fill credential is another appliance's")
        if self.key != key:
            raise TokenRefused(TokenRefusal.SCOPE, "the fill credential is for another file")
        if now > self.expires_at + CLOCK_SKEW_S:
            raise TokenRefused(TokenRefusal.EXPIRED, "the fill credential has expired")


class _Header(msgspec.Struct):
    alg: str
    kid: str
    typ: str


class _Claims(msgspec.Struct):
    jti: str
    sub: str
    key: str
    exp: float


def sign(claims: FillClaims, key: SigningKey, kid: str) -> str:
    """The same claims give the same credential, so that a plan does not change by being handed out again. Raises ValueError when the key does
    not sign with ES256."""
    header = to_base64url(msgspec.json.encode(_Header(ALGORITHM, kid, TYPE)))
    body = msgspec.json.encode(_Claims(claims.order, claims.appliance, claims.key, claims.expires_at))
    signed = f"{header}.{to_base64url(body)}"
    return f"{signed}.{to_base64url(signature_of(signed.encode(), key, ALGORITHM, repeatable=True))}"


def verify(credential: str, keys: Mapping[str, PublicKey]) -> FillClaims:
    """The claims of a credential that one of `keys` (by kid) has signed; scope and expiry are `FillClaims.check`'s. Raises TokenRefused."""
    check_length(credential)
    try:
        raw_header, payload, signature = (from_base64url(part) for part in credential.split("."))
        header = msgspec.json.decode(raw_header, type=_Header)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise TokenRefused(TokenRefusal.MALFORMED, "the fill credential is malformed") from error
    if header.typ != TYPE or header.alg != ALGORITHM:
        raise TokenRefused(TokenRefusal.ALGORITHM, "this is no fill credential")
    message = credential[: credential.rindex(".")].encode()
    try:
        found = msgspec.json.decode(
            opened(Envelope((header.alg,), header.kid, message, payload, signature), keys), type=_Claims
        )
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise TokenRefused(TokenRefusal.MALFORMED, "the fill credential's claims are malformed") from error
    if not 0.0 < found.exp < LATEST_S:
        raise TokenRefused(TokenRefusal.MALFORMED, "the fill credential expires at no instant")
    return FillClaims(found.jti, found.sub, found.key, found.exp)
