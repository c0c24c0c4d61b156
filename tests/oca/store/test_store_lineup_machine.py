"""The store's machine with disks that join, drain, leave, are lost and come back in any order: never a wrong byte, and never a lost one that
the index promised, but those of disks that were lost.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from oca.store.disks import DiskSettings, StoreSettings, prepare_disk
from oca.store.errors import NoSpace
from oca.store.extents import key_hash
from oca.store.moving import move_extent
from tests.oca.store.harness import MIB
from tests.oca.store.test_store_machine import KEYS, StoreMachine

MOST_DISKS = 4


class LineupMachine(StoreMachine):
    spare_disks = MOST_DISKS

    def __init__(self) -> None:
        super().__init__()
        self.lives: dict[int, int] = {}

    # -- the line-up, as keeper and workers change it --------------------------------------------------------------

    @property
    def lost(self) -> list[int]:
        return [disk.number for disk in self.writer.disks.values() if disk.failure is not None]

    @property
    def sound(self) -> list[int]:
        return [disk.number for disk in self.writer.disks.values() if disk.failure is None]

    def _settings(self) -> StoreSettings:
        found = self.lab.settings
        disks = tuple(dataclasses.replace(disk, life=self.lives.get(n, 0)) for n, disk in enumerate(found.disks))
        return dataclasses.replace(found, disks=disks)

    def _follow(self) -> None:
        self.reader.poll()
        shared = {number: disk.index for number, disk in self.writer.disks.items()}
        self.reader.follow(self._settings(), self.lab.board.roster + 1, shared)

    def _detach(self, number: int) -> None:
        disk = self.writer.detach(number, "left")
        assert disk is not None
        self.writer.close_detached(disk)

    def _join(self, number: int) -> None:
        disk: DiskSettings = self._settings().disks[number]
        if not Path(disk.path).exists():
            prepare_disk(disk, self.lab.settings, lambda: UUID(int=number + 1))
        self.writer.attach(self.writer.open_disk(number, disk))
        self._follow()
        self.writer.use(number)
        while self.writer.collect_strays(1000):
            pass

    @precondition(lambda self: self.lab.disks < MOST_DISKS)
    @rule()
    def join(self) -> None:
        self.lab.disks += 1
        self._join(self.lab.disks - 1)

    @precondition(lambda self: len(self.sound) > 1)
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        takers = [n for n in self.sound if n not in self.lab.draining]
        if len(takers) > 1:
            number = data.draw(st.sampled_from(takers))
            self.lab.draining |= {number}
            self.writer.drain(number)
            self._follow()

    @precondition(lambda self: self.lab.draining & set(self.sound))
    @rule(data=st.data(), most=st.integers(1, 8))
    def move(self, data: st.DataObject, most: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.lab.draining & set(self.sound))))
        disk = self.writer.disks[number]
        for extent_id, extent in list(disk.holdings.extents.items())[:most]:
            takers = [n for n in self.sound if n not in self.lab.draining]
            target = self.writer.arrangement.best(extent.object.hashed, extent.number, takers)
            if target is not None:
                self.reader.poll()
                self.writer.reap()
                move_extent(disk, self.writer.disks[target], extent_id, evict=True)

    @precondition(lambda self: self.lab.draining & set(self.sound))
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        for number in sorted(self.lab.draining & set(self.sound)):
            if not self.writer.disks[number].holdings.extents:
                self._detach(number)
                self.lab.removed |= {number}
                self.lab.draining -= {number}
                self._follow()

    @precondition(lambda self: len(self.sound) > 1)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.sound))
        if set(self.sound) - {number} <= self.lab.draining:
            return
        self.writer.disks[number].take_out("lost")
        self.lab.clock.now += 1.0  # of two versions on two disks the later one counts
        self._trust_what_is_there()

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.lost))
        self.lab.draining -= {number}
        self.lives[number] = self.lives.get(number, 0) + 1
        self.commit()
        self._detach(number)
        self._join(number)
        self._as_others_have_it(number)
        self._merge()
        self._trust_what_is_there(only_pinned=False)  # what its index shows was committed, and stays through a crash

    @rule()
    def survey(self) -> None:
        self._merge()
        for _ in self.writer.surveying():
            pass
        assert self.lab.board.reach > 0
        self._trust_what_is_there(only_pinned=False)

    @precondition(lambda self: not self.lost)
    @rule(size=st.integers(1, 3 * MIB))
    def make_room(self, size: int) -> None:
        super().make_room(size)

    @precondition(lambda self: not self.lost)
    @rule(replaced=st.booleans(), data=st.data())
    def lose_a_disk(self, replaced: bool, data: st.DataObject) -> None:
        if not self.lab.draining and not self.lab.removed and not self.lives:
            super().lose_a_disk(replaced, data)

    @precondition(lambda self: not self.lost)
    @rule(data=st.data())
    def rot_and_scrub(self, data: st.DataObject) -> None:
        super().rot_and_scrub(data)

    @precondition(lambda self: not self.lost)
    @rule(new_board=st.booleans())
    def restart(self, new_board: bool) -> None:
        super().restart(new_board)

    @precondition(lambda self: not self.lost)
    @rule(power=st.booleans(), new_board=st.booleans())
    def crash(self, power: bool, new_board: bool) -> None:
        super().crash(power, new_board)

    # -- what the model learns -------------------------------------------------------------------------------------

    def _as_others_have_it(self, number: int) -> None:
        """What was dropped or let go while the disk was away is so on it too, as a keeper that learns of it makes it."""
        for key in KEYS:
            if key not in self.written:
                self.writer.drop(key)
            elif key not in self.pinned:
                self.writer.unpin(key)
            else:
                try:
                    self.writer.pin(key, "plan")
                except NoSpace:
                    self.writer.unpin(key)
                    self.pinned.discard(key)

    def _merge(self) -> None:
        for number, extent_id in [worse for step in self.writer.surveying() for worse in step]:
            disk = self.writer.disks[number]
            extent = disk.holdings.extents.get(extent_id)
            if extent is None:
                continue
            for other in self.writer.disks.values():
                if (
                    other is not disk
                    and other.failure is None
                    and other.holdings.find(extent.object.hashed, extent.number)
                ):
                    move_extent(disk, other, extent_id, evict=True)
                    break

    def _trust_what_is_there(self, only_pinned: bool = True) -> None:
        """After a loss, or a merge: what is there is what was written, and of it what is promised must stay."""
        for key in list(self.written):
            file, _ = self.written[key]
            present = {
                (extent.number, block)
                for disk in self.writer.disks.values()
                if disk.failure is None and (owner := disk.holdings.objects.get(key_hash(key))) is not None
                for extent in owner.extents.values()
                for block in range(extent.block_count)
                if extent.present >> block & 1
            }
            promised = {
                (number, block)
                for number in range(8)
                if (record := self.reader.lookup(key_hash(key), number)) is not None
                for block in range(record.block_count)
                if record.has_blocks(block, block)
            }
            self.written[key] = (file, present)
            self.durable[key] = (self.durable.get(key, set()) & promised) if only_pinned else promised


TestLineupMachine = LineupMachine.TestCase
TestLineupMachine.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
