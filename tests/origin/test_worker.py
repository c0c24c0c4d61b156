from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from contracts.ingest import TitleState, TitleStatus
from origin.config import Encode, Ingest, JobRules
from origin.ladder import Rung
from origin.objects import ObjectsError, StoredObjects, open_objects
from origin.programs import Programs
from tests.origin.conftest import Footage
from tests.origin.room import RUNGS, Room, eventually, make_clip, make_worker, running_room

SLOW = (Rung(240, 300_000, 400_000, "slower"),)


def write_config(room: Room, folder: Path) -> Path:
    """The room's settings as the file that a worker process reads."""
    settings, encode = room.settings, room.settings.encode
    names = ("height", "bitrate_bps", "max_rate_bps", "preset")
    values = {
        "state_dir": str(settings.state_dir),
        "operator_token_file": str(settings.operator_token_file),
        "control_plane": {"url": settings.control_plane.url},
        "catalog": {"url": settings.catalog.url, "secret_file": str(settings.catalog.secret_file)},
        "encode": {
            "rungs": [{name: getattr(rung, name) for name in names} for rung in encode.rungs],
            "threads": encode.threads,
            "chunk_s": encode.chunk_s,
            "nice": encode.nice,
        },
        "jobs": {"lease_s": settings.jobs.lease_s, "poll_s": settings.jobs.poll_s},
    }
    file = folder / "worker.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


async def start_worker(config: Path) -> asyncio.subprocess.Process:
    command = ("-m", "origin", "worker", "--config", str(config))
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, env={**os.environ, "PYTHONPATH": "."}, stderr=asyncio.subprocess.DEVNULL
    )


async def follow(room: Room, wanted: Callable[[TitleStatus], bool], within_s: float = 40.0) -> TitleStatus:
    """Polls until `wanted(status)`."""
    async with asyncio.timeout(within_s):
        while not wanted(status := await room.status()):  # noqa: ASYNC110  the API has no waiting call
            await asyncio.sleep(0.02)
    return status


def encoders_of(folder: Path) -> list[int]:
    """Process ids of whoever works in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


async def test_a_worker_killed_in_the_middle_of_an_encode_is_followed_by_another(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 12)
    rules = Encode(SLOW, threads=1, nice=0, chunk_s=4)
    async with running_room(tmp_path, encode=rules, jobs=JobRules(lease_s=1.0, poll_s=0.05)) as room:
        config = write_config(room, tmp_path)
        folder = room.settings.titles / "t1"
        await room.ingest(clip)
        first = await start_worker(config)
        done = folder / "units" / "chunk-0000"
        await eventually(done.is_dir, within_s=30)
        stamps = {file.name: file.stat().st_mtime_ns for file in done.iterdir()}
        first.kill()
        await first.wait()
        killed = await room.status()
        assert killed.state is TitleState.CHUNKED
        await eventually(lambda: encoders_of(folder) == [])
        second = await start_worker(config)
        try:
            resumed = await follow(room, lambda status: status.attempts == 2 or status.state is not TitleState.CHUNKED)
            assert resumed.state is TitleState.CHUNKED
            kept = {file.name: file.stat().st_mtime_ns for file in done.iterdir()}
            status = await follow(room, lambda status: status.state is TitleState.PUBLISHED)
        finally:
            second.terminate()
            code = await asyncio.wait_for(second.wait(), 20)
        assert code == 0
        assert kept == stamps
        assert status.reason == ""
        assert room.control_plane.titles["t1"].duration_s == 12.0
        assert not list(folder.glob("attempt-*"))


async def test_a_worker_that_stops_gives_its_job_back_at_once(tmp_path: Path, footage: Footage) -> None:
    async with running_room(tmp_path, encode=Encode(SLOW, threads=1, nice=0)) as room:
        await room.ingest(footage.clip)
        working = asyncio.create_task(room.worker.work_once())
        await follow(room, lambda status: status.stage == "encode")
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert encoders_of(room.settings.titles / "t1") == []
        (job,) = await room.jobs.unfinished()
        assert (job.worker, job.attempts) == ("", 0)


async def test_a_worker_whose_lease_was_taken_drops_its_work(tmp_path: Path, footage: Footage) -> None:
    async with running_room(tmp_path, encode=Encode(SLOW, threads=1, nice=0)) as room:
        await room.ingest(footage.clip)
        working = asyncio.create_task(room.worker.work_once())
        await follow(room, lambda status: status.stage == "encode")
        await room.jobs.withdraw("t1")
        assert await asyncio.wait_for(working, 30)
        assert encoders_of(room.settings.titles / "t1") == []
        await room.worker.work_once()
        assert not (room.settings.titles / "t1").exists()


async def test_progress_of_the_encode_is_seen_while_it_runs(tmp_path: Path, footage: Footage) -> None:
    rules = Encode(SLOW, threads=1, nice=0)
    async with running_room(tmp_path, encode=rules, jobs=JobRules(lease_s=0.3, poll_s=0.05)) as room:
        await room.ingest(footage.clip)
        working = asyncio.create_task(room.worker.work_once())
        status = await follow(room, lambda status: 0.2 < status.stage_progress < 1.0)
        assert (status.stage, status.state) == ("encode", TitleState.CHUNKED)
        assert 0.03 < status.progress < 0.9
        await working
        assert (await room.status()).state is TitleState.PUBLISHED


class FullDisk(StoredObjects):
    """A store that takes two objects and no third."""

    def __init__(self, store: StoredObjects) -> None:
        super().__init__(store._store)
        self.taken = 0

    async def put(self, path: str, file: Path) -> None:
        self.taken += 1
        if self.taken > 2:
            raise ObjectsError(f"{path} cannot be stored: no space left")
        await super().put(path, file)


async def test_half_a_publication_is_never_seen(tmp_path: Path, footage: Footage) -> None:
    async with running_room(tmp_path) as room:
        disk = FullDisk(open_objects("", room.settings.state_dir / "objects"))
        await room.ingest(footage.clip)
        await make_worker(room.settings, room.jobs, objects=disk).work_once()
        status = await room.status()
        assert status.state is TitleState.CHECKED
        assert "no space left" in status.reason
        stored = [path for path in (room.settings.state_dir / "objects").rglob("*") if path.is_file()]
        assert len(stored) == 2
        for path in stored:
            public = "/" + str(path.relative_to(room.settings.state_dir / "objects"))
            assert await room.jobs.visible(public) is None
        assert room.control_plane.heard == []
        await eventually_published(room)
        assert len(room.control_plane.titles["t1"].files) == 14


async def eventually_published(room: Room) -> None:
    async with asyncio.timeout(30):
        while (await room.status()).state is not TitleState.PUBLISHED:
            await room.worker.work_once()


async def test_a_machine_without_encoders_gives_up_after_its_attempts_and_says_so(
    tmp_path: Path, footage: Footage
) -> None:
    async with running_room(tmp_path) as room:
        await room.ingest(footage.clip)
        broken = make_worker(
            room.settings, room.jobs, programs=Programs("/nowhere/ffmpeg", "/nowhere/ffprobe", "/nowhere/p")
        )
        async with asyncio.timeout(30):
            while (await room.status()).state is not TitleState.REJECTED:
                await broken.work_once()
        status = await room.status()
        assert status.reason_code == "gave-up"
        assert "ffprobe cannot be started" in status.reason
        await room.operator.post("/v1/titles/t1/retry", None)
        await room.worker.work_once()
        assert (await room.status()).state is TitleState.PUBLISHED


async def test_the_service_and_a_worker_say_where_they_listen(tmp_path: Path) -> None:
    async with running_room(tmp_path, ingest=Ingest(), encode=Encode(RUNGS)) as room:
        config = write_config(room, tmp_path)
        reading, writing = os.pipe()
        command = ("-m", "origin", "worker", "--config", str(config), "--ready-fd", str(writing))
        worker = await asyncio.create_subprocess_exec(
            sys.executable, *command, pass_fds=(writing,), env={**os.environ, "PYTHONPATH": "."}
        )
        os.close(writing)
        try:
            line = await asyncio.wait_for(asyncio.to_thread(os.read, reading, 4096), 15)
            assert line.startswith(b'{"listening":{"http":"http://127.0.0.1:')
        finally:
            os.close(reading)
            worker.send_signal(signal.SIGTERM)
            started = time.monotonic()
            assert await asyncio.wait_for(worker.wait(), 20) == 0
            assert time.monotonic() - started < 5
