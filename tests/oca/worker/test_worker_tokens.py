"""Media tokens on a worker: every reason of a refusal as a player gets it, both formats, and a control plane that stays away."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from contracts.keys import KeyUse
from contracts.problems import CONTENT_TYPE
from contracts.tokens.claims import CLOCK_SKEW_S, MediaClaims, TokenRefusal
from contracts.tokens.media import TokenFormat, codec_of
from oca.http.reasons import OF_TOKEN
from oca.link.files import Contact
from oca.worker.offline import OfflineRule
from tests.contracts.forging import CAT_CLAIMS, JWT_CLAIMS, Pair, cat_of, jwt_of
from tests.oca.worker.worker_harness import KID, Bench, Client, Keys, publish, running

FILE = publish("v-360.mp4", 300_000)
DAY_S = 86_400.0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with running(tmp_path) as made:
        made.store_file(FILE)
        yield made


def token(bench: Bench, format_: TokenFormat, **changes: object) -> str:
    now = time.time()
    claims = MediaClaims("test", "session-1", "/media/t1/", ("base", "hd"), now + 3600, now)
    return codec_of(format_).sign(msgspec.structs.replace(claims, **changes), bench.keys.key, KID)


def stay_away(bench: Bench, at: float) -> None:
    """The state folder of a box whose control plane last answered then."""
    (bench.state / "contact.json").write_bytes(msgspec.json.encode(Contact(at)))
    os.utime(bench.state / "keys.json", (at, at))


def restricting(bench: Bench, format_: TokenFormat) -> str:
    pair = Pair(KID, "ES256", bench.keys.key)
    if format_ is TokenFormat.JWT:
        return jwt_of(pair, {**JWT_CLAIMS, "cdniip": "10.0.0.1"})
    return cat_of(pair, {**CAT_CLAIMS, 311: [b"\x0a\0\0\1"]})


def unsigned(bench: Bench, format_: TokenFormat) -> str:
    pair = Pair(KID, "ES256", bench.keys.key)
    if format_ is TokenFormat.JWT:
        return jwt_of(pair, header={"alg": "none", "kid": KID})
    return cat_of(pair, tags=(61, 17))


def by(keys: Keys, format_: TokenFormat) -> str:
    now = time.time()
    claims = MediaClaims("test", "session-1", "/media/t1/", ("hd",), now + 60, now)
    return codec_of(format_).sign(claims, keys.key, keys.kid)


Make = Callable[[Bench, TokenFormat], str]
ONLINE: dict[TokenRefusal, Make] = {
    TokenRefusal.MALFORMED: lambda bench, format_: token(bench, format_) + ".",
    TokenRefusal.ALGORITHM: unsigned,
    TokenRefusal.SIGNATURE: lambda bench, format_: by(Keys(), format_),
    TokenRefusal.KEY_UNKNOWN: lambda bench, format_: by(Keys("nobody"), format_),
    TokenRefusal.UNENFORCED: restricting,
    TokenRefusal.EXPIRED: lambda bench, format_: token(bench, format_, expires_at=time.time() - 60),
    TokenRefusal.NOT_YET: lambda bench, format_: token(bench, format_, not_before=time.time() + 600),
    TokenRefusal.SCOPE: lambda bench, format_: token(bench, format_, tiers=("base",)),
    TokenRefusal.REVOKED: lambda bench, format_: token(bench, format_, session="gone"),
}


async def test_every_reason_is_a_problem_with_its_code_in_both_formats(bench: Bench) -> None:
    assert {*ONLINE, TokenRefusal.MISSING, TokenRefusal.OFFLINE} == set(TokenRefusal), "the last two are told below"
    bench.write_keys(bench.keys.public(), number=2, revoked=("gone",))
    bench.start()
    client = await bench.connect()
    asked: dict[TokenRefusal, int] = {}
    for why, make in ONLINE.items():
        for format_ in TokenFormat:
            await refused(bench, client, f"/~{make(bench, format_)}{FILE.name.path}", why)
            asked[why] = asked.get(why, 0) + 1
    await refused(bench, client, FILE.name.path, TokenRefusal.MISSING)
    await refused(bench, client, f"/~{'x' * 3000}{FILE.name.path}", TokenRefusal.MALFORMED)
    for why, count in asked.items():
        await bench.reaches(OF_TOKEN[why], count + (why is TokenRefusal.MALFORMED))
    for format_ in TokenFormat:
        reply = await client.ask(f"/~{token(bench, format_)}{FILE.name.path}", Range="bytes=0-9")
        assert (reply.status, reply.body) == (206, FILE.data[:10])
    await client.close()


async def refused(bench: Bench, client: Client, path: str, why: TokenRefusal) -> None:
    reply = await client.ask(path, Range="bytes=0-9")
    assert (reply.status, reply.problem) == (403, why.problem), why
    assert reply.headers["content-type"] == CONTENT_TYPE
    assert reply.headers["access-control-allow-origin"] == "*"
    problem = msgspec.json.decode(reply.body)
    assert problem["status"] == 403
    assert problem["detail"]


async def test_an_ec_and_an_ed25519_key_may_stand_side_by_side(bench: Bench) -> None:
    other = Pair("ed-1", "EdDSA", OKPKey.generate_key("Ed25519"))
    bench.write_keys(bench.keys.public(), msgspec.structs.replace(other.public, use=KeyUse.MEDIA), number=2)
    bench.start()
    client = await bench.connect()
    now = time.time()
    claims = MediaClaims("test", "s", "/media/t1/", ("hd",), now + 60, now)
    for format_ in TokenFormat:
        for said in (token(bench, format_), codec_of(format_).sign(claims, other.private, "ed-1", "EdDSA")):
            assert (await client.ask(f"/~{said}{FILE.name.path}", Range="bytes=0-9")).status == 206
    await client.close()


# A control plane that stays away


async def test_after_a_day_without_the_control_plane_only_earlier_tokens_open(bench: Bench) -> None:
    now = time.time()
    stay_away(bench, now - 2 * DAY_S)
    bench.start()
    client = await bench.connect()
    earlier = token(bench, TokenFormat.JWT, issued_at=now - 3 * DAY_S)
    later = token(bench, TokenFormat.CAT)
    assert (await client.ask(f"/~{earlier}{FILE.name.path}", Range="bytes=0-9")).status == 206
    await refused(bench, client, f"/~{later}{FILE.name.path}", TokenRefusal.OFFLINE)
    await refused(bench, client, f"/~{by(Keys('new'), TokenFormat.JWT)}{FILE.name.path}", TokenRefusal.KEY_UNKNOWN)
    late = token(bench, TokenFormat.JWT, expires_at=now - 60)
    await refused(bench, client, f"/~{late}{FILE.name.path}", TokenRefusal.EXPIRED)
    (bench.state / "contact.json").write_bytes(msgspec.json.encode(Contact(time.time())))
    for _ in range(100):
        if (await client.ask(f"/~{later}{FILE.name.path}", Range="bytes=0-9")).status == 206:
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail("the control plane is back, and the token is still refused")
    assert "the control plane is back" in bench.log.read_text()
    await client.close()


async def test_a_strict_appliance_refuses_every_token_then(bench: Bench) -> None:
    strict = replace(bench.settings.control_plane, max_offline_s=3600.0, strict_offline=True)
    bench.settings = replace(bench.settings, control_plane=strict)
    now = time.time()
    stay_away(bench, now - 7200.0)
    bench.start()
    client = await bench.connect()
    earlier = token(bench, TokenFormat.JWT, issued_at=now - DAY_S)
    await refused(bench, client, f"/~{earlier}{FILE.name.path}", TokenRefusal.OFFLINE)
    await client.close()


AT = st.floats(0, 4e9)


@given(AT, st.floats(1, 1e6), st.floats(0, 1e7))
def test_nothing_changes_before_the_time_is_over_and_only_earlier_tokens_behind_it(
    contact: float, after_s: float, away_s: float
) -> None:
    rule, strict = OfflineRule(after_s), OfflineRule(after_s, strict=True)
    now = contact + away_s
    if now - contact <= after_s:
        assert rule.newest_taken(contact, now) == strict.newest_taken(contact, now) == math.inf
    else:
        assert rule.newest_taken(contact, now) == contact + CLOCK_SKEW_S
        assert strict.newest_taken(contact, now) == -math.inf


def test_a_clock_that_was_set_back_is_no_absence() -> None:
    assert OfflineRule(10.0).newest_taken(2_000.0, 1_000.0) == math.inf
