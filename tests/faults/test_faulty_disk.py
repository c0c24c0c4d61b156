"""The faulty disk itself: a disk like any other until it is told to be sick."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.mounting import Mounted, can_mount, faulty_disk

MAP_LOCKED = 0x2000
"""Of Linux on x86-64 and arm64; not in the standard library."""
pytestmark = [pytest.mark.system, pytest.mark.skipif(not can_mount(), reason="mounting needs root and /dev/fuse")]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Mounted]:
    with faulty_disk(tmp_path) as mounted:
        yield mounted


def test_a_healthy_one_keeps_files_and_folders(disk: Mounted) -> None:
    folder = disk.path / "a" / "b"
    folder.mkdir(parents=True)
    data = os.urandom(3_000_001)
    (folder / "x").write_bytes(data)
    (folder / "x").rename(disk.path / "y")
    assert (disk.path / "y").read_bytes() == data == (disk.backing / "y").read_bytes()
    assert sorted(path.name for path in disk.path.rglob("*")) == ["a", "b", "y"]
    with (disk.path / "y").open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 4_000_000)
        os.fsync(file.fileno())
        (disk.path / "y").unlink()
        assert os.fstat(file.fileno()).st_size == 4_000_000, "an open file outlives its name"
    assert not list(disk.backing.glob("y"))


def test_what_is_in_memory_needs_no_disk_and_the_rest_fails(disk: Mounted) -> None:
    path = disk.path / "x"
    path.write_bytes(bytes(1 << 20))
    disk.forget()
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    os.pread(fd, 4096, 0)
    disk.becomes(unreadable=["x"])
    assert os.pread(fd, 4096, 0) == bytes(4096)
    with pytest.raises(OSError, match="Input/output") as caught:
        os.pread(fd, 4096, 512 * 1024)
    assert caught.value.errno == errno.EIO
    assert disk.becomes()["errors"] > 0
    assert os.pread(fd, 4096, 512 * 1024) == bytes(4096), "it came back"
    os.close(fd)


def test_a_dead_one_does_nothing_and_a_read_only_one_only_reads(disk: Mounted) -> None:
    (disk.path / "x").write_bytes(b"x")
    disk.becomes(read_only=True)
    with pytest.raises(OSError, match="Read-only"):
        (disk.path / "y").write_bytes(b"y")
    assert (disk.path / "x").read_bytes() == b"x"
    disk.becomes(dead=True)
    with pytest.raises(OSError, match="Input/output"):
        (disk.path / "y").read_bytes()


def test_a_short_read_makes_the_file_end_there(disk: Mounted) -> None:
    path = disk.path / "x"
    path.write_bytes(bytes(8192))
    disk.forget()
    disk.becomes(short=["x"])
    assert len(path.read_bytes()) == 4096


def test_a_locked_mapping_survives_what_happens_to_the_disk(disk: Mounted) -> None:
    path = disk.path / "x"
    path.write_bytes(b"y" * 65536)
    fd = os.open(path, os.O_RDONLY)
    with mmap.mmap(fd, 65536, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED | MAP_LOCKED) as mapped:
        disk.becomes(dead=True)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        Path("/proc/sys/vm/drop_caches").write_text("1\n")
        assert mapped[:] == b"y" * 65536
    os.close(fd)
