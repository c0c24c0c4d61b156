"""The store's benchmark: its page says how rows stand, and the large index is one that the store takes for its own."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.serve.rows import Plain, Results, Row, Verdict, plain, standing
from benchmarks.store import report, stocking
from oca.store.board import Board, BoardShape
from oca.store.disks import expected_marks
from oca.store.extents import key_hash
from oca.store.writer import StoreWriter

EXTENTS = 1500


def test_a_stocked_index_is_read_whole_and_nothing_of_it_is_strange(tmp_path: Path) -> None:
    settings = stocking.settings_of(tmp_path / "disk", EXTENTS)
    stocked = stocking.stock(settings, EXTENTS, files=True)
    assert stocked.extents == EXTENTS
    disk = settings.disks[0]
    board = Board.create(BoardShape(1, 1, expected_marks(disk.quota_bytes, settings.extent_bytes)))
    store = StoreWriter.open(settings, board, time.time)
    try:
        found = store.recovered[0]
        assert (found.clean, found.extents, found.unreadable_records, found.missing) == (True, EXTENTS, 0, 0)
        scrubbed = store.scrub_some(64)[0]
        assert (scrubbed.blocks, scrubbed.bad_blocks) == (64, 0)
        for number in (0, 7, EXTENTS - 1):
            record = store.find(key_hash(stocking.key_of(number)), 0)
            assert record is not None
            assert record.complete
            assert record.file_size == stocking.FILE_BYTES
    finally:
        store.close()
        board.close()


def test_the_large_index_fits_the_memory_budget_per_extent(tmp_path: Path) -> None:
    settings = stocking.settings_of(tmp_path / "disk", 20_000)
    stocked = stocking.stock(settings, 20_000, files=False)
    assert stocked.index_bytes / stocked.extents < stocking.RECORD_BYTES


def test_the_page_names_each_row_with_its_bar_and_what_was_missed() -> None:
    good = plain("store/coalesce/wave", "ratio", [Plain(1.1, {"cold_s": 0.4})])
    bad = plain("store/first-hit-s", "s", [Plain(1.7, {})])
    beside = Row("store/pull/wave-s", "s", 1.0, "nginx", 0.8, (Plain(1.0, {"fetches": 2.0}),), "1.22", "lock")
    page = report.render(Results("a machine", "today", "make bench-store", (good, bad, beside), {}, {"live": "why"}))
    assert standing(good, report.BARS)[1] is Verdict.STRETCH
    assert standing(bad, report.BARS)[1] is Verdict.MISSED
    assert standing(beside, report.BARS)[1] is Verdict.NO_BAR
    assert "| `store/coalesce/wave` | 1.1 | ratio | 1.5 | 1.2 | stretch | – |" in page
    assert "- `store/first-hit-s`: 1.70, the bar is 1" in page
    assert "nginx 1.22: 0.8 (lock)" in page
    assert "- `live`: why" in page
