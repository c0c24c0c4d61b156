"""`lowtide oca store check` and `export`: every kind of inconsistency has its name, and a list says what is held."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from contracts.digests import BLOCK_BYTES
from oca.store import trailer
from oca.store.checking import DiskCheck, DiskChecker, Finding
from oca.store.exporting import CannotExport, Exporter
from oca.store.extents import extent_name, index_key, key_hash, pack_record
from oca.store.index import Changes, Table
from oca.store.writer import StoreWriter
from tests.oca.store.harness import EIO, MIB, FailingSyscalls, StoreLab, make_file, spoil

FILM = make_file("vod|/media/film/hd/v-720.mp4", 3 * MIB - 5)
CLIP = make_file("vod|/media/clip/hd/v-720.mp4", 400_000)


@pytest.fixture
def store(lab: StoreLab) -> Iterator[StoreWriter]:
    """Two files, one pinned, committed; the keeper goes on."""
    writer = lab.open_writer()
    lab.store(writer, FILM, plan="tonight")
    lab.store(writer, CLIP)
    yield writer
    lab.crash(writer)


def _path(lab: StoreLab, store: StoreWriter, number: int) -> Path:
    record = store.find(key_hash(FILM.key), number)
    assert record is not None
    return lab.disk_path() / extent_name(record.extent_id)


def check(
    lab: StoreLab,
    store: StoreWriter,
    meanwhile: Callable[[], object] = lambda: None,
    calls: FailingSyscalls | None = None,
    read: bool = True,
) -> DiskCheck:
    checker = DiskChecker(
        str(lab.disk_path()), lab.quota_bytes, read, calls, lambda _s: _do(meanwhile), index=store.disks[0].index
    )
    return checker.check()


def _do(meanwhile: Callable[[], object]) -> None:
    meanwhile()


def words(result: DiskCheck) -> list[tuple[str, str]]:
    return sorted((found.finding.word, found.detail) for found in result.found)


def test_a_sound_disk_has_no_findings_and_its_accounts_are_exact(lab: StoreLab, store: StoreWriter) -> None:
    told: list[tuple[int, int]] = []
    checker = DiskChecker(str(lab.disk_path()), lab.quota_bytes, index=store.disks[0].index)
    result = checker.check(lambda done, total: told.append((done, total)))
    assert (result.found, result.is_wrong) == ([], False)
    assert (result.objects, result.extents, result.blocks, result.blocks_read) == (2, 4, 14, 14)
    assert result.allocated_bytes == store.disks[0].space.live_bytes
    assert result.taken_bytes >= result.allocated_bytes
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert not check(lab, store, read=False).blocks_read


def test_what_is_wrong_with_a_file_is_said(lab: StoreLab, store: StoreWriter) -> None:
    spoil(_path(lab, store, 0), 2 * BLOCK_BYTES)
    with _path(lab, store, 1).open("r+b") as file:
        file.seek(trailer.check_offset(MIB, 3))
        file.write(bytes(8))
    _path(lab, store, 2).unlink()
    assert words(check(lab, store)) == [("bad-block", "block 2"), ("no-check", "block 3"), ("no-file", "")]
    assert words(check(lab, store, read=False)) == [("no-check", "block 3"), ("no-file", "")]


def test_a_foreign_or_cut_file_and_one_that_cannot_be_read_are_said(lab: StoreLab, store: StoreWriter) -> None:
    first, second = _path(lab, store, 0), _path(lab, store, 1)
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert words(check(lab, store)) == [("foreign-file", "its trailer names another extent, or none")]
    first.write_bytes(data[:5000])
    assert [word for word, _ in words(check(lab, store))] == ["wrong-length"]
    first.write_bytes(data)
    calls = FailingSyscalls()
    calls.fail["read"] = EIO
    found = check(lab, store, calls=calls)
    assert [one.finding for one in found.found] == [Finding.UNREADABLE_FILE] * 4


def test_what_is_wrong_with_rows_is_said(lab: StoreLab, store: StoreWriter) -> None:
    hashed = key_hash(FILM.key)
    record = store.find(hashed, 1)
    other = store.find(key_hash(CLIP.key), 0)
    assert record is not None
    assert other is not None
    index = store.disks[0].index
    changes = Changes()
    changes.put(Table.EXTENTS, index_key(hashed, 0), b"\x63of another world")
    record.bits |= 1 << 4
    changes.put(Table.EXTENTS, index_key(hashed, 1), pack_record(record))
    changes.put(Table.EXTENTS, index_key(b"n" * 20, 0), pack_record(other))
    changes.put(Table.OBJECTS, b"m" * 20, index.get(Table.OBJECTS, hashed) or b"")
    record.extent_id, record.bits = 1 << 40, 1
    changes.put(Table.EXTENTS, index_key(hashed, 9), pack_record(record))
    index.commit(changes)
    assert {word for word, _ in words(check(lab, store))} == {
        "unreadable-row",
        "outside-file",
        "no-object",
        "foreign-file",
        "id-twice",
        "id-not-given",
        "no-extent",
        "orphan",
    }


def test_files_that_nobody_knows_are_told_and_wrong_is_something_else(lab: StoreLab, store: StoreWriter) -> None:
    (lab.disk_path() / extent_name(0x333)).write_bytes(b"x")
    (lab.disk_path() / "extents" / "00" / "notes.txt").write_bytes(b"x")
    os.utime(lab.disk_path() / extent_name(0x333), (1, 1))
    result = check(lab, store)
    assert words(result) == [("orphan", ""), ("stranger", "")]
    assert not result.is_wrong


def test_more_than_the_quota_is_said(lab: StoreLab, store: StoreWriter) -> None:
    lab.quota_bytes = 2 * MIB
    assert [word for word, _ in words(check(lab, store))] == ["over-quota"]


def test_what_changes_while_it_is_checked_is_no_finding(lab: StoreLab, store: StoreWriter) -> None:
    """Files before rows: what is being written. Rows before files: what is being evicted. Both are settled at the second look."""
    lab.write(store, make_file("vod|/media/new/hd/v.mp4", MIB), 0, [0, 1])
    spoil(_path(lab, store, 0), 5)
    _path(lab, store, 1).unlink()

    def settle() -> None:
        lab.commit(store)
        store.drop(FILM.key)

    assert check(lab, store, settle).found == []


# -- export ------------------------------------------------------------------------------------------------------------


def test_the_list_names_every_file_once_with_what_is_held_of_it(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path, disks=3)
    writer = lab.open_writer()
    lab.store(writer, FILM, plan="tonight")
    lab.write(writer, CLIP, 0, [1])
    lab.commit(writer)
    exporter = Exporter([disk.path for disk in lab.settings.disks], {n: d.index for n, d in writer.disks.items()})
    rows = {row.key: row for row in exporter.rows(lab.clock.now + 60)}
    film, clip = rows[FILM.key], rows[CLIP.key]
    assert (film.blocks, film.blocks_held, film.bytes_held) == (12, 12, 3 * MIB - 5)
    assert (film.pinned, film.plan, film.version, film.age_s) == (True, "tonight", FILM.version.hex(), 60.0)
    assert film.disks == tuple(
        sorted(d.number for d in writer.disks.values() if d.holdings.objects.get(key_hash(FILM.key)))
    )
    assert (clip.blocks, clip.blocks_held, clip.bytes_held, clip.pinned) == (2, 1, 400_000 - BLOCK_BYTES, False)
    assert len(rows) == 2
    pieces: list[bytes] = []
    assert exporter.write(FILM.key, pieces.append) == len(FILM.data)
    assert b"".join(pieces) == FILM.data
    with pytest.raises(CannotExport, match=r"lacks blocks \[\(0, 0\)\]"):
        exporter.write(CLIP.key, pieces.append)
    with pytest.raises(CannotExport, match="nothing is held"):
        exporter.write("vod|/media/none", pieces.append)
    record = writer.find(key_hash(FILM.key), 1)
    assert record is not None
    spoil(lab.disk_path(record.disk) / extent_name(record.extent_id), 7)
    with pytest.raises(CannotExport, match="not what was stored"):
        exporter.write(FILM.key, pieces.append)
    lab.crash(writer)


# -- the commands --------------------------------------------------------------------------------------------------------


@pytest.fixture
def appliance(tmp_path: Path, lab: StoreLab) -> Path:
    """The configuration of a stopped appliance over a disk with two files."""
    writer = lab.open_writer()
    lab.store(writer, FILM, plan="tonight")
    lab.store(writer, CLIP)
    writer.close()
    config = {
        "state_dir": str(tmp_path / "state"),
        "store": {
            "disks": [{"path": str(lab.disk_path()), "quota_bytes": lab.quota_bytes}],
            "extent_bytes": MIB,
            "index_map_bytes": lab.index_map_bytes,
        },
        "control_plane": {"url": "https://127.0.0.1:1"},
    }
    path = tmp_path / "oca.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def _store(appliance: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "lowtide", "oca", "store", *arguments, "--config", str(appliance)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


def test_check_scrub_and_export_of_a_stopped_appliance(lab: StoreLab, appliance: Path) -> None:
    done = _store(appliance, "check")
    assert (done.returncode, b"2 files in 4 extents, 14 of 14 blocks read" in done.stdout) == (0, True), done
    listed = _store(appliance, "export")
    rows = {row["key"]: row for row in csv.DictReader(io.StringIO(listed.stdout.decode()))}
    assert rows[FILM.key]["plan"] == "tonight"
    assert rows[CLIP.key]["bytes_held"] == "400000"
    lines = _store(appliance, "export", "--format", "json").stdout.splitlines()
    assert {json.loads(line)["key"] for line in lines} == {FILM.key, CLIP.key}
    out = appliance.parent / "film.mp4"
    assert _store(appliance, "export", "--object", FILM.key, str(out)).returncode == 0
    assert out.read_bytes() == FILM.data
    assert _store(appliance, "export", "--object", CLIP.key).stdout == CLIP.data

    writer = lab.open_writer()
    path = _path(lab, writer, 1)
    writer.close()
    spoil(path, 100)
    checked = _store(appliance, "check", "--json")
    found = json.loads(checked.stdout)
    assert checked.returncode == 1
    assert found["wrong"]
    assert [(one["finding"], one["detail"]) for one in found["disks"][0]["found"]] == [("bad-block", "block 0")]
    assert path.exists(), "check changes nothing"
    refused = _store(appliance, "export", "--object", FILM.key, str(appliance.parent / "bad.mp4"))
    assert refused.returncode == 1
    assert not (appliance.parent / "bad.mp4").exists()
    assert _store(appliance, "check", "--quick").returncode == 0

    scrubbed = _store(appliance, "scrub", "--json")
    assert scrubbed.returncode == 1, scrubbed
    (disk,) = json.loads(scrubbed.stdout)["disks"]
    assert (disk["blocks"], disk["bad_blocks"], disk["ended"]) == (14, 1, True)
    assert not path.exists(), "the good blocks moved to a new extent"
    again = _store(appliance, "scrub")
    assert (again.returncode, b"13 blocks read, 0 bad" in again.stdout) == (0, True), again
    assert _store(appliance, "check").returncode == 0


def test_a_disk_that_cannot_be_opened_is_said(lab: StoreLab, appliance: Path) -> None:
    (lab.disk_path() / "lowtide-disk.json").write_text('{"format": 99}')
    for command in ("check", "scrub", "export"):
        done = _store(appliance, command)
        assert done.returncode == 2, (command, done)
        assert b"format 99" in done.stdout + done.stderr
