"""What the store itself costs: look-ups over large indexes, and fills to a disk. One process, no network."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.serve.rows import Plain, Row, plain
from benchmarks.store import stocking
from contracts.digests import BLOCK_BYTES, block_digest
from oca.store.board import Board, BoardShape, DiskState
from oca.store.disks import DiskSettings, StoreSettings, expected_marks
from oca.store.extents import ExtentSpec, key_hash
from oca.store.reader import StoreReader
from oca.store.writer import StoreWriter

LOOKUPS = 200_000
FILL_BLOCKS = 1024
MIB = 1 << 20
_HEADER = b"Content-Type: video/mp4\r\n"


def lookup_row(settings: StoreSettings, stocked: stocking.Stocked, rounds: int, say: Callable[[str], None]) -> Row:
    """Look-ups of a worker per second of one core, each its own read transaction, keys drawn evenly: no cache helps."""
    board = Board.create(BoardShape(1, 1, 4096))
    board.set_disk_state(0, DiskState.READY)
    reader = StoreReader.open(settings, board, 0)
    try:
        found = [_look(reader, stocked, seed) for seed in range(rounds)]
    finally:
        reader.close()
        board.close()
    millions = stocked.extents / 1_000_000
    made = plain(f"store/lookups/{millions:g}m", f"look-ups/s of one worker, {stocked.extents} extents", found)
    say(f"  {made.name}: {made.ours:.0f}/s")
    return made


def _look(reader: StoreReader, stocked: stocking.Stocked, seed: int) -> Plain:
    rng = random.Random(seed)
    hashes = [key_hash(stocking.key_of(rng.randrange(stocked.extents))) for _ in range(LOOKUPS)]
    began, cpu = time.perf_counter(), time.process_time()
    held = sum(reader.lookup(hashed, 0) is not None for hashed in hashes)
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    if held != LOOKUPS:
        raise RuntimeError(f"{LOOKUPS - held} extents of the index were not found")
    facts = {"cpu us each": 1e6 * spent / LOOKUPS, "index bytes per extent": stocked.index_bytes / stocked.extents}
    return Plain(LOOKUPS / seconds, facts)


def fill_rows(folder: Path, rounds: int, say: Callable[[str], None]) -> list[Row]:
    """Writing blocks as a keeper does, batches made durable; beside it the same bytes and `fdatasync` by hand, without verification."""
    verified: list[Plain] = []
    bare: list[Plain] = []
    for number in range(rounds):
        data = random.Random(number).randbytes(32 * MIB)
        verified.append(_fill(folder / f"fill-{number}", data))
        bare.append(_write(folder / f"bare-{number}", data))
    made = [
        plain(
            "store/fill/verified",
            "MiB/s to the disk through the store: verified, checked, durable by batches",
            verified,
        ),
        plain("store/fill/bare", "MiB/s to the disk of plain writes and fdatasync at the same places", bare),
    ]
    for row in made:
        say(f"  {row.name}: {row.ours:.0f} MiB/s")
    return made


def _fill(folder: Path, data: bytes) -> Plain:
    extent_bytes = 32 * MIB
    disk = DiskSettings(str(folder), 2 * FILL_BLOCKS * BLOCK_BYTES)
    settings = StoreSettings((disk,), extent_bytes, 8 * MIB, cache_share=1.0)
    board = Board.create(BoardShape(1, 1, expected_marks(disk.quota_bytes, extent_bytes)))
    store = StoreWriter.open(settings, board, time.time)
    blocks = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
    digests = [block_digest(block) for block in blocks]
    began, cpu = time.perf_counter(), time.process_time()
    writer = store.disks[0]
    for number in range(FILL_BLOCKS):
        file, block = divmod(number, len(blocks))
        extent = writer.open_extent(ExtentSpec(f"vod|/media/t/hd/{file}.mp4", bytes(32), len(data), 0, _HEADER))
        writer.write_block(extent, block, blocks[block], digests[block])
        writer.close_extent(extent)
        if writer.batch_due(time.time()):
            writer.commit_batch()
    writer.commit_batch()
    found = _rate(began, cpu)
    store.close()
    board.close()
    return found


def _write(folder: Path, data: bytes) -> Plain:
    folder.mkdir()
    view = memoryview(data)
    began, cpu = time.perf_counter(), time.process_time()
    per = len(data) // BLOCK_BYTES
    for file in range(FILL_BLOCKS // per):
        fd = os.open(folder / str(file), os.O_RDWR | os.O_CREAT)
        os.posix_fallocate(fd, 0, len(data))
        for block in range(per):
            os.pwrite(fd, view[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES], block * BLOCK_BYTES)
            if block % 64 == 63:
                os.fdatasync(fd)
        os.close(fd)
    return _rate(began, cpu)


def _rate(began: float, cpu: float) -> Plain:
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    total_mib = FILL_BLOCKS * BLOCK_BYTES / MIB
    return Plain(total_mib / seconds, {"MiB": total_mib, "cpu ms per MiB": 1000 * spent / total_mib})
