"""What the supervisor does for the TLS of its workers: ticket keys that outlive them, and two questions asked once per start.

The questions: may the TLS library be reached past Python's `ssl` (`oca.worker.openssl`, tried in a process that may die of it), and
does the kernel encrypt (`TCP_ULP`)? Each answer is a reason why not, or empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oca.link.handover import TlsHandover
from oca.link.tickets import TicketKeys

PROBE_S = 10.0
_TCP_ULP = 31


@dataclass(slots=True)
class SharedTls:
    """Built where a listener has TLS. `rotate_when_due` from a clock; what workers get is `handover`."""

    keys: TicketKeys
    handover: TlsHandover
    rotation_s: float
    rotate_at: float

    def rotate_when_due(self, now_s: float) -> bool:
        """Make new ticket keys when the life of the old ones has passed. True when it did."""
        if now_s < self.rotate_at:
            return False
        self.keys.rotate()
        self.rotate_at = now_s + self.rotation_s
        return True


async def shared_tls(probe: Sequence[str], rotation_s: float, now_s: float) -> SharedTls:
    """Ask both questions and make the first keys."""
    keys = TicketKeys.create()
    handover = TlsHandover(keys.fd, await why_no_door(probe), why_no_kernel_tls())
    return SharedTls(keys, handover, rotation_s, now_s + rotation_s)


async def why_no_door(probe: Sequence[str]) -> str:
    """Why the library is not to be reached; empty when the probe ended well."""
    try:
        process = await asyncio.create_subprocess_exec(*probe, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    except OSError as error:
        return f"it could not be tried whether OpenSSL takes ticket keys: {error.strerror or error}"
    try:
        async with asyncio.timeout(PROBE_S):
            said, _ = await process.communicate()
    except TimeoutError:
        return f"trying whether OpenSSL takes ticket keys did not end within {PROBE_S:g} s"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode == 0:
        return ""
    words = said.decode("utf-8", "replace").strip()
    return words or f"trying whether OpenSSL takes ticket keys ended with code {process.returncode}"


def why_no_kernel_tls() -> str:
    """Why the kernel does not encrypt for us; empty where it does. Asked of a connected loopback socket."""
    if ssl.OPENSSL_VERSION_INFO < (3, 0):
        return f"{ssl.OPENSSL_VERSION} knows no kernel TLS; 3.0 does"
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()) as client,
        ):
            client.setsockopt(socket.IPPROTO_TCP, _TCP_ULP, b"tls")
    except OSError as error:
        return f"the kernel {os.uname().release} has no TLS (module tls): {error.strerror or error}"
    if not Path("/sys/module/tls").exists():
        return "the transport looks for /sys/module/tls, which is not there"
    if not hasattr(ssl, "OP_ENABLE_KTLS"):
        return f"Python {sys.version_info.major}.{sys.version_info.minor} cannot ask for it; 3.12 can"
    return ""
