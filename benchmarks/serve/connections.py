"""What connections cost in memory: idle ones, and readers that have stopped reading."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

from benchmarks.serve import load, processes
from benchmarks.serve.appliance import OurAppliance
from benchmarks.serve.rows import Plain
from benchmarks.serve.workload import TOKENS, Ask, Target, request_text

READER_BUFFER_BYTES = 64 * 1024
_SETTLE_S = 2.0
_QUEUED = re.compile(r"skmem:\(r\d+,rb\d+,t\d+,tb\d+,f(\d+),w(\d+)")


async def idle(ours: OurAppliance, target: Target, count: int, *, tls: bool = False) -> Plain:
    """KiB of resident memory per connection that was answered once and keeps quiet."""
    port = ours.tls_port if tls else ours.port
    with ExitStack() as opened:
        # Descriptors, tables and free lists that the first connections make are no cost of the later ones.
        await _open(port, target, max(100, count // 20), opened, tls)
        before = processes.resident_kib(ours.pids())
        await _open(port, target, count, opened, tls)
        await asyncio.sleep(_SETTLE_S)
        after = processes.resident_kib(ours.pids())
    facts = {"connections": float(count), "before_kib": float(before), "after_kib": float(after)}
    return Plain((after - before) / count, facts)


async def stalled(ours: OurAppliance, files: int, range_bytes: int, target: Target, count: int) -> Plain:
    """MiB of the worker and of its sockets while `count` readers of 8 MiB ranges have stopped reading."""
    before = processes.resident_kib(ours.pids())
    system_before = _sockets_mib()
    with ExitStack() as opened:
        for number in range(count):
            sock = socket.socket()
            opened.callback(sock.close)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READER_BUFFER_BYTES)
            sock.connect(("127.0.0.1", ours.port))
            ask = Ask(number % files, 0, range_bytes, number % TOKENS, "CMCD=sf%3Dh")
            sock.sendall(request_text(f"127.0.0.1:{ours.port}", target(ask), ask.range_line))
            await asyncio.sleep(0)
        await asyncio.sleep(_SETTLE_S)
        worker = processes.resident_kib(ours.pids()) / 1024
        queued = _queued_mib(ours.port)
        system = _sockets_mib() - system_before
    facts = {
        "readers": float(count),
        "worker_mib": worker,
        "worker_before_mib": before / 1024,
        "server_sockets_mib": queued,
        "both_ends_sockets_mib": system,
    }
    return Plain(worker + queued, facts)


async def _open(port: int, target: Target, count: int, opened: ExitStack, tls: bool) -> None:
    context = load.trusting() if tls else None
    for number in range(count):
        sock = socket.create_connection(("127.0.0.1", port), 10)
        if context is not None:
            sock = context.wrap_socket(sock)
        opened.callback(sock.close)
        sock.sendall(_small_request(port, target, number))
        if not sock.recv(65536).startswith(b"HTTP/1.1 206"):
            raise RuntimeError("a connection that is to be idle was not answered")
        await asyncio.sleep(0)


def _small_request(port: int, target: Target, number: int) -> bytes:
    """One of as many sessions as there are: a session's connections are limited."""
    ask = Ask(0, 0, 16, number % TOKENS, "CMCD=sf%3Dh")
    return request_text(f"127.0.0.1:{port}", target(ask), ask.range_line)


def _queued_mib(port: int) -> float:
    """What the server's ends of the connections hold: bytes queued for writing and what was allocated ahead (`ss -m`)."""
    said = subprocess.run(
        ["ss", "-Htnm", "state", "established", f"( sport = :{port} )"], capture_output=True, text=True, check=True
    )
    return sum(int(ahead) + int(queued) for ahead, queued in _QUEUED.findall(said.stdout)) / (1 << 20)


def _sockets_mib() -> float:
    """All TCP memory of the machine; on loopback that is both ends."""
    match = re.search(r"^TCP:.* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    return int(match[1]) * resource.getpagesize() / (1 << 20) if match is not None else 0.0
