"""Purges as a state machine: written, purged, found current, swept, crashed, restarted, disks away and back, in any order: nothing purged is served."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
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


class PurgeMachine(RuleBasedStateMachine):
    """`gone` are versions that nobody may be served any more; `versions` those that must be, unless they are stale or their disk is away."""

    @initialize()
    def begin(self) -> None:
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
        self._open()
        for key in KEYS:
            self.write(key)

    def _open(self) -> None:
        self.writer = self.lab.open_writer()
        self.readers = [self.lab.open_reader(slot) for slot in range(2)]

    def _let_go(self) -> None:
        for reader in self.readers:
            reader.close()
        self.lab.readers.clear()

    @rule(key=st.sampled_from(KEYS))
    def write(self, key: str) -> None:
        self.seed += 1
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
        self.lab.disk_path(disk).rename(self.folder / "aside")
        self.lab.disk_path(disk).write_text("no folder")
        self.away = disk
        self._again(new_board=True)

    @precondition(lambda self: self.away is not None)
    @rule(clean=st.booleans())
    def find_again(self, clean: bool) -> None:
        assert self.away is not None
        self._stop(clean)
        self.lab.disk_path(self.away).unlink()
        (self.folder / "aside").rename(self.lab.disk_path(self.away))
        # What it missed of a soft purge leaves it, too; what was stored elsewhere meanwhile counts.
        back, self.away = self.away, None
        self._again(new_board=True)
        for key in [key for key in self.stale if self.home[key] == back]:
            if self.writer.find(key_hash(key), 0) is None:
                self._left(key)

    @precondition(lambda self: self.away is None and self.versions)
    @rule(data=st.data(), clean=st.booleans(), swept=st.booleans(), mode=MODES)
    def purge_while_it_is_away(self, data: st.DataObject, clean: bool, swept: bool, mode: PurgeMode) -> None:
        key = data.draw(st.sampled_from(sorted(self.versions)))
        self.lose(self.home[key], clean)
        self.purge([PurgeOrder(PurgeKind.OBJECT, key)], mode, swept)
        self.find_again(clean)

    def _stop(self, clean: bool) -> None:
        self._let_go()
        if clean:
            self.writer.close()
        else:
            self.lab.crash(self.writer)

    def _again(self, new_board: bool) -> None:
        if new_board:
            self.lab.board.close()
            self.lab.board = self.lab.new_board()
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
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
