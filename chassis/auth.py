"""Who is calling: members by bearer JWT, operators by bearer secret, peers by client certificate.

A guard is what a route asks before its handler runs: it admits a request and names the principal, or raises ProblemError.

Laws: only ES256 verifies, by a key of the issuer's JWKS (RFC 8725 §3.1); keys once seen keep verifying while the issuer is
away; an unknown `kid` asks the issuer at most once per `MIN_REFRESH_S`, so that forged tokens cannot make us flood it;
secrets are compared in constant time and read only from files that nobody else may read.
"""

from __future__ import annotations

import asyncio
import binascii
import hmac
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec
from aiohttp import web
from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey

from chassis.certificates import write_private
from chassis.client import ServiceClient
from chassis.clock import SYSTEM_CLOCK, Clock
from chassis.errors import ConfigError, ProblemError, ServiceError
from chassis.logs import get_logger
from contracts.enrolment import PeerKind
from contracts.members import AccessClaims
from contracts.problems import ProblemCode

ALGORITHM = "ES256"
JWKS_PATH = "/.well-known/jwks.json"
KEYS_FRESH_S = 300.0
MIN_REFRESH_S = 5.0
CLOCK_SKEW_S = 30.0
MAX_TOKEN_CHARS = 8192
SAN_PREFIX = "lowtide://"

P = TypeVar("P")
C = TypeVar("C", bound=msgspec.Struct)


class Guard(Protocol):
    """What a route asks before its handler runs."""

    scheme: str

    def openapi(self) -> dict[str, object]:
        """The OpenAPI security scheme object."""

    async def admit(self, request: web.Request) -> object:
        """The principal. Raises ProblemError."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """Who a client certificate says the other side is."""

    kind: PeerKind
    name: str


@dataclass(frozen=True, slots=True)
class Operator:
    """Whoever holds the operator token."""

    name: str = "operator"


class StandardClaims(msgspec.Struct, frozen=True):
    """The claims that are checked whatever else a token says."""

    iss: str
    exp: float
    aud: str | list[str] = ""
    nbf: float | None = None


class _Header(msgspec.Struct):
    alg: str
    kid: str = ""


class Jwks(msgspec.Struct, frozen=True):
    """A JWK Set (RFC 7517 §5) as `GET /.well-known/jwks.json` answers it."""

    keys: tuple[dict[str, Any], ...]


class JwksSource:
    """The issuer's public keys by `kid`, fetched when needed, kept when the issuer is away."""

    def __init__(self, fetch: Callable[[], Awaitable[Jwks]], *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, ECKey] = {}
        self._fetched_s: float | None = None
        self._tried_s: float | None = None
        self._failed = False
        self._one_fetch = asyncio.Lock()

    async def key(self, kid: str) -> ECKey:
        """Raises ProblemError: UNAVAILABLE when the issuer would have to be asked and does not answer, else UNAUTHENTICATED."""
        if kid not in self._keys or self._stale():
            async with self._one_fetch:
                if kid not in self._keys or self._stale():
                    await self._refresh()
        found = self._keys.get(kid)
        if found is not None:
            return found
        if self._failed:
            raise ProblemError(
                ProblemCode.UNAVAILABLE,
                "the keys to check this token cannot be fetched now",
                retry_after_s=MIN_REFRESH_S,
            )
        raise ProblemError(ProblemCode.UNAUTHENTICATED, "the token is signed with an unknown key")

    def _stale(self) -> bool:
        return self._fetched_s is None or self._clock.monotonic_s() - self._fetched_s > KEYS_FRESH_S

    async def _refresh(self) -> None:
        now_s = self._clock.monotonic_s()
        if self._tried_s is not None and now_s - self._tried_s < MIN_REFRESH_S:
            return
        self._tried_s = now_s
        try:
            found = await self._fetch()
        except ServiceError as error:
            self._failed = True
            get_logger("chassis.auth").warning("jwks-unreachable", detail=str(error), keys_kept=len(self._keys))
            return
        self._failed = False
        self._fetched_s = now_s
        self._keys = dict(_usable_keys(found))


class TokenVerifier(Generic[C]):
    """Checks bearer JWTs and gives their claims as `claims`."""

    def __init__(
        self, keys: JwksSource, claims: type[C], *, issuer: str, audience: str, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._keys = keys
        self._claims = claims
        self._issuer = issuer
        self._audience = audience
        self._clock = clock

    async def verify(self, token: str) -> C:
        """Raises ProblemError: UNAUTHENTICATED, TOKEN_EXPIRED or UNAVAILABLE (no keys)."""
        if len(token) > MAX_TOKEN_CHARS:
            raise _not_valid("it is too long")
        try:
            header = msgspec.json.decode(_segment(token), type=_Header)
        except (msgspec.MsgspecError, ValueError) as error:
            raise _not_valid("it is malformed") from error
        if header.alg != ALGORITHM:
            raise _not_valid(f"its algorithm is not {ALGORITHM}")
        key = await self._keys.key(header.kid)
        try:
            payload = jws.deserialize_compact(token, key, algorithms=[ALGORITHM]).payload
            standard = msgspec.json.decode(payload, type=StandardClaims)
            self._check(standard)
            return msgspec.json.decode(payload, type=self._claims)
        except BadSignatureError as error:
            raise _not_valid("its signature is wrong") from error
        except (JoseError, msgspec.MsgspecError, ValueError) as error:
            raise _not_valid("it is malformed") from error

    def _check(self, claims: StandardClaims) -> None:
        now = self._clock.wall_s()
        if claims.iss != self._issuer:
            raise _not_valid("it comes from another issuer")
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if self._audience not in audiences:
            raise _not_valid("it is meant for another audience")
        if now > claims.exp + CLOCK_SKEW_S:
            raise ProblemError(ProblemCode.TOKEN_EXPIRED, "refresh it or log in again", headers=_challenge())
        if claims.nbf is not None and now < claims.nbf - CLOCK_SKEW_S:
            raise _not_valid("it is not valid yet")


class MemberGuard(Generic[C]):
    """Admits a bearer of a valid member access token; the principal is its claims."""

    scheme = "member"

    def __init__(self, verifier: TokenVerifier[C]) -> None:
        self._verifier = verifier

    def openapi(self) -> dict[str, object]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}

    async def admit(self, request: web.Request) -> C:
        return await self._verifier.verify(bearer_of(request))


def member_guard(
    auth: ServiceClient,
    *,
    issuer: str = "lowtide-auth",
    audience: str = "lowtide",
    clock: Clock = SYSTEM_CLOCK,
) -> MemberGuard[AccessClaims]:
    """The guard for members' access tokens; `auth` is a client of the auth service."""

    async def fetch() -> Jwks:
        return await auth.get(JWKS_PATH, Jwks, timeout_s=3.0)

    keys = JwksSource(fetch, clock=clock)
    return MemberGuard(TokenVerifier(keys, AccessClaims, issuer=issuer, audience=audience, clock=clock))


class SecretGuard:
    """Admits a bearer of one secret (the operator token); the principal is an Operator."""

    def __init__(self, secret: str, *, scheme: str = "operator") -> None:
        if not secret:
            raise ValueError("an empty secret would admit everybody")
        self.scheme = scheme
        self._secret = secret.encode()

    def openapi(self) -> dict[str, object]:
        return {"type": "http", "scheme": "bearer"}

    async def admit(self, request: web.Request) -> Operator:
        if not hmac.compare_digest(bearer_of(request).encode(), self._secret):
            raise _not_valid("it is not the one of this service")
        return Operator(self.scheme)


class PeerGuard:
    """Admits a peer with a client certificate of one of `kinds` (all when none is named) and `names` (likewise)."""

    scheme = "certificate"

    def __init__(self, *kinds: PeerKind, names: frozenset[str] = frozenset()) -> None:
        self._kinds = kinds or tuple(PeerKind)
        self._names = names

    def openapi(self) -> dict[str, object]:
        return {"type": "mutualTLS"}

    async def admit(self, request: web.Request) -> PeerIdentity:
        peer = peer_identity(request)
        if peer is None:
            raise ProblemError(ProblemCode.CERTIFICATE_REQUIRED)
        if peer.kind not in self._kinds or (self._names and peer.name not in self._names):
            wanted = " or ".join(kind.value for kind in self._kinds)
            raise ProblemError(
                ProblemCode.FORBIDDEN, f"{peer.kind.value} {peer.name} may not do this; it is for {wanted}"
            )
        return peer


class AnyOf:
    """Admits whom one of the guards admits; the first guard's refusal is told when none does."""

    def __init__(self, *guards: Guard) -> None:
        if not guards:
            raise ValueError("no guard would admit nobody")
        self.guards = guards
        self.scheme = guards[0].scheme

    def openapi(self) -> dict[str, object]:
        return self.guards[0].openapi()

    async def admit(self, request: web.Request) -> object:
        refusals: list[ProblemError] = []
        for guard in self.guards:
            try:
                return await guard.admit(request)
            except ProblemError as error:
                refusals.append(error)
        raise refusals[0]


def bearer_of(request: web.Request) -> str:
    """The bearer token of a request (RFC 6750 §2.1). Raises ProblemError UNAUTHENTICATED."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip() or not token.isascii():
        raise ProblemError(
            ProblemCode.UNAUTHENTICATED, "send the header: Authorization: Bearer TOKEN", headers=_challenge()
        )
    return token.strip()


def peer_identity(request: web.Request) -> PeerIdentity | None:
    """Who the verified client certificate of this connection names, or None."""
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    return identity_in(cast("Mapping[str, Any] | None", certificate))


def identity_in(certificate: Mapping[str, Any] | None) -> PeerIdentity | None:
    """The identity in a certificate as `ssl` shows it; None without exactly one SAN URI of ours."""
    names = (certificate or {}).get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI" and value.startswith(SAN_PREFIX)]
    if len(uris) != 1:
        return None
    kind_word, slash, name = uris[0][len(SAN_PREFIX) :].partition("/")
    kind = next((kind for kind in PeerKind if kind.value == kind_word), None)
    return PeerIdentity(kind, name) if kind and slash and name else None


def read_secret(path: Path) -> str:
    """A secret from a file that only its owner may read. Raises ConfigError saying what to do."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError((f"{path}: the secret cannot be read: {error}",)) from error
    if mode & 0o077:
        raise ConfigError((f"{path}: others may read this secret; chmod 600 it",))
    if not text:
        raise ConfigError((f"{path}: the secret is empty",))
    return text


def read_or_make_secret(path: Path) -> str:
    """The secret in the file; 32 random bytes in hex are written there first when it does not exist."""
    if not os.path.lexists(path):
        write_private(path, secrets.token_hex(32).encode() + b"\n")
    return read_secret(path)


def _usable_keys(found: Jwks) -> list[tuple[str, ECKey]]:
    usable: list[tuple[str, ECKey]] = []
    for jwk in found.keys:
        kid = jwk.get("kid")
        if not isinstance(kid, str) or jwk.get("kty") != "EC" or jwk.get("crv") != "P-256" or "d" in jwk:
            continue
        try:
            usable.append((kid, ECKey.import_key(cast(Any, jwk))))
        except (JoseError, ValueError, TypeError) as error:
            get_logger("chassis.auth").warning("jwks-key-unusable", kid=kid, detail=str(error))
    return usable


def _segment(token: str) -> bytes:
    head, dot, _ = token.partition(".")
    if not dot:
        raise ValueError("no header")
    return binascii.a2b_base64(head.replace("-", "+").replace("_", "/") + "=" * (-len(head) % 4))


def _not_valid(why: str) -> ProblemError:
    return ProblemError(ProblemCode.UNAUTHENTICATED, f"the token is not accepted: {why}", headers=_challenge())


def _challenge() -> dict[str, str]:
    return {"WWW-Authenticate": 'Bearer realm="lowtide"'}
