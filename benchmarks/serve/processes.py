"""Processes under measurement: started on one core, asked in /proc what they used, stopped at the end.

CPU comes from `/proc/PID/stat`: the kernel scales user and system so that their sum is what the scheduler measured; the split is
sampled by the timer tick. Children that ended in between are counted by their parent's `cutime` and `cstime`. What interrupts did while the
core idled is in no process's account: `core_busy_s` has it.
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SERVER_CORE = 0
CLIENT_CORE = 1
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds."""

    user_s: float
    system_s: float

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.user_s - other.user_s, self.system_s - other.system_s)

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.user_s + other.user_s, self.system_s + other.system_s)


def start(
    command: Sequence[str],
    log: Path,
    core: int | None = SERVER_CORE,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start on one core (None: on any), in a session of its own, with as many descriptors as the machine allows."""

    def prepare() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=prepare,
            pass_fds=pass_fds,
            start_new_session=True,
            env={**os.environ, **env} if env is not None else None,
        )


def stop(process: subprocess.Popen[bytes], wait_s: float = 10.0) -> None:
    """SIGTERM to its whole session, SIGKILL to what is left after `wait_s`."""
    for number, patience in ((signal.SIGTERM, wait_s), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        if not _session(process.pid):
            return
        time.sleep(0.2)


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, waiting = [], [pid]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu_of(pids: Sequence[int]) -> Cpu:
    """What they and their ended children used so far."""
    total = Cpu(0.0, 0.0)
    for pid in pids:
        fields = _stat(pid)
        if fields:
            user, system, ended_user, ended_system = (int(field) / _TICKS for field in fields[11:15])
            total += Cpu(user + ended_user, system + ended_system)
    return total


def core_busy_s(core: int = SERVER_CORE) -> float:
    """Seconds that a core has not idled since the machine started, interrupts included, whoever was charged for them."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, fields)
            return (user + nice + system + irq + softirq) / _TICKS
    raise LookupError(f"/proc/stat has no core {core}")


def resident_kib(pids: Sequence[int]) -> int:
    """Resident memory, what is shared between them counted in each."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
    return total


def read_from_disk_bytes(pids: Sequence[int]) -> int:
    """Bytes these processes had to have read from a device."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/io").read_text().splitlines():
                if line.startswith("read_bytes:"):
                    total += int(line.split()[1])
    return total


def _stat(pid: int) -> list[str]:
    """The fields behind the command's name: state, parent, …; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _session(leader: int) -> list[int]:
    """Processes of a session that still run."""
    numbers = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    facts = [(number, _stat(number)) for number in numbers]
    return [number for number, fields in facts if fields and fields[0] != "Z" and int(fields[3]) == leader]


def raise_file_limit() -> None:
    """As many descriptors for this process as the machine allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def file_limit() -> int:
    """Descriptors that a process here may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def machine() -> str:
    """Processor, memory, kernel and interpreter in a line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{os.cpu_count()} × {model}, {memory} GiB, Linux {platform.release()}, {python}"
