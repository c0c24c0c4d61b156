"""Collecting what index and folders do not agree about, a bounded step at a time, while the disk is in service.

Once per life of a keeper every folder of extents is looked through: files that the index does not know are unlinked (*orphans*), records whose file
is not there, or not at its length, are deleted (*missing*). Names that are none of ours are left alone (*strangers*), and so are ids that were given since
the keeper began. Until a folder's turn has come, an orphan costs its space (a filesystem that is full of them makes room, `ledger`), and a record without
its file is a miss that the worker reports and the keeper examines: service does not wait for any of it.

What a keeper that was killed had created and not told the index would take the disk beyond its quota meanwhile: those ids are among the last that were reserved, and are looked for by
name before anything is written (`collect_recent`).
"""

from __future__ import annotations

from array import array

from oca.store.disk_writer import DiskWriter, Gone
from oca.store.space import allocated
from oca.store.trailer import file_length

FOLDERS = 256


class Strays:
    """The sweep of one disk. Ids from `first_id` on are spared."""

    def __init__(self, writer: DiskWriter, first_id: int) -> None:
        self._writer = writer
        self._first_id = first_id
        self._folder = 0
        self._orphans: list[tuple[int, int]] = []
        self._promised: list[array[int]] | None = None
        self.orphans = 0
        self.missing = 0
        self.strangers = 0

    @property
    def pending(self) -> bool:
        return self._folder < FOLDERS or bool(self._orphans)

    def collect_recent(self, count: int) -> None:
        """Unlink orphans among the last `count` ids before the first of this keeper: about 2 µs an id. Raises DiskFailed, NoSpace(READ_ONLY)."""
        writer = self._writer
        for extent_id in range(max(1, self._first_id - count), self._first_id):
            if extent_id not in writer.holdings.extents:
                size = writer.size_of(extent_id)
                if size is not None:
                    self.orphans += writer.collect_orphan(extent_id, allocated(size))

    def some(self, max_files: int) -> None:
        """Look through one folder, or unlink the next `max_files` orphans of the last one. Raises DiskFailed, NoSpace(READ_ONLY)."""
        if self._orphans:
            self._collect(max_files)
        elif self._folder < FOLDERS:
            self._look(self._folder)
            self._folder += 1

    def _look(self, folder: int) -> None:
        writer = self._writer
        found: dict[int, int] = {}
        for name, size in writer.list_extents(folder):
            extent_id = id_of(name, folder)
            if extent_id is None:
                self.strangers += 1
            elif extent_id < self._first_id:
                found[extent_id] = size
        held = writer.holdings.extents
        missing = []
        for extent_id in self._promised_in(folder):
            extent = held.get(extent_id)
            if extent is not None and found.get(extent_id) != file_length(extent.length):
                missing.append(extent)
                found.pop(extent_id, None)
        self.missing += writer.remove(missing, Gone.MISSING)
        self._orphans = [(extent_id, size) for extent_id, size in found.items() if extent_id not in held]

    def _promised_in(self, folder: int) -> array[int]:
        """Ids by folder, sorted once: 8 bytes an extent."""
        if self._promised is None:
            self._promised = [array("Q") for _ in range(FOLDERS)]
            for extent_id in list(self._writer.holdings.extents):
                if extent_id < self._first_id:
                    self._promised[extent_id & 0xFF].append(extent_id)
        ids, self._promised[folder] = self._promised[folder], array("Q")
        return ids

    def _collect(self, max_files: int) -> None:
        for _ in range(min(max_files, len(self._orphans))):
            extent_id, size = self._orphans.pop()
            self.orphans += self._writer.collect_orphan(extent_id, allocated(size))


def id_of(name: str, folder: int) -> int | None:
    """The extent whose file has this name in this folder; None for any other name."""
    try:
        extent_id = int(name, 16)
    except ValueError:
        return None
    return extent_id if len(name) == 16 and name == f"{extent_id:016x}" and extent_id & 0xFF == folder else None
