"""The client: warming and checking with a plain socket, measuring with wrk. Always on the client's core.

Every server gets the same client. Bodies are counted by wrk; a body that is not of the length asked for shows in the sum. Their bytes
are compared here, all of them while warming, a sample of ranges after the rounds.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.serve import processes
from benchmarks.serve.workload import Ask, Contents, FileClass, Target, request_text, whole_file

CONNECTIONS = 32
_LONGEST_HEADER = 1024
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_LUA = Path(__file__).with_name("request.lua")


class WrongBytes(Exception):
    """A server answered something else than the bytes asked for."""


class Wrk(msgspec.Struct, frozen=True):
    """What wrk counted."""

    requests: int
    duration_us: int
    bytes: int
    p50_us: int
    p99_us: int
    connect: int
    read: int
    write: int
    status: int
    timeout: int

    @property
    def failures(self) -> int:
        return self.connect + self.read + self.write + self.status + self.timeout


def write_requests(path: Path, host: str, stream: Sequence[Ask], target: Target) -> None:
    """The stream as wrk's script reads it."""
    path.write_bytes(b"".join(request_text(host, target(ask), ask.range_line) + b"\0" for ask in stream))


def trusting() -> ssl.SSLContext:
    """A client that takes any certificate, by TLS 1.3, as wrk does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


async def measure(port: int, requests: Path, seconds: int, first: int, *, tls: bool = False) -> Wrk:
    """One run of wrk; connections are kept, so that handshakes are no part of what a request costs. Raises RuntimeError with its output when it tells no result."""
    command = [
        "taskset",
        "-c",
        str(processes.CLIENT_CORE),
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "--timeout",
        "10s",
    ]
    command += ["-s", str(_LUA), f"{'https' if tls else 'http'}://127.0.0.1:{port}/", "--", str(requests), str(first)]
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-2)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds + 30)
    except TimeoutError:
        process.kill()
        raise RuntimeError("wrk did not end") from None
    _, mark, text = output.rpartition(b"JSON ")
    if not mark:
        raise RuntimeError(f"wrk: {output.decode(errors='replace')}")
    return msgspec.json.decode(text, type=Wrk)


def check_volume(found: Wrk, length: int) -> None:
    """Raises WrongBytes unless each answer had a body of the length asked for (what was on its way at the end is tolerated)."""
    if not found.requests:
        raise WrongBytes(
            f"not one answer of {length} bytes was complete in {found.duration_us} us: is the machine busy?"
        )
    low, high = (
        found.requests * length,
        found.requests * (length + _LONGEST_HEADER) + CONNECTIONS * (length + _LONGEST_HEADER),
    )
    if found.failures or not low <= found.bytes <= high:
        raise WrongBytes(f"wrk counted {found}, which are not answers of {length} bytes")


class Checker:
    """A keep-alive connection that compares every body with what was published."""

    def __init__(
        self, port: int, host: str, group: FileClass, contents: Contents, target: Target, tls: bool = False
    ) -> None:
        self._host = host
        sock = socket.create_connection(("127.0.0.1", port), 30)
        self._sock = trusting().wrap_socket(sock) if tls else sock
        self._group = group
        self._contents = contents
        self._target = target

    def close(self) -> None:
        self._sock.close()

    def whole(self, file: int) -> None:
        """Fetch a file without a range, as a cache likes to be filled."""
        ask = whole_file(self._group, file)
        self._check(request_text(self._host, self._target(ask), None), ask, 200)

    def range(self, ask: Ask) -> None:
        self._check(request_text(self._host, self._target(ask), ask.range_line), ask, 206)

    def _check(self, request: bytes, ask: Ask, status: int) -> None:
        self._sock.sendall(request)
        head, body = self._answer()
        expected = self._contents.of(self._group, ask.file)[ask.first : ask.first + ask.length]
        if int(head.split(b" ", 2)[1]) != status or body != expected:
            raise WrongBytes(f"{self._host} answered {head!r} with {len(body)} bytes to {request!r}")

    def _answer(self) -> tuple[bytes, bytearray]:
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = bytes(data[: end + 2])
        length = _LENGTH.search(head)
        if length is None:
            raise WrongBytes(f"{self._host} answered without a length: {head!r}")
        del data[: end + 4]
        while len(data) < int(length[1]):
            data += self._more()
        return head, data

    def _more(self) -> bytes:
        piece = self._sock.recv(1 << 20)
        if not piece:
            raise WrongBytes(f"{self._host} closed the connection in the middle of an answer")
        return piece


def warm(port: int, host: str, group: FileClass, contents: Contents, target: Target) -> None:
    """Fetch every file whole and compare it. Blocking; run it in a thread."""
    checker = Checker(port, host, group, contents, target)
    try:
        for file in range(group.files):
            checker.whole(file)
    finally:
        checker.close()


def check_sample(
    port: int,
    host: str,
    group: FileClass,
    contents: Contents,
    target: Target,
    sample: Sequence[Ask],
    *,
    tls: bool = False,
) -> None:
    """Fetch the ranges of a sample and compare them. Raises WrongBytes."""
    checker = Checker(port, host, group, contents, target, tls)
    try:
        for ask in sample:
            checker.range(ask)
    finally:
        checker.close()
