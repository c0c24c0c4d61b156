"""Auth by its HTTP API."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from contextlib import closing

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from chassis.auth import Jwks
from contracts.members import Account, LogIn, Profile, ProfileChange, ProfileSettings, Refresh, SignUp, Tokens
from contracts.problems import ProblemCode
from tests.companions.lab import PASSWORD, Heard, Lab


@pytest.fixture
async def auth(lab: Lab) -> Lab:
    await lab.start("auth")
    return lab


async def _log_in(lab: Lab, password: str, email: str = "ann@example.org") -> Heard:
    return await lab.http.call("POST", lab.url("auth") + "/v1/sessions", LogIn(email, password, "tv"))


async def _refresh(lab: Lab, token: str) -> Heard:
    return await lab.http.call("POST", lab.url("auth") + "/v1/sessions/refresh", Refresh(token))


async def test_a_member_signs_up_logs_in_in_another_spelling_and_reads_the_account(auth: Lab) -> None:
    await auth.sign_up("Ann@Example.org")
    tokens = (await _log_in(auth, PASSWORD, "  aNN@exAMPLE.org ")).as_(Tokens)
    heard = await auth.http.call("GET", auth.url("auth") + "/v1/account", bearer=tokens.access_token)
    account = heard.as_(Account)
    assert (account.email, account.region, account.plan) == ("ann@example.org", "DE", "standard")
    assert [profile.name for profile in account.profiles] == ["Me"]


async def test_an_address_has_one_account(auth: Lab) -> None:
    await auth.sign_up("ann@example.org")
    body = SignUp("ANN@example.org", PASSWORD, "DE")
    (await auth.http.call("POST", auth.url("auth") + "/v1/accounts", body)).problem(ProblemCode.CONFLICT)


async def test_two_sign_ups_of_one_address_at_once_make_one_account(auth: Lab) -> None:
    url, body = auth.url("auth") + "/v1/accounts", SignUp("ann@example.org", PASSWORD, "DE")
    heard = await asyncio.gather(*(auth.http.call("POST", url, body) for _ in range(4)))
    assert sorted(answer.status for answer in heard) == [201, 409, 409, 409]


async def test_everything_wrong_with_a_sign_up_is_said_at_once(auth: Lab) -> None:
    body = SignUp("nobody", "short", "Germany", "gold", "  ")
    heard = await auth.http.call("POST", auth.url("auth") + "/v1/accounts", body)
    named = [line.partition(":")[0] for line in heard.problem(ProblemCode.UNPROCESSABLE).errors]
    assert named == ["email", "password", "region", "plan", "profile_name"]


async def test_a_wrong_password_and_an_unknown_address_are_refused_in_the_same_words(auth: Lab) -> None:
    await auth.sign_up()
    wrong = (await _log_in(auth, "not the password")).problem(ProblemCode.WRONG_PASSWORD)
    unknown = (await _log_in(auth, "not the password", "bob@example.org")).problem(ProblemCode.WRONG_PASSWORD)
    assert (wrong.title, wrong.detail) == (unknown.title, unknown.detail)


async def test_guessing_is_slowed_down_and_the_owner_gets_in_later(auth: Lab) -> None:
    await auth.sign_up()
    for _ in range(3):
        (await _log_in(auth, "not the password")).problem(ProblemCode.WRONG_PASSWORD)
    slowed = await _log_in(auth, PASSWORD)
    slowed.problem(ProblemCode.TOO_MANY_REQUESTS)
    await auth.clock.advance(float(slowed.headers["Retry-After"]))
    assert (await _log_in(auth, PASSWORD)).status == 201


async def test_a_log_in_that_succeeds_forgets_the_failures_before_it(auth: Lab) -> None:
    await auth.sign_up()
    for _ in range(4):
        await _log_in(auth, "not the password")
        await _log_in(auth, "not the password")
        assert (await _log_in(auth, PASSWORD)).status == 201


async def test_a_refresh_token_works_once_and_its_second_use_ends_the_family(auth: Lab) -> None:
    first = (await auth.sign_up()).tokens
    second = (await _refresh(auth, first.refresh_token)).as_(Tokens)
    assert second.refresh_token != first.refresh_token
    (await _refresh(auth, first.refresh_token)).problem(ProblemCode.UNAUTHENTICATED)
    after = (await _refresh(auth, second.refresh_token)).problem(ProblemCode.UNAUTHENTICATED)
    assert "ended" in after.detail


async def test_of_two_refreshes_at_once_one_succeeds(auth: Lab) -> None:
    first = (await auth.sign_up()).tokens
    heard = await asyncio.gather(*(_refresh(auth, first.refresh_token) for _ in range(3)))
    assert sorted(answer.status for answer in heard) == [200, 401, 401]


async def test_refresh_tokens_expire_and_unknown_ones_open_nothing(auth: Lab) -> None:
    first = (await auth.sign_up()).tokens
    await auth.clock.advance(auth.auth_settings.refresh_ttl_s)
    (await _refresh(auth, first.refresh_token)).problem(ProblemCode.UNAUTHENTICATED)
    (await _refresh(auth, "made up")).problem(ProblemCode.UNAUTHENTICATED)


async def test_signing_out_ends_this_log_in_and_no_other(auth: Lab) -> None:
    member = await auth.sign_up()
    other = (await _log_in(auth, PASSWORD)).as_(Tokens)
    assert (await member.ask("DELETE", "auth", "/v1/sessions")).status == 204
    (await _refresh(auth, member.tokens.refresh_token)).problem(ProblemCode.UNAUTHENTICATED)
    assert (await _refresh(auth, other.refresh_token)).status == 200


async def test_access_tokens_expire(auth: Lab) -> None:
    member = await auth.sign_up()
    await auth.clock.advance(auth.auth_settings.access_ttl_s + 31)
    (await member.ask("GET", "auth", "/v1/account")).problem(ProblemCode.TOKEN_EXPIRED)


async def test_without_a_token_or_with_a_forged_one_nothing_is_told(auth: Lab) -> None:
    member = await auth.sign_up()
    url = auth.url("auth") + "/v1/account"
    (await auth.http.call("GET", url)).problem(ProblemCode.UNAUTHENTICATED)
    head, body, signature = member.tokens.access_token.split(".")
    forged = f"{head}.{body}.{signature[:-6]}AAAAAA"
    (await auth.http.call("GET", url, bearer=forged)).problem(ProblemCode.UNAUTHENTICATED)


async def test_the_published_keys_verify_access_tokens_and_show_nothing_private(auth: Lab) -> None:
    member = await auth.sign_up()
    (jwk,) = (await auth.http.call("GET", auth.url("auth") + "/.well-known/jwks.json")).as_(Jwks).keys
    assert "d" not in jwk
    found = jws.deserialize_compact(member.tokens.access_token, ECKey.import_key(jwk), algorithms=["ES256"])
    assert found.headers()["kid"] == jwk["kid"]


async def test_after_a_restart_keys_accounts_and_log_ins_are_the_same(auth: Lab) -> None:
    member = await auth.sign_up()
    await auth.stop("auth")
    assert stat.S_IMODE((auth.folder / "access.key").stat().st_mode) == 0o600
    await auth.start("auth")
    assert (await member.account()).email == "ann@example.org"
    assert (await _refresh(auth, member.tokens.refresh_token)).status == 200


async def test_a_log_in_that_is_refreshed_for_ever_does_not_grow_the_database(auth: Lab) -> None:
    def rows(table: str) -> int:
        with closing(sqlite3.connect(auth.auth_settings.database)) as database:
            return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    token = (await auth.sign_up()).tokens.refresh_token
    for _ in range(8):
        await auth.clock.advance(auth.auth_settings.refresh_ttl_s * 0.4)
        token = (await _refresh(auth, token)).as_(Tokens).refresh_token
    assert rows("refresh_tokens") <= 4
    await auth.clock.advance(auth.auth_settings.refresh_ttl_s * 1.1)
    await _log_in(auth, PASSWORD)
    assert (rows("log_ins"), rows("refresh_tokens")) == (1, 1)


async def test_no_password_and_no_refresh_token_is_in_the_database(auth: Lab) -> None:
    member = await auth.sign_up()
    await auth.stop("auth")
    stored = b"".join(path.read_bytes() for path in auth.folder.glob("auth.sqlite*"))
    assert b"ann@example.org" in stored
    assert PASSWORD.encode() not in stored
    assert member.tokens.refresh_token.encode() not in stored


async def test_an_account_has_one_to_five_profiles(auth: Lab) -> None:
    member = await auth.sign_up()
    made = []
    for number in range(4):
        heard = await member.ask("POST", "auth", "/v1/profiles", ProfileChange(f"Child {number}"))
        made.append(heard.as_(Profile))
    full = await member.ask("POST", "auth", "/v1/profiles", ProfileChange("One more"))
    full.problem(ProblemCode.CONFLICT)
    for profile in made:
        assert (await member.ask("DELETE", "auth", f"/v1/profiles/{profile.id}")).status == 204
    last = await member.ask("DELETE", "auth", f"/v1/profiles/{member.profile_id}")
    last.problem(ProblemCode.CONFLICT)


async def test_a_profile_is_changed_by_its_own_account_only(auth: Lab) -> None:
    ann, bob = await auth.sign_up(), await auth.sign_up("bob@example.org")
    change = ProfileChange("Lounge", ProfileSettings(demo_network="127.1.9.50"))
    path = f"/v1/profiles/{ann.profile_id}"
    (await bob.ask("PUT", "auth", path, change)).problem(ProblemCode.NOT_FOUND)
    assert (await ann.ask("PUT", "auth", path, change)).as_(Profile).name == "Lounge"
    assert (await ann.account()).profiles[0].settings.demo_network == "127.1.9.50"
    bad = ProfileChange("x" * 41, ProfileSettings("e", "99", "not an address"))
    assert len((await ann.ask("PUT", "auth", path, bad)).problem(ProblemCode.UNPROCESSABLE).errors) == 4


async def test_what_is_no_json_or_no_address_is_a_problem_too(auth: Lab) -> None:
    url = auth.url("auth")
    (await auth.http.call("POST", url + "/v1/sessions", b"{not json")).problem(ProblemCode.BAD_JSON)
    (await auth.http.call("POST", url + "/v1/sessions", b'{"email": 3}')).problem(ProblemCode.BAD_JSON)
    (await auth.http.call("GET", url + "/v1/nothing")).problem(ProblemCode.NOT_FOUND)
    (await auth.http.call("PATCH", url + "/v1/accounts")).problem(ProblemCode.METHOD_NOT_ALLOWED)
    long = LogIn("ann@example.org", "x" * 20_000)
    (await auth.http.call("POST", url + "/v1/sessions", long)).problem(ProblemCode.TOO_LARGE)


async def test_any_page_may_call_with_a_bearer_token_and_without_cookies(auth: Lab) -> None:
    asking = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    heard = await auth.http.call("OPTIONS", auth.url("auth") + "/v1/sessions", headers=asking)
    assert heard.headers["Access-Control-Allow-Origin"] == "*"
    assert "Authorization" in heard.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in heard.headers
    refused = await auth.http.call("GET", auth.url("auth") + "/v1/account", headers={"Origin": "https://page.example"})
    assert refused.headers["Access-Control-Allow-Origin"] == "*"
