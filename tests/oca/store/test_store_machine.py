"""The store against a model, through any order of writing, evicting, pinning, purging, rot, power cuts and restarts.

The model is a dictionary of what was written and must still be there. Eviction is the store's own choice, so that for unpinned files the law is
"nothing but what was written"; for pinned ones it is "all that was committed".
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from oca.store.descriptors import Descriptor
from oca.store.errors import NoSpace
from oca.store.extents import ExtentRecord, extent_count, extent_name, key_hash
from oca.store.purge import PurgeKind
from oca.store.reader import StoreReader
from oca.store.space import allocated
from oca.store.writer import StoreWriter
from tests.oca.store.harness import (
    MIB,
    MadeFile,
    StoreLab,
    VolatileFolders,
    make_file,
    promised_bytes_are_right,
    spoil,
)

KEYS = [f"vod|/media/{name}/hd/v.mp4" for name in "abcd"]
SIZES = [300_000, MIB, MIB + 1, 2 * MIB + 262_144]
FILES = [make_file(key, size, seed) for key, size in zip(KEYS, SIZES, strict=True) for seed in range(2)]
EXTENT_BYTES = 2 * 262_144

Block = tuple[int, int]


def _blocks(records: Iterable[ExtentRecord | None]) -> set[Block]:
    """(extent number, block) of every block these records show."""
    return {
        (record.extent_number, block)
        for record in records
        if record is not None
        for block in range(record.block_count)
        if record.has_blocks(block, block)
    }


class StoreMachine(RuleBasedStateMachine):
    spare_disks = 0

    def __init__(self) -> None:
        super().__init__()
        base = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="lowtide-machine-", dir=base))
        self.calls = VolatileFolders()
        self.written: dict[str, tuple[MadeFile, set[Block]]] = {}
        self.durable: dict[str, set[Block]] = {}
        self.pinned: set[str] = set()
        self.holding: list[Descriptor] = []
        self.came_back: dict[int, int] = {}
        """By disk: files that were unlinked before a power cut and are there again until the keeper has collected them."""
        self.writer: StoreWriter
        self.reader: StoreReader

    @initialize(policy=st.sampled_from(["lru", "sieve", "s3fifo"]), disks=st.integers(1, 2))
    def make(self, policy: str, disks: int) -> None:
        self.lab = StoreLab(
            self.folder,
            disks=disks,
            quota_bytes=4 * MIB,
            extent_bytes=EXTENT_BYTES,
            index_map_bytes=MIB,
            policy=policy,
            marks_per_disk=16,
            spare_disks=self.spare_disks,
            syscalls=self.calls,
        )
        self._open()

    def _open(self) -> None:
        self.writer = self.lab.open_writer()
        self.reader = self.lab.open_reader()
        self.epoch = 0

    def _forget(self, key: str) -> None:
        self.written.pop(key, None)
        self.durable.pop(key, None)
        self.pinned.discard(key)

    # -- what people do ------------------------------------------------------------------------------------------

    @rule(which=st.integers(0, len(FILES) - 1), data=st.data(), pin=st.booleans())
    def write(self, which: int, data: st.DataObject, pin: bool) -> None:
        file = FILES[which]
        number = data.draw(st.integers(0, extent_count(len(file.data), EXTENT_BYTES) - 1))
        last = (min(EXTENT_BYTES, len(file.data) - number * EXTENT_BYTES) - 1) // 262_144
        self._write(file, number, data.draw(st.lists(st.integers(0, last), min_size=1, max_size=2)), pin)

    @rule(which=st.integers(0, len(FILES) - 1), pin=st.booleans())
    def write_whole(self, which: int, pin: bool) -> None:
        file = FILES[which]
        for number in range(extent_count(len(file.data), EXTENT_BYTES)):
            last = (min(EXTENT_BYTES, len(file.data) - number * EXTENT_BYTES) - 1) // 262_144
            self._write(file, number, list(range(last + 1)), pin)

    def _write(self, file: MadeFile, number: int, blocks: list[int], pin: bool) -> None:
        before = self.written.get(file.key)
        if before is not None and before[0] is not file:
            # One version at a time: every disk lets go of the other, as a keeper does when it learns of the new one.
            self.writer.drop(file.key)
            self._forget(file.key)
        try:
            self.lab.write(self.writer, file, number, blocks, "plan" if pin else None)
            self.written.setdefault(file.key, (file, set()))[1].update((number, block) for block in blocks)
        except NoSpace:
            pass
        held = self.writer.held(file.key)
        if held is not None and held.plan is not None and file.key not in self.pinned:
            self.pinned.add(file.key)
            self._trust_only_what_is_there(file.key)

    @rule()
    def commit(self) -> None:
        self.lab.commit(self.writer)
        for key, (_, blocks) in self.written.items():
            self.durable.setdefault(key, set()).update(blocks)

    @rule(key=st.sampled_from(KEYS))
    def pin(self, key: str) -> None:
        try:
            done = self.writer.pin(key, "plan")
        except NoSpace:
            # One of several disks may have pinned its part: let go again, as a keeper does that cannot have all.
            self.writer.unpin(key)
            self.pinned.discard(key)
            return
        if done:
            self.pinned.add(key)
            self._trust_only_what_is_there(key)

    @rule(key=st.sampled_from(KEYS))
    def unpin(self, key: str) -> None:
        self.writer.unpin(key)
        self.pinned.discard(key)

    @rule(key=st.sampled_from(KEYS))
    def drop(self, key: str) -> None:
        self.writer.drop(key)
        self._forget(key)

    @rule(size=st.integers(1, 3 * MIB))
    def make_room(self, size: int) -> None:
        for disk in self.writer.disks.values():
            disk.make_room(size)

    @rule(key=st.sampled_from(KEYS))
    def purge(self, key: str) -> None:
        purge = self.writer.purge(PurgeKind.OBJECT, key)
        self.reader.poll()
        assert self.writer.purge_acknowledged(purge)
        self.writer.sweep(purge)
        self._forget(key)
        assert all(self.reader.lookup(key_hash(key), number) is None for number in range(8))

    @rule(which=st.integers(0, len(FILES) - 1), number=st.integers(0, 4))
    def send(self, which: int, number: int) -> None:
        record = self.reader.lookup(key_hash(FILES[which].key), number)
        if record is not None:
            held = self.reader.descriptors.acquire(record.disk, record.extent_id, record.length)
            assert held is not None, "what the index promises can be opened"
            self.holding.append(held)
            self.epoch += 1
            self.reader.touch(record, self.epoch)

    @precondition(lambda self: self.holding)
    @rule(data=st.data())
    def sent(self, data: st.DataObject) -> None:
        self.reader.descriptors.release(self.holding.pop(data.draw(st.integers(0, len(self.holding) - 1))))

    @rule()
    def tick(self) -> None:
        self.reader.poll()
        self.writer.reap()
        self.writer.collect_marks(self.epoch)

    # -- what happens to disks -----------------------------------------------------------------------------------

    @rule(data=st.data())
    def rot_and_scrub(self, data: st.DataObject) -> None:
        self.commit()
        extents = [
            (disk, extent)
            for disk in self.writer.disks.values()
            for _, extent in sorted(disk.holdings.extents.items())
            if extent.bits
        ]
        if not extents:
            return
        disk, extent = extents[data.draw(st.integers(0, len(extents) - 1))]
        block = data.draw(st.sampled_from([b for b in range(extent.block_count) if extent.bits >> b & 1]))
        spoil(Path(disk.path) / extent_name(extent.extent_id), block * 262_144)
        scrubbed = [self.writer.scrub_some(1000)[disk.number] for _ in range(2)]
        assert sum(one.bad_blocks for one in scrubbed) == 1
        key, number = extent.object.key, extent.number
        moved = self.writer.find(extent.object.hashed, number)
        # Where there is no room to move the good blocks, the extent goes as a whole.
        lost = {(number, block)} if moved is not None else {(number, b) for b in range(extent.block_count)}
        self.written[key][1].difference_update(lost)
        self.durable[key].difference_update(lost)

    @rule(power=st.booleans(), new_board=st.booleans())
    def crash(self, power: bool, new_board: bool) -> None:
        self._let_go()
        self.lab.crash(self.writer)
        if power:
            self.calls.power_cut()
            new_board = True
        self._reopen(new_board)
        assert not any(recovery.clean for recovery in self.writer.recovered.values())
        assert sum(recovery.bad_blocks for recovery in self.writer.recovered.values()) == 0

    @rule(new_board=st.booleans())
    def restart(self, new_board: bool) -> None:
        self.commit()
        self._let_go()
        self.writer.close()
        self._reopen(new_board)
        assert all(recovery.clean for recovery in self.writer.recovered.values())
        assert sum(recovery.orphans for recovery in self.writer.recovered.values()) == 0

    @precondition(lambda self: len(self.writer.disks) > 1)
    @rule(replaced=st.booleans(), data=st.data())
    def lose_a_disk(self, replaced: bool, data: st.DataObject) -> None:
        """It errs, the others serve on; then the appliance starts again, with an empty disk in its place or with the same one."""
        self.commit()
        lost = self.writer.disks[data.draw(st.integers(0, len(self.writer.disks) - 1))]
        gone = {
            owner.key: {(e.number, b) for e in owner.extents.values() for b in range(e.block_count) if e.bits >> b & 1}
            for owner in lost.holdings.objects.values()
        }
        lost.take_out("lost")
        for key, blocks in gone.items():
            shown = _blocks(self.reader.lookup(key_hash(key), number) for number in range(8))
            assert not shown & blocks, "nothing of it is served"
        for key in KEYS:
            if key in self.written:
                assert promised_bytes_are_right(self.lab, self.reader, self.written[key][0]) >= 0
        self._let_go()
        self.lab.crash(self.writer)
        if replaced:
            shutil.rmtree(lost.path)
            self.calls.forget_below(lost.path)
            for key, blocks in gone.items():
                self.written[key][1].difference_update(blocks)
                self.durable[key].difference_update(blocks)
        self._reopen(new_board=True)

    def _let_go(self) -> None:
        for held in self.holding:
            self.reader.descriptors.release(held)
        self.holding.clear()
        self.reader.close()
        self.lab.readers.clear()

    def _reopen(self, new_board: bool) -> None:
        if new_board:
            self.lab.board.close()
            self.lab.board = self.lab.new_board()
        self._open()
        self.came_back = {disk.number: disk.space.dead_bytes for disk in self.writer.disks.values()}
        for disk in self.writer.disks.values():
            files = self.lab.extent_files(disk.number)
            assert set(files) == {f"{extent_id:016x}" for extent_id in disk.holdings.extents}
        self.written = {
            key: (file, set(self.durable[key]))
            for key, (file, _) in self.written.items()
            if self.durable.get(key) and self.writer.held(key) is not None
        }
        self.durable = {key: blocks for key, blocks in self.durable.items() if key in self.written}
        self.pinned = {file.key for file in self.writer.holdings() if file.plan is not None}

    def _trust_only_what_is_there(self, key: str) -> None:
        """Before it was pinned it may have been evicted in part, and written again without a commit since."""
        present = _blocks(self.writer.find(key_hash(key), number) for number in range(8))
        promised = _blocks(self.reader.lookup(key_hash(key), number) for number in range(8))
        file, blocks = self.written[key]
        assert present <= blocks
        self.written[key] = (file, present)
        self.durable[key] = self.durable.get(key, set()) & promised

    # -- what always holds ---------------------------------------------------------------------------------------

    @invariant()
    def promised_bytes_are_right(self) -> None:
        for key in KEYS:
            known = self.written.get(key)
            records = [self.reader.lookup(key_hash(key), number) for number in range(8)]
            if known is None:
                assert not any(records), "nothing of what was never written or left"
                continue
            assert promised_bytes_are_right(self.lab, self.reader, known[0]) >= 0
            promised = _blocks(records)
            assert promised <= known[1], f"{key}: {sorted(promised - known[1])}"
            if key in self.pinned:
                assert self.durable.get(key, set()) & known[1] <= promised, "a committed, pinned block is there"

    @invariant()
    def books_and_folders_agree(self) -> None:
        for disk in self.writer.disks.values():
            paths = [Path(disk.path) / extent_name(extent_id) for extent_id in disk.holdings.extents]
            assert disk.space.live_bytes == sum(allocated(path.stat().st_size) for path in paths)
            assert disk.space.used_bytes <= disk.space.quota_bytes + self.came_back.get(disk.number, 0)
            assert disk.space.pinned_bytes <= disk.space.pinned_limit_bytes
            unpinned = [e for e in disk.holdings.extents.values() if e.object.plan is None]
            assert disk.policy.used_bytes == sum(extent.size for extent in unpinned)
            assert len(disk.policy) == len(unpinned)

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self._let_go()
            self.writer.close()
            self.lab.board.close()
        shutil.rmtree(self.folder)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
