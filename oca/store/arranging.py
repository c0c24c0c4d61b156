"""Where new extents go, and in how many ranks of a class extents lie: what look-up has to ask.

Nothing is moved when a disk joins: what is there stays, one rank lower for the share that the new disk won. So that look-up finds it, the
board's reach says how many ranks hold extents. It grows at once when something new goes to a lower rank (its best disk is out, drains
or is read-only), and shrinks only by a survey of all extents. 0 means that nobody has surveyed since the disks changed: ask all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from oca.store.board import Board
from oca.store.disk_writer import DiskWriter
from oca.store.placement import DiskClass, Place, best_writable, by_class, rank_of

SURVEY_STEP = 2000
"""Extents of a survey between two rests."""


class Arrangement:
    """The places of the disks that are open, and the reach over them. Only the loop's thread places; a survey may run in another."""

    def __init__(self, board: Board, places: Mapping[int, Place]) -> None:
        self.places = dict(places)
        self.surveyed = False
        self._board = board
        self._deepest_new = self._deepest_before = 0
        self._changes = 0
        self.changed()

    def changed(self) -> None:
        """A disk came, left, or came back: what was known of ranks is void."""
        self._changes += 1
        self.surveyed = False
        self._board.reach = 0

    def best(
        self, hashed: bytes, extent_number: int, usable: Iterable[int], wanted: DiskClass | None = None
    ) -> int | None:
        """The disk that a new extent goes to, among the usable ones; None when none of them takes writes."""
        usable = list(usable)
        places = [self.places[number] for number in usable if number in self.places]
        number = best_writable(places, hashed, extent_number, wanted)
        if number is not None and len(self.places) > 1:
            self.note(hashed, extent_number, number)
        return number

    def note(self, hashed: bytes, extent_number: int, number: int) -> None:
        """An extent is about to come to this disk: look-up will reach it."""
        ranks = rank_of(tuple(self.places.values()), hashed, extent_number, number) + 1
        self._deepest_new = max(self._deepest_new, ranks)
        if 0 < self._board.reach < ranks:
            self._board.reach = ranks

    def ranks_below(
        self, hashed: bytes, extent_number: int, usable: Sequence[int], wanted: DiskClass | None = None
    ) -> Iterator[int]:
        """The disks that may take an extent which exists elsewhere, best first."""
        left = [number for number in usable if number in self.places and self.places[number].writable]
        while left:
            number = best_writable([self.places[n] for n in left], hashed, extent_number, wanted)
            if number is None:
                return
            yield number
            left.remove(number)

    @property
    def has_classes(self) -> bool:
        return len(by_class(tuple(self.places.values()))) > 1

    def survey(self, disks: Iterable[DiskWriter]) -> Iterator[list[tuple[int, int]]]:
        """Look at every extent once; each step gives the (disk, extent id) of copies that another disk holds better.

        When it ends and nothing changed meanwhile, the reach is what was found.
        """
        disks = list(disks) if len(self.places) > 1 else []
        began, deepest = self._changes, 1
        self._deepest_before, self._deepest_new = self._deepest_new, 0
        places = tuple(self.places.values())
        for disk in disks:
            ids = list(disk.holdings.extents)
            others = [other for other in disks if other is not disk]
            for start in range(0, len(ids), SURVEY_STEP):
                worse: list[tuple[int, int]] = []
                for extent_id in ids[start : start + SURVEY_STEP]:
                    extent = disk.holdings.extents.get(extent_id)
                    if extent is None or disk.number not in self.places:
                        continue
                    hashed, number = extent.object.hashed, extent.number
                    deepest = max(deepest, rank_of(places, hashed, number, disk.number) + 1)
                    if any(self._is_worse(disk, other, hashed, number) for other in others):
                        worse.append((disk.number, extent_id))
                yield worse
        if self._changes == began:
            self.surveyed = True
            # What was placed shortly before the survey may have come into a table that it had passed.
            self._board.reach = max(deepest, self._deepest_before, self._deepest_new)

    def _is_worse(self, disk: DiskWriter, other: DiskWriter, hashed: bytes, number: int) -> bool:
        """Both have the extent, and look-up should find that of the other disk."""
        if other.failure is not None or other.number not in self.places or not other.holdings.find(hashed, number):
            return False
        return self._preference(other.number, hashed, number) < self._preference(disk.number, hashed, number)

    def _preference(self, number: int, hashed: bytes, extent_number: int) -> tuple[bool, int, int, int]:
        place = self.places[number]
        rank = rank_of(tuple(self.places.values()), hashed, extent_number, number)
        return not place.writable, list(DiskClass).index(place.disk_class), rank, number
