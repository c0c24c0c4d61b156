"""A keeper that is killed with signal 9 just before its n-th step, for every n, and looked at afterwards. Steps are system calls (create,
allocate, write, sync, sync_folder, read, open, close, unlink) and both sides of every index commit.

`python -m tests.oca.store.dying_keeper FOLDER`: prints one JSON line per n and ends with 1 at the first wrong one. Every life is its own
forked process, because LMDB is opened once per process and never across a fork; what a life says it committed goes to a pipe.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from oca.store.extents import key_hash
from oca.store.reader import StoreReader
from oca.store.space import allocated
from tests.oca.store.harness import (
    MIB,
    Death,
    DyingIndex,
    DyingSyscalls,
    MadeFile,
    StoreLab,
    make_file,
    promised_bytes_are_right,
)

FILES = {name: make_file(f"vod|/media/{name}/hd/v.mp4", 2 * MIB + 700_000) for name in "abc"}
NEWER = make_file(FILES["b"].key, 2 * MIB, seed=9)


def live(lab: StoreLab, at: int, say: Callable[[str], None]) -> None:
    """One life that goes through every kind of step: store, continue, evict, replace a version, move an extent, purge, close."""
    death = Death(at, say)
    writer = lab.open_writer(DyingSyscalls(death))
    disk = writer.disks[0]
    disk.index = DyingIndex(disk.index, death)
    lab.write(writer, FILES["a"], 0, [0, 2])
    lab.commit(writer)
    say("a 0 0")
    say("a 0 2")
    lab.store(writer, FILES["a"])
    say("a whole")
    lab.store(writer, FILES["b"], plan="tonight")
    say("b whole")
    moved = disk.holdings.find(key_hash(FILES["a"].key), 1)
    assert moved is not None
    disk.replace(moved, 0b1101)
    say("a 1 moved")
    say("dropping a")
    writer.drop(FILES["a"].key)
    say("dropped a")
    say("replacing b")
    lab.store(writer, NEWER)
    say("newer b whole")
    lab.store(writer, FILES["c"])
    writer.disks[0].make_room(5 * MIB)
    say("closing")
    writer.close()
    say("closed")


def look(lab: StoreLab, said: list[str]) -> dict[str, int]:
    """What must hold after any death. Returns figures for the curious."""
    writer = lab.open_writer()
    reader = lab.open_reader()
    disk = writer.disks[0]
    recovery = writer.recovered[0]
    files = lab.extent_files()
    assert disk.failure is None
    assert recovery.bad_blocks == 0
    assert recovery.missing == 0
    # Between the clean mark and the last word there are still files to be closed.
    assert recovery.clean == ("closed" in said) or (recovery.clean and "closing" in said)
    assert sorted(files) == sorted(f"{extent_id:016x}" for extent_id in disk.holdings.extents), "orphans were collected"
    assert disk.space.live_bytes == sum(allocated(size) for size in files.values())
    present = {name: _right(lab, reader, file) for name, file in FILES.items()}
    _kept(said, present, _right(lab, reader, NEWER))
    writer.reap()
    for file in FILES.values():
        lab.store(writer, file)
    assert all(promised_bytes_are_right(lab, reader, file) for file in FILES.values())
    writer.close()
    return {"extents": recovery.extents, "orphans": recovery.orphans, "verified": recovery.verified_blocks}


def _right(lab: StoreLab, reader: StoreReader, file: MadeFile) -> int:
    """Promised blocks of this version of the file, each compared byte by byte."""
    record = next((r for n in range(3) if (r := reader.lookup(key_hash(file.key), n)) is not None), None)
    return promised_bytes_are_right(lab, reader, file) if record is not None and record.version == file.version else 0


def _kept(said: list[str], present: dict[str, int], newer: int) -> None:
    """What a life said it had committed is still there, unless a later step was on its way to remove it."""
    if "dropping a" not in said:
        if "a 1 moved" in said:
            assert present["a"] == 10
        elif "a whole" in said:
            assert present["a"] in (10, 11)
        elif "a 0 2" in said:
            assert present["a"] >= 2
    elif "dropped a" in said:
        assert present["a"] == 0
    if "replacing b" not in said and "b whole" in said:
        assert present["b"] == 11
    if "newer b whole" in said and "closed" not in said:
        assert newer in (0, 4, 8), "evicted as a whole extent or not at all"
    assert not (present["b"] and newer), "one version at a time"


def in_a_process(action: Callable[[int], object]) -> tuple[int, list[str]]:
    """Run in a forked process that gets the writing end of a pipe: (wait status, lines it wrote)."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(reading)
            action(writing)
            status = 0
        except BaseException:  # noqa: BLE001  the process ends here, whatever it was
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        lines = pipe.read().splitlines()
    return os.waitpid(pid, 0)[1], lines


def main(root: Path, stride: int) -> int:
    template = StoreLab(root / "template", quota_bytes=9 * MIB, index_map_bytes=MIB)
    in_a_process(lambda _: template.open_writer().close())
    for at in range(0, 10_000, stride):
        folder = root / f"life-{at}"
        shutil.copytree(template.root, folder)
        lab = replace_lab(template, folder)
        died, said = in_a_process(lambda fd, lab=lab, at=at: live(lab, at, lambda line: _say(fd, line)))  # type: ignore[misc]
        status, found = in_a_process(lambda fd, lab=lab, said=said: _say(fd, json.dumps(look(lab, said))))  # type: ignore[misc]
        print(json.dumps({"at": at, "died": died, "said": said, "look": status, "found": found}), flush=True)  # noqa: T201
        shutil.rmtree(folder)
        if status:
            return 1
        if not died:
            return 0
    return 1


def replace_lab(lab: StoreLab, folder: Path) -> StoreLab:
    return StoreLab(folder, quota_bytes=lab.quota_bytes, index_map_bytes=lab.index_map_bytes)


def _say(fd: int, line: str) -> None:
    os.write(fd, line.encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
