"""Which disks an appliance has, under which numbers, and what happens to each: the roster. Pure.

The supervisor makes it from the configuration and what `lowtide oca disk` changed (`disks.json` in the state folder, kept over
restarts), writes it to `run/disks.json`, and then raises the generation on the board; keeper and workers read it when they see that.

Laws.
1. A number stands for one disk as long as the supervisor lives: one that was removed, or whose folder holds another disk now, never gives
   its number away, because whoever still has a file of it open names it by that number.
2. A disk comes back under its number with a higher `life`: whoever has it open opens it anew.
3. What the configuration says of a disk it lists is so, except its use; what was added by command is as the command said.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, Protocol

import msgspec

from oca.config import Disk

FORMAT = 1
ClassWord = Literal["hot", "cold"]


class Use(Enum):
    """The value is the word that operators see."""

    ACTIVE = "active"
    DRAINING = "draining"
    """It takes nothing new, and what it has moves to the others."""
    REMOVED = "removed"


class RosterDisk(msgspec.Struct, frozen=True):
    """One number. `uuid` is empty while nobody could read which disk it is."""

    path: str
    quota_bytes: int
    weight: float = 1.0
    storage_class: ClassWord = "cold"
    use: Use = Use.ACTIVE
    uuid: str = ""
    life: int = 0
    added: bool = False
    """By command; the configuration does not list it."""


class Roster(msgspec.Struct, frozen=True):
    """`run/disks.json`. The position of a disk is its number."""

    generation: int
    disks: tuple[RosterDisk, ...]

    def number_of(self, target: str) -> int | None:
        """By number, or by path among those that are not removed."""
        if target.isdigit():
            number = int(target)
            return number if number < len(self.disks) and self.disks[number].use is not Use.REMOVED else None
        found = (n for n, disk in enumerate(self.disks) if disk.path == target and disk.use is not Use.REMOVED)
        return next(found, None)

    @property
    def present(self) -> tuple[tuple[int, RosterDisk], ...]:
        """Those that were not removed, with their numbers."""
        return tuple((n, disk) for n, disk in enumerate(self.disks) if disk.use is not Use.REMOVED)

    def with_disk(self, number: int, disk: RosterDisk) -> Roster:
        """The next generation, with this disk under this number (the next one for a new disk)."""
        return Roster(self.generation + 1, (*self.disks[:number], disk, *self.disks[number + 1 :]))


class Choices(msgspec.Struct, frozen=True):
    """`disks.json`: what people changed, by path. A newer format is refused by whoever reads it."""

    format: int = FORMAT
    disks: tuple[RosterDisk, ...] = ()


class Refused(Exception):
    """What was asked for is not possible; the message says why and what to do."""


class Wanted(Protocol):
    """A disk as somebody wants it added."""

    @property
    def path(self) -> str: ...
    @property
    def quota_bytes(self) -> int: ...
    @property
    def weight(self) -> float: ...
    @property
    def storage_class(self) -> ClassWord: ...


def first_roster(configured: tuple[Disk, ...], choices: Choices) -> Roster:
    """At the start of an appliance. Numbers are given anew: nobody has a file open yet. When everything was removed, all of the configuration is back."""
    chosen = {disk.path: disk for disk in choices.disks}
    disks = [_configured(disk, chosen.get(disk.path)) for disk in configured]
    listed = {disk.path for disk in configured}
    disks += [msgspec.structs.replace(disk, life=0) for disk in choices.disks if disk.added and disk.path not in listed]
    present = [disk for disk in disks if disk.use is not Use.REMOVED]
    return Roster(1, tuple(present or [_configured(disk, None) for disk in configured]))


def _configured(disk: Disk, chosen: RosterDisk | None) -> RosterDisk:
    use = chosen.use if chosen is not None else Use.ACTIVE
    return RosterDisk(disk.path, disk.quota_bytes, disk.weight, disk.storage_class, use)


def choices_of(roster: Roster, configured: tuple[Disk, ...]) -> Choices:
    """What has to be kept so that the next start has the same disks."""
    listed = {disk.path for disk in configured}
    last = {disk.path: disk for disk in roster.disks if disk.use is Use.REMOVED} | {
        disk.path: disk for _, disk in roster.present
    }
    kept = [
        msgspec.structs.replace(disk, uuid="", life=0)
        for path, disk in last.items()
        if (path in listed and disk.use is not Use.ACTIVE) or (path not in listed and disk.use is not Use.REMOVED)
    ]
    return Choices(FORMAT, tuple(kept))


def add(roster: Roster, wanted: Wanted, uuid: str, most: int, is_out: bool) -> tuple[int, Roster]:
    """A disk joins, comes back, or is to stay after all; its number and the next roster. Raises Refused.

    `uuid` is that of the disk in the folder now, `is_out` whether the disk of that path was taken out.
    """
    number = roster.number_of(wanted.path)
    fresh = RosterDisk(
        wanted.path, wanted.quota_bytes, wanted.weight, wanted.storage_class, Use.ACTIVE, uuid, 0, added=True
    )
    if number is None:
        return _append(roster, fresh, most)
    known = roster.disks[number]
    if not is_out and known.use is Use.ACTIVE:
        raise Refused(f"{wanted.path} takes part already, as disk {number}")
    if known.uuid and known.uuid != uuid:
        gone = roster.with_disk(number, msgspec.structs.replace(known, use=Use.REMOVED))
        return _append(gone, msgspec.structs.replace(fresh, added=known.added), most)
    back = msgspec.structs.replace(known, use=Use.ACTIVE, uuid=uuid, life=known.life + is_out)
    return number, roster.with_disk(number, back)


def _append(roster: Roster, disk: RosterDisk, most: int) -> tuple[int, Roster]:
    number = len(roster.disks)
    if number >= most:
        raise Refused(
            f"no more than {most} disks can be numbered until the appliance is restarted (store.spare_disks); "
            "add it to the configuration and restart"
        )
    return number, roster.with_disk(number, disk)


def drain(roster: Roster, target: str) -> tuple[int, Roster]:
    """Raises Refused."""
    number, disk = _known(roster, target)
    if disk.use is Use.DRAINING:
        raise Refused(f"{disk.path} drains already")
    if not any(n != number and other.use is Use.ACTIVE for n, other in roster.present):
        raise Refused(f"{disk.path} is the last disk that takes new files: add another one first")
    return number, roster.with_disk(number, msgspec.structs.replace(disk, use=Use.DRAINING))


def remove(roster: Roster, target: str, *, is_empty: bool, is_out: bool, by_force: bool) -> tuple[int, Roster]:
    """Raises Refused: what is on it would be lost, or nothing would be left."""
    number, disk = _known(roster, target)
    if len(roster.present) == 1:
        raise Refused(f"{disk.path} is the only disk")
    if not (is_out or by_force or (disk.use is Use.DRAINING and is_empty)):
        raise Refused(f"{disk.path} still has files: drain it first, or give --force to have them fetched again")
    return number, roster.with_disk(number, msgspec.structs.replace(disk, use=Use.REMOVED))


def _known(roster: Roster, target: str) -> tuple[int, RosterDisk]:
    number = roster.number_of(target)
    if number is None:
        known = ", ".join(f"{n} {disk.path}" for n, disk in roster.present)
        raise Refused(f"there is no disk {target}; there are: {known}")
    return number, roster.disks[number]
