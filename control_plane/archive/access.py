"""Enrolment codes, certificates, public keys, revoked sessions, and the audit log."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.enrolment import PeerKind
from contracts.keys import PublicKey, Revocation
from contracts.overview import AuditEntry
from control_plane import records
from control_plane.enrolment import Code


async def add_code(session: AsyncSession, code: Code) -> None:
    values = {"hash": code.hash, "kind": code.kind.value, "name": code.name, "expires_at": code.expires_at}
    await session.execute(insert(records.codes).values(**values))


async def code(session: AsyncSession, hash_: str) -> Code | None:
    table = records.codes
    row = (await session.execute(select(table).where(table.c.hash == hash_))).one_or_none()
    return Code(row.hash, PeerKind(row.kind), row.name, row.expires_at, row.used_at) if row is not None else None


async def use_code(session: AsyncSession, hash_: str, now: float) -> None:
    table = records.codes
    await session.execute(update(table).where(table.c.hash == hash_).values(used_at=now))


async def add_certificate(
    session: AsyncSession, kind: PeerKind, name: str, serial: str, issued_at: float, expires_at: float
) -> None:
    """Keeps what was issued. An appliance's newest certificate is the only one that is accepted."""
    values = {"serial": serial, "kind": kind.value, "name": name, "issued_at": issued_at, "expires_at": expires_at}
    await session.execute(insert(records.certificates).values(**values))
    if kind is PeerKind.APPLIANCE:
        table = records.appliances
        await session.execute(update(table).where(table.c.id == name).values(serial=serial))


async def keys(session: AsyncSession) -> dict[str, tuple[str, PublicKey]]:
    """kid → (who published it, the key), in the order of the kids."""
    rows = await session.execute(select(records.keys).order_by(records.keys.c.kid))
    return {row.kid: (row.publisher, msgspec.json.decode(row.document, type=PublicKey)) for row in rows}


async def put_key(session: AsyncSession, key: PublicKey, publisher: str) -> None:
    values = {"publisher": publisher, "document": msgspec.json.encode(key)}
    statement = insert(records.keys).values(kid=key.kid, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=[records.keys.c.kid], set_=values))


async def revocations(session: AsyncSession) -> tuple[Revocation, ...]:
    """All that are kept, the first to be forgotten first."""
    rows = await session.execute(select(records.revocations).order_by(records.revocations.c.expires_at))
    return tuple(msgspec.json.decode(row.document, type=Revocation) for row in rows)


async def put_revocation(session: AsyncSession, revocation: Revocation) -> None:
    values = {"expires_at": revocation.expires_at, "document": msgspec.json.encode(revocation)}
    statement = insert(records.revocations).values(session=revocation.session, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=[records.revocations.c.session], set_=values))


async def drop_revocations(session: AsyncSession, *, name: str = "", before: float = 0.0) -> None:
    """The one of a session, and those that are forgotten before an instant."""
    table = records.revocations
    await session.execute(delete(table).where((table.c.session == name) | (table.c.expires_at <= before)))


async def note(session: AsyncSession, at: float, operator: str, action: str, subject: str, detail: str = "") -> None:
    """One line of the audit log, in the transaction of the change itself."""
    values = {"at": at, "operator": operator, "action": action, "subject": subject, "detail": detail}
    await session.execute(insert(records.audit).values(**values))


async def audit(session: AsyncSession, limit: int) -> tuple[AuditEntry, ...]:
    """Newest first."""
    table = records.audit
    rows = await session.execute(select(table).order_by(table.c.number.desc()).limit(limit))
    return tuple(AuditEntry(row.number, row.at, row.operator, row.action, row.subject, row.detail) for row in rows)
