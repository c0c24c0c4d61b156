"""Processes of this machine as /proc shows them: children, connections, and what carries a mark of ours."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

MARK = "TIDE_TOWN"
"""Environment variable that all processes of a town inherit, whatever becomes of their parents."""
ESTABLISHED = "01"
GONE_WITHIN_S = 3.0
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def children_of(pid: int) -> dict[int, str]:
    """Running child processes by pid, with their command line."""
    found: dict[int, str] = {}
    for child, entry in _processes():
        with suppress(*_GONE):
            state, parent = Path(entry, "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found[child] = _command(entry)
    return found


def marked(value: str) -> dict[int, str]:
    """Running processes whose environment carries `MARK` with this value, this one left out."""
    wanted = f"{MARK}={value}".encode()
    found: dict[int, str] = {}
    for pid, entry in _processes():
        with suppress(*_GONE):
            if pid != os.getpid() and wanted in Path(entry, "environ").read_bytes().split(b"\0"):
                found[pid] = _command(entry)
    return found


def left_behind(value: str) -> dict[int, str]:
    """Marked processes that are still there after a moment's grace."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while (found := marked(value)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def busiest(pids: Iterable[int]) -> int:
    """The process with most established TCP connections."""
    open_inodes = _established()
    return max(pids, key=lambda pid: len(_sockets(pid) & open_inodes))


def _processes() -> Iterator[tuple[int, str]]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            yield int(entry.name), entry.path


def _command(entry: str) -> str:
    return Path(entry, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def _established() -> set[str]:
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return {row[9] for row in rows if row[3] == ESTABLISHED}


def _sockets(pid: int) -> set[str]:
    found = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(*_GONE):
            target = os.readlink(entry.path)
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found
