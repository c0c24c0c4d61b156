"""Accounts, profiles and log-ins in the database.

Law: what is decided on is read in the transaction that writes the decision (a refresh token can be spent by one caller
only; the fifth profile can be made once).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import msgspec
from sqlalchemy import Column, Float, ForeignKey, MetaData, String, Table, Text, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from companions.auth.errors import EmailTaken, LastProfile, TooManyProfiles, UnknownAccount, UnknownProfile
from companions.auth.refreshing import RefreshRecord, RefreshVerdict, judge, token_digest
from contracts.members import Account, Profile, ProfileChange, ProfileSettings, SignUp

SCHEMA_VERSION = 1
METADATA = MetaData()
ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("email", String(254), nullable=False, unique=True),
    Column("password_digest", Text, nullable=False),
    Column("region", String(2), nullable=False),
    Column("plan", String(32), nullable=False),
    Column("made_at", Float, nullable=False),
)
PROFILES = Table(
    "profiles",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", String(64), nullable=False),
    Column("settings", Text, nullable=False),
    Column("made_at", Float, nullable=False),
)
LOG_INS = Table(
    "log_ins",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("device_name", String(128), nullable=False),
    Column("made_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("end_reason", String(32)),
)
REFRESH_TOKENS = Table(
    "refresh_tokens",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("family_id", ForeignKey("log_ins.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires_at", Float, nullable=False, index=True),
    Column("spent_at", Float),
)


@dataclass(frozen=True, slots=True)
class Credentials:
    account_id: str
    password_digest: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A refresh token just made, and the log-in that it belongs to."""

    account_id: str
    family_id: str
    refresh_token: str


class Records:
    def __init__(self, database: Database, *, refresh_ttl_s: float, max_profiles: int) -> None:
        self._database = database
        self._refresh_ttl_s = refresh_ttl_s
        self._max_profiles = max_profiles

    async def make_account(self, request: SignUp, email: str, password_digest: str, now: float) -> str:
        """The new account's id. Raises EmailTaken."""
        account_id = _new_id("a")
        try:
            async with self._database.write() as session:
                values = {
                    "id": account_id,
                    "email": email,
                    "password_digest": password_digest,
                    "region": request.region,
                    "plan": request.plan,
                    "made_at": now,
                }
                await session.execute(insert(ACCOUNTS).values(values))
                await _insert_profile(session, account_id, ProfileChange(request.profile_name.strip()), now)
        except IntegrityError as error:
            raise EmailTaken(email) from error
        return account_id

    async def credentials(self, email: str) -> Credentials | None:
        wanted = select(ACCOUNTS.c.id, ACCOUNTS.c.password_digest).where(ACCOUNTS.c.email == email)
        async with self._database.read() as session:
            row = (await session.execute(wanted)).first()
        return Credentials(row[0], row[1]) if row else None

    async def set_password_digest(self, account_id: str, digest: str) -> None:
        async with self._database.write() as session:
            await session.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account_id).values(password_digest=digest))

    async def account(self, account_id: str) -> Account:
        """Raises UnknownAccount."""
        async with self._database.read() as session:
            return await _account(session, account_id)

    async def open_log_in(self, account_id: str, device_name: str, now: float) -> Grant:
        """A new family with its first refresh token; what of the account has expired is swept."""
        family_id = _new_id("f")
        async with self._database.write() as session:
            mine = select(LOG_INS.c.id).where(LOG_INS.c.account_id == account_id)
            expired = (REFRESH_TOKENS.c.family_id.in_(mine)) & (REFRESH_TOKENS.c.expires_at < now)
            await session.execute(delete(REFRESH_TOKENS).where(expired))
            alive = select(REFRESH_TOKENS.c.family_id)
            await session.execute(
                delete(LOG_INS).where((LOG_INS.c.account_id == account_id) & LOG_INS.c.id.not_in(alive))
            )
            values = {"id": family_id, "account_id": account_id, "device_name": device_name[:128], "made_at": now}
            await session.execute(insert(LOG_INS).values(values))
            token = await self._issue(session, family_id, now)
        return Grant(account_id, family_id, token)

    async def rotate(self, token: str, now: float) -> Grant | RefreshVerdict:
        """Spends a token for the next one, or says why not; a reused one ends its family.

        Spent tokens are kept until they expire, so that a copy is noticed, and no longer: a log-in may be refreshed for ever.
        """
        async with self._database.write() as session:
            record = await _refresh_record(session, token_digest(token))
            verdict = judge(record, now)
            if record is None:
                return verdict
            if verdict is RefreshVerdict.REUSED:
                await _end_family(session, record.family_id, now, "reused-token")
            if verdict is not RefreshVerdict.ROTATE:
                return verdict
            spent = update(REFRESH_TOKENS).where(REFRESH_TOKENS.c.digest == record.digest).values(spent_at=now)
            await session.execute(spent)
            old = (REFRESH_TOKENS.c.family_id == record.family_id) & (REFRESH_TOKENS.c.expires_at < now)
            await session.execute(delete(REFRESH_TOKENS).where(old))
            return Grant(record.account_id, record.family_id, await self._issue(session, record.family_id, now))

    async def end_log_in(self, account_id: str, family_id: str, now: float) -> None:
        """Ends the family when it is the account's; ending twice changes nothing."""
        async with self._database.write() as session:
            wanted = select(LOG_INS.c.account_id).where(LOG_INS.c.id == family_id)
            if (await session.execute(wanted)).scalar() == account_id:
                await _end_family(session, family_id, now, "signed-out")

    async def add_profile(self, account_id: str, change: ProfileChange, now: float) -> Profile:
        """Raises TooManyProfiles."""
        async with self._database.write() as session:
            if await _profile_count(session, account_id) >= self._max_profiles:
                raise TooManyProfiles(f"an account has at most {self._max_profiles} profiles")
            return await _insert_profile(session, account_id, change, now)

    async def change_profile(self, account_id: str, profile_id: str, change: ProfileChange) -> Profile:
        """Raises UnknownProfile."""
        values = {"name": change.name.strip(), "settings": msgspec.json.encode(change.settings).decode()}
        async with self._database.write() as session:
            await _need_profile(session, account_id, profile_id)
            await session.execute(update(PROFILES).where(PROFILES.c.id == profile_id).values(values))
        return Profile(profile_id, change.name.strip(), change.settings)

    async def remove_profile(self, account_id: str, profile_id: str) -> None:
        """Raises UnknownProfile and LastProfile."""
        async with self._database.write() as session:
            await _need_profile(session, account_id, profile_id)
            if await _profile_count(session, account_id) == 1:
                raise LastProfile("the last profile of an account stays")
            await session.execute(delete(PROFILES).where(PROFILES.c.id == profile_id))

    async def _issue(self, session: AsyncSession, family_id: str, now: float) -> str:
        token = secrets.token_urlsafe(32)
        values = {
            "digest": token_digest(token),
            "family_id": family_id,
            "expires_at": now + self._refresh_ttl_s,
        }
        await session.execute(insert(REFRESH_TOKENS).values(values))
        return token


async def _account(session: AsyncSession, account_id: str) -> Account:
    columns = (ACCOUNTS.c.email, ACCOUNTS.c.plan, ACCOUNTS.c.region)
    row = (await session.execute(select(*columns).where(ACCOUNTS.c.id == account_id))).first()
    if row is None:
        raise UnknownAccount(account_id)
    wanted = select(PROFILES.c.id, PROFILES.c.name, PROFILES.c.settings).where(PROFILES.c.account_id == account_id)
    found = await session.execute(wanted.order_by(PROFILES.c.made_at, PROFILES.c.id))
    profiles = tuple(Profile(p.id, p.name, msgspec.json.decode(p.settings, type=ProfileSettings)) for p in found)
    return Account(account_id, row.email, row.plan, row.region, profiles)


async def _insert_profile(session: AsyncSession, account_id: str, change: ProfileChange, now: float) -> Profile:
    profile = Profile(_new_id("p"), change.name.strip(), change.settings)
    values = {
        "id": profile.id,
        "account_id": account_id,
        "name": profile.name,
        "settings": msgspec.json.encode(profile.settings).decode(),
        "made_at": now,
    }
    await session.execute(insert(PROFILES).values(values))
    return profile


async def _profile_count(session: AsyncSession, account_id: str) -> int:
    wanted = select(func.count()).select_from(PROFILES).where(PROFILES.c.account_id == account_id)
    return int((await session.execute(wanted)).scalar_one())


async def _need_profile(session: AsyncSession, account_id: str, profile_id: str) -> None:
    wanted = select(PROFILES.c.account_id).where(PROFILES.c.id == profile_id)
    if (await session.execute(wanted)).scalar() != account_id:
        raise UnknownProfile(profile_id)


async def _refresh_record(session: AsyncSession, digest: str) -> RefreshRecord | None:
    columns = (REFRESH_TOKENS, LOG_INS.c.account_id, LOG_INS.c.ended_at)
    joined = REFRESH_TOKENS.join(LOG_INS, REFRESH_TOKENS.c.family_id == LOG_INS.c.id)
    wanted = select(*columns).select_from(joined).where(REFRESH_TOKENS.c.digest == digest)
    row = (await session.execute(wanted)).first()
    if row is None:
        return None
    return RefreshRecord(row.digest, row.family_id, row.account_id, row.expires_at, row.spent_at, row.ended_at)


async def _end_family(session: AsyncSession, family_id: str, now: float, reason: str) -> None:
    still_open = (LOG_INS.c.id == family_id) & LOG_INS.c.ended_at.is_(None)
    await session.execute(update(LOG_INS).where(still_open).values(ended_at=now, end_reason=reason))


def _new_id(letter: str) -> str:
    return f"{letter}-{secrets.token_hex(8)}"
