"""argon2id (RFC 9106) off the event loop, a few at a time so that a wave of log-ins cannot take all memory.

Law: an unknown account costs the same as a wrong password: `verify_nobody` works on a digest made at start.
"""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError


@dataclass(frozen=True, slots=True)
class Strength:
    """argon2id's costs: passes, KiB of memory, lanes."""

    passes: int
    memory_kib: int
    lanes: int


class Passwords:
    """Owns a small thread pool: `close` it."""

    def __init__(self, strength: Strength, threads: int) -> None:
        self._hasher = PasswordHasher(
            time_cost=strength.passes, memory_cost=strength.memory_kib, parallelism=strength.lanes, type=Type.ID
        )
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._nobody = self._hasher.hash(secrets.token_hex(16))

    async def hash(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._hasher.hash, password)

    async def verify(self, digest: str, password: str) -> bool:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._holds, digest, password)

    async def verify_nobody(self, password: str) -> bool:
        """False, after the time that a wrong password takes."""
        await self.verify(self._nobody, password)
        return False

    def is_outdated(self, digest: str) -> bool:
        """True when the digest was made with other costs than today's."""
        return self._hasher.check_needs_rehash(digest)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _holds(self, digest: str, password: str) -> bool:
        try:
            return self._hasher.verify(digest, password)
        except (VerificationError, InvalidHashError):
            return False
