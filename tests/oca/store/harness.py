"""Reusable parts for tests of and above the store: small stores, files with digests, system calls that fail, forget or end the process.

lab = StoreLab(tmp_path)                # one disk for eight extents of 1 MiB, a board for two workers, a virtual clock
writer = lab.open_writer()
file = make_file("vod|/media/t/hd/v.mp4", 3 * MIB + 100)
lab.store(writer, file)                 # every block, committed
reader = lab.open_reader()
"""

from __future__ import annotations

import errno
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from contracts.digests import BLOCK_BYTES, DigestBuilder, FileDigests
from oca.store.blocks import block_length, count_blocks
from oca.store.board import Board, BoardShape
from oca.store.disk_writer import Announcement, DiskWriter
from oca.store.disks import DiskSettings, StoreSettings, prepare_disk
from oca.store.errors import NoSpace, NoSpaceReason
from oca.store.extents import ExtentSpec, extent_count, key_hash
from oca.store.holdings import HeldExtent
from oca.store.index import Changes, IndexWriter
from oca.store.reader import StoreReader
from oca.store.syscalls import RealSyscalls, Syscalls
from oca.store.trailer import allocated_bytes
from oca.store.writer import StoreWriter

MIB = 1 << 20
FULL = allocated_bytes(MIB)
"""What an extent of one MiB takes on a disk."""
HEADER = b"Content-Type: video/mp4\r\nCache-Control: public, immutable\r\n"


@dataclass(frozen=True, repr=False)
class MadeFile:
    """A file with its bytes and published digests."""

    key: str
    data: bytes
    digests: FileDigests

    def __repr__(self) -> str:
        return f"<{self.key}, {len(self.data)} bytes, {self.version[:3].hex()}>"

    @property
    def version(self) -> bytes:
        return self.digests.version

    def spec(self, extent_number: int, plan: str | None = None) -> ExtentSpec:
        return ExtentSpec(self.key, self.version, len(self.data), extent_number, HEADER, plan)

    def block(self, extent_number: int, block: int, extent_bytes: int) -> tuple[bytes, bytes]:
        """(bytes, digest) of a block counted inside its extent."""
        number = extent_number * (extent_bytes // BLOCK_BYTES) + block
        return self.data[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES], self.digests.block(number)


def make_file(key: str, size: int, seed: int = 0) -> MadeFile:
    """A file of random bytes; the same arguments give the same bytes."""
    data = random.Random(f"{key}:{size}:{seed}").randbytes(size)
    builder = DigestBuilder(key, "video/mp4")
    builder.update(data)
    return MadeFile(key, data, builder.finish())


class Clock:
    """Virtual seconds."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class StoreLab:
    """A store below `root` that can be opened, crashed and opened again."""

    root: Path
    disks: int = 1
    quota_bytes: int = 8 * FULL
    extent_bytes: int = MIB
    index_map_bytes: int = 4 * MIB
    cache_share: float = 0.25
    policy: str = "lru"
    high_mark: float = 1.0
    low_mark: float = 1.0
    draining: frozenset[int] = frozenset()
    removed: frozenset[int] = frozenset()
    admission: str = "all"
    workers: int = 2
    marks_per_disk: int = 256
    spare_disks: int = 0
    syscalls: Syscalls | None = None
    clock: Clock = field(default_factory=Clock)
    board: Board = field(init=False)
    writer: StoreWriter | None = None
    """The writer that is open in this process: LMDB is opened once per process, so that readers here share it."""
    readers: list[StoreReader] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.board = self.new_board()

    def new_board(self) -> Board:
        """A fresh board, as after a restart of the whole appliance."""
        return Board.create(
            BoardShape(self.workers, self.disks + self.spare_disks, self.marks_per_disk, self.spare_disks)
        )

    def disk_path(self, number: int = 0) -> Path:
        return self.root / f"disk{number}"

    @property
    def settings(self) -> StoreSettings:
        disks = tuple(
            DiskSettings(
                str(self.disk_path(n)), self.quota_bytes, draining=n in self.draining, removed=n in self.removed
            )
            for n in range(self.disks)
        )
        return StoreSettings(
            disks,
            self.extent_bytes,
            self.index_map_bytes,
            self.cache_share,
            self.policy,
            self.high_mark,
            self.low_mark,
            admission=self.admission,
        )

    def open_writer(self, syscalls: Syscalls | None = None, sweep: bool = True) -> StoreWriter:
        """A writer over disks whose uuids, and so whose placement, are the same in every run; strays are collected."""
        for number, disk in enumerate(self.settings.disks):
            if not disk.removed and not Path(disk.path).exists():
                prepare_disk(disk, self.settings, lambda number=number: UUID(int=number + 1))  # type: ignore[misc]
        self.writer = StoreWriter.open(self.settings, self.board, self.clock, syscalls or self.syscalls)
        while sweep and self.writer.collect_strays(1000):
            pass
        return self.writer

    def open_reader(self, slot: int = 0) -> StoreReader:
        shared = None
        if self.writer is not None and self.writer._locks:
            shared = {number: disk.index for number, disk in self.writer.disks.items()}
        reader = StoreReader.open(self.settings, self.board, slot, shared)
        self.readers.append(reader)
        return reader

    def write(
        self, writer: StoreWriter, file: MadeFile, extent_number: int, blocks: list[int], plan: str | None = None
    ) -> list[Announcement]:
        """Write some blocks of one extent, uncommitted. Room that readers still hold is waited for as a keeper does."""
        disk = self.place(writer, file, extent_number)
        try:
            extent = disk.open_extent(file.spec(extent_number, plan))
        except NoSpace as refusal:
            if refusal.reason is not NoSpaceReason.DEAD_HELD:
                raise
            for reader in self.readers:
                reader.descriptors.poll()
            extent = disk.open_extent(file.spec(extent_number, plan))
        try:
            return [
                disk.write_block(extent, block, *file.block(extent_number, block, self.extent_bytes))
                for block in blocks
            ]
        finally:
            disk.close_extent(extent)

    def store(self, writer: StoreWriter, file: MadeFile, plan: str | None = None) -> None:
        """Store the whole file and commit it."""
        for number in range(extent_count(len(file.data), self.extent_bytes)):
            length = min(self.extent_bytes, len(file.data) - number * self.extent_bytes)
            self.write(writer, file, number, list(range(count_blocks(length))), plan)
        self.commit(writer)

    @staticmethod
    def commit(writer: StoreWriter) -> int:
        return sum(disk.commit_batch() for disk in writer.disks.values() if disk.failure is None)

    @staticmethod
    def place(writer: StoreWriter, file: MadeFile, extent_number: int) -> DiskWriter:
        disk = writer.place(key_hash(file.key), extent_number)
        assert disk is not None
        return disk

    def extent_files(self, number: int = 0) -> dict[str, int]:
        """Name → size of every file below a disk's `extents`."""
        return {path.name: path.stat().st_size for path in (self.disk_path(number) / "extents").glob("*/*")}

    @staticmethod
    def crash(writer: StoreWriter) -> None:
        """Let go as a killed process would: no commit, no clean mark."""
        for disk in writer.disks.values():
            for extent in disk.holdings.extents.values():
                if extent.fd >= 0:
                    disk.syscalls.close(extent.fd)
            disk.index.close()
        for lock in writer._locks.values():
            os.close(lock)
        writer._locks.clear()


def read_extent(reader: StoreReader, key: str, extent_number: int, first: int, last: int) -> bytes | None:
    """What a worker would send for these blocks of an extent; None when it is a miss."""
    record = reader.lookup(key_hash(key), extent_number)
    if record is None or not record.has_blocks(first, last):
        return None
    held = reader.descriptors.acquire(record.disk, record.extent_id, record.length)
    if held is None:
        return None
    try:
        reader.touch(record, 1)
        end = min(record.length, (last + 1) * BLOCK_BYTES)
        return os.pread(held.fd, end - first * BLOCK_BYTES, first * BLOCK_BYTES)
    finally:
        reader.descriptors.release(held)


def promised_bytes_are_right(lab: StoreLab, reader: StoreReader, file: MadeFile) -> int:
    """Assert that every block the index promises has the file's bytes; how many there are."""
    found = 0
    for number in range(extent_count(len(file.data), lab.extent_bytes)):
        record = reader.lookup(key_hash(file.key), number)
        if record is None:
            continue
        assert record.version == file.version
        for block in range(record.block_count):
            if record.has_blocks(block, block):
                data, _ = file.block(number, block, lab.extent_bytes)
                assert read_extent(reader, file.key, number, block, block) == data, (file.key, number, block)
                found += 1
    return found


class FailingSyscalls(RealSyscalls):
    """Raises the errno in `fail[name]` for every call of that name; `calls` counts."""

    def __init__(self) -> None:
        self.fail: dict[str, int] = {}
        self.calls: Counter[str] = Counter()

    def _step(self, name: str) -> None:
        self.calls[name] += 1
        if name in self.fail:
            raise OSError(self.fail[name], os.strerror(self.fail[name]))

    def create(self, path: str) -> int:
        self._step("create")
        return super().create(path)

    def open(self, path: str) -> int:
        self._step("open")
        return super().open(path)

    def allocate(self, fd: int, length: int) -> None:
        self._step("allocate")
        super().allocate(fd, length)

    def write(self, fd: int, data: memoryview, offset: int) -> None:
        self._step("write")
        super().write(fd, data, offset)

    def read(self, fd: int, length: int, offset: int) -> bytes:
        self._step("read")
        return super().read(fd, length, offset)

    def read_past_cache(self, path: str, length: int, offset: int) -> bytes:
        self._step("read")
        return super().read_past_cache(path, length, offset)

    def sync(self, fd: int) -> None:
        self._step("sync")
        super().sync(fd)

    def sync_folder(self, path: str) -> None:
        self._step("sync_folder")
        super().sync_folder(path)

    def unlink(self, path: str) -> None:
        self._step("unlink")
        super().unlink(path)


class Death:
    """Kills the process with signal 9 just before its step number `at`; `say` hears the name of that step first."""

    def __init__(self, at: int, say: Callable[[str], object] = lambda _line: None) -> None:
        self._left = at
        self._say = say

    def step(self, name: str) -> None:
        if self._left == 0:
            self._say(f"before {name}")
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


class DyingSyscalls(FailingSyscalls):
    """Every system call is a step of a `Death`, counted over all kinds."""

    def __init__(self, death: Death) -> None:
        super().__init__()
        self._death = death

    def _step(self, name: str) -> None:
        self._death.step(name)
        super()._step(name)

    def close(self, fd: int) -> None:
        self._step("close")
        super().close(fd)


class DyingIndex(IndexWriter):
    """An index whose commits are steps too: before one, nothing of it is there; behind it, all."""

    def __init__(self, index: IndexWriter, death: Death) -> None:
        super().__init__(index._env)
        self._death = death

    def commit(self, changes: Changes) -> None:
        self._death.step("commit")
        super().commit(changes)
        self._death.step("what follows a commit")


class ForgetfulSyscalls(FailingSyscalls):
    """A disk with a volatile cache: what was written and not synced is lost at `power_cut`, replaced by what was there before.

    With `lying` it says "synced" and keeps it volatile, as some disks do.
    """

    def __init__(self, lying: bool = False) -> None:
        super().__init__()
        self.lying = lying
        self._volatile: dict[str, dict[int, bytes]] = {}
        self._paths: dict[int, str] = {}

    def create(self, path: str) -> int:
        fd = super().create(path)
        self._paths[fd] = path
        return fd

    def open(self, path: str) -> int:
        fd = super().open(path)
        self._paths[fd] = path
        return fd

    def write(self, fd: int, data: memoryview, offset: int) -> None:
        before = os.pread(fd, len(data), offset)
        self._volatile.setdefault(self._paths[fd], {}).setdefault(offset, before)
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        super().sync(fd)
        if not self.lying:
            self._volatile.pop(self._paths[fd], None)

    def close(self, fd: int) -> None:
        self._paths.pop(fd, None)
        super().close(fd)

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self._volatile.pop(path, None)

    def power_cut(self) -> int:
        """Undo what was volatile; how many writes."""
        undone = 0
        for path, writes in self._volatile.items():
            if os.path.exists(path):
                with open(path, "r+b") as file:
                    for offset, before in writes.items():
                        file.seek(offset)
                        file.write(before)
                        undone += 1
        self._volatile.clear()
        self._paths.clear()
        return undone


class VolatileFolders(ForgetfulSyscalls):
    """Names are volatile too: what was created or unlinked and whose folder was not synced since is as before after `power_cut`.

    That is the worst that a filesystem may do (fsync(2): "does not necessarily ensure that the entry in the directory has also reached disk").
    """

    def __init__(self) -> None:
        super().__init__()
        self._created: dict[str, set[str]] = {}
        self._unlinked: dict[str, dict[str, str]] = {}

    def create(self, path: str) -> int:
        fd = super().create(path)
        self._created.setdefault(os.path.dirname(path), set()).add(path)
        return fd

    def unlink(self, path: str) -> None:
        folder, name = os.path.split(path)
        shadow = os.path.join(os.path.dirname(os.path.dirname(folder)), f"unlinked-{name}")
        os.link(path, shadow)
        super().unlink(path)
        if path in self._created.get(folder, ()):
            self._created[folder].discard(path)
            os.unlink(shadow)
        else:
            self._unlinked.setdefault(folder, {})[path] = shadow

    def sync_folder(self, path: str) -> None:
        super().sync_folder(path)
        self._created.pop(path, None)
        for shadow in self._unlinked.pop(path, {}).values():
            os.unlink(shadow)

    def forget_below(self, folder: str) -> None:
        """The disk was replaced: nothing of it can come back."""
        for kept in (self._volatile, self._created, self._unlinked):
            for path in [path for path in kept if path.startswith(folder)]:
                del kept[path]

    def power_cut(self) -> int:
        undone = super().power_cut()
        for paths in self._created.values():
            for path in paths:
                os.unlink(path)
        for pairs in self._unlinked.values():
            for path, shadow in pairs.items():
                os.rename(shadow, path)
        self._created.clear()
        self._unlinked.clear()
        return undone


def no_space_reason(action: Callable[[], object]) -> NoSpaceReason:
    """The reason `action` is refused with; fails when it is not refused."""
    try:
        action()
    except NoSpace as refusal:
        return refusal.reason
    raise AssertionError("there was space")


def spoil(path: Path, offset: int) -> None:
    """Flip one byte of a file behind the store's back."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))


def all_blocks(extent: HeldExtent) -> list[int]:
    return [block for block in range(extent.block_count) if block_length(extent.length, block)]


ENOSPC, EIO, EROFS = errno.ENOSPC, errno.EIO, errno.EROFS
