"""A network namespace behind a pair of virtual Ethernet devices, and what crosses it, by the kernel's own counters. Needs root and iproute2."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_S = 0.05


@dataclass(frozen=True, slots=True)
class Wire:
    """`inside` runs a command behind the wire; what is sent to it is counted on `device`."""

    inside: tuple[str, ...]
    device: str
    host: str

    def bytes_in(self) -> int:
        """What the namespace has received, link headers included."""
        return int(Path(f"/sys/class/net/{self.device}/statistics/tx_bytes").read_text())


def why_no_wire() -> str:
    """Why there can be none on this machine; empty where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"ip netns: {tried.stderr.strip()}"


@contextmanager
def wire(number: int = 0) -> Iterator[Wire]:
    """Packets of at most 1,500 bytes each, as on a real link: segments are not merged on this one. Raises RuntimeError in words."""
    name = f"ltfill{os.getpid() % 10_000}"
    near, far, net = f"{name}a", f"{name}b", f"10.{200 + number}.{os.getpid() % 250}"
    inside = ("ip", "netns", "exec", name)
    try:
        _ip("netns", "add", name)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        _ip("link", "set", near, "gso_max_segs", "1")
        _ip("address", "add", f"{net}.1/24", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", name, "link", "set", far, "gso_max_segs", "1")
        _ip("-n", name, "address", "add", f"{net}.2/24", "dev", far)
        _ip("-n", name, "link", "set", far, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield Wire(inside, near, f"{net}.1")
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", near], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@dataclass
class Samples:
    """(monotonic seconds, bytes received so far), taken every `SAMPLE_S` by `follow`."""

    taken: list[tuple[float, int]] = field(default_factory=list)

    async def follow(self, watched: Wire) -> None:
        """Ends by cancellation."""
        while True:
            self.taken.append((time.monotonic(), watched.bytes_in()))
            await asyncio.sleep(SAMPLE_S)

    def most_over(self, seconds: float) -> int:
        """The most bytes between two samples at most so many seconds apart. Raises ValueError when nothing is as long as that."""
        if not self.taken or self.taken[-1][0] - self.taken[0][0] < seconds:
            raise ValueError(f"nothing was watched for {seconds:g} s")
        most, first = 0, 0
        for at, count in self.taken:
            while at - self.taken[first][0] > seconds:
                first += 1
            most = max(most, count - self.taken[first][1])
        return most

    def between(self, began: float, ended: float) -> tuple[int, float]:
        """(bytes, seconds) of the samples in that span."""
        inside = [sample for sample in self.taken if began <= sample[0] <= ended]
        return inside[-1][1] - inside[0][1], inside[-1][0] - inside[0][0]
