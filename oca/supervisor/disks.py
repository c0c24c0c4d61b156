"""The supervisor's part in disks: prepares and locks them before anybody opens them, and obeys `lowtide oca disk`.

Order of a change: the disk is prepared and its index locked, what people chose is kept (`disks.json`), the roster is written
(`run/disks.json`), then its generation is raised on the board. What fails before that has changed nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec

from chassis.errors import ChassisError
from chassis.logs import get_logger
from oca.config import Appliance, Disk
from oca.link import roster as rosters
from oca.link.commands import DiskAnswer, DiskDo, DiskOrder
from oca.link.files import KeeperStatus, replace_file
from oca.link.roster import Choices, Refused, Roster, RosterDisk
from oca.link.settings import store_settings
from oca.store.board import MAX_DISKS, Board, DiskState
from oca.store.disks import prepare_disk
from oca.store.errors import StoreError
from oca.store.pinning import PinnedIndex, pin_index

KEPT = "disks.json"
DRAINED = "drained"


class CannotUseDisks(ChassisError):
    """The appliance cannot start with these disks; the message says what to mend."""


class Disks:
    """`open` once, then `attach` the board, then `obey`. `changed` is called after every change."""

    def __init__(self, settings: Appliance, changed: Callable[[], None]) -> None:
        self._settings = settings
        self._folder = Path(settings.state_dir)
        self._changed = changed
        self._board: Board | None = None
        self._busy = asyncio.Lock()
        self._log = get_logger("oca.supervisor.disks")
        self.roster = Roster(0, ())
        self.pinned: dict[int, PinnedIndex] = {}
        self.most = 0
        """How many numbers there can be while the board lives."""

    def open(self) -> tuple[Disk, ...]:
        """Prepare and lock what takes part from the start. One that cannot be used is left out: its share becomes misses. Raises CannotUseDisks."""
        configured = self._settings.store.disks
        roster = rosters.first_roster(configured, self._read_choices())
        for listed in configured:
            if listed.path not in {one.path for one in roster.disks}:
                self._log.warning("disk-was-removed", path=listed.path, then="add it again with `lowtide oca disk add`")
        failed: list[str] = []
        disks: list[RosterDisk] = []
        store = store_settings(self._settings, roster)
        for disk, settings in zip(roster.disks, store.disks, strict=True):
            try:
                disks.append(msgspec.structs.replace(disk, uuid=prepare_disk(settings, store).uuid))
            except (StoreError, OSError, lmdb.Error) as error:
                failed.append(str(error))
                disks.append(disk)
                self._log.error("disk-left-out", path=disk.path, detail=str(error))
        if len(failed) == len(disks):
            raise CannotUseDisks(f"no disk can be used: {'; '.join(failed)}")
        self.roster = Roster(1, tuple(disks))
        self.most = min(MAX_DISKS, len(disks) + self._settings.store.spare_disks)
        for number, disk in self.roster.present:
            self._pin(number, disk.path)
        return tuple(Disk(disk.path, disk.quota_bytes, disk.weight, disk.storage_class) for disk in disks)

    def attach(self, board: Board) -> None:
        """Publish the first roster. Raises OSError."""
        self._board = board
        self._publish()

    def is_out(self, number: int) -> bool:
        return self._board is not None and self._board.disk_state(number) is DiskState.FAILED

    async def obey(self, order: DiskOrder) -> DiskAnswer:
        """Never raises: what cannot be done is said. Orders are obeyed one after the other."""
        async with self._busy:
            try:
                return await self._obey(order)
            except Refused as error:
                return DiskAnswer(False, str(error))
            except (StoreError, OSError, lmdb.Error) as error:
                return DiskAnswer(False, f"{order.target} cannot be used: {error}")

    async def _obey(self, order: DiskOrder) -> DiskAnswer:
        match order.do:
            case DiskDo.ADD:
                number, roster, sentence = await self._add(order)
            case DiskDo.DRAIN:
                number, roster = rosters.drain(self.roster, order.target)
                sentence = "takes nothing new; what it has moves to the other disks"
            case DiskDo.REMOVE:
                known = self.roster.number_of(order.target)
                number, roster = rosters.remove(
                    self.roster,
                    order.target,
                    is_empty=known is not None and self._is_drained(known),
                    is_out=known is not None and self.is_out(known),
                    by_force=order.by_force,
                )
                sentence = "is removed; it stays so over restarts until it is added again"
        before, self.roster = self.roster, roster
        try:
            self._keep_choices()
            self._publish()
        except OSError:
            self.roster = before
            raise
        if order.do is DiskDo.REMOVE:
            self.pinned.pop(number).unpin()
        disk = roster.disks[number]
        self._log.info("disk", do=order.do.value, number=number, path=disk.path)
        self._changed()
        return DiskAnswer(True, f"disk {number}, {disk.path}, {sentence}", number)

    async def _add(self, order: DiskOrder) -> tuple[int, Roster, str]:
        path = order.target
        if not os.path.isabs(path):
            raise Refused(f"{path}: give the whole path of the folder")
        known = self.roster.number_of(path)
        wanted = order if known is None or order.quota_bytes else _as_known(order, self.roster.disks[known])
        if not wanted.quota_bytes:
            raise Refused(f"{path} is not known here: give --quota")
        fresh = RosterDisk(path, wanted.quota_bytes, wanted.weight, wanted.storage_class)
        store = store_settings(self._settings, Roster(0, (fresh,)))
        description = await asyncio.to_thread(prepare_disk, store.disks[0], store)
        is_out = known is not None and self.is_out(known)
        number, roster = rosters.add(self.roster, wanted, description.uuid, self.most, is_out)
        old = self.pinned.pop(known, None) if known is not None and (is_out or number != known) else None
        if old is not None:
            await asyncio.to_thread(old.unpin)
        if number not in self.pinned:
            await asyncio.to_thread(self._pin, number, path)
        words = "takes part as soon as every worker looks there"
        if not self.pinned[number].locked:
            words += f"; its index is NOT locked in memory: {self.pinned[number].reason}"
        return number, roster, words

    def _pin(self, number: int, path: str) -> None:
        index = self.pinned[number] = pin_index(path)
        if not index.locked:
            self._log.warning("index-not-locked", path=path, why=index.reason)

    def _is_drained(self, number: int) -> bool:
        """By the keeper's last word."""
        try:
            status = msgspec.json.decode((self._folder / "run" / "keeper.json").read_bytes(), type=KeeperStatus)
        except (OSError, msgspec.MsgspecError):
            return False
        return any(disk.number == number and disk.state == DRAINED for disk in status.disks)

    def _read_choices(self) -> Choices:
        path = self._folder / KEPT
        try:
            choices = msgspec.json.decode(path.read_bytes(), type=Choices)
        except FileNotFoundError:
            return Choices()
        except (OSError, msgspec.MsgspecError) as error:
            raise CannotUseDisks(
                f"{path} cannot be read: {error}; mend or delete it (the configuration holds then)"
            ) from error
        if choices.format > rosters.FORMAT:
            raise CannotUseDisks(f"{path} has format {choices.format}, this version knows {rosters.FORMAT}")
        return choices

    def _keep_choices(self) -> None:
        kept = rosters.choices_of(self.roster, self._settings.store.disks)
        replace_file(
            self._folder / KEPT, msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n", durable=True
        )

    def _publish(self) -> None:
        assert self._board is not None, "attached before it obeys"
        replace_file(self._folder / "run" / "disks.json", msgspec.json.encode(self.roster), durable=False)
        self._board.roster = self.roster.generation


def _as_known(order: DiskOrder, known: RosterDisk) -> DiskOrder:
    return msgspec.structs.replace(
        order, quota_bytes=known.quota_bytes, weight=known.weight, storage_class=known.storage_class
    )
