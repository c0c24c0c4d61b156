"""The keys of TLS session tickets, shared by all workers, so that a player's session resumes at any of them.

The supervisor makes and rotates them in a memory file that its workers inherit: they reach no disk and outlive every worker. OpenSSL
takes one set at a time, so that a rotation ends the sessions before it: those players do a full handshake once.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable

KEY_BYTES = 80
"""A name of 16, 32 for the MAC, 32 for the cipher (OpenSSL ≥ 1.1.0)."""
_HEAD = struct.Struct("=QI")


class TicketKeys:
    """`create` in the supervisor, `attach` in a worker."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def create(cls, entropy: Callable[[int], bytes] = os.urandom) -> TicketKeys:
        keys = cls(os.memfd_create("lowtide-tickets", os.MFD_CLOEXEC))
        keys._write(1, entropy(KEY_BYTES))
        return keys

    @classmethod
    def attach(cls, fd: int) -> TicketKeys:
        return cls(fd)

    def rotate(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        found = self.read()
        assert found is not None, "only this process writes"
        self._write(found[0] + 1, entropy(KEY_BYTES))

    def read(self) -> tuple[int, bytes] | None:
        """(number of the set, its 80 bytes); None while it is being written: ask again later."""
        data = os.pread(self.fd, _HEAD.size + KEY_BYTES, 0)
        if len(data) != _HEAD.size + KEY_BYTES:
            return None
        number, check = _HEAD.unpack_from(data)
        keys = data[_HEAD.size :]
        return (number, keys) if check == _check(number, keys) else None

    def close(self) -> None:
        os.close(self.fd)

    def _write(self, number: int, keys: bytes) -> None:
        os.pwrite(self.fd, _HEAD.pack(number, _check(number, keys)) + keys, 0)


def _check(number: int, keys: bytes) -> int:
    return zlib.crc32(keys, number & 0xFFFFFFFF)
