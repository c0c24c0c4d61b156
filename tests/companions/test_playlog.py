"""The playback log on disk."""

from __future__ import annotations

from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, Counter

from chassis.clock import VirtualClock
from companions.playback.playlog import LogFile, PlayLog
from contracts.events import PlaybackEvent, PlaybackEventKind


def _event(number: int) -> PlaybackEvent:
    return PlaybackEvent(f"e{number}", PlaybackEventKind.BEAT, 0.0, "a", "p", "tide", "DE")


def _counter() -> Counter:
    return Counter("lowtide_test_dropped_total", "dropped", registry=CollectorRegistry())


def _ids(path: Path) -> list[str]:
    return [msgspec.json.decode(line, type=PlaybackEvent).event_id for line in path.read_bytes().splitlines()]


async def test_files_are_put_aside_by_size_and_only_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "log" / "playback.log"
    log = PlayLog(LogFile(path, rotate_bytes=1, keep_files=3), _counter(), VirtualClock())
    for number in range(5):
        log.append(_event(number))
        await log.flush()
    assert sorted(file.name for file in path.parent.iterdir()) == ["playback.log", "playback.log.1", "playback.log.2"]
    assert [_ids(path.with_name(name)) for name in ("playback.log.2", "playback.log.1", "playback.log")] == [
        ["e2"],
        ["e3"],
        ["e4"],
    ]
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


async def test_what_cannot_be_written_is_counted_and_the_next_lines_are_written(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    dropped = _counter()
    log = PlayLog(LogFile(tmp_path / "log" / "playback.log", rotate_bytes=1000, keep_files=2), dropped, VirtualClock())
    log.append(_event(1))
    await log.flush()
    (tmp_path / "log").unlink()
    log.append(_event(2))
    await log.close()
    assert _ids(tmp_path / "log" / "playback.log") == ["e2"]
    assert dropped._value.get() == 1
