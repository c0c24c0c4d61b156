"""Digests of published files: what fills and misses verify against, block by block.

A block is 256 KiB, a constant of the system: digests are published per block. The list of a file's block digests comes
signed (JWS, ES256) from the control plane, never from the peer that serves the blocks.
"""

from __future__ import annotations

import hashlib

import msgspec
from blake3 import blake3

BLOCK_BYTES = 256 * 1024
DIGEST_BYTES = 32


class FileDigests(msgspec.Struct, frozen=True):
    """Digests of one immutable file. `blocks` holds the BLAKE3 of each block, 32 bytes each, concatenated."""

    key: str
    size_bytes: int
    blake3: str
    sha256: str
    blocks: bytes
    content_type: str = "application/octet-stream"

    @property
    def version(self) -> bytes:
        """The identity of the file's state: the 32 bytes of its BLAKE3."""
        return bytes.fromhex(self.blake3)

    @property
    def etag(self) -> str:
        return etag_of(self.version)

    @property
    def block_count(self) -> int:
        return len(self.blocks) // DIGEST_BYTES

    def block(self, number: int) -> bytes:
        """The digest of block `number`, counted from 0. Raises IndexError outside the file."""
        if not 0 <= number < self.block_count:
            raise IndexError(f"block {number} of {self.block_count}")
        return self.blocks[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]


class SignedDigests(msgspec.Struct, frozen=True):
    """A compact JWS (RFC 7515) whose payload is the JSON of one FileDigests."""

    jws: str


def etag_of(version: bytes) -> str:
    """The strong validator of a version: `"b3-…"` with the first 16 bytes of its BLAKE3 in hex."""
    return f'"b3-{version[:16].hex()}"'


def block_count(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK_BYTES)


def block_length(size_bytes: int, number: int) -> int:
    """Bytes in block `number` of a file of `size_bytes`; the last block is shorter."""
    return min(BLOCK_BYTES, size_bytes - number * BLOCK_BYTES)


def block_digest(data: bytes | bytearray | memoryview) -> bytes:
    return blake3(data).digest()


class DigestBuilder:
    """Feed a file in any pieces, then take its FileDigests."""

    def __init__(self, key: str, content_type: str) -> None:
        self._key = key
        self._content_type = content_type
        self._whole_blake3 = blake3()
        self._whole_sha256 = hashlib.sha256()
        self._block = blake3()
        self._in_block = 0
        self._blocks = bytearray()
        self._size = 0

    def update(self, data: bytes | memoryview) -> None:
        self._whole_blake3.update(data)
        self._whole_sha256.update(data)
        self._size += len(data)
        view = memoryview(data)
        while view:
            take = view[: BLOCK_BYTES - self._in_block]
            self._block.update(take)
            self._in_block += len(take)
            view = view[len(take) :]
            if self._in_block == BLOCK_BYTES:
                self._close_block()

    def finish(self) -> FileDigests:
        if self._in_block:
            self._close_block()
        return FileDigests(
            key=self._key,
            size_bytes=self._size,
            blake3=self._whole_blake3.hexdigest(),
            sha256=self._whole_sha256.hexdigest(),
            blocks=bytes(self._blocks),
            content_type=self._content_type,
        )

    def _close_block(self) -> None:
        self._blocks += self._block.digest()
        self._block = blake3()
        self._in_block = 0
