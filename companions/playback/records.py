"""Sessions, positions and play counts in the database.

Law: the stream limit is judged in the transaction that opens the session, so that two devices that press play at the same
moment do not both get the last stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from companions.playback.entitlement import Refusal, Stream, stream_refusal
from companions.playback.popularity import Decayed, played, ranked
from companions.playback.positions import clamped, is_finished, resume_at
from companions.playback.sessions import EndReason, Session, beat_refusal, renewal_refusal
from contracts.members import MemberPlan
from contracts.viewing import PlayBeat, PlayEvent, Position, TitleCount

SCHEMA_VERSION = 1
MAX_POSITIONS = 200
METADATA = MetaData()
SESSIONS = Table(
    "sessions",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("secret_digest", String(64), nullable=False, unique=True),
    Column("account_id", String(32), nullable=False),
    Column("profile_id", String(32), nullable=False),
    Column("title_id", String(128), nullable=False),
    Column("device_id", String(128), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
    Column("ended_at", Float),
    Column("end_reason", String(64), nullable=False),
    Column("document", LargeBinary, nullable=False),
    Index("sessions_by_account", "account_id", "ended_at"),
    Index("sessions_by_profile", "profile_id", "title_id", "started_at"),
)
POSITIONS = Table(
    "positions",
    METADATA,
    Column("profile_id", String(32), primary_key=True),
    Column("title_id", String(128), primary_key=True),
    Column("position_s", Float, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("watched_at", Float, nullable=False),
    Column("finished", Boolean, nullable=False),
    Index("positions_by_age", "profile_id", "watched_at"),
)
PLAYS = Table(
    "plays",
    METADATA,
    Column("region", String(2), primary_key=True),
    Column("title_id", String(128), primary_key=True),
    Column("plays", Float, nullable=False),
    Column("at", Float, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A session was opened; `position_s` is where its profile goes on."""

    position_s: float


@dataclass(frozen=True, slots=True)
class Beaten:
    """A heartbeat was taken; `stop` says why the player has to stop (empty: go on)."""

    session: Session
    stop: str


@dataclass(frozen=True, slots=True)
class Renewed:
    """A session as it lives on; `refusal` says why it does not (empty: it does)."""

    session: Session
    refusal: str


@dataclass(frozen=True, slots=True)
class Limits:
    ttl_s: float
    half_life_s: float
    repeat_s: float


def secret_digest(secret: str) -> str:
    """What is stored of a session's secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Records:
    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def open(self, new: Session, secret: str, plan: MemberPlan) -> Opened | Refusal:
        """Opens the session unless the plan's streams are used up. An earlier one of the device ends."""
        now = new.started_at
        async with self._database.write() as session:
            running = await self._running(session, new.account_id, now)
            refusal = stream_refusal(plan, running, new.device_id, now)
            if refusal is not None:
                return refusal
            await _end_on_device(session, new.account_id, new.device_id, now)
            if not await self._is_repeat(session, new):
                await self._count_play(session, new.region, new.title_id, now)
            await session.execute(insert(SESSIONS).values(_row(new, secret)))
            return Opened(resume_at(await _position(session, new.profile_id, new.title_id)))

    async def session(self, secret: str) -> Session | None:
        async with self._database.read() as session:
            return await _session(session, secret)

    async def beat(self, secret: str, beat: PlayBeat, now: float) -> Beaten | None:
        """Takes a heartbeat: position and liveness. None when there is no such session."""
        async with self._database.write() as session:
            found = await _session(session, secret)
            if found is None:
                return None
            running = await self._running(session, found.account_id, now)
            stop = beat_refusal(found, running, self._limits.ttl_s, now)
            if stop:
                return Beaten(found, stop)
            await _keep_position(session, found, beat.position_s, now)
            here = SESSIONS.c.id == found.id
            await session.execute(update(SESSIONS).where(here).values(seen_at=now))
            if beat.event is PlayEvent.STOP:
                await _end(session, found.id, now, EndReason.STOPPED)
                return Beaten(found, EndReason.STOPPED.value)
            return Beaten(found, "")

    async def renew(self, secret: str, now: float, expires_at: float) -> Renewed | None:
        """Lets a session live on from now. None when there is no such session."""
        async with self._database.write() as session:
            found = await _session(session, secret)
            if found is None:
                return None
            running = await self._running(session, found.account_id, now)
            refusal = renewal_refusal(found, running, self._limits.ttl_s, now)
            if refusal:
                return Renewed(found, refusal)
            values = {"seen_at": now, "expires_at": max(expires_at, found.expires_at)}
            await session.execute(update(SESSIONS).where(SESSIONS.c.id == found.id).values(values))
            return Renewed(msgspec.structs.replace(found, **values), "")

    async def revoke(self, session_ids: Collection[str], now: float) -> None:
        """Ends those of the sessions that are not over."""
        here = SESSIONS.c.id.in_(session_ids) & SESSIONS.c.ended_at.is_(None)
        async with self._database.write() as session:
            await session.execute(update(SESSIONS).where(here).values(ended_at=now, end_reason=EndReason.REVOKED.value))

    async def end(self, secret: str, now: float) -> Session | None:
        """Ends a session; None when there is none, or when it had ended already."""
        async with self._database.write() as session:
            found = await _session(session, secret)
            if found is None or found.ended_at is not None:
                return None
            await _end(session, found.id, now, EndReason.STOPPED)
            return found

    async def positions(self, profile_id: str) -> tuple[Position, ...]:
        """Last watched first."""
        columns = (
            POSITIONS.c.title_id,
            POSITIONS.c.position_s,
            POSITIONS.c.duration_s,
            POSITIONS.c.watched_at,
            POSITIONS.c.finished,
        )
        wanted = select(*columns).where(POSITIONS.c.profile_id == profile_id)
        wanted = wanted.order_by(POSITIONS.c.watched_at.desc(), POSITIONS.c.title_id).limit(MAX_POSITIONS)
        async with self._database.read() as session:
            return tuple(Position(*row) for row in (await session.execute(wanted)).all())

    async def popular(self, region: str, now: float, limit: int) -> tuple[TitleCount, ...]:
        wanted = select(PLAYS.c.title_id, PLAYS.c.plays, PLAYS.c.at).where(PLAYS.c.region == region)
        async with self._database.read() as session:
            rows = (await session.execute(wanted)).all()
        counts = [(row.title_id, Decayed(row.plays, row.at)) for row in rows]
        return ranked(counts, now, self._limits.half_life_s, limit)

    async def live_count(self, now: float) -> int:
        """Streams that count now, over all accounts."""
        live = SESSIONS.c.ended_at.is_(None) & (SESSIONS.c.seen_at >= now - self._limits.ttl_s)
        async with self._database.read() as session:
            return int((await session.execute(select(func.count()).select_from(SESSIONS).where(live))).scalar_one())

    async def sweep(self, ended_before: float) -> int:
        """Deletes sessions whose tokens expired, or that ended, before an instant. Gives their number."""
        old = (SESSIONS.c.expires_at < ended_before) | (SESSIONS.c.ended_at < ended_before)
        async with self._database.write() as session:
            return len((await session.execute(delete(SESSIONS).where(old).returning(SESSIONS.c.id))).all())

    async def _running(self, session: AsyncSession, account_id: str, now: float) -> Sequence[Stream]:
        live = (
            (SESSIONS.c.account_id == account_id)
            & SESSIONS.c.ended_at.is_(None)
            & (SESSIONS.c.seen_at >= now - self._limits.ttl_s)
            & (SESSIONS.c.expires_at > now)
        )
        columns = (SESSIONS.c.id, SESSIONS.c.device_id, SESSIONS.c.title_id, SESSIONS.c.seen_at)
        found = await session.execute(select(*columns).where(live).order_by(SESSIONS.c.started_at))
        return [Stream(*row) for row in found.all()]

    async def _is_repeat(self, session: AsyncSession, new: Session) -> bool:
        same = (SESSIONS.c.profile_id == new.profile_id) & (SESSIONS.c.title_id == new.title_id)
        recent = SESSIONS.c.started_at > new.started_at - self._limits.repeat_s
        return (await session.execute(select(SESSIONS.c.id).where(same & recent).limit(1))).first() is not None

    async def _count_play(self, session: AsyncSession, region: str, title_id: str, now: float) -> None:
        here = (PLAYS.c.region == region) & (PLAYS.c.title_id == title_id)
        row = (await session.execute(select(PLAYS.c.plays, PLAYS.c.at).where(here))).first()
        count = played(Decayed(row[0], row[1]) if row else None, now, self._limits.half_life_s)
        values = {"region": region, "title_id": title_id, "plays": count.plays, "at": count.at}
        await session.execute(
            insert(PLAYS).values(values).on_conflict_do_update(index_elements=_PLAYS_KEY, set_=values)
        )


_PLAYS_KEY = [PLAYS.c.region, PLAYS.c.title_id]
_POSITIONS_KEY = [POSITIONS.c.profile_id, POSITIONS.c.title_id]


def _row(new: Session, secret: str) -> dict[str, object]:
    return {
        "id": new.id,
        "secret_digest": secret_digest(secret),
        "account_id": new.account_id,
        "profile_id": new.profile_id,
        "title_id": new.title_id,
        "device_id": new.device_id,
        "started_at": new.started_at,
        "seen_at": new.seen_at,
        "expires_at": new.expires_at,
        "ended_at": None,
        "end_reason": "",
        "document": msgspec.json.encode(new),
    }


async def _session(session: AsyncSession, secret: str) -> Session | None:
    """The document as it was opened, with what changed since."""
    changing = (SESSIONS.c.seen_at, SESSIONS.c.expires_at, SESSIONS.c.ended_at, SESSIONS.c.end_reason)
    columns = (SESSIONS.c.document, *changing)
    wanted = select(*columns).where(SESSIONS.c.secret_digest == secret_digest(secret))
    row = (await session.execute(wanted)).first()
    if row is None:
        return None
    opened = msgspec.json.decode(row[0], type=Session)
    return msgspec.structs.replace(opened, seen_at=row[1], expires_at=row[2], ended_at=row[3], end_reason=row[4])


async def _position(session: AsyncSession, profile_id: str, title_id: str) -> Position | None:
    columns = (POSITIONS.c.position_s, POSITIONS.c.duration_s, POSITIONS.c.watched_at, POSITIONS.c.finished)
    here = (POSITIONS.c.profile_id == profile_id) & (POSITIONS.c.title_id == title_id)
    row = (await session.execute(select(*columns).where(here))).first()
    return Position(title_id, *row) if row else None


async def _keep_position(session: AsyncSession, play: Session, position_s: float, now: float) -> None:
    position_s = clamped(position_s, play.duration_s)
    values = {
        "profile_id": play.profile_id,
        "title_id": play.title_id,
        "position_s": position_s,
        "duration_s": play.duration_s,
        "watched_at": now,
        "finished": is_finished(position_s, play.duration_s),
    }
    kept = insert(POSITIONS).values(values).on_conflict_do_update(index_elements=_POSITIONS_KEY, set_=values)
    await session.execute(kept)


async def _end(session: AsyncSession, session_id: str, now: float, reason: EndReason) -> None:
    here = SESSIONS.c.id == session_id
    await session.execute(update(SESSIONS).where(here).values(ended_at=now, end_reason=reason.value))


async def _end_on_device(session: AsyncSession, account_id: str, device_id: str, now: float) -> None:
    here = (SESSIONS.c.account_id == account_id) & (SESSIONS.c.device_id == device_id) & SESSIONS.c.ended_at.is_(None)
    await session.execute(update(SESSIONS).where(here).values(ended_at=now, end_reason=EndReason.REPLACED.value))
