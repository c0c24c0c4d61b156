"""The zone as a file that any name server loads: written whole, renamed, its serial raised; then a command of the operator's, if there is one."""

from __future__ import annotations

import asyncio
import contextlib
import os
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path

from chassis.clock import SYSTEM_CLOCK, Clock
from control_plane.names.ports import NameServerError
from control_plane.names.zone import Apex, Rrsets, next_serial, serial_in, zone_text

RELOAD_S = 30.0
MOST_WORDS = 300


class ZoneFile:
    """`reload` is run, without a shell, after every change: `("nsd-control", "reload", "oca.example.net")`."""

    def __init__(self, path: Path, apex: Apex, reload: tuple[str, ...] = (), clock: Clock = SYSTEM_CLOCK) -> None:
        self._path = path
        self._apex = apex
        self._reload = reload
        self._clock = clock

    async def publish(self, wanted: Rrsets, before: Rrsets) -> None:
        """As the port says. A file that is damaged is written anew: nothing in it is ours to keep but the serial."""
        try:
            await asyncio.to_thread(self._write, wanted)
        except OSError as error:
            raise NameServerError(f"{self._path}: {error.strerror or error}") from error
        except UnicodeEncodeError as error:
            raise NameServerError(f"{self._path}: a zone file is ASCII: {error}") from error
        if self._reload:
            await self._run_reload()

    def _write(self, wanted: Rrsets) -> None:
        try:
            before = serial_in(self._path.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            before = None
        text = zone_text(self._apex, wanted, next_serial(before, self._clock.wall_s()))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f".{self._path.name}.new")
        with temporary.open("w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)

    async def _run_reload(self) -> None:
        command = " ".join(self._reload)
        try:
            process = await asyncio.create_subprocess_exec(*self._reload, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
        except OSError as error:
            raise NameServerError(f"{command}: {error.strerror or error}") from error
        try:
            async with asyncio.timeout(RELOAD_S):
                said, _ = await process.communicate()
        except TimeoutError as error:
            raise NameServerError(f"{command}: did not end within {RELOAD_S:g} s") from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            words = said.decode("utf-8", "replace").strip()[:MOST_WORDS]
            raise NameServerError(f"{command}: ended with {process.returncode}: {words}")
