"""Processes for the tests of keepers and workers side by side.

`keeper FOLDER BOARD_FD`: stores, continues, evicts and pins small films for ever (until it is killed); prints `ready` first.
`worker FOLDER BOARD_FD SLOT SECONDS`: looks up and reads at random, checks every byte, prints its figures as JSON.
`doomed FOLDER BOARD_FD COUNT`: so many workers one after the other, each killed in the middle of look-ups; prints how many, 25 at a time.
`sleeper FOLDER BOARD_FD`: sits inside a read transaction for ever; prints `ready` first.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from oca.store.board import Board
from oca.store.errors import NoSpace
from oca.store.extents import key_hash
from tests.oca.store.harness import MIB, MadeFile, StoreLab, make_file, read_extent

FILMS = 16


@functools.cache
def film(number: int) -> MadeFile:
    return make_file(f"vod|/media/{number}/hd/v.mp4", MIB + 100_000)


def lab_of(folder: Path, board_fd: int) -> StoreLab:
    lab = StoreLab(folder, quota_bytes=12 * MIB)
    lab.board.close()
    lab.board = Board.attach(board_fd)
    return lab


def keeper(folder: Path, board_fd: int) -> None:
    lab = lab_of(folder, board_fd)
    writer = lab.open_writer()
    rng = random.Random()
    print("ready", flush=True)  # noqa: T201  the parent waits for it
    for round_ in itertools.count():
        one = film(rng.randrange(FILMS))
        try:
            lab.write(writer, one, rng.randrange(2), [0], plan="p" if rng.random() < 0.1 else None)
            if rng.random() < 0.5:
                lab.store(writer, one)
        except NoSpace:
            writer.unpin(film(rng.randrange(FILMS)).key)
        if rng.random() < 0.2:
            writer.drop(film(rng.randrange(FILMS)).key)
        writer.collect_marks(round_)
        writer.reap()


def worker(folder: Path, board_fd: int, slot: int, seconds: float) -> None:
    lab = lab_of(folder, board_fd)
    reader = lab.open_reader(slot)
    rng = random.Random(slot)
    figures = {"right": 0, "wrong": 0, "absent": 0}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(20):
            one, number = film(rng.randrange(FILMS)), rng.randrange(2)
            record = reader.lookup(key_hash(one.key), number)
            block = rng.randrange(record.block_count) if record is not None else 0
            data = read_extent(reader, one.key, number, block, block)
            if data is None:
                figures["absent"] += 1
            else:
                figures["right" if data == one.block(number, block, MIB)[0] else "wrong"] += 1
        reader.poll()
    reader.close()
    print(json.dumps(figures), flush=True)  # noqa: T201  the parent reads it


def doomed(folder: Path, board_fd: int, count: int) -> None:
    """The index is opened in each child, never across the fork."""
    rng = random.Random(7)
    hashed = [key_hash(film(number).key) for number in range(4)]
    for number in range(count):
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            look_up_for_ever(folder, board_fd, writing, hashed)
        os.close(writing)
        assert os.read(reading, 1) == b"x"
        time.sleep(rng.random() * 0.002)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        if number % 25 == 24:
            print(25, flush=True)  # noqa: T201  the parent checks readers


def look_up_for_ever(folder: Path, board_fd: int, told: int, hashed: list[bytes]) -> None:
    try:
        reader = lab_of(folder, board_fd).open_reader(0)
        while True:
            for one in hashed:
                reader.lookup(one, 0)
                reader.lookup(one, 1)
            if told >= 0:
                os.write(told, b"x")
                told = -1
    finally:
        os._exit(1)


def sleeper(folder: Path, board_fd: int) -> None:
    reader = lab_of(folder, board_fd).open_reader(0)
    index = next(iter(reader._disks.values())).index
    with index._env.begin() as transaction:
        assert transaction.id() > 0
        print("ready", flush=True)  # noqa: T201  the parent waits for it
        time.sleep(60)


if __name__ == "__main__":
    role, folder, fd = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if role == "keeper":
        keeper(folder, fd)
    elif role == "doomed":
        doomed(folder, fd, int(sys.argv[4]))
    elif role == "sleeper":
        sleeper(folder, fd)
    else:
        worker(folder, fd, int(sys.argv[4]), float(sys.argv[5]))
