"""A worker: takes a job, keeps its lease while a stage runs, moves the title on, takes the next.

Laws: a stage runs only under a lease; the lease is renewed three times per period; when renewal says that somebody else
has the job, the stage is cancelled at once (its children die with it); when the worker stops, its jobs are free at once.
"""

from __future__ import annotations

import asyncio
from enum import Enum

from chassis.clock import Clock
from chassis.errors import ChassisError
from chassis.logs import get_logger
from origin.config import OriginSettings
from origin.errors import LeaseLost, SourceRejected
from origin.folders import TitleFolder
from origin.jobs import Jobs, Lease
from origin.metrics import WorkMetrics
from origin.probe import Rejected, Rejection
from origin.stages import Stages, Work
from origin.states import backoff_s

RENEWALS_PER_LEASE = 3


class Outcome(Enum):
    """How a stage ended (log word = value)."""

    DONE = "done"
    REJECTED = "rejected"
    FAILED = "failed"
    GAVE_UP = "gave-up"
    LEASE_LOST = "lease-lost"
    RELEASED = "released"


class Worker:
    """One slot of a worker process. `name` is unique among all workers."""

    def __init__(
        self, name: str, settings: OriginSettings, jobs: Jobs, stages: Stages, metrics: WorkMetrics, clock: Clock
    ) -> None:
        self._name = name
        self._settings = settings
        self._jobs = jobs
        self._stages = stages
        self._metrics = metrics
        self._clock = clock
        self._log = get_logger("origin.worker", worker=name)

    async def run(self) -> None:
        """Works for ever; cancel it to stop."""
        while True:
            if not await self.work_once():
                await self._clock.sleep(self._settings.jobs.poll_s)

    async def work_once(self) -> bool:
        """Takes a job and works on its title as far as it goes. False when nobody needs work."""
        lease = await self._claimed()
        if lease is None:
            return False
        self._metrics.running.inc()
        try:
            while lease is not None:
                lease = await self._stage(lease)
        except LeaseLost as error:
            self._log.warning("lease-lost", detail=str(error))
        finally:
            self._metrics.running.dec()
        return True

    async def _claimed(self) -> Lease | None:
        """A job; given back at once when the worker is stopped while it takes one."""
        claiming = asyncio.ensure_future(self._jobs.claim(self._name, self._settings.jobs.lease_s))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            lease = await claiming
            if lease is not None:
                await self._jobs.released(lease)
            raise

    async def _stage(self, lease: Lease) -> Lease | None:
        """Runs the lease's stage; the next one's lease, or None when the title rests or waits. Raises LeaseLost."""
        stage = lease.step.stage
        started_s = self._clock.monotonic_s()
        try:
            self._require_attempts_left(lease)
            await self._run_held(lease)
        except LeaseLost:
            self._ended(lease, Outcome.LEASE_LOST)
            raise
        except SourceRejected as error:
            self._metrics.rejected.labels(error.rejected.reason.word).inc()
            self._ended(lease, Outcome.REJECTED, detail=str(error))
            await self._jobs.reject(lease, error.rejected)
            return None
        except asyncio.CancelledError:
            self._ended(lease, Outcome.RELEASED)
            await asyncio.shield(self._jobs.released(lease))
            raise
        except Exception as error:  # noqa: BLE001  the border of a job: counted, logged, tried again or given up
            await self._failed(lease, error)
            return None
        seconds = self._clock.monotonic_s() - started_s
        self._metrics.seconds.labels(stage.value).observe(seconds)
        self._ended(lease, Outcome.DONE, seconds=round(seconds, 3))
        return await self._jobs.advance(lease, self._settings.jobs.lease_s, seconds) if lease.step.to else None

    async def _run_held(self, lease: Lease) -> None:
        """The stage beside the renewal of its lease."""
        share = 0.0

        def on_share(reached: float) -> None:
            nonlocal share
            share = max(share, min(1.0, reached))

        async def keep() -> None:
            lease_s = self._settings.jobs.lease_s
            while True:
                await self._clock.sleep(lease_s / RENEWALS_PER_LEASE)
                await self._jobs.renew(lease, lease_s, share)

        folder = TitleFolder(self._settings.titles / lease.title_id)
        keeping = asyncio.create_task(keep())
        running = asyncio.create_task(self._stages.run(Work(lease, folder, on_share)))
        try:
            await asyncio.wait((keeping, running), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                keeping.result()
            await running
        finally:
            for task in (keeping, running):
                task.cancel()
            await asyncio.gather(keeping, running, return_exceptions=True)

    def _require_attempts_left(self, lease: Lease) -> None:
        """A title whose work kills every worker ends too: those attempts were counted when the job was taken."""
        most = self._settings.jobs.max_attempts
        if lease.attempts > most and not lease.step.patient:
            detail = f"{lease.step.stage.value} ended {most} times without a result"
            raise SourceRejected(Rejected(Rejection.GAVE_UP, detail))

    async def _failed(self, lease: Lease, error: Exception) -> None:
        rules = self._settings.jobs
        expected = isinstance(error, ChassisError)
        words = str(error) if expected else f"{type(error).__name__} (see the worker's log)"
        if lease.attempts >= rules.max_attempts and not lease.step.patient:
            detail = f"{lease.step.stage.value}, {lease.attempts} attempts, the last one: {words}"
            self._metrics.rejected.labels(Rejection.GAVE_UP.word).inc()
            self._ended(lease, Outcome.GAVE_UP, detail=words, trace=None if expected else error)
            await self._jobs.reject(lease, Rejected(Rejection.GAVE_UP, detail))
            return
        wait_s = backoff_s(lease.attempts, rules.first_wait_s, rules.longest_wait_s)
        self._ended(lease, Outcome.FAILED, detail=words, wait_s=wait_s, trace=None if expected else error)
        await self._jobs.failed(lease, wait_s, words)

    def _ended(self, lease: Lease, outcome: Outcome, trace: Exception | None = None, **facts: object) -> None:
        stage = lease.step.stage.value
        self._metrics.stages.labels(stage, outcome.value).inc()
        bad = outcome in (Outcome.FAILED, Outcome.GAVE_UP, Outcome.LEASE_LOST)
        say = self._log.warning if bad else self._log.info
        say("stage-ended", title=lease.title_id, stage=stage, outcome=outcome.value, exc_info=trace, **facts)
