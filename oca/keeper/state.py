"""The state folder: what the keeper keeps and shares, each file written whole and renamed.

A reader sees the old or the new file, never a half. A file that cannot be decoded (an older version's, or a disk's fault) is as
good as none: it is set aside with the suffix `.broken`, said in the log, and fetched or built again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from chassis.logs import get_logger

T = TypeVar("T")


class FillUse(msgspec.Struct, frozen=True):
    """What the current plan has cost so far (`fill.json`), so that a restart does not spend the volume cap twice."""

    plan_number: int = 0
    used_bytes: int = 0


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replaces the file at once or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)


class StateFolder:
    """Typed files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def tls(self) -> Path:
        return self.folder / "tls"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def read(self, name: str, type_: type[T]) -> T | None:
        """The value, or None when there is no file or no readable one."""
        path = self.folder / name
        try:
            return msgspec.json.decode(path.read_bytes(), type=type_)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            get_logger("oca.keeper.state").warning("state-file-unreadable", path=str(path), detail=str(error))
            self._set_aside(path)
            return None

    def write(self, name: str, value: msgspec.Struct, *, durable: bool = True) -> None:
        """Raises OSError."""
        write_atomically(self.folder / name, msgspec.json.encode(value), durable=durable)

    @staticmethod
    def _set_aside(path: Path) -> None:
        try:
            path.replace(path.with_name(path.name + ".broken"))
        except OSError as error:
            get_logger("oca.keeper.state").warning("state-file-stays", path=str(path), detail=str(error))
