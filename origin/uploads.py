"""Receiving a source file: to `source.part`, whole or not at all.

Laws: a source appears under its name only when every announced byte arrived, is on disk, and has the announced digest
(`Repr-Digest`, RFC 9530), and only together with the title's change of state: what happened to the title while the bytes came
decides. Anything else leaves no file and does not change the title's state. One upload per title at a time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

import aiofiles

from chassis.errors import ProblemError
from contracts.problems import ProblemCode
from origin.folders import TitleFolder

Place = Callable[[], None]
"""Puts the received file under its name."""
Accept = Callable[[Place], Awaitable[None]]
"""Calls its argument where the title still takes a source; raises ProblemError where it does not."""
GATHERED_BYTES = 1024 * 1024
SHA256 = "sha-256"


class UploadOutcome(Enum):
    """How an upload ended (log word = value)."""

    TAKEN = "taken"
    TRUNCATED = "truncated"
    WRONG_DIGEST = "wrong-digest"
    NO_SPACE = "no-space"
    REFUSED = "refused"


class UploadError(ProblemError):
    """A refused upload with its outcome."""

    def __init__(self, outcome: UploadOutcome, code: ProblemCode, detail: str) -> None:
        super().__init__(code, detail)
        self.outcome = outcome


async def _at_once(place: Place) -> None:
    place()


class Uploads:
    """The uploads that run now."""

    def __init__(self, max_bytes: int, idle_s: float, on_bytes: Callable[[int], None]) -> None:
        self._max_bytes = max_bytes
        self._idle_s = idle_s
        self._on_bytes = on_bytes
        self._running: set[Path] = set()

    async def receive(
        self,
        folder: TitleFolder,
        body: AsyncIterator[bytes],
        length: int | None,
        repr_digest: str | None,
        accept: Accept = _at_once,
    ) -> int:
        """Stores the body as the folder's source and gives its length in bytes.

        `length` is the announced Content-Length; `accept` has the last word when all bytes are here. Raises UploadError and what
        `accept` raises; errors of `body` (aiohttp's, ConnectionError) count as truncation.
        """
        wanted = self._announced(length)
        digest = expected_sha256(repr_digest)
        with self._alone(folder):
            folder.path.mkdir(parents=True, exist_ok=True)
            try:
                found = await self._write(folder.part, body, wanted)
                if digest is not None and found != digest:
                    detail = f"the bytes have sha-256=:{base64.b64encode(found).decode()}:"
                    raise UploadError(UploadOutcome.WRONG_DIGEST, ProblemCode.DIGEST_MISMATCH, detail)
                await accept(lambda: _place(folder))
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                detail = "there is no space for this file; free some and send it again"
                raise UploadError(UploadOutcome.NO_SPACE, ProblemCode.UNAVAILABLE, detail) from error
            finally:
                folder.part.unlink(missing_ok=True)
                with suppress(OSError):  # it holds something
                    folder.path.rmdir()
        return wanted

    def _announced(self, length: int | None) -> int:
        if length is None:
            detail = "send Content-Length, so that a broken upload is noticed"
            raise UploadError(UploadOutcome.REFUSED, ProblemCode.LENGTH_REQUIRED, detail)
        if length > self._max_bytes:
            detail = f"at most {self._max_bytes} bytes are taken, {length} were announced"
            raise UploadError(UploadOutcome.REFUSED, ProblemCode.TOO_LARGE, detail)
        if length == 0:
            raise UploadError(UploadOutcome.REFUSED, ProblemCode.BAD_REQUEST, "the file is empty")
        return length

    @contextmanager
    def _alone(self, folder: TitleFolder) -> Iterator[None]:
        if folder.path in self._running:
            detail = "another upload of this title is running"
            raise UploadError(UploadOutcome.REFUSED, ProblemCode.CONFLICT, detail)
        self._running.add(folder.path)
        try:
            yield
        finally:
            self._running.discard(folder.path)

    async def _write(self, part: Path, body: AsyncIterator[bytes], wanted: int) -> bytes:
        """Writes everything and gives its SHA-256. Raises UploadError when fewer bytes come than wanted."""
        sha256 = hashlib.sha256()
        received = 0
        async with aiofiles.open(part, "wb") as file:
            async for data in self._gathered(body, wanted):
                await asyncio.to_thread(sha256.update, data)
                await file.write(data)
                received += len(data)
                self._on_bytes(len(data))
            if received != wanted:
                raise _truncated(received, wanted)
            await file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        return sha256.digest()

    async def _gathered(self, body: AsyncIterator[bytes], wanted: int) -> AsyncIterator[bytes]:
        """The body in pieces of about a MiB; what breaks it off is a truncation, told with the bytes that came."""
        gathered = bytearray()
        received = 0
        try:
            while True:
                async with asyncio.timeout(self._idle_s):
                    piece = await anext(body, None)
                if piece is None:
                    break
                received += len(piece)
                gathered += piece
                if len(gathered) >= GATHERED_BYTES:
                    yield bytes(gathered)
                    gathered.clear()
        except BodyBroken as error:
            raise _truncated(received, wanted) from error
        except TimeoutError as error:
            raise _truncated(received, wanted, f", then nothing for {self._idle_s:g} s") from error
        if gathered:
            yield bytes(gathered)


class BodyBroken(Exception):
    """The connection ended inside a body. Whoever reads a request maps its own errors to this one."""


def _place(folder: TitleFolder) -> None:
    folder.part.replace(folder.source)


def expected_sha256(repr_digest: str | None) -> bytes | None:
    """The SHA-256 in a `Repr-Digest` header (RFC 9530 §3), or None without one.

    Other algorithms are ignored, as the RFC asks. Raises UploadError when the value is not a digest.
    """
    for item in (repr_digest or "").split(","):
        name, equals, value = item.strip().partition("=")
        if name.strip().lower() != SHA256 or not equals:
            continue
        try:
            if len(value) < 2 or value[0] != ":" or value[-1] != ":":
                raise ValueError("no colons")
            digest = base64.b64decode(value[1:-1], validate=True)
            if len(digest) != hashlib.sha256().digest_size:
                raise ValueError("wrong length")
        except (ValueError, binascii.Error) as error:
            detail = "Repr-Digest looks like sha-256=:BASE64:"
            raise UploadError(UploadOutcome.REFUSED, ProblemCode.BAD_REQUEST, detail) from error
        return digest
    return None


def remove_leftovers(titles: Path) -> int:
    """Removes what uploads of a killed process left; gives how many."""
    parts = list(titles.glob("*/source.part"))
    for part in parts:
        part.unlink(missing_ok=True)
    return len(parts)


def _truncated(received: int, wanted: int, how: str = "") -> UploadError:
    detail = f"{received} of {wanted} announced bytes arrived{how}; nothing was kept, send the file again"
    return UploadError(UploadOutcome.TRUNCATED, ProblemCode.UPLOAD_TRUNCATED, detail)
