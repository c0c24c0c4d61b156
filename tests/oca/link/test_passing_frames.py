"""What is said on a stream, however it is cut, and descriptors that reach the keeper with their message."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.link.handing import Hander, HandingServer, pair
from oca.link.messages import BrokenFrame
from oca.link.passing import (
    MAX_SAID_BYTES,
    Answer,
    End,
    Forward,
    Interim,
    OfKeeper,
    Refused,
    Span,
    cutter_of_keeper,
    cutter_of_worker,
    head_of_data,
    say,
)

SAID: tuple[bytes | OfKeeper, ...] = (
    Interim(100),
    Answer(200, ((b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")), None),
    b"x" * 70_000,
    b"\r\n",
    Refused("NO_SPACE", "no"),
    End(),
)


def framed(said: tuple[bytes | OfKeeper, ...]) -> bytes:
    return b"".join(head_of_data(len(one)) + one if isinstance(one, bytes) else say(one) for one in said)


def joined(found: list[bytes | OfKeeper]) -> list[bytes | OfKeeper]:
    """Neighbouring pieces of the body as one."""
    whole: list[bytes | OfKeeper] = []
    for one in found:
        last = whole[-1] if whole else None
        if isinstance(one, bytes) and isinstance(last, bytes):
            whole[-1] = last + one
        else:
            whole.append(one)
    return whole


@given(st.lists(st.integers(1, 80_000), max_size=30))
def test_how_a_stream_is_cut_makes_no_difference(cuts: list[int]) -> None:
    data, cutter, found, at = framed(SAID), cutter_of_keeper(), list[bytes | OfKeeper](), 0
    for cut in (*cuts, len(data)):
        found += cutter.feed(data[at : at + cut])
        at += cut
    assert joined(found) == joined(list(SAID))


@given(st.binary(min_size=1, max_size=400))
def test_a_stream_of_anything_is_data_messages_or_broken(data: bytes) -> None:
    cutter = cutter_of_worker()
    try:
        found = cutter.feed(data)
    except BrokenFrame:
        return
    assert all(isinstance(one, bytes | Span | Forward | End) for one in found)


def test_a_message_that_is_too_long_or_of_no_kind_is_broken_before_it_is_held() -> None:
    with pytest.raises(BrokenFrame, match="a frame of kind 0"):
        cutter_of_worker().feed(b"\0" + (MAX_SAID_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(BrokenFrame, match="a frame of kind 7"):
        cutter_of_worker().feed(b"\7\0\0\0\1")


class Takes:
    def __init__(self, state: Path) -> None:
        self.ends: list[socket.socket] = []
        self.workers: list[int] = []
        (state / "run").mkdir(exist_ok=True)
        self.server = HandingServer(state, self._take)
        self.server.start()

    def _take(self, end: socket.socket, worker: int) -> None:
        self.ends.append(end)
        self.workers.append(worker)

    async def come(self, number: int) -> None:
        async with asyncio.timeout(30):
            while len(self.ends) < number:  # noqa: ASYNC110  the server tells nobody
                await asyncio.sleep(0.005)

    def close(self) -> None:
        self.server.close()
        for end in self.ends:
            end.close()


async def test_each_end_that_is_handed_over_is_the_other_end_of_ours(tmp_path: Path) -> None:
    takes, hander = Takes(tmp_path), Hander(tmp_path, 3)
    before = len(os.listdir("/proc/self/fd"))
    ours = []
    for number in range(20):
        mine, theirs = pair()
        assert hander.hand(theirs)
        theirs.close()
        mine.send(b"%d" % number)
        ours.append(mine)
    await takes.come(20)
    assert [end.recv(9) for end in takes.ends] == [b"%d" % number for number in range(20)]
    assert set(takes.workers) == {3}
    for end in (*ours, *takes.ends):
        end.close()
    hander.close()
    takes.close()
    async with asyncio.timeout(30):
        while len(os.listdir("/proc/self/fd")) >= before:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_nobody_takes_it_while_the_keeper_is_away_and_the_next_one_does(tmp_path: Path) -> None:
    hander = Hander(tmp_path, 0)
    mine, theirs = pair()
    assert not hander.hand(theirs)
    for _keeper in range(2):
        takes = Takes(tmp_path)
        assert hander.hand(theirs)
        await takes.come(1)
        takes.close()
    assert not hander.hand(theirs)
    hander.close()
    mine.close()
    theirs.close()


async def test_what_was_handed_over_and_not_taken_ends_with_the_keeper(tmp_path: Path) -> None:
    takes, hander = Takes(tmp_path), Hander(tmp_path, 0)
    mine, theirs = pair()
    assert hander.hand(theirs)
    theirs.close()
    await takes.come(1)
    takes.close()
    assert mine.recv(1) == b""
    hander.close()
    mine.close()


async def test_a_line_that_speaks_otherwise_gets_its_descriptors_closed(tmp_path: Path) -> None:
    takes = Takes(tmp_path)
    mine, theirs = pair()
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.connect(str(tmp_path / "run" / "passing.sock"))
    socket.send_fds(line, [b"hello"], [theirs.fileno()])
    theirs.close()
    mine.setblocking(True)
    mine.settimeout(10)
    assert await asyncio.to_thread(mine.recv, 1) == b""
    assert takes.ends == []
    line.close()
    mine.close()
    takes.close()
