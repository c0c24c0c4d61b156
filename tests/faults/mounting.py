"""A faulty disk as tests use it: mounted, told what is wrong with it, unmounted whatever happens."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("faulty_disk.py")
_MNT_FORCE_AND_DETACH = 3


def can_mount() -> bool:
    return os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK)


@dataclass
class Mounted:
    """`path` is the disk, `backing` what lies behind it."""

    path: Path
    backing: Path
    process: subprocess.Popen[str]

    def becomes(self, **faults: object) -> dict[str, int]:
        """From now on exactly these faults (`faulty_disk.Faults`); gives what it did so far (`faulty_disk.Done`)."""
        assert self.process.stdin is not None, "it was started with pipes"
        assert self.process.stdout is not None, "it was started with pipes"
        self.process.stdin.write(json.dumps(faults) + "\n")
        self.process.stdin.flush()
        done: dict[str, int] = json.loads(self.process.stdout.readline())
        return done

    def forget(self) -> None:
        """Drop what of its files is in the page cache and may be dropped: what is mapped and locked stays."""
        for path in self.path.rglob("*"):
            if path.is_file():
                fd = os.open(path, os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)


@contextlib.contextmanager
def faulty_disk(folder: Path) -> Iterator[Mounted]:
    """`folder/sick` over `folder/behind`. Needs `can_mount()`."""
    path, backing = folder / "sick", folder / "behind"
    path.mkdir()
    backing.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(backing), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    mounted = Mounted(path, backing, process)
    try:
        mounted.becomes()
        yield mounted
    finally:
        assert process.stdin is not None, "it was started with pipes"
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        ctypes.CDLL(None).umount2(str(path).encode(), _MNT_FORCE_AND_DETACH)
        assert process.stdout is not None, "it was started with pipes"
        process.stdout.close()
