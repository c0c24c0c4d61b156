"""Disks of an older format: opened, served from, taken forward in small steps; newer ones are refused."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import lmdb
import pytest

from oca.store import index as index_module
from oca.store.errors import FormatTooNew
from oca.store.extents import key_hash
from oca.store.index import META_FORMAT, Changes, IndexWriter, Table, create_index
from oca.store.migration import META_FROM, META_PLACE, STEPS, Migration, Step
from oca.store.purge import PurgeKind
from tests.oca.store.harness import MIB, StoreLab, make_file, promised_bytes_are_right

OLD_DISKS = sorted((Path(__file__).parent / "formats").glob("format-*.tar.xz"))
"""What older versions wrote: a pinned file of 5,000 bytes, the second of two blocks of another, one purge rule, closed in order."""
OLD, OLDER = make_file("vod|/media/old/hd/v.mp4", 5000), make_file("vod|/media/older/hd/v.mp4", 270_000)
ROWS = {f"row {n:03}".encode(): b"\x01" + bytes([n % 7]) for n in range(100)}
DONE = {key: b"\x02" + value[1:] * 2 for key, value in ROWS.items()}


def _to_two(_key: bytes, value: bytes) -> bytes | None:
    return b"\x02" + value[1:] * 2 if value[0] == 1 else None


def _to_three(_key: bytes, value: bytes) -> bytes | None:
    return b"\x03" + value[1:] if value[0] == 2 else None


TWO = (Step(2, Table.EXTENTS, _to_two),)
THREE = (*TWO, Step(3, Table.OBJECTS, _to_two), Step(3, Table.EXTENTS, _to_three))


@pytest.fixture
def index(tmp_path: Path) -> IndexWriter:
    """An index of format 1 with a hundred rows."""
    create_index(str(tmp_path), MIB)
    opened = IndexWriter.open(str(tmp_path), MIB)
    changes = Changes()
    changes.number(META_FORMAT, 1)
    for key, value in ROWS.items():
        changes.put(Table.EXTENTS, key, value)
    opened.commit(changes)
    return opened


def _rows(index: IndexWriter) -> dict[bytes, bytes]:
    return dict(index.items(Table.EXTENTS))


def test_rows_are_rewritten_page_by_page_and_the_format_is_raised_before_the_first(index: IndexWriter) -> None:
    migration = Migration(index, TWO)
    assert index.number(META_FORMAT) == 2
    assert _rows(index) == ROWS
    passed = []
    while migration.pending:
        passed.append(migration.some(30))
        assert index.number(META_FORMAT) == 2
    assert passed == [30, 30, 30, 10]
    assert _rows(index) == DONE
    assert migration.rewritten == 100
    assert index.get(Table.META, META_FROM) is index.get(Table.META, META_PLACE) is None
    assert not Migration(index, TWO).pending
    assert migration.some(30) == 0


def test_an_interrupted_migration_goes_on_where_it_was(index: IndexWriter) -> None:
    first = Migration(index, TWO)
    first.some(30)
    first.some(30)
    second = Migration(index, TWO)
    assert second.pending
    assert [second.some(30), second.some(30)] == [30, 10]
    assert second.rewritten == 40
    assert _rows(index) == DONE


def test_rows_that_were_written_anew_meanwhile_stay_as_they_are(index: IndexWriter) -> None:
    migration = Migration(index, TWO)
    migration.some(30)
    changes = Changes()
    for key in (b"row 000", b"row 099"):
        changes.put(Table.EXTENTS, key, b"\x02new")
    changes.put(Table.EXTENTS, b"row 999", b"\x02more")
    index.commit(changes)
    while migration.pending:
        migration.some(30)
    assert _rows(index) == DONE | {b"row 000": b"\x02new", b"row 099": b"\x02new", b"row 999": b"\x02more"}


@pytest.mark.parametrize("done_before", range(0, 6))
def test_a_version_that_is_two_formats_ahead_takes_over_from_any_point(index: IndexWriter, done_before: int) -> None:
    changes = Changes()
    changes.put(Table.OBJECTS, b"object", b"\x01o")
    index.commit(changes)
    first = Migration(index, TWO)
    for _ in range(done_before):
        first.some(30)
    second = Migration(index, THREE)
    for _ in range(3):
        second.some(30)
    third = Migration(index, THREE)
    assert index.number(META_FORMAT) == 3
    while third.pending:
        third.some(30)
    assert _rows(index) == {key: b"\x03" + value[1:] for key, value in DONE.items()}
    assert index.get(Table.OBJECTS, b"object") == b"\x02oo"
    assert index.get(Table.META, META_FROM) is None


def test_a_full_index_leaves_a_page_as_it_was_and_the_migration_waits(index: IndexWriter) -> None:
    migration = Migration(index, (Step(2, Table.EXTENTS, lambda _key, _value: b"\x02" + bytes(100_000)),))
    with pytest.raises(lmdb.MapFullError):
        migration.some(30)
    assert _rows(index) == ROWS
    assert migration.pending
    assert Migration(index, TWO).pending


def test_the_steps_lead_to_the_format_that_is_written() -> None:
    assert max((step.to for step in STEPS), default=1) == index_module.FORMAT
    assert [step.to for step in STEPS] == sorted(step.to for step in STEPS)


def test_a_newer_format_is_refused_with_words_and_not_touched(lab: StoreLab) -> None:
    writer = lab.open_writer()
    lab.store(writer, OLD)
    changes = Changes()
    changes.number(META_FORMAT, index_module.FORMAT + 1)
    writer.disks[0].commit_changes(changes)
    lab.crash(writer)
    before = (lab.disk_path() / "index" / "data.mdb").read_bytes()
    known = index_module.FORMAT
    with pytest.raises(FormatTooNew, match=f"has format {known + 1}, this version knows {known}: use a newer Lowtide"):
        lab.open_writer()
    assert (lab.disk_path() / "index" / "data.mdb").read_bytes() == before
    assert len(lab.extent_files()) == 1


@pytest.mark.parametrize("archive", OLD_DISKS, ids=lambda path: path.name.partition(".")[0])
@pytest.mark.parametrize("cut", [False, True], ids=["to the end", "cut after each step"])
def test_a_disk_of_every_format_there_was_is_served_from_and_taken_forward(
    tmp_path: Path, archive: Path, cut: bool
) -> None:
    lab = StoreLab(tmp_path, index_map_bytes=MIB)
    with tarfile.open(archive) as packed:
        if hasattr(tarfile, "data_filter"):  # from 3.11.4 on; 3.12 and 3.13 warn when none is named
            packed.extraction_filter = tarfile.data_filter
        packed.extractall(lab.disk_path())
    for folder in range(256):
        (lab.disk_path() / "extents" / f"{folder:02x}").mkdir(parents=True, exist_ok=True)
    writer = lab.open_writer()
    for _ in range(100):
        reader = lab.open_reader()
        assert promised_bytes_are_right(lab, reader, OLD) == 1
        assert promised_bytes_are_right(lab, reader, OLDER) == 1
        assert [rule.text for rule in writer.rules] == ["vod|/media/gone/hd/v.mp4"]
        reader.close()
        if not writer.migrate_some(1):
            break
        if cut:
            lab.crash(writer)
            lab.board = lab.new_board()
            writer = lab.open_writer()
    assert not writer.disks[0].is_migrating
    assert writer.recovered[0].unreadable_records == 0
    held = writer.held(OLD.key)
    assert held is not None
    assert held.plan == "plan"
    lab.store(writer, OLDER)
    assert promised_bytes_are_right(lab, lab.open_reader(), OLDER) == 2
    writer.sweep(writer.purge(PurgeKind.OBJECT, OLD.key))
    assert writer.find(key_hash(OLD.key), 0) is None
    writer.close()
    shutil.rmtree(lab.disk_path())
