"""Titles and their jobs in the database: states, leases, visible files.

Laws: a title has at most one job; a job is one worker's while its lease lasts; every write of a worker names the lease it
holds and raises LeaseLost when that is no longer the newest, so that a worker that slept through its lease changes
nothing; a title's files become visible all at once; a transaction that has begun ends, also when its caller is cancelled (a
connection given back in the middle of a statement blocks the next one and the end of the process).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from chassis.errors import ProblemError
from contracts.catalogue import Title, TitleFacts
from contracts.ingest import JobStatus, TitleState, TitleStatus
from contracts.problems import ProblemCode
from origin import states
from origin.errors import LeaseLost
from origin.probe import Rejected
from origin.records import files, jobs, titles
from origin.states import STEPS, Step

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's right to one job, until it is not renewed."""

    title_id: str
    epoch: int
    state: TitleState
    attempts: int
    facts: TitleFacts

    @property
    def step(self) -> Step:
        return STEPS[self.state]


@dataclass(frozen=True, slots=True)
class VisibleFile:
    """A file that the media listeners serve. `version` is its BLAKE3 in hex."""

    path: str
    size_bytes: int
    version: str
    content_type: str


def whole(
    method: Callable[Concatenate[Jobs, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Jobs, P], Coroutine[Any, Any, R]]:
    """Runs a method to its end; a caller that is cancelled meanwhile is cancelled after it."""

    @functools.wraps(method)
    async def run(self: Jobs, /, *args: P.args, **kwargs: P.kwargs) -> R:
        task = asyncio.ensure_future(method(self, *args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait((task,))
            raise

    return run


class Jobs:
    """The record of one origin. `now` gives seconds since the epoch."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database = database
        self._now = now

    @whole
    async def create(self, facts: TitleFacts) -> TitleStatus:
        """A new title in state `created`. Raises ProblemError CONFLICT when the id is taken."""
        now = self._now()
        row = {
            "id": facts.id,
            "facts": msgspec.json.encode(facts).decode(),
            "state": TitleState.CREATED.value,
            "created_at": now,
            "updated_at": now,
        }
        try:
            async with self._database.write() as session:
                await session.execute(insert(titles).values(row))
        except IntegrityError as error:
            raise ProblemError(ProblemCode.CONFLICT, f"there is a title {facts.id} already") from error
        return await self.status(facts.id)

    @whole
    async def status(self, title_id: str) -> TitleStatus:
        """Raises ProblemError NOT_FOUND."""
        async with self._database.read() as session:
            row = (await session.execute(_with_job().where(titles.c.id == title_id))).one_or_none()
        if row is None:
            raise _unknown(title_id)
        return _status(row)

    @whole
    async def statuses(self) -> tuple[TitleStatus, ...]:
        """All titles, oldest first."""
        async with self._database.read() as session:
            rows = (await session.execute(_with_job().order_by(titles.c.created_at, titles.c.id))).all()
        return tuple(_status(row) for row in rows)

    @whole
    async def unfinished(self) -> tuple[JobStatus, ...]:
        """All jobs in the order in which they are taken."""
        wanted = select(titles.c.state, jobs).join(titles, titles.c.id == jobs.c.title_id).order_by(jobs.c.queued_at)
        async with self._database.read() as session:
            rows = (await session.execute(wanted)).all()
        return tuple(
            JobStatus(
                title_id=row.title_id,
                stage=STEPS[TitleState(row.state)].stage.value,
                progress=row.progress,
                attempts=row.attempts,
                worker=row.worker if row.lease_until > self._now() else "",
                lease_until=row.lease_until,
                run_after=row.run_after,
                reason=row.reason,
            )
            for row in rows
        )

    @whole
    async def source_arrived(
        self, title_id: str, source_bytes: int, place: Callable[[], None] = lambda: None
    ) -> TitleStatus:
        """The source is whole: `uploaded`, and there is a job. `place` puts the file under its name, in the same transaction.

        Raises ProblemError CONFLICT in a state that takes no source, NOT_FOUND, and what `place` raises; nothing changed then.
        """
        async with self._database.write() as session:
            row = await _title(session, title_id)
            require_source_welcome(title_id, TitleState(row.state))
            await self._move(session, title_id, TitleState.UPLOADED, source_bytes=source_bytes, stage_seconds="{}")
            await self._queue(session, title_id)
            place()
        return await self.status(title_id)

    @whole
    async def retry(self, title_id: str) -> TitleStatus:
        """Works on a rejected or waiting title at once. Raises ProblemError CONFLICT where there is nothing to retry."""
        async with self._database.write() as session:
            row = await _title(session, title_id)
            to = states.retried(TitleState(row.state))
            if to is None or not row.source_bytes:
                raise ProblemError(ProblemCode.CONFLICT, f"title {title_id} is {row.state}: there is nothing to retry")
            if to is TitleState(row.state):
                waiting = (jobs.c.title_id == title_id) & (jobs.c.lease_until <= self._now())
                await session.execute(update(jobs).where(waiting).values(run_after=self._now(), attempts=0))
            else:
                await self._move(session, title_id, to)
                await self._queue(session, title_id)
        return await self.status(title_id)

    @whole
    async def withdraw(self, title_id: str) -> TitleStatus:
        """Takes a title back: whoever works on it loses its lease. Raises ProblemError NOT_FOUND."""
        async with self._database.write() as session:
            row = await _title(session, title_id)
            if TitleState(row.state) in states.WITHDRAWABLE:
                await self._move(session, title_id, TitleState.WITHDRAWING)
                await self._queue(session, title_id)
        return await self.status(title_id)

    @whole
    async def claim(self, worker: str, lease_s: float) -> Lease | None:
        """The job that has waited longest among those nobody has, or None."""
        now = self._now()
        async with self._database.write() as session:
            free = (jobs.c.lease_until <= now) & (jobs.c.run_after <= now)
            chosen = select(jobs).where(free).order_by(jobs.c.queued_at).limit(1).with_for_update(skip_locked=True)
            job = (await session.execute(chosen)).one_or_none()
            if job is None:
                return None
            row = await _title(session, job.title_id)
            taken = {
                "worker": worker,
                "lease_until": now + lease_s,
                "epoch": job.epoch + 1,
                "attempts": job.attempts + 1,
            }
            await session.execute(update(jobs).where(jobs.c.title_id == job.title_id).values(progress=0.0, **taken))
        facts = msgspec.json.decode(row.facts, type=TitleFacts)
        return Lease(job.title_id, job.epoch + 1, TitleState(row.state), job.attempts + 1, facts)

    @whole
    async def renew(self, lease: Lease, lease_s: float, progress: float) -> None:
        """Keeps the job. Raises LeaseLost."""
        async with self._database.write() as session:
            await _hold(session, lease, lease_until=self._now() + lease_s, progress=progress)

    @whole
    async def advance(self, lease: Lease, lease_s: float, seconds: float) -> Lease | None:
        """The stage is done: moves the title on. The next stage's lease, or None at rest. Raises LeaseLost."""
        to = lease.step.to
        assert to is not None, f"stage {lease.step.stage.value} ends a title, it does not move it"
        async with self._database.write() as session:
            await _hold(session, lease, lease_until=self._now() + lease_s, progress=0.0, attempts=1, reason="")
            row = await _title(session, lease.title_id)
            spent = msgspec.json.decode(row.stage_seconds, type=dict[str, float])
            spent[lease.step.stage.value] = round(seconds, 3)
            await self._move(session, lease.title_id, to, stage_seconds=msgspec.json.encode(spent).decode())
            if to not in states.RESTING:
                return Lease(lease.title_id, lease.epoch, to, 1, lease.facts)
            await session.execute(delete(jobs).where(jobs.c.title_id == lease.title_id))
            return None

    @whole
    async def failed(self, lease: Lease, wait_s: float, reason: str) -> None:
        """The attempt failed: the job is free again after `wait_s`. Raises LeaseLost."""
        async with self._database.write() as session:
            await _hold(session, lease, lease_until=0.0, run_after=self._now() + wait_s, reason=reason, worker="")

    @whole
    async def released(self, lease: Lease) -> None:
        """The worker stops: the job is free at once and the attempt does not count. Raises LeaseLost."""
        async with self._database.write() as session:
            await _hold(session, lease, lease_until=0.0, attempts=max(0, lease.attempts - 1), worker="")

    @whole
    async def reject(self, lease: Lease, rejected: Rejected) -> None:
        """The title ends here, with the reason in words. Raises LeaseLost."""
        async with self._database.write() as session:
            await _hold(session, lease)
            words = {"reason": rejected.words, "reason_code": rejected.reason.word}
            await self._move(session, lease.title_id, TitleState.REJECTED, **words)
            await session.execute(delete(jobs).where(jobs.c.title_id == lease.title_id))

    @whole
    async def make_visible(self, lease: Lease, title: Title) -> None:
        """All files of the title at once, and the record that will be announced. Raises LeaseLost."""
        rows = [
            {
                "path": file.path,
                "title_id": lease.title_id,
                "size_bytes": file.size_bytes,
                "version": file.digests.blake3,
                "content_type": file.digests.content_type,
            }
            for file in title.files
        ]
        async with self._database.write() as session:
            await _hold(session, lease)
            await session.execute(delete(files).where(files.c.title_id == lease.title_id))
            await session.execute(insert(files), rows)
            record = msgspec.json.encode(title).decode()
            changed = update(titles).where(titles.c.id == lease.title_id)
            await session.execute(changed.values(record=record, announced=True))

    @whole
    async def make_invisible(self, lease: Lease) -> tuple[str, ...]:
        """No file of the title is served from now on; gives their paths. Raises LeaseLost."""
        async with self._database.write() as session:
            await _hold(session, lease)
            mine = select(files.c.path).where(files.c.title_id == lease.title_id)
            paths = tuple((await session.execute(mine)).scalars())
            await session.execute(delete(files).where(files.c.title_id == lease.title_id))
        return paths

    @whole
    async def record(self, title_id: str) -> Title | None:
        """What was or is about to be announced of a title; None before its files are visible."""
        async with self._database.read() as session:
            text = (await session.execute(select(titles.c.record).where(titles.c.id == title_id))).scalar_one_or_none()
        return msgspec.json.decode(text, type=Title) if text else None

    @whole
    async def forget(self, lease: Lease) -> None:
        """Ends a withdrawn title. Raises LeaseLost."""
        async with self._database.write() as session:
            await _hold(session, lease)
            await session.execute(delete(jobs).where(jobs.c.title_id == lease.title_id))
            await session.execute(delete(titles).where(titles.c.id == lease.title_id))

    @whole
    async def visible(self, path: str) -> VisibleFile | None:
        """The file served at a token-less media path, or None."""
        async with self._database.read() as session:
            row = (await session.execute(select(files).where(files.c.path == path))).one_or_none()
        return VisibleFile(row.path, row.size_bytes, row.version, row.content_type) if row is not None else None

    async def _move(self, session: AsyncSession, title_id: str, to: TitleState, **values: Any) -> None:
        cleared = {"reason": "", "reason_code": "", **values}
        changed = update(titles).where(titles.c.id == title_id)
        await session.execute(changed.values(state=to.value, updated_at=self._now(), **cleared))

    async def _queue(self, session: AsyncSession, title_id: str) -> None:
        """A job without a lease. Its epoch is above all earlier ones of the title, so that no old lease ever fits it."""
        now = self._now()
        epoch = (await session.execute(select(jobs.c.epoch).where(jobs.c.title_id == title_id))).scalar_one_or_none()
        await session.execute(delete(jobs).where(jobs.c.title_id == title_id))
        row = {
            "title_id": title_id,
            "queued_at": now,
            "run_after": now,
            "epoch": max((epoch or 0) + 1, int(now * 1000)),
        }
        await session.execute(insert(jobs).values(row))


def require_source_welcome(title_id: str, state: TitleState) -> None:
    """Raises ProblemError CONFLICT unless a title in this state takes a source."""
    if state not in states.ACCEPTS_SOURCE:
        raise ProblemError(ProblemCode.CONFLICT, f"title {title_id} is {state.value}: it takes no source now")


async def _title(session: AsyncSession, title_id: str) -> Row[Any]:
    row = (await session.execute(select(titles).where(titles.c.id == title_id))).one_or_none()
    if row is None:
        raise _unknown(title_id)
    return row


async def _hold(session: AsyncSession, lease: Lease, **values: Any) -> None:
    """Writes to the job under this lease only."""
    mine = (jobs.c.title_id == lease.title_id) & (jobs.c.epoch == lease.epoch)
    changed = await session.execute(
        update(jobs).where(mine).values(epoch=lease.epoch, **values).returning(jobs.c.epoch)
    )
    if changed.one_or_none() is None:
        raise LeaseLost(f"the job of {lease.title_id} was given to somebody else")


def _with_job() -> Any:
    job = (jobs.c.progress, jobs.c.attempts, jobs.c.reason.label("job_reason"))
    return select(titles, *job).outerjoin(jobs, titles.c.id == jobs.c.title_id)


def _status(row: Row[Any]) -> TitleStatus:
    state = TitleState(row.state)
    step = STEPS.get(state)
    running = row.progress or 0.0
    return TitleStatus(
        facts=msgspec.json.decode(row.facts, type=TitleFacts),
        state=state,
        stage=step.stage.value if step else "",
        progress=states.progress(state, running),
        stage_progress=running if step else 0.0,
        attempts=row.attempts or 0,
        created_at=row.created_at,
        updated_at=row.updated_at,
        source_bytes=row.source_bytes,
        reason=row.reason or row.job_reason or "",
        reason_code=row.reason_code or ("waiting-to-retry" if row.job_reason else ""),
        stage_seconds=msgspec.json.decode(row.stage_seconds, type=dict[str, float]),
    )


def _unknown(title_id: str) -> ProblemError:
    return ProblemError(ProblemCode.NOT_FOUND, f"there is no title {title_id}")
