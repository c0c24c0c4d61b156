from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from chassis.clock import VirtualClock
from chassis.database import Database
from chassis.errors import ProblemError
from contracts.catalogue import FileKind, PublishedFile, Title, TitleFacts
from contracts.digests import DigestBuilder
from contracts.ingest import TitleState
from origin.errors import LeaseLost
from origin.jobs import Jobs, Lease
from origin.probe import Rejected, Rejection
from origin.records import SCHEMA_VERSION, metadata
from origin.states import Stage

LEASE_S = 10.0


class Record:
    """Jobs on a clock of our own."""

    def __init__(self, jobs: Jobs, clock: VirtualClock) -> None:
        self.jobs = jobs
        self.clock = clock

    async def uploaded(self, title_id: str = "t1") -> None:
        await self.jobs.create(TitleFacts(id=title_id, name=title_id))
        await self.jobs.source_arrived(title_id, 1000)

    async def claimed(self, worker: str = "w1") -> Lease:
        lease = await self.jobs.claim(worker, LEASE_S)
        assert lease is not None
        return lease

    async def at_publish(self) -> Lease:
        await self.uploaded()
        lease: Lease | None = await self.claimed()
        while lease is not None and lease.step.stage is not Stage.PUBLISH:
            lease = await self.jobs.advance(lease, LEASE_S, 1.0)
        assert lease is not None
        return lease


@pytest.fixture
async def record(tmp_path: Path) -> AsyncIterator[Record]:
    clock = VirtualClock()
    async with Database.open(tmp_path / "o.sqlite", metadata, schema_version=SCHEMA_VERSION) as database:
        yield Record(Jobs(database, clock.wall_s), clock)


def title(*names: str) -> Title:
    files = []
    for name in names:
        builder = DigestBuilder(f"vod|/media/t1/sd/{name}", "video/mp4")
        builder.update(name.encode())
        digests = builder.finish()
        files.append(PublishedFile(f"/media/t1/sd/{name}", FileKind.VIDEO, "sd", "t1/v", digests.size_bytes, digests))
    return Title(TitleFacts("t1", "t1"), 8.0, (), tuple(files))


async def test_a_job_is_one_workers_while_its_lease_lasts(record: Record) -> None:
    await record.uploaded()
    lease = await record.claimed()
    assert (lease.step.stage, lease.attempts) == (Stage.PROBE, 1)
    await record.clock.advance(LEASE_S - 1)
    assert await record.jobs.claim("w2", LEASE_S) is None
    await record.jobs.renew(lease, LEASE_S, 0.5)
    await record.clock.advance(LEASE_S - 1)
    assert await record.jobs.claim("w2", LEASE_S) is None
    assert (await record.jobs.status("t1")).stage_progress == 0.5


async def test_a_silent_worker_loses_its_job_and_can_change_nothing_any_more(record: Record) -> None:
    await record.uploaded()
    old = await record.claimed()
    await record.clock.advance(LEASE_S)
    new = await record.claimed("w2")
    assert (new.title_id, new.attempts, new.state) == ("t1", 2, TitleState.UPLOADED)
    for write in (
        record.jobs.renew(old, LEASE_S, 1.0),
        record.jobs.advance(old, LEASE_S, 1.0),
        record.jobs.failed(old, 1.0, "x"),
        record.jobs.released(old),
        record.jobs.reject(old, Rejected(Rejection.NO_VIDEO)),
        record.jobs.make_visible(old, title("a.mp4")),
        record.jobs.make_invisible(old),
        record.jobs.forget(old),
    ):
        with pytest.raises(LeaseLost):
            await write
    assert (await record.jobs.status("t1")).state is TitleState.UPLOADED
    await record.jobs.advance(new, LEASE_S, 1.0)
    assert (await record.jobs.status("t1")).state is TitleState.PROBED


async def test_titles_are_worked_on_in_the_order_in_which_they_came(record: Record) -> None:
    for name in ("t1", "t2", "t3"):
        await record.uploaded(name)
        await record.clock.advance(1)
    assert [(await record.claimed()).title_id for _ in range(3)] == ["t1", "t2", "t3"]
    assert await record.jobs.claim("w", LEASE_S) is None


async def test_a_failed_attempt_waits_and_says_why(record: Record) -> None:
    await record.uploaded()
    await record.jobs.failed(await record.claimed(), 5.0, "the disk is full")
    status = await record.jobs.status("t1")
    assert (status.reason, status.reason_code) == ("the disk is full", "waiting-to-retry")
    await record.clock.advance(4.9)
    assert await record.jobs.claim("w", LEASE_S) is None
    await record.clock.advance(0.2)
    assert (await record.claimed()).attempts == 2


async def test_a_retry_by_hand_does_not_wait(record: Record) -> None:
    await record.uploaded()
    await record.jobs.failed(await record.claimed(), 500.0, "x")
    await record.jobs.retry("t1")
    assert (await record.claimed()).attempts == 1


async def test_a_released_job_is_free_at_once_and_its_attempt_does_not_count(record: Record) -> None:
    await record.uploaded()
    await record.jobs.released(await record.claimed())
    assert (await record.claimed("w2")).attempts == 1


async def test_a_rejected_title_says_why_and_has_no_job(record: Record) -> None:
    await record.uploaded()
    await record.jobs.reject(await record.claimed(), Rejected(Rejection.NO_VIDEO, "it holds sound only"))
    status = await record.jobs.status("t1")
    assert (status.state, status.reason_code) == (TitleState.REJECTED, "no-video")
    assert status.reason == "The file has no video stream: it holds sound only"
    assert await record.jobs.unfinished() == ()
    await record.jobs.retry("t1")
    assert (await record.jobs.status("t1")).reason == ""


async def test_an_old_lease_does_not_fit_the_job_of_another_life(record: Record) -> None:
    await record.uploaded()
    old = await record.claimed()
    await record.jobs.reject(old, Rejected(Rejection.NO_VIDEO))
    await record.clock.advance(1)
    await record.jobs.source_arrived("t1", 2000)
    await record.claimed("w2")
    with pytest.raises(LeaseLost):
        await record.jobs.renew(old, LEASE_S, 0.1)


async def test_files_become_visible_together_and_only_with_their_title_stored(record: Record) -> None:
    lease = await record.at_publish()
    assert await record.jobs.visible("/media/t1/sd/a.mp4") is None
    await record.jobs.make_visible(lease, title("a.mp4", "b.mp4"))
    for name in ("a.mp4", "b.mp4"):
        found = await record.jobs.visible(f"/media/t1/sd/{name}")
        assert found is not None
        assert found.size_bytes == len(name)
    assert await record.jobs.record("t1") == title("a.mp4", "b.mp4")


async def test_a_broken_publication_shows_nothing(record: Record) -> None:
    lease = await record.at_publish()
    with pytest.raises(IntegrityError):
        await record.jobs.make_visible(lease, title("a.mp4", "b.mp4", "a.mp4"))
    assert await record.jobs.visible("/media/t1/sd/a.mp4") is None
    assert await record.jobs.record("t1") is None


async def test_withdrawing_takes_the_job_from_whoever_has_it(record: Record) -> None:
    await record.uploaded()
    lease = await record.claimed()
    await record.jobs.withdraw("t1")
    with pytest.raises(LeaseLost):
        await record.jobs.renew(lease, LEASE_S, 0.1)
    taken = await record.claimed("w2")
    assert taken.step.stage is Stage.WITHDRAW
    await record.jobs.forget(taken)
    with pytest.raises(ProblemError):
        await record.jobs.status("t1")
    await record.uploaded()


async def test_nothing_can_be_retried_before_a_source_came(record: Record) -> None:
    await record.jobs.create(TitleFacts("t1", "t1"))
    with pytest.raises(ProblemError, match="nothing to retry"):
        await record.jobs.retry("t1")
