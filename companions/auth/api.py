"""The addresses of auth: typed handlers between the wire and the records."""

from __future__ import annotations

from collections.abc import Sequence

from chassis.auth import Guard, Jwks
from chassis.clients import Network, client_address
from chassis.clock import Clock
from chassis.errors import ProblemError
from chassis.logs import get_logger
from chassis.routes import Answer, Call, Routes
from companions.auth.access import claims_of, jwks_of, sign
from companions.auth.accounts import normalised_email, profile_faults, sign_up_faults
from companions.auth.attempts import AttemptKey, Attempts
from companions.auth.config import Guessing
from companions.auth.errors import EmailTaken, LastProfile, TooManyProfiles, UnknownAccount, UnknownProfile
from companions.auth.metrics import AuthMetrics, LogInOutcome
from companions.auth.passwords import Passwords
from companions.auth.records import Grant, Records
from companions.auth.refreshing import RefreshVerdict
from companions.signing import OwnKey
from contracts.members import AccessClaims, Account, LogIn, Profile, ProfileChange, Refresh, SignUp, Tokens
from contracts.problems import ProblemCode

MAX_LOG_IN_BYTES = 16 * 1024
_LOG = get_logger("companions.auth")
_REFRESH_WORDS = {
    RefreshVerdict.UNKNOWN: "the refresh token is not known; log in again",
    RefreshVerdict.EXPIRED: "the log-in has expired; log in again",
    RefreshVerdict.REUSED: "the refresh token was used before: somebody may have copied it, so this log-in has ended",
    RefreshVerdict.REVOKED: "this log-in has ended; log in again",
}


class AuthApi:
    def __init__(
        self,
        records: Records,
        passwords: Passwords,
        attempts: Attempts,
        key: OwnKey,
        metrics: AuthMetrics,
        clock: Clock,
        *,
        guessing: Guessing,
        access_ttl_s: float,
        trusted: Sequence[Network] = (),
    ) -> None:
        self._records = records
        self._passwords = passwords
        self._attempts = attempts
        self._key = key
        self._metrics = metrics
        self._clock = clock
        self._guessing = guessing
        self._access_ttl_s = access_ttl_s
        self._trusted = trusted

    def routes(self, member: Guard) -> Routes:
        made = Routes("Auth")
        small = MAX_LOG_IN_BYTES
        made.post("/v1/accounts", self.sign_up, summary="Sign up", status=201, max_body_bytes=small)
        made.post("/v1/sessions", self.log_in, summary="Log in", status=201, max_body_bytes=small)
        made.post(
            "/v1/sessions/refresh", self.refresh, summary="Trade a refresh token for new tokens", max_body_bytes=small
        )
        made.delete("/v1/sessions", self.sign_out, summary="End this log-in", guard=member)
        made.get("/v1/account", self.account, summary="The member's account and profiles", guard=member)
        made.post(
            "/v1/profiles", self.add_profile, summary="Add a profile", guard=member, status=201, max_body_bytes=small
        )
        path = "/v1/profiles/{profile_id}"
        made.put(path, self.change_profile, summary="Change a profile", guard=member, max_body_bytes=small)
        made.delete(path, self.remove_profile, summary="Remove a profile", guard=member)
        made.get("/.well-known/jwks.json", self.jwks, summary="Public keys of access tokens (RFC 7517)")
        return made

    async def sign_up(self, call: Call[SignUp]) -> Answer[Tokens]:
        faults = sign_up_faults(call.body)
        if faults:
            raise ProblemError(ProblemCode.UNPROCESSABLE, "the account cannot be made", errors=faults)
        email, now = normalised_email(call.body.email), self._clock.wall_s()
        digest = await self._passwords.hash(call.body.password)
        try:
            account_id = await self._records.make_account(call.body, email, digest, now)
        except EmailTaken as error:
            raise ProblemError(ProblemCode.CONFLICT, "there is an account with this e-mail address") from error
        self._metrics.accounts.inc()
        return _private(await self._tokens(await self._records.open_log_in(account_id, "", now)), 201)

    async def log_in(self, call: Call[LogIn]) -> Answer[Tokens]:
        email, now = normalised_email(call.body.email), self._clock.wall_s()
        forwarded = call.request.headers.getall("X-Forwarded-For", [])
        address = client_address(call.request.remote, forwarded, self._trusted)
        account = AttemptKey("account", email, self._guessing.per_account)
        place = AttemptKey("address", address, self._guessing.per_address)
        wait_s = self._attempts.wait_s((account, place), now)
        if wait_s > 0:
            self._count(LogInOutcome.SLOWED_DOWN)
            words = f"too many wrong log-ins; try again in {wait_s:.0f} s"
            raise ProblemError(ProblemCode.TOO_MANY_REQUESTS, words, retry_after_s=wait_s)
        self._attempts.begin((account, place), now)
        account_id = await self._account_with(email, call.body.password)
        if account_id is None:
            raise ProblemError(ProblemCode.WRONG_PASSWORD)
        self._attempts.succeeded(account, (place,))
        self._count(LogInOutcome.OK)
        grant = await self._records.open_log_in(account_id, call.body.device_name, now)
        return _private(await self._tokens(grant), 201)

    async def refresh(self, call: Call[Refresh]) -> Answer[Tokens]:
        given = await self._records.rotate(call.body.refresh_token, self._clock.wall_s())
        verdict = given if isinstance(given, RefreshVerdict) else RefreshVerdict.ROTATE
        self._metrics.refreshes.labels(verdict.value).inc()
        if isinstance(given, RefreshVerdict):
            _LOG.info("refresh-refused", why=given.value)
            raise ProblemError(ProblemCode.UNAUTHENTICATED, _REFRESH_WORDS[given])
        return _private(await self._tokens(given), 200)

    async def sign_out(self, call: Call[None]) -> None:
        claims = call.who(AccessClaims)
        await self._records.end_log_in(claims.sub, claims.session, self._clock.wall_s())

    async def account(self, call: Call[None]) -> Account:
        return await self._account(call.who(AccessClaims).sub)

    async def add_profile(self, call: Call[ProfileChange]) -> Profile:
        """The new profile is in access tokens made from now on: refresh before using it."""
        _need_sound(call.body)
        account_id = call.who(AccessClaims).sub
        await self._account(account_id)
        try:
            return await self._records.add_profile(account_id, call.body, self._clock.wall_s())
        except TooManyProfiles as error:
            raise ProblemError(ProblemCode.CONFLICT, str(error)) from error

    async def change_profile(self, call: Call[ProfileChange]) -> Profile:
        _need_sound(call.body)
        try:
            return await self._records.change_profile(call.who(AccessClaims).sub, call.path["profile_id"], call.body)
        except UnknownProfile as error:
            raise ProblemError(ProblemCode.NOT_FOUND, "this account has no such profile") from error

    async def remove_profile(self, call: Call[None]) -> None:
        try:
            await self._records.remove_profile(call.who(AccessClaims).sub, call.path["profile_id"])
        except UnknownProfile as error:
            raise ProblemError(ProblemCode.NOT_FOUND, "this account has no such profile") from error
        except LastProfile as error:
            raise ProblemError(ProblemCode.CONFLICT, str(error)) from error

    async def jwks(self, call: Call[None]) -> Answer[Jwks]:
        return Answer(jwks_of(self._key), headers={"Cache-Control": "public, max-age=300"})

    async def _account_with(self, email: str, password: str) -> str | None:
        """The account whose password this is. An unknown address takes as long as a wrong password."""
        found = await self._records.credentials(email)
        if found is None:
            await self._passwords.verify_nobody(password)
            self._count(LogInOutcome.UNKNOWN_ACCOUNT)
            return None
        if not await self._passwords.verify(found.password_digest, password):
            self._count(LogInOutcome.WRONG_PASSWORD)
            return None
        if self._passwords.is_outdated(found.password_digest):
            await self._records.set_password_digest(found.account_id, await self._passwords.hash(password))
        return found.account_id

    async def _account(self, account_id: str) -> Account:
        try:
            return await self._records.account(account_id)
        except UnknownAccount as error:
            raise ProblemError(ProblemCode.UNAUTHENTICATED, "the account is gone") from error

    async def _tokens(self, grant: Grant) -> Tokens:
        account = await self._account(grant.account_id)
        claims = claims_of(account, grant.family_id, self._clock.wall_s(), self._access_ttl_s)
        return Tokens(sign(claims, self._key), int(self._access_ttl_s), grant.refresh_token, account.id)

    def _count(self, outcome: LogInOutcome) -> None:
        self._metrics.log_ins.labels(outcome.value).inc()


def _private(tokens: Tokens, status: int) -> Answer[Tokens]:
    """No cache keeps tokens (RFC 6749 §5.1)."""
    return Answer(tokens, status, {"Cache-Control": "no-store"})


def _need_sound(change: ProfileChange) -> None:
    faults = profile_faults(change)
    if faults:
        raise ProblemError(ProblemCode.UNPROCESSABLE, "the profile cannot be kept like this", errors=faults)
