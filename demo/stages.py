"""Stages with progress bars and their times. On a terminal the bars move; elsewhere each stage prints one line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Stage:
    """Handed to the work of one stage: `report(what, share)` moves its bar."""

    def __init__(self, progress: Progress, task: int, name: str) -> None:
        self._progress = progress
        self._task = task
        self._name = name

    def report(self, what: str, share: float) -> None:
        self._progress.update(self._task, completed=max(0.0, min(1.0, share)), detail=what)  # type: ignore[arg-type]


class Stages:
    """`times` has the wall seconds of every finished stage, in order."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.times: dict[str, float] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=28),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            transient=False,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Stages:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        task = self._progress.add_task(name, total=1.0, detail="")
        began = time.monotonic()
        if not self.console.is_terminal:
            self.console.print(f"{name} …")
        stage = Stage(self._progress, task, name)
        yield stage
        self.times[name] = time.monotonic() - began
        stage.report("", 1.0)
        if not self.console.is_terminal:
            self.console.print(f"  {name}: {self.times[name]:.1f} s")

    def say(self, text: str) -> None:
        self._progress.console.print(text)
