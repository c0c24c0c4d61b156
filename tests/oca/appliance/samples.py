"""What the processes of an appliance hold, second by second."""

from __future__ import annotations

import contextlib
import os
import statistics
from dataclasses import dataclass
from pathlib import Path

from tests.oca.appliance.world import World

MODULES = ("oca.worker", "oca.keeper", "oca.logger")


@dataclass(frozen=True, slots=True)
class Sample:
    """Descriptors and resident memory of the supervisor and all its children; bytes that extent files take."""

    at: float
    processes: int
    descriptors: int
    memory_bytes: int
    disk_bytes: int


def sample(world: World, at: float) -> Sample:
    """How it is now; a process that ends meanwhile counts nothing."""
    pids = [world.box.process.pid, *(pid for module in MODULES for pid in world.box.children(module))]
    held = [_held(pid) for pid in pids]
    return Sample(
        at,
        sum(1 for fds, _ in held if fds),
        sum(fds for fds, _ in held),
        sum(memory for _, memory in held),
        sum(_bytes_below(world.disk(number)) for number in range(world.disks)),
    )


def grown_bytes(samples: list[Sample]) -> int:
    """Bytes of memory that the median of the last third is above that of the second sixth.

    Only moments with all processes count, and the first sixth does not: caches fill.
    """
    if not samples:
        return 0
    all_there = max(one.processes for one in samples)
    whole = [one for one in samples if one.processes == all_there]
    early = whole[len(whole) // 6 : len(whole) // 3] or whole
    late = whole[-(len(whole) // 3) :] or whole
    return int(
        statistics.median(one.memory_bytes for one in late) - statistics.median(one.memory_bytes for one in early)
    )


def _held(pid: int) -> tuple[int, int]:
    try:
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0, 0
    return descriptors, pages * os.sysconf("SC_PAGE_SIZE")


def _bytes_below(disk: Path) -> int:
    total = 0
    for folder, _, names in os.walk(disk / "extents"):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(folder, name)).st_blocks * 512
    return total
