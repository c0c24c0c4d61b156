"""The folder of one title while it is worked on: what lies where, and how results appear whole.

    source.part  source            the upload, then the whole file
    facts.json  plan.json          results of probe and chunk
    units/NAME/  encoded/          results of encode: one folder per finished unit, then all tracks
    packaged/  package.json        results of package
    title.json                     result of check
    attempt-EPOCH/                 one lease's unfinished work

Laws: work is done in the attempt's folder and renamed when it is whole; a result that exists is complete and is not made
again; two leases never write the same file.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class TitleFolder:
    """One title's folder."""

    path: Path

    @property
    def source(self) -> Path:
        return self.path / "source"

    @property
    def part(self) -> Path:
        return self.path / "source.part"

    @property
    def units(self) -> Path:
        return self.path / "units"

    @property
    def encoded(self) -> Path:
        return self.path / "encoded"

    @property
    def packaged(self) -> Path:
        return self.path / "packaged"

    def attempt(self, epoch: int) -> Path:
        """This lease's folder; made anew when missing."""
        folder = self.path / f"attempt-{epoch}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self, name: str, value: msgspec.Struct, attempt: Path) -> None:
        """Writes a result `NAME.json`, whole or not at all."""
        unfinished = attempt / f"{name}.json"
        unfinished.write_bytes(msgspec.json.encode(value))
        unfinished.replace(self.path / f"{name}.json")

    def read(self, name: str, kind: type[T]) -> T | None:
        """A result, or None when it was not made yet."""
        try:
            return msgspec.json.decode((self.path / f"{name}.json").read_bytes(), type=kind)
        except FileNotFoundError:
            return None

    def begin_anew(self) -> None:
        """Removes everything that was made from an earlier source."""
        for entry in self.path.iterdir() if self.path.exists() else ():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry not in (self.source, self.part):
                entry.unlink()

    def drop_attempts(self) -> None:
        """Removes what leases left unfinished."""
        for entry in self.path.glob("attempt-*"):
            shutil.rmtree(entry, ignore_errors=True)

    def drop_intermediates(self) -> None:
        """Removes all but source and results in JSON: what a published title no longer needs."""
        self.drop_attempts()
        for folder in (self.units, self.encoded, self.packaged):
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def publish_folder(unfinished: Path, result: Path) -> None:
    """Renames a finished folder to its place. When another lease was faster, its result stays and ours goes."""
    result.parent.mkdir(parents=True, exist_ok=True)
    try:
        unfinished.rename(result)
    except OSError:
        if not result.is_dir():
            raise
        shutil.rmtree(unfinished, ignore_errors=True)


def link(source: Path, target: Path) -> None:
    """The same bytes under another name, without copying where the filesystem can."""
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        shutil.copyfile(source, target)
