"""Starting, watching and stopping real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onebox.processes import ProcessSpec, Running, StartFailed, put_aside
from onebox.restarts import LONGEST_PAUSE_S, STEADY_S, Restarts

SERVE = """
import os, sys, time
fd = int(sys.argv[sys.argv.index("--ready-fd") + 1])
os.write(fd, b'{"listening": {"http": "http://127.0.0.1:1"}}\\n'); os.close(fd)
time.sleep(60)
"""

PARENT = (
    """
import subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(left.pid, flush=True)
"""
    + SERVE
)


def spec(tmp_path: Path, code: str) -> ProcessSpec:
    return ProcessSpec("child", (sys.executable, "-c", code), tmp_path / "child.log", ready_s=10)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_child_is_ready_when_it_says_so_and_stops_when_told(tmp_path: Path) -> None:
    child = Running(spec(tmp_path, SERVE))
    await child.start()
    assert child.listening == {"http": "http://127.0.0.1:1"}
    await child.stop()
    assert not child.alive


async def test_a_child_that_ends_before_it_serves_fails_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = Running(spec(tmp_path, "import sys; sys.exit('the disk is on fire')"))
    with pytest.raises(StartFailed, match="the disk is on fire"):
        await child.start()


async def test_a_killed_child_is_started_again_and_a_held_one_only_when_let_go(tmp_path: Path) -> None:
    child = Running(spec(tmp_path, SERVE))
    await child.start()
    first = child.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: child.starts == 2 and child.alive)
    assert child.pid != first
    child.hold()
    child.kill_group()
    await until(lambda: not child.alive)
    await asyncio.sleep(0.3)
    assert child.starts == 2
    child.release()
    await until(lambda: child.starts == 3 and child.alive)
    await child.stop()


async def test_what_a_dead_child_left_behind_ends_with_its_successor(tmp_path: Path) -> None:
    child = Running(spec(tmp_path, PARENT))
    await child.start()
    left = int((tmp_path / "child.log").read_text().split()[-1])
    os.kill(child.pid, signal.SIGKILL)
    await until(lambda: child.starts == 2 and child.alive)
    assert runs(left)
    await child.stop()
    await until(lambda: not runs(left))


def test_a_log_that_has_grown_large_makes_room_for_the_next_life(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    put_aside(log, 4)
    for text in ("123", "1234", "12345"):
        log.write_text(text)
        put_aside(log, 4)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.log.1", "12345")]


async def test_a_child_that_cannot_be_started_again_is_tried_until_it_can(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\n{SERVE}")
    program.chmod(0o755)
    child = Running(ProcessSpec("child", (str(program),), tmp_path / "child.log", ready_s=10))
    await child.start()
    program.rename(tmp_path / "away")
    child.kill_group()
    await until(lambda: not child.alive)
    await asyncio.sleep(0.5)
    (tmp_path / "away").rename(program)
    await until(lambda: child.starts == 2 and child.alive)
    await child.stop()


def test_pauses_grow_while_a_process_dies_young_and_start_over_after_a_steady_run() -> None:
    state, pauses = Restarts(), []
    for _ in range(9):
        state, pause = state.after_death(1.0)
        pauses.append(pause)
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S
    assert state.after_death(STEADY_S) == (Restarts(0), 0.0)
