"""The board and the closing protocol between a keeper and its workers."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.digests import BLOCK_BYTES
from oca.store.board import FLUSH, RING_ENTRIES, Board, BoardMismatch, BoardShape, DiskState
from oca.store.dead import DeadExtents
from oca.store.descriptors import Descriptor, DescriptorCache, NotOpened
from oca.store.extents import extent_name
from oca.store.trailer import file_length

SHAPE = BoardShape(workers=2, disks=2, marks_per_disk=16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for extent_id in range(1, 100):
        path = tmp_path / extent_name(extent_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([extent_id]) * 10 + bytes(file_length(10) - 10))
    return tmp_path


def _cache(board: Board, folder: Path, slot: int = 0, limit: int = 16) -> DescriptorCache:
    line = board.line(slot)
    line.attach(os.getpid(), board.head)
    return DescriptorCache([str(folder), str(folder)], board, line, limit)


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_board_is_the_same_in_two_mappings_and_cannot_be_resized() -> None:
    board = Board.create(SHAPE)
    other = Board.attach(os.dup(board.fd))
    assert other.shape == SHAPE
    board.purge_epoch = 7
    board.set_disk_state(1, DiskState.READY)
    other.line(1).attach(42, 0)
    assert (other.purge_epoch, other.disk_state(1), other.disk_state(0)) == (7, DiskState.READY, DiskState.UNKNOWN)
    assert board.line(1).pid == 42
    with pytest.raises(PermissionError):
        os.ftruncate(board.fd, 0)
    assert fcntl.fcntl(board.fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    other.close()
    board.close()


def test_what_is_no_board_is_refused() -> None:
    fd = os.memfd_create("other")
    with pytest.raises(BoardMismatch, match="not a board"):
        Board.attach(fd)
    os.ftruncate(fd, 8192)
    with pytest.raises(BoardMismatch, match="not a board"):
        Board.attach(fd)
    os.close(fd)
    with pytest.raises(BoardMismatch):
        Board.create(BoardShape(1, 0))


def test_one_file_is_opened_once_and_shared(folder: Path) -> None:
    cache = _cache(Board.create(SHAPE), folder)
    one, two = cache.acquire(0, 5, 10), cache.acquire(0, 5, 10)
    assert one is two
    assert one is not None
    assert one.users == 2
    assert (cache.opened, len(cache), one.fileno()) == (1, 1, one.fd)
    assert os.pread(one.fd, 3, 0) == b"\x05\x05\x05"
    other_disk = cache.acquire(1, 5, 10)
    assert other_disk is not one


def test_why_a_file_was_not_opened_is_counted(folder: Path) -> None:
    cache = _cache(Board.create(SHAPE), folder)
    assert cache.acquire(0, 4000, 10) is None
    assert cache.acquire(0, 5, 5000) is None
    (folder / extent_name(6)).unlink()
    (folder / extent_name(6)).symlink_to((folder / extent_name(6)).name)  # a loop: ELOOP
    assert cache.acquire(0, 6, 10) is None
    assert cache.not_opened == {NotOpened.GONE: 1, NotOpened.WRONG_LENGTH: 1, NotOpened.DISK_ERROR: 1}


def test_the_oldest_idle_file_is_closed_at_the_bound_and_busy_ones_never(folder: Path) -> None:
    cache = _cache(Board.create(SHAPE), folder, limit=4)
    busy = [held for n in range(1, 7) if (held := cache.acquire(0, n, 10)) is not None]
    assert len(cache) == 6, "six in use: the bound is exceeded, nobody loses a file"
    for held in busy:
        assert os.pread(held.fd, 1, 0) == bytes([held.extent_id])
    for held in busy:
        cache.release(held)
    assert len(cache) == 4
    cache.acquire(0, 50, 10)
    assert len(cache) == 4


def test_a_dead_file_in_use_is_named_until_its_last_user_lets_go(folder: Path) -> None:
    board = Board.create(SHAPE)
    cache, dead = _cache(board, folder), DeadExtents(board)
    before = _open_files()
    one = cache.acquire(0, 5, 10)
    two = cache.acquire(0, 5, 10)
    assert one is not None
    assert two is not None
    dead.bury(0, 5, 4096)
    assert dead.settle(0) == 0
    assert cache.poll() == 1
    assert cache.dying == 1
    assert board.line(0).holds() == {0}
    (folder / extent_name(5)).unlink()
    assert cache.acquire(0, 5, 10) is None, "nobody new gets a dead file"
    cache.release(one)
    assert dead.settle(0) == 0
    assert os.pread(two.fd, 1, 0) == b"\x05"
    cache.release(two)
    assert (cache.dying, board.line(0).holds(), dead.settle(0)) == (0, set(), 4096)
    assert _open_files() == before


def test_an_idle_dead_file_is_closed_at_the_next_poll(folder: Path) -> None:
    board = Board.create(SHAPE)
    cache, dead = _cache(board, folder), DeadExtents(board)
    before = _open_files()
    held = cache.acquire(1, 5, 10)
    assert held is not None
    cache.release(held)
    dead.bury(1, 5, 10)
    cache.poll()
    assert _open_files() == before
    assert dead.settle(1) == 10
    assert dead.settle(0) == 0


def test_a_worker_that_died_holds_nothing_once_its_slot_is_cleared(folder: Path) -> None:
    board = Board.create(SHAPE)
    cache, dead = _cache(board, folder, slot=1), DeadExtents(board)
    assert cache.acquire(0, 5, 10) is not None
    dead.bury(0, 5, 10)
    cache.poll()
    assert dead.settle(0) == 0
    board.clear_worker(1)
    assert dead.settle(0) == 10
    assert board.tail == board.head


def test_a_fresh_worker_does_not_answer_for_what_died_before_it(folder: Path) -> None:
    board = Board.create(SHAPE)
    dead = DeadExtents(board)
    _cache(board, folder, slot=0)
    dead.bury(0, 5, 10)
    newcomer = _cache(board, folder, slot=1)
    assert newcomer.poll() == 0
    assert dead.settle(0) == 0, "the older worker has not polled"
    board.clear_worker(0)
    assert dead.settle(0) == 10


def test_with_every_cell_taken_the_position_waits(folder: Path) -> None:
    board = Board.create(SHAPE)
    cache, dead = _cache(board, folder, limit=200), DeadExtents(board)
    held: list[Descriptor] = []
    for n in range(1, 91):
        one = cache.acquire(0, n, 10)
        assert one is not None
        held.append(one)
        dead.bury(0, n, 1)
    assert cache.poll() == 56
    assert dead.settle(0) == 0
    for one in held[:10]:
        cache.release(one)
    assert dead.settle(0) == 10
    assert cache.poll() == 10
    for one in held[10:]:
        cache.release(one)
    cache.poll()
    assert dead.settle(0) == 80
    assert len(cache) == 0


def test_a_full_ring_keeps_the_rest_waiting_and_loses_nothing(folder: Path) -> None:
    board = Board.create(SHAPE)
    cache, dead = _cache(board, folder), DeadExtents(board)
    for n in range(RING_ENTRIES + 100):
        dead.bury(0, 1000 + n, 1)
    assert board.head == RING_ENTRIES
    assert dead.outstanding == RING_ENTRIES + 100
    released = 0
    for _ in range(3):
        cache.poll()
        released += dead.settle(0)
    assert released == RING_ENTRIES + 100
    assert dead.outstanding == 0


def test_a_restarted_keeper_takes_over_what_its_predecessor_published(folder: Path) -> None:
    board = Board.create(SHAPE)
    cache = _cache(board, folder)
    held = cache.acquire(0, 5, 10)
    assert held is not None
    DeadExtents(board).bury(0, 5, 4096)
    cache.poll()
    successor = DeadExtents(board)
    assert successor.adopt() == {0: 4096}
    assert successor.settle(0) == 0
    cache.release(held)
    assert successor.settle(0) == 4096


def test_a_flush_closes_every_file_of_its_disk_opened_before(folder: Path) -> None:
    board = Board.create(SHAPE)
    cache, dead = _cache(board, folder), DeadExtents(board)
    busy, also_busy = cache.acquire(0, 1, 10), cache.acquire(0, 3, 10)
    idle, other = cache.acquire(0, 2, 10), cache.acquire(1, 1, 10)
    assert busy is not None
    assert also_busy is not None
    assert idle is not None
    cache.release(idle)
    dead.flush(0)
    cache.poll()
    assert cache.dying == 2
    assert cache.acquire(1, 1, 10) is other
    again = cache.acquire(0, 1, 10)
    assert again is not None, "the file is still there: it may be opened again"
    assert again is not busy
    entry = board.dead(0)
    assert entry is not None
    assert entry.extent_id == FLUSH
    cache.release(busy)
    assert board.line(0).holds() == {0}
    cache.release(also_busy)
    assert board.line(0).holds() == set()


def test_an_entry_whose_check_does_not_fit_is_not_read() -> None:
    board = Board.create(SHAPE)
    assert board.publish_dead(1, 77, BLOCK_BYTES) == 0
    assert board.dead(0) is not None
    assert board.dead(RING_ENTRIES) is None, "an older lap is not mistaken for a newer one"


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["open", "let go", "die", "poll"]), st.integers(0, 1), st.integers(1, 6))))
def test_space_is_released_exactly_when_no_worker_holds_the_file(actions: list[tuple[str, int, int]]) -> None:
    board = Board.create(SHAPE)
    dead = DeadExtents(board)
    lines = [board.line(slot) for slot in range(2)]
    folder = Path("/nonexistent")
    caches = [_cache(board, folder, slot) for slot in range(2)]
    using: list[dict[int, list[Descriptor]]] = [{}, {}]
    buried: set[int] = set()
    released = 0
    for action, slot, extent_id in actions:
        if action == "open" and extent_id not in buried:
            using[slot].setdefault(extent_id, []).append(_open_here(caches[slot], extent_id))
        elif action == "let go" and using[slot].get(extent_id):
            caches[slot].release(using[slot][extent_id].pop())
        elif action == "die" and extent_id not in buried:
            buried.add(extent_id)
            dead.bury(0, extent_id, 1 << extent_id)
        elif action == "poll":
            caches[slot].poll()
        released += dead.settle(0)
        for held in buried:
            if any(using[s].get(held) for s in range(2)):
                assert not released >> held & 1, "released while somebody sends it"
    for slot in range(2):
        for held_list in using[slot].values():
            for held_one in held_list:
                caches[slot].release(held_one)
        caches[slot].poll()
        caches[slot].close()
    released += dead.settle(0)
    assert released == sum(1 << extent_id for extent_id in buried)
    assert all(line.holds() == set() for line in lines)
    board.close()


def _open_here(cache: DescriptorCache, extent_id: int) -> Descriptor:
    """Open an anonymous file in place of an extent's."""
    name = extent_id
    held = cache._open.get(name)
    if held is not None:
        held.users += 1
        return held
    held = cache._open[name] = Descriptor(os.memfd_create("extent"), 0, extent_id, 10)
    return held
