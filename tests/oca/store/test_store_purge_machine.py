"""Purges as a state machine: written, purged, found current, swept, crashed, restarted, disks away and back, in any order: nothing purged is served."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from oca.store.errors import Purged
from oca.store.extents import key_hash
from oca.store.purge import PurgeKind, PurgeMode, PurgeOrder, PurgeRule
from tests.oca.store.harness import FULL, StoreLab, make_file

KEYS = [f"vod|/media/{title}/{tier}/v.mp4" for title in "abc" for tier in ("sd", "hd")]
ORDERS = st.one_of(
    st.sampled_from(KEYS).map(lambda key: PurgeOrder(PurgeKind.OBJECT, key)),
    st.sampled_from("abc").map(lambda title: PurgeOrder(PurgeKind.PREFIX, f"vod|/media/{title}/")),
    st.sampled_from(("tier:hd", "title:a", "title:none")).map(lambda tag: PurgeOrder(PurgeKind.TAG, tag)),
    st.just(PurgeOrder(PurgeKind.ALL)),
)
MODES = st.sampled_from(PurgeMode)


class Return(Enum):
    """How a disk that was away comes back."""

    AT_A_START = "at a start"
    JOINING = "while others serve"
    THEN_ALONE = "at a start, and the other one leaves at the next"
    ALONE = "in the place of the other one"


class PurgeMachine(RuleBasedStateMachine):
    """`gone` are versions that nobody may be served any more; `versions` those that must be, unless they are stale or their disk is away."""

    @initialize(key=st.sampled_from(KEYS), mode=MODES, clean=st.booleans(), how=st.sampled_from(Return))
    def begin(self, key: str, mode: PurgeMode, clean: bool, how: Return) -> None:
        """Every history begins with a purge that one disk missed and that was swept without it: chance brings that about too rarely."""
        self.folder = Path(tempfile.mkdtemp())
        self.lab = StoreLab(self.folder, disks=2, quota_bytes=60 * FULL, index_map_bytes=1 << 20)
        self.seed = 0
        self.versions: dict[str, bytes] = {}
        """What was stored last of each key."""
        self.ever: dict[str, set[bytes]] = {key: set() for key in KEYS}
        """All that was stored since the key was purged; some of it may lie on a disk that is away."""
        self.gone: set[bytes] = set()
        self.stale: dict[str, int] = {}
        """Keys that were softly purged since they were stored, with the epoch of the last time."""
        self.home: dict[str, int] = {}
        self.away: int | None = None
        self.left_in = 0
        """The epoch in which the disk that is away left."""
        self._open()
        for stored in KEYS:
            self.write(stored)
        self._purge_while_it_is_away(key, clean, True, mode, how)

    def _open(self) -> None:
        self.writer = self.lab.open_writer()
        self._open_readers()

    def _open_readers(self) -> None:
        self.readers = [self.lab.open_reader(slot) for slot in range(2)]

    def _let_go(self) -> None:
        for reader in self.readers:
            reader.close()
        self.lab.readers.clear()

    @rule(key=st.sampled_from(KEYS))
    def write(self, key: str) -> None:
        self.seed += 1
        self.lab.clock.now += 1.0  # of two versions on two disks the later one counts
        file = make_file(key, 70_000, self.seed)
        self.lab.store(self.writer, file)
        self.ever[key].add(file.version)
        self.versions[key] = file.version
        self.home[key] = self.lab.place(self.writer, file, 0).number
        self.stale.pop(key, None)

    @rule(orders=st.lists(ORDERS, min_size=1, max_size=3), mode=MODES, sweep=st.booleans())
    def purge(self, orders: list[PurgeOrder], mode: PurgeMode, sweep: bool) -> None:
        rules = self.writer.order([replace(order, mode=mode) for order in orders])
        assert not self.writer.purge_acknowledged(rules[-1])
        for reader in self.readers:
            reader.poll()
        assert all(self.writer.purge_acknowledged(rule) for rule in rules)
        for one in rules:
            for key in KEYS:
                if one.names(key):
                    self._named(key, one)
        if sweep:
            self.sweep()

    def _named(self, key: str, one: PurgeRule) -> None:
        if one.mode is PurgeMode.HARD:
            self._left(key)
        elif key in self.versions:
            self.stale[key] = one.epoch

    def _left(self, key: str) -> None:
        self.gone |= self.ever[key]
        self.ever[key].clear()
        self.versions.pop(key, None)
        self.stale.pop(key, None)

    @rule()
    def sweep(self) -> None:
        for one in self.writer.rules:
            self.writer.sweep(one)
            if one.mode is PurgeMode.SOFT:
                for key, epoch in list(self.stale.items()):
                    if one.names(key) and epoch >= one.epoch:
                        self._left(key)

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def found_current(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.stale)))
        if self.home[key] != self.away:
            assert self.writer.renew(key, self.versions[key], self.writer.purges.epoch) == 1
            del self.stale[key]

    @rule(key=st.sampled_from(KEYS), back=st.integers(1, 3))
    def come_late(self, key: str, back: int) -> None:
        """A fetch that began some purges ago is stored only when none of them named it."""
        purges = self.writer.purges
        epoch = max(0, purges.epoch - back)
        named = any(one.names(key) for one in purges.history.rules if one.epoch > epoch)
        disk = self.writer.place(key_hash(key), 0)
        assert disk is not None
        spec = replace(make_file(key, 70_000, -1).spec(0), epoch=epoch)
        if named:
            with pytest.raises(Purged):
                disk.open_extent(spec)

    @rule(new_board=st.booleans())
    def crash(self, new_board: bool) -> None:
        self._let_go()
        self.lab.crash(self.writer)
        self._again(new_board)

    @rule(new_board=st.booleans())
    def restart(self, new_board: bool) -> None:
        self._let_go()
        self.writer.close()
        self._again(new_board)

    @precondition(lambda self: self.away is None)
    @rule(disk=st.integers(0, 1), clean=st.booleans())
    def lose(self, disk: int, clean: bool) -> None:
        self._stop(clean)
        self._take_away(disk)
        self._again(new_board=True)

    @precondition(lambda self: self.away is not None)
    @rule(clean=st.booleans())
    def find_again(self, clean: bool) -> None:
        self._stop(clean)
        back = self._bring_back()
        self._again(new_board=True)
        self._forget_what_it_missed(back)

    @precondition(lambda self: self.away is not None)
    @rule()
    def join_again(self) -> None:
        self._let_go()
        back = self._bring_back()
        self.writer.attach(self.writer.open_disk(back, self.lab.settings.disks[back]))
        self.writer.use(back)
        self._open_readers()
        self._forget_what_it_missed(back)

    @precondition(lambda self: self.away is not None)
    @rule(clean=st.booleans())
    def exchange(self, clean: bool) -> None:
        """Nobody is left who can say what the one that comes back missed; that it missed something, the box knows."""
        self._stop(clean)
        epoch, left_in = self.writer.purges.epoch, self.left_in
        back = self._bring_back()
        self._take_away(1 - back)
        self._again(new_board=True, epoch=epoch)
        for key in [key for key in self.versions if self.home[key] == back and left_in < epoch]:
            self.gone.add(self.versions.pop(key))
            self.stale.pop(key, None)

    def _take_away(self, disk: int) -> None:
        self.lab.disk_path(disk).rename(self.folder / f"aside{disk}")
        self.lab.disk_path(disk).write_text("no folder")
        self.away, self.left_in = disk, self.writer.purges.epoch

    def _bring_back(self) -> int:
        assert self.away is not None
        back, self.away = self.away, None
        self.lab.disk_path(back).unlink()
        (self.folder / f"aside{back}").rename(self.lab.disk_path(back))
        return back

    def _forget_what_it_missed(self, back: int) -> None:
        """What it missed of a soft purge left it, too; what was stored elsewhere meanwhile counts."""
        for key in [key for key in self.stale if self.home[key] == back]:
            found = self.writer.find(key_hash(key), 0)
            if found is None or found.version != self.versions[key]:
                self._left(key)

    @precondition(lambda self: self.away is None and self.versions)
    @rule(data=st.data(), clean=st.booleans(), swept=st.booleans(), mode=MODES, how=st.sampled_from(Return))
    def purge_while_it_is_away(
        self, data: st.DataObject, clean: bool, swept: bool, mode: PurgeMode, how: Return
    ) -> None:
        key = data.draw(st.sampled_from(sorted(self.versions)))
        self._purge_while_it_is_away(key, clean, swept, mode, how)

    def _purge_while_it_is_away(self, key: str, clean: bool, swept: bool, mode: PurgeMode, how: Return) -> None:
        disk = self.home[key]
        self.lose(disk, clean)
        self.purge([PurgeOrder(PurgeKind.OBJECT, key)], mode, swept)
        match how:
            case Return.AT_A_START:
                self.find_again(clean)
            case Return.JOINING:
                self.join_again()
            case Return.THEN_ALONE:
                self.find_again(clean)
                self.nothing_purged_is_served_and_nothing_else_is_lost()
                self.lose(1 - disk, clean)
            case Return.ALONE:
                self.exchange(clean)

    def _stop(self, clean: bool) -> None:
        self._let_go()
        if clean:
            self.writer.close()
        else:
            self.lab.crash(self.writer)

    def _again(self, new_board: bool, epoch: int = 0) -> None:
        """`epoch`: what the box itself remembers."""
        if new_board:
            self.lab.board.close()
            self.lab.board = self.lab.new_board()
            self.lab.board.purge_epoch = epoch
        self._open()

    @invariant()
    def nothing_purged_is_served_and_nothing_else_is_lost(self) -> None:
        if not hasattr(self, "lab"):
            return
        for reader in self.readers:
            for key in KEYS:
                record = reader.lookup(key_hash(key), 0)
                verdict = reader.judge(key, record) if record is not None else None
                if record is not None and record.version in self.gone:
                    assert verdict is not None, f"{key} was purged"
                version = self.versions.get(key)
                if version is None or self.home[key] == self.away:
                    continue
                assert record is not None, f"{key} is there"
                if record.version == version:
                    assert verdict is (PurgeMode.SOFT if key in self.stale else None)

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self._let_go()
            self.writer.close()
            self.lab.board.close()
            shutil.rmtree(self.folder)


TestPurgeMachine = PurgeMachine.TestCase
TestPurgeMachine.settings = settings(
    max_examples=16, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
