"""The logger at work: reads the pipes, writes lines, rotates, has complete files converted.

One thread and plain blocking writes: while the disk is slow the pipes fill up, and workers drop and count. What was read but cannot be
written is dropped and counted, too.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from oca.config import AccessLogging
from oca.link.counters import Count, CounterLine
from oca.link.records import PIPE_BYTES, Batch, FrameCutter
from oca.logger.folder import LogFolder
from oca.logger.lines import encode_lines, line_of
from oca.logger.rotation import Limits, columnar_name, unconverted

TICK_S = 0.25
PIECE = 64
"""Records made into lines at once."""
COMPLAIN_S = 60.0


@dataclass(slots=True)
class Source:
    """One pipe."""

    fd: int
    cutter: FrameCutter


class Logger:
    """Build it, `run` it once: returns when every writer of every pipe is gone, or after `stop`."""

    def __init__(self, settings: AccessLogging, folder: Path, pipes: tuple[int, ...], counters: CounterLine) -> None:
        self._settings = settings
        self._folder = LogFolder(folder, Limits(settings.file_bytes, settings.file_s, settings.files))
        self._counters = counters
        self._selector = selectors.DefaultSelector()
        for fd in pipes:
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ, Source(fd, FrameCutter()))
        self._stopping = False
        self._complained_at = -COMPLAIN_S
        self._converting: tuple[subprocess.Popen[bytes], str] | None = None
        self._refused: set[str] = set()
        """Files whose conversion failed: not tried again in this life."""

    def stop(self) -> None:
        self._stopping = True

    def run(self) -> None:
        next_tick = time.monotonic()
        try:
            while self._selector.get_map() and not self._stopping:
                for key, _ in self._selector.select(TICK_S):
                    self._read(key.data)
                if time.monotonic() >= next_tick:
                    next_tick = time.monotonic() + TICK_S
                    self._tick()
        finally:
            self._folder.close()
            if self._converting is not None:
                self._converting[0].terminate()
                self._converting[0].wait()

    def _read(self, source: Source) -> None:
        try:
            data = os.read(source.fd, PIPE_BYTES)
        except BlockingIOError:
            return
        torn = source.cutter.torn_bytes
        for batch in source.cutter.feed(data) if data else source.cutter.end():
            self._write(batch)
        if not data:
            self._selector.unregister(source.fd)
            os.close(source.fd)
        if source.cutter.torn_bytes > torn:
            self._counters.add(Count.LOG_TORN, source.cutter.torn_bytes - torn)

    def _write(self, batch: Batch) -> None:
        slot = batch.slot
        # In pieces that stay in the processor's cache: a tenth less time than all at once.
        pieces = (batch.records[at : at + PIECE] for at in range(0, len(batch.records), PIECE))
        text = b"".join([encode_lines([line_of(slot, record) for record in piece]) for piece in pieces])
        try:
            self._folder.write(text, time.time())
        except OSError as error:
            self._counters.add(Count.LOG_DROPPED, len(batch.records))
            self._complain(f"the access log cannot be written: {error}")
            return
        self._counters.add(Count.LOG_RECORDS, len(batch.records))
        self._counters.add(Count.LOG_BYTES, len(text))

    def _tick(self) -> None:
        try:
            self._folder.rotate(time.time())
            if self._settings.format != "json":
                self._convert()
        except OSError as error:
            self._complain(f"the access log cannot be rotated: {error}")

    def _convert(self) -> None:
        """One complete file at a time, by a child of lowest priority."""
        folder = self._folder.folder
        if self._converting is not None:
            child, name = self._converting
            code = child.poll()
            if code is None:
                return
            self._converting = None
            if code != 0:
                self._refused.add(name)
            elif self._settings.format == "parquet":
                (folder / name).unlink(missing_ok=True)
        waiting = (
            [name for name in unconverted(os.listdir(folder)) if name not in self._refused] if folder.exists() else []
        )
        if waiting:
            command = [sys.executable, "-m", "oca.logger.columnar"]
            places = [str(folder / waiting[0]), str(folder / columnar_name(waiting[0]))]
            self._converting = (subprocess.Popen([*command, *places]), waiting[0])

    def _complain(self, sentence: str) -> None:
        now = time.monotonic()
        if now - self._complained_at >= COMPLAIN_S:
            self._complained_at = now
            sys.stderr.write(f"oca.logger: {sentence}\n")
