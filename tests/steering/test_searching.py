"""Plays found again in the steering log: by session, client, title and time, over many files, in pieces of any size."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from chassis.clock import VirtualClock
from chassis.errors import ProblemError
from chassis.routes import Call
from contracts.decisions import FORMAT, PlayQuery
from contracts.instants import instant
from contracts.plays import Cause, PlaySearch
from contracts.problems import ProblemCode
from steering.api import Keeping
from steering.candidates import Scene
from steering.config import DecisionLog
from steering.decided import Recorder, read
from steering.journal import Journal
from steering.plays import HOURS, Tally, found_play, wanted_by
from steering.plays_api import PlaysApi
from steering.ranking import Ranked, ranked_in
from steering.searching import PIECE_BYTES, Wanted, backwards, found_in
from steering.world import World
from tests.steering.worlds import asking, holds, key, suspect, two_networks, well, world

NOON_S = 1_763_726_400.0
RECORDER = Recorder(24, 48)


def ranked(it: World, client: str = "10.1.0.77", title: str = "t") -> Ranked:
    return ranked_in(Scene(it), asking(client, key(title)))


def line(play: str, at_s: float, *, client: str = "10.1.0.77", title: str = "t", it: World | None = None) -> bytes:
    request = msgspec.structs.replace(asking(client, key(title)), play=play)
    return RECORDER.line(request, ranked_in(Scene(it or world(two_networks())), request), at_s)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files, the newer one first: plays s-0 to s-39, ten seconds apart, of two clients and two titles."""
    lines = [line(f"s-{n}", NOON_S + 10 * n, client=f"10.{1 + n % 2}.0.{n}", title="ab"[n % 4 // 2]) for n in range(40)]
    newer, older = tmp_path / "newer", tmp_path / "older"
    older.write_bytes(b"".join(lines[:20]))
    newer.write_bytes(b"".join(lines[20:]))
    return [newer, older]


def plays_in(files: list[Path], wanted: Wanted, piece: int = PIECE_BYTES) -> list[str]:
    return [decision.play for decision in found_in(lambda: files, wanted, 100, piece).decisions]


@pytest.mark.parametrize("piece", [64, 1000, PIECE_BYTES])
def test_plays_are_found_by_session_client_title_and_time_the_newest_first(files: list[Path], piece: int) -> None:
    assert plays_in(files, Wanted(play="s-7"), piece) == ["s-7"]
    assert plays_in(files, Wanted(play="s-"), piece) == []
    assert plays_in(files, Wanted(client="10.2.0.0"), piece) == [f"s-{n}" for n in range(39, 0, -2)]
    assert plays_in(files, Wanted(client="10.2.0.0", title="b"), piece) == [f"s-{n}" for n in range(39, 0, -4)]
    since, until = instant(NOON_S + 150), instant(NOON_S + 250)
    assert plays_in(files, Wanted(since=since, until=until), piece) == [f"s-{n}" for n in range(24, 14, -1)]
    assert plays_in(files, Wanted(), piece) == [f"s-{n}" for n in range(39, -1, -1)]


def test_a_search_that_has_enough_says_that_there_may_be_more(files: list[Path]) -> None:
    found = found_in(lambda: files, Wanted(), 3)
    assert [decision.play for decision in found.decisions] == ["s-39", "s-38", "s-37"]
    assert (found.whole, found_in(lambda: files, Wanted(play="s-0"), 3).whole) == (False, True)


def test_a_search_reads_no_further_back_than_it_was_asked_to(files: list[Path]) -> None:
    class Counted(io.BytesIO):
        pieces = 0

        def read(self, size: int | None = -1) -> bytes:
            self.pieces += 1
            return super().read(size)

    file = Counted(files[0].read_bytes() * 2_000)
    list(backwards(file, b"nothing like it", instant(NOON_S + 10_000).encode()))
    assert file.pieces == 1


@given(st.lists(st.binary(max_size=300).map(lambda raw: raw.replace(b"\n", b"?")), max_size=30), st.integers(1, 700))
def test_every_line_with_the_bytes_comes_once_wherever_pieces_are_cut(lines: list[bytes], piece: int) -> None:
    text = b"".join(line + b"\n" for line in lines)
    found = list(backwards(io.BytesIO(text + b"half a line a"), b"a", piece_bytes=piece))
    assert found == [line + b"\n" for line in reversed(lines) if b"a" in line]


def test_lines_of_a_newer_format_are_counted_and_left_out(files: list[Path]) -> None:
    with files[0].open("ab") as file:
        file.write(line("s-new", NOON_S + 900).replace(b'"site"', b'"v":%d,"site"' % (FORMAT + 1), 1))
    found = found_in(lambda: files, Wanted(), 2)
    assert ([decision.play for decision in found.decisions], found.unread) == (["s-39", "s-38"], 1)


def test_a_query_is_cut_like_the_log_and_refused_with_all_that_is_wrong() -> None:
    wanted = wanted_by(PlaySearch(client="10.2.0.77", until="2025-11-21T13:00+01:00"), RECORDER, NOON_S)
    assert wanted == Wanted(client="10.2.0.0", since=instant(NOON_S - 3600), until=instant(NOON_S))
    query = PlaySearch(client="me", title="A/B", since="yesterday", until="0001-01-01T00:00Z")
    with pytest.raises(
        ValueError, match=r"until: .* is not of the years.*since: 'yesterday'.*client: 'me'.*title: 'A/B'"
    ):
        wanted_by(query, RECORDER, NOON_S)
    with pytest.raises(ValueError, match="since: has to be before until"):
        wanted_by(PlaySearch(since="2026-01-02T00:00Z", until="2026-01-01T00:00Z"), RECORDER, NOON_S)


async def test_a_play_is_found_the_moment_it_was_decided(tmp_path: Path) -> None:
    journal = Journal(tmp_path, DecisionLog(memory_bytes=0), VirtualClock(NOON_S), lambda _n: None)
    journal.add("s-1", line("s-1", NOON_S))
    journal.add("s-1", line("s-1", NOON_S + 5))
    found = await journal.search(Wanted(play="s-1"), limit=10)
    assert [decision.time[17:19] for decision in found.decisions] == ["05", "00"]


async def test_who_would_wait_behind_a_search_that_waits_is_asked_to_come_again(tmp_path: Path) -> None:
    clock = VirtualClock(NOON_S)
    journal = Journal(tmp_path, DecisionLog(memory_bytes=0), clock, lambda _n: None)
    journal.add("s-1", line("s-1", NOON_S))
    api = PlaysApi(Keeping(journal, RECORDER, Tally(NOON_S)), clock)
    request = make_mocked_request("GET", "/v1/plays")
    call = Call(None, PlayQuery("s-1"), {}, request)
    first = asyncio.create_task(api.told(call))
    await asyncio.sleep(0)
    second = asyncio.create_task(api.explain(call))
    await asyncio.sleep(0)
    for ask in (api.told(call), api.explain(call), api.plays(Call(None, PlaySearch(), {}, request))):
        with pytest.raises(ProblemError) as caught:
            await ask
        assert (caught.value.code, caught.value.headers["Retry-After"]) == (ProblemCode.UNAVAILABLE, "2")
    assert (await first).told[0].decision == (await second).decision
    assert (await api.told(call)).told, "none waits any more"


async def test_files_go_when_they_are_old_even_while_nobody_plays(tmp_path: Path) -> None:
    clock = VirtualClock(NOON_S)
    journal = Journal(tmp_path, DecisionLog(memory_bytes=0, file_s=600, keep_s=3600), clock, lambda _n: None)
    journal.add("s-1", line("s-1", NOON_S))
    await journal.flush()
    await clock.advance(700)
    await journal.tidy()
    assert [path.name for path in tmp_path.iterdir()] == ["steering-20251121T121140.000Z.jsonl"]
    assert (await journal.search(Wanted(play="s-1"), 1)).lines
    await clock.advance(3700)
    await journal.tidy()
    assert list(tmp_path.iterdir()) == []


def test_a_found_play_says_who_was_first_and_what_that_comes_to() -> None:
    it = world([*two_networks(), suspect("a2")])
    found = found_play(read(line("s-1", NOON_S, it=it)))
    assert (found.title, found.groups, found.first, found.meant) == ("t", 1, {"a3": 1}, {"health-miss": 1})
    assert (found.client, found.site, found.prefix, found.play) == ("10.1.0.0", "a", "10.1.0.0/16", "s-1")


def test_first_choices_are_tallied_by_site_and_hour_as_the_log_would_have_them() -> None:
    tally = Tally(NOON_S)
    worlds = [
        two_networks(),
        [*two_networks(), holds("a2")],
        [*two_networks(), suspect("a2")],
        [*two_networks(), well("a2", load=0.9)],
    ]
    for changes in worlds:
        tally.add(NOON_S, ranked(world(changes)))
    tally.add(NOON_S + 3600, ranked(world(two_networks()), client="10.2.0.1"))
    assert [(row.site, row.hour, row.plays) for row in tally.rows()] == [
        ("a", "2025-11-21T12", 4),
        ("b", "2025-11-21T13", 1),
    ]
    assert tally.rows()[0].meant == {
        Cause.INSIDE.value: 1,
        Cause.CONTENT.value: 1,
        Cause.HEALTH.value: 2,
        Cause.OTHER.value: 0,
    }


def test_a_tally_keeps_its_last_hours() -> None:
    tally = Tally(NOON_S)
    for hour in range(HOURS + 10):
        tally.add(NOON_S + 3600 * hour, ranked(world(two_networks())))
    assert len(tally.rows()) == HOURS
    assert tally.rows()[-1].hour == "2025-11-23T21"


def test_a_move_of_a_running_session_is_found_as_one() -> None:
    moved = msgspec.structs.replace(read(line("s-1", NOON_S)), steered="draining", course=("a3",), left=("a2",))
    assert found_play(moved).steered == "draining"
