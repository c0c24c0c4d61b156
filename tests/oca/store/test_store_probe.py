"""Real processes, real kills: nothing wrong is served, nothing promised is lost, what is left over is collected."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oca.store.board import Board, DiskState
from oca.store.index import IndexStatistics
from oca.store.space import allocated
from oca.store.writer import StoreWriter
from tests.oca.store.harness import MIB, StoreLab, promised_bytes_are_right
from tests.oca.store.restless_keeper import FILMS, film

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a killed process loses nothing of the page cache, so that a disk adds only time."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="lowtide-store-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


def _start(role: str, folder: Path, board: Board, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.oca.store.restless_keeper", role, str(folder), str(board.fd)]
    return subprocess.Popen(
        [*command, *map(str, arguments)], cwd=ROOT, pass_fds=[board.fd], stdout=subprocess.PIPE, text=True
    )


def _ready(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()


def _figures(process: subprocess.Popen[str]) -> dict[str, int]:
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    figures: dict[str, int] = json.loads(out)
    return figures


def _look(lab: StoreLab) -> int:
    """What must hold after any kill; how many promised blocks there are."""
    writer, reader = lab.open_writer(), lab.open_reader(1)
    disk = writer.disks[0]
    files = lab.extent_files()
    assert not writer.recovered[0].clean
    assert (writer.recovered[0].bad_blocks, writer.recovered[0].missing) == (0, 0)
    assert set(files) == {f"{extent_id:016x}" for extent_id in disk.holdings.extents}
    assert disk.space.live_bytes == sum(allocated(size) for size in files.values()) <= disk.space.quota_bytes
    right = sum(promised_bytes_are_right(lab, reader, film(n)) for n in range(FILMS))
    reader.close()
    lab.crash(writer)
    return right


def test_a_keeper_killed_before_any_of_its_system_calls_leaves_a_store_that_is_right(memory_folder: Path) -> None:
    stride = 2
    command = [sys.executable, "-m", "tests.oca.store.dying_keeper", str(memory_folder), str(stride)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    lives = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (lives[-1:], done.stderr)
    assert len(lives) > 100 / stride, "a life has more than a hundred steps"
    assert [life["died"] for life in lives[:-1]] == [signal.SIGKILL] * (len(lives) - 1)
    before = {line for life in lives for line in life["said"] if line.startswith("before ")}
    steps = "create allocate write sync sync_folder commit read unlink close open"
    assert before >= {"before what follows a commit", *(f"before {step}" for step in steps.split())}


def test_a_keeper_killed_at_any_moment_leaves_a_store_that_is_right(memory_folder: Path) -> None:
    lab = StoreLab(memory_folder, quota_bytes=12 * MIB)
    right = 0
    for life in range(12):
        lab.board = lab.new_board()
        process = _ready(_start("keeper", memory_folder, lab.board))
        time.sleep(0.02 + 0.017 * life)
        _kill(process)
        right += _look(lab)
    assert right > 50


def test_workers_read_right_bytes_while_keepers_evict_and_die_beside_them(memory_folder: Path) -> None:
    lab = StoreLab(memory_folder, quota_bytes=12 * MIB, workers=3)
    keeper = _ready(_start("keeper", memory_folder, lab.board))
    workers = [_start("worker", memory_folder, lab.board, slot, 2.0) for slot in range(2)]
    doomed = _start("worker", memory_folder, lab.board, 2, 30.0)
    for _ in range(3):
        time.sleep(0.5)
        _kill(keeper)
        assert lab.board.disk_state(0) is DiskState.READY, "hits go on without a keeper"
        keeper = _ready(_start("keeper", memory_folder, lab.board))
    _kill(doomed)
    lab.board.clear_worker(2)
    figures = [_figures(worker) for worker in workers]
    assert [one["wrong"] for one in figures] == [0, 0]
    assert min(one["right"] for one in figures) > 200, figures
    _kill(keeper)
    writer = lab.open_writer()
    assert writer.reader_check() + writer.reap() >= 0
    assert writer.disks[0].space.dead_bytes == 0, "every worker is gone, nothing is held"
    assert writer.dead_outstanding == 0


def test_a_thousand_workers_killed_inside_look_ups_leave_the_index_as_it_was(memory_folder: Path) -> None:
    lab = StoreLab(memory_folder, quota_bytes=12 * MIB)
    writer = lab.open_writer()
    lab.store(writer, film(0))
    _churn(lab, writer)
    data = lab.disk_path() / "index" / "data.mdb"
    size = data.stat().st_size
    before = _index(writer)
    nursery = _start("doomed", memory_folder, lab.board, 1000)
    assert nursery.stdout is not None
    killed = freed = 0
    for line in nursery.stdout:
        killed += int(line)
        freed += writer.reader_check()
        lab.board.clear_worker(0)
        _churn(lab, writer)
    assert nursery.wait(10) == 0
    nursery.stdout.close()
    assert killed == 1000
    assert freed >= 990, "those that were killed had a slot each"
    after = _index(writer)
    assert after.oldest_reader_transaction is None
    assert after.used_bytes <= before.used_bytes + 16 * 4096
    assert data.stat().st_size == size
    assert after.last_transaction > before.last_transaction + 100, "the keeper wrote meanwhile"
    worker = _figures(_start("worker", memory_folder, lab.board, 1, 0.5))
    assert worker["wrong"] == 0
    assert worker["right"] > 0
    reader = lab.open_reader()
    assert promised_bytes_are_right(lab, reader, film(0)) == 5


def _index(writer: StoreWriter) -> IndexStatistics:
    found = writer.statistics()[0].index
    assert found is not None
    return found


def _churn(lab: StoreLab, writer: StoreWriter) -> None:
    """Writes that would make an index grow whose old pages somebody still reads."""
    for number in (1, 2, 3):
        lab.store(writer, film(number))
        writer.drop(film(number).key)
    writer.reap()


def test_a_reader_that_was_killed_inside_a_transaction_holds_pages_until_it_is_looked_for(memory_folder: Path) -> None:
    """Why `reader_check` is called at every worker's death: without it the index of the test above would fill up."""
    lab = StoreLab(memory_folder, quota_bytes=12 * MIB)
    writer = lab.open_writer()
    lab.store(writer, film(0))
    nursery = _start("sleeper", memory_folder, lab.board)
    _ready(nursery)
    _kill(nursery)
    used = [_grown(lab, writer) for _ in range(3)]
    assert _index(writer).oldest_reader_transaction is not None
    assert used == sorted(used)
    assert writer.reader_check() == 1
    assert _index(writer).oldest_reader_transaction is None


def _grown(lab: StoreLab, writer: StoreWriter) -> int:
    _churn(lab, writer)
    found = _index(writer)
    return found.last_transaction - (found.oldest_reader_transaction or found.last_transaction)


def test_killed_readers_do_not_use_up_the_index(memory_folder: Path) -> None:
    lab = StoreLab(memory_folder, quota_bytes=12 * MIB)
    writer = lab.open_writer()
    lab.store(writer, film(0))
    for _ in range(3):
        _kill(_ready(_start("sleeper", memory_folder, lab.board)))
        lab.board.clear_worker(0)
    freed = writer.reader_check()
    statistics = writer.statistics()[0].index
    assert statistics is not None
    assert freed == 3
    assert statistics.oldest_reader_transaction is None
