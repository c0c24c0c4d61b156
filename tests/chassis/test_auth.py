"""Bearer tokens, secrets and certificate identities."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path
from typing import Any

import msgspec
import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from chassis.auth import (
    KEYS_FRESH_S,
    MIN_REFRESH_S,
    Jwks,
    JwksSource,
    PeerIdentity,
    TokenVerifier,
    identity_in,
    read_or_make_secret,
    read_secret,
)
from chassis.clock import VirtualClock
from chassis.errors import ConfigError, ProblemError, Retry, ServiceError, Source
from contracts.enrolment import PeerKind
from contracts.members import AccessClaims
from contracts.problems import ProblemCode


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """An auth service that may be away."""

    def __init__(self) -> None:
        self.keys = {"k1": ECKey.generate_key("P-256")}
        self.away = False
        self.asked = 0

    async def jwks(self) -> Jwks:
        self.asked += 1
        if self.away:
            raise ServiceError("away", source=Source.UPSTREAM, retry=Retry.YES, status=502)
        return Jwks(tuple({**key.as_dict(private=False), "kid": kid} for kid, key in self.keys.items()))

    def token(self, now: float, kid: str = "k1", alg: str = "ES256", key: Any = None, **claims: object) -> str:
        body = {
            "iss": "lowtide-auth",
            "sub": "acc",
            "aud": "lowtide",
            "exp": now + 300,
            "iat": now,
            "plan": "basic",
            "region": "DE",
            "profiles": ["p"],
            **claims,
        }
        header = {"alg": alg, "kid": kid}
        return jws.serialize_compact(header, msgspec.json.encode(body), key or self.keys[kid], algorithms=[alg])


class Bench:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.issuer = Issuer()
        source = JwksSource(self.issuer.jwks, clock=self.clock)
        self.verifier = TokenVerifier(source, AccessClaims, issuer="lowtide-auth", audience="lowtide", clock=self.clock)

    def token(self, **options: Any) -> str:
        return self.issuer.token(self.clock.wall_s(), **options)

    async def refusal(self, token: str) -> ProblemError:
        with pytest.raises(ProblemError) as caught:
            await self.verifier.verify(token)
        return caught.value


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_valid_token_gives_its_claims(bench: Bench) -> None:
    claims = await bench.verifier.verify(bench.token())
    assert (claims.sub, claims.profiles) == ("acc", ("p",))


async def test_keys_are_asked_for_once_for_many_tokens(bench: Bench) -> None:
    for _ in range(5):
        await bench.verifier.verify(bench.token())
    assert bench.issuer.asked == 1


@pytest.mark.parametrize(
    ("claims", "code", "said"),
    [
        ({"iss": "mallory"}, ProblemCode.UNAUTHENTICATED, "another issuer"),
        ({"aud": "elsewhere"}, ProblemCode.UNAUTHENTICATED, "another audience"),
        ({"exp": 1.0}, ProblemCode.TOKEN_EXPIRED, "log in again"),
        ({"nbf": 9e9}, ProblemCode.UNAUTHENTICATED, "not valid yet"),
        ({"plan": 7}, ProblemCode.UNAUTHENTICATED, "malformed"),
    ],
)
async def test_wrong_claims_are_refused_in_words(
    bench: Bench, claims: dict[str, object], code: ProblemCode, said: str
) -> None:
    error = await bench.refusal(bench.token(**claims))
    assert error.code is code
    assert said in error.detail


async def test_a_changed_payload_is_refused(bench: Bench) -> None:
    head, _, signature = bench.token().split(".")
    other = bench.token(sub="other").split(".")[1]
    assert "signature" in (await bench.refusal(f"{head}.{other}.{signature}")).detail


async def test_a_symmetric_token_made_from_the_public_key_is_refused(bench: Bench) -> None:
    public = bench.issuer.keys["k1"].as_pem(private=False)
    signed = ".".join((base64url(b'{"alg":"HS256","kid":"k1"}'), bench.token().split(".")[1]))
    forged = f"{signed}.{base64url(hmac.digest(public, signed.encode(), 'sha256'))}"
    assert "algorithm" in (await bench.refusal(forged)).detail


@pytest.mark.parametrize("token", ["", "x", "a.b", "a.b.c", "é.é.é", "x" * 9000, "e30.e30.e30"])
async def test_garbage_is_refused_without_asking_the_issuer(bench: Bench, token: str) -> None:
    assert (await bench.refusal(token)).code is ProblemCode.UNAUTHENTICATED
    assert bench.issuer.asked == 0


async def test_known_keys_keep_verifying_while_the_issuer_is_away(bench: Bench) -> None:
    await bench.verifier.verify(bench.token())
    bench.issuer.away = True
    await bench.clock.advance(KEYS_FRESH_S * 10)
    assert (await bench.verifier.verify(bench.token())).sub == "acc"
    assert bench.issuer.asked == 2


async def test_without_any_key_an_absent_issuer_is_a_503_and_comes_back(bench: Bench) -> None:
    bench.issuer.away = True
    assert (await bench.refusal(bench.token())).code is ProblemCode.UNAVAILABLE
    bench.issuer.away = False
    await bench.clock.advance(MIN_REFRESH_S)
    assert (await bench.verifier.verify(bench.token())).sub == "acc"


async def test_a_new_key_is_found_by_its_kid_at_once(bench: Bench) -> None:
    await bench.verifier.verify(bench.token())
    bench.issuer.keys["k2"] = ECKey.generate_key("P-256")
    await bench.clock.advance(MIN_REFRESH_S)
    assert (await bench.verifier.verify(bench.token(kid="k2"))).sub == "acc"


async def test_forged_kids_cannot_flood_the_issuer(bench: Bench) -> None:
    await bench.verifier.verify(bench.token())
    stranger = ECKey.generate_key("P-256")
    for number in range(50):
        error = await bench.refusal(bench.token(kid=f"forged{number}", key=stranger))
        assert error.code is ProblemCode.UNAUTHENTICATED
    assert bench.issuer.asked == 1


def test_a_certificate_identity_needs_exactly_one_uri_of_ours() -> None:
    def certificate(*uris: str) -> dict[str, Any]:
        return {"subjectAltName": (*(("URI", uri) for uri in uris), ("DNS", "box"))}

    assert identity_in(certificate("lowtide://appliance/a1")) == PeerIdentity(PeerKind.APPLIANCE, "a1")
    assert identity_in(certificate("lowtide://service/origin")) == PeerIdentity(PeerKind.SERVICE, "origin")
    for wrong in ((), ("lowtide://king/a",), ("lowtide://appliance/",), ("https://x/y",)):
        assert identity_in(certificate(*wrong)) is None
    assert identity_in(certificate("lowtide://appliance/a", "lowtide://service/b")) is None
    assert identity_in(None) is None


def test_a_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "operator.token"
    secret = read_or_make_secret(path)
    assert len(bytes.fromhex(secret)) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_or_make_secret(path) == secret
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_secret(path)
