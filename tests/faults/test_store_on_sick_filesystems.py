"""The store on filesystems that are full, read-only, refuse to read or flip bits: a faulty disk by FUSE, and a real ext4 on a loop device."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from oca.store.board import DiskState
from oca.store.disk_writer import Gone
from oca.store.errors import DiskFailed, NoSpaceReason
from oca.store.extents import extent_name, key_hash
from oca.store.reader import StoreReader
from oca.store.writer import StoreWriter
from tests.faults.mounting import Mounted, can_mount, faulty_disk
from tests.oca.store.harness import FULL, MIB, MadeFile, StoreLab, make_file, no_space_reason, promised_bytes_are_right

pytestmark = [pytest.mark.system, pytest.mark.skipif(not can_mount(), reason="mounting needs root and /dev/fuse")]
FILMS = [make_file(f"vod|/media/{n}/hd/v.mp4", MIB) for n in range(40)]


class SickLab(StoreLab):
    """A store of one disk that lies on a given folder."""

    where: Path

    def disk_path(self, number: int = 0) -> Path:
        return self.where


@pytest.fixture
def sick(tmp_path: Path) -> Iterator[Mounted]:
    with faulty_disk(tmp_path) as mounted:
        yield mounted


@pytest.fixture
def lab(tmp_path: Path, sick: Mounted) -> Iterator[SickLab]:
    """Three films on the disk. Its index is left alone by the faults of these tests: a page of it that cannot be read ends a process."""
    made = SickLab(tmp_path)
    made.where = sick.path / "disk"
    lab_writer = made.open_writer()
    for film in FILMS[:3]:
        made.store(lab_writer, film)
    yield made
    sick.becomes()
    lab_writer.close()


def _opened(lab: SickLab) -> tuple[StoreWriter, StoreReader]:
    assert lab.writer is not None
    return lab.writer, lab.open_reader()


def _right(lab: StoreLab, reader: StoreReader, films: list[MadeFile]) -> list[int]:
    return [promised_bytes_are_right(lab, reader, film) for film in films]


def test_a_full_one_serves_and_stores_again_when_there_is_room(lab: SickLab, sick: Mounted) -> None:
    writer, reader = _opened(lab)
    sick.becomes(full=True)
    writer.look_at_space()
    disk = writer.disks[0]
    assert disk.space.limit_bytes == disk.space.used_bytes == 3 * FULL
    for film in FILMS[3:6]:
        assert no_space_reason(lambda film=film: disk.open_extent(film.spec(0))) in (  # type: ignore[misc]
            NoSpaceReason.DISK_FULL,
            NoSpaceReason.DEAD_HELD,
        )
        reader.poll()
        writer.reap()
    left = len(lab.extent_files())
    assert left >= 1, "two made way at most for what did not fit all the same, however often it is tried"
    for film in FILMS[6:20]:
        assert no_space_reason(lambda film=film: disk.open_extent(film.spec(0))) is NoSpaceReason.DISK_FULL  # type: ignore[misc]
    assert len(lab.extent_files()) == left
    assert sum(_right(lab, reader, FILMS[:3])) == 4 * left
    assert disk.failure is None
    sick.becomes()
    lab.clock.now += 10
    writer.look_at_space()
    lab.store(writer, FILMS[9])
    assert promised_bytes_are_right(lab, reader, FILMS[9]) == 4


def test_a_read_only_one_serves_and_says_so(lab: SickLab, sick: Mounted) -> None:
    writer, reader = _opened(lab)
    sick.becomes(read_only=True)
    assert no_space_reason(lambda: writer.disks[0].open_extent(FILMS[5].spec(0))) is NoSpaceReason.READ_ONLY
    assert writer.disks[0].read_only
    assert _right(lab, reader, FILMS[:3]) == [4, 4, 4]
    assert lab.board.disk_state(0) is DiskState.READY


def test_one_that_refuses_to_read_is_taken_out_by_the_scrub(lab: SickLab, sick: Mounted) -> None:
    writer, reader = _opened(lab)
    sick.forget()
    sick.becomes(unreadable=["disk/extents"])
    with pytest.raises(DiskFailed, match="Input/output error"):
        writer.scrub_some(100)
    assert lab.board.disk_state(0) is DiskState.FAILED
    assert _right(lab, reader, FILMS[:3]) == [0, 0, 0]


def test_flipped_bits_of_one_extent_cost_that_extent(lab: SickLab, sick: Mounted) -> None:
    writer, reader = _opened(lab)
    record = writer.find(key_hash(FILMS[1].key), 0)
    assert record is not None
    sick.forget()
    sick.becomes(flips=[f"disk/{extent_name(record.extent_id)}"])
    found = writer.scrub_some(100)[0]
    assert (found.blocks, found.bad_blocks) == (12, 4)
    assert writer.disks[0].gone[Gone.QUARANTINED] == 1
    sick.becomes()
    assert _right(lab, reader, FILMS[:3]) == [4, 0, 4]
    lab.store(writer, FILMS[1])
    assert _right(lab, reader, FILMS[:3]) == [4, 4, 4]


def test_a_slow_one_is_waited_for_and_right(lab: SickLab, sick: Mounted) -> None:
    writer, reader = _opened(lab)
    sick.forget()
    sick.becomes(delay_s=0.05)
    assert writer.scrub_some(100)[0].bad_blocks == 0
    assert _right(lab, reader, FILMS[:3]) == [4, 4, 4]


# -- a real filesystem on a loop device ----------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of 48 MiB."""
    image, path = tmp_path / "image", tmp_path / "small"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(48 * MIB)
    made = subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], capture_output=True, check=False)
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(path)], capture_output=True, check=False)
    if made.returncode or mounted.returncode:
        pytest.skip(f"no loop device here: {(made.stderr + mounted.stderr).decode().strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=False)


@pytest.fixture
def small_lab(tmp_path: Path, small: Path) -> Iterator[SickLab]:
    """A quota that the filesystem could hold, were it not for what others write there."""
    made = SickLab(tmp_path, quota_bytes=36 * MIB, index_map_bytes=MIB)
    made.where = small / "disk"
    yield made
    if made.writer is not None:
        made.writer.close()


def test_others_who_fill_the_filesystem_shrink_the_cache_and_nothing_else(small_lab: SickLab, small: Path) -> None:
    lab = small_lab
    writer, reader = lab.open_writer(), lab.open_reader()
    for film in FILMS[:10]:
        lab.store(writer, film)
    with (small / "of-others").open("wb") as file:
        file.write(bytes(20 * MIB))
    for film in FILMS[10:]:
        lab.store(writer, film)
        reader.poll()
        writer.reap()
        lab.clock.now += 1
    disk = writer.disks[0]
    assert disk.failure is None
    assert disk.space.is_squeezed
    held = sum(_right(lab, reader, FILMS)) // 4
    assert 10 <= held <= 26, "what the filesystem has, and not what the quota says"
    assert held * FULL == disk.space.live_bytes
    (small / "of-others").unlink()
    lab.clock.now += 10
    writer.look_at_space()
    assert disk.space.limit_bytes == 36 * MIB
    for film in FILMS[:35]:
        lab.store(writer, film)
        reader.poll()
        writer.reap()
    assert sum(_right(lab, reader, FILMS)) // 4 == 35
