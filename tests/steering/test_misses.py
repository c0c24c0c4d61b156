"""The steering log: lines, files, the question why, misses by cause, and decisions made again."""

from __future__ import annotations

import asyncio
import resource
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from chassis.clock import VirtualClock
from contracts.decisions import FORMAT, Decision
from contracts.plays import Cause
from contracts.world import Change, Why
from steering import archive
from steering.candidates import Rules, Scene
from steering.cli import app
from steering.config import DecisionLog
from steering.decided import Recorder, UnknownFormat, read, told
from steering.journal import CURRENT, Journal, files_in
from steering.log_reading import Broken, decisions_of
from steering.misses import Served, account
from steering.ranking import ranked_in
from steering.replaying import changed, replay, replays
from steering.world import World
from tests.steering.worlds import asking, box, holds, key, origin, site, suspect, two_networks, well, world

NOON_S = 1_763_726_400.0
PATH = "/media/t/sd/v-360.mp4"


def line_in(it: World, client: str = "10.1.0.77", play: str = "s-1", at_s: float = NOON_S) -> bytes:
    request = msgspec.structs.replace(asking(client), play=play)
    return Recorder(24, 48).line(request, ranked_in(Scene(it), request), at_s)


def decided(it: World, **more: object) -> Decision:
    return read(line_in(it, **more))  # type: ignore[arg-type]


def served(
    appliance: str, *, missed: int = 0, session: str = "s-1", path: str = PATH, time: str = "2025-11-21T12:00:05.000Z"
) -> Served:
    return Served(appliance, time, session, path, 1000, missed)


def bytes_by_cause(it: World, one: Served) -> dict[Cause, int]:
    found = account([decided(it)], [one])
    sums = {cause: sum(each.sent_bytes[cause] for each in found.values()) for cause in Cause}
    return {cause: count for cause, count in sums.items() if count}


def test_a_line_has_the_answer_what_was_believed_and_no_whole_address() -> None:
    found = decided(world([*two_networks(), suspect("a1"), well("a3", load=0.9)]))
    assert (found.time, found.client, found.site, found.prefix) == (
        "2025-11-21T12:00:00.000Z",
        "10.1.0.0",
        "a",
        "10.1.0.0/16",
    )
    (group,) = found.groups
    assert [(name, Why(why)) for name, _, why in group.choices] == [
        ("a2", Why.HOLDS),
        ("a3", Why.NEARLY_FULL),
        ("", Why.ORIGIN),
    ]
    assert group.holders == ("a2",)
    assert {box.id: (box.problem, box.full) for box in found.boxes["a"]} == {
        "a1": ("suspect", False),
        "a2": ("", False),
        "a3": ("", True),
    }
    assert b"10.1.0.77" not in line_in(world(two_networks()))


def test_ipv6_is_cut_too() -> None:
    it = world([site("a", "2001:db8::/32"), box("a1", "a"), well("a1"), origin()])
    assert decided(it, client="2001:db8:1:2::3").client == "2001:db8:1::"


def test_a_newer_line_and_what_is_no_line_are_refused_in_words() -> None:
    newer = line_in(world(two_networks())).replace(b'"site"', b'"v":%d,"site"' % (FORMAT + 1))
    with pytest.raises(UnknownFormat, match=f"format {FORMAT + 1}; this program reads up to {FORMAT}"):
        read(newer)
    with pytest.raises(UnknownFormat, match="no line of a steering log"):
        read(b"{}")


def test_a_decision_is_told_in_sentences_with_everybody_who_was_left_out() -> None:
    found = told([decided(world([*two_networks(), suspect("a2")]))])
    sentences = found.sentences["t/v-360"]
    assert (
        sentences[0]
        == "a3 was number 1: it is planned to hold the file and does not hold all of it yet (score 1.00, load 10%)."
    )
    assert (
        sentences[-1]
        == "a2 was left out: it is suspect: its heartbeats stopped (score 1.00, load 0%); it held the file."
    )


def test_bytes_from_a_holder_are_inside() -> None:
    assert bytes_by_cause(world(two_networks()), served("a2")) == {Cause.INSIDE: 1000}


def test_bytes_of_a_file_that_nobody_here_holds_are_content_misses_wherever_they_come_from() -> None:
    it = world([*two_networks(), holds("a2")])
    assert bytes_by_cause(it, served("a1", missed=400)) == {Cause.INSIDE: 600, Cause.CONTENT: 400}
    assert bytes_by_cause(it, served("b1")) == {Cause.CONTENT: 1000}


@pytest.mark.parametrize(
    "change", [suspect("a2"), well("a2", load=0.9), well("a2", shedding=True), well("a2", score=0.1)]
)
def test_bytes_of_a_file_whose_holders_were_out_are_health_misses(change: Change) -> None:
    it = world([*two_networks(), change])
    assert bytes_by_cause(it, served("a1", missed=1000)) == {Cause.HEALTH: 1000}


def test_bytes_that_a_good_holder_would_have_had_are_others() -> None:
    assert bytes_by_cause(world(two_networks()), served("b1")) == {Cause.OTHER: 1000}
    assert bytes_by_cause(world(two_networks()), served("a2", missed=300)) == {Cause.INSIDE: 700, Cause.OTHER: 300}


def test_a_request_without_a_decision_is_other_and_of_no_site() -> None:
    found = account(
        [decided(world(two_networks()))], [served("a2", session="s-unknown"), served("a2", path="/media/u/sd/v.mp4")]
    )
    assert found["", "2025-11-21T12"].sent_bytes[Cause.OTHER] == 1000
    assert found["a", "2025-11-21T12"].sent_bytes[Cause.OTHER] == 1000


def test_a_request_is_joined_with_the_last_decision_before_it_and_a_playlist_with_its_rendition() -> None:
    first, then = decided(world([*two_networks(), holds("a2")])), decided(world(two_networks()), at_s=NOON_S + 600)
    requests = [served("b1"), served("b1", time="2025-11-21T12:20:00.000Z", path="/media/t/sd/v-360.m3u8")]
    sent = account([then, first], requests)["a", "2025-11-21T12"].sent_bytes
    assert (sent[Cause.CONTENT], sent[Cause.OTHER]) == (1000, 1000)


def test_a_decision_that_was_joined_and_replayed_is_not_kept() -> None:
    alive: list[weakref.ref[Decision]] = []

    class Watched(Decision, frozen=True, weakref=True):
        pass

    def recorded() -> Iterator[Decision]:
        for n in range(50):
            one = decided(world(two_networks()), play=f"s-{n}")
            made = Watched(**msgspec.structs.asdict(one))
            alive.append(weakref.ref(made))
            yield made
            del made
            assert sum(ref() is not None for ref in alive) <= 2

    account(recorded(), [])
    alive.clear()
    replays(recorded(), world(two_networks()), (Rules(), Rules()))


def test_plays_are_accounted_by_what_was_meant() -> None:
    worlds = [two_networks(), [*two_networks(), holds("a2")], [*two_networks(), suspect("a2")]]
    found = account([decided(world(changes)) for changes in worlds], [])["a", "2025-11-21T12"]
    assert found.plays == {Cause.INSIDE: 1, Cause.CONTENT: 1, Cause.HEALTH: 1, Cause.OTHER: 0}
    assert found.requests == 0


def test_the_same_rules_give_the_same_and_others_what_they_would_have_given() -> None:
    loads = {"a1": 0.45, "a2": 0.56, "a3": 0.4}
    it = world(
        [*two_networks(), holds("a1", key()), holds("a3"), *(well(name, load=load) for name, load in loads.items())]
    )
    decisions = [decided(it, client=f"10.1.{n}.1", play=f"s-{n}") for n in range(100)]
    usual = replay(decisions, it, Rules())
    assert usual.firsts == replay(decisions, it, Rules()).firsts
    assert usual.share(Why.HOLDS) == 1.0
    tight = replay(decisions, it, changed(Rules(), {"load_factor": 1.01}))
    assert tight.boxes["a"]["a2"] == 0, "over the bound, it goes behind the other holder"
    assert usual.boxes["a"]["a2"] > 20
    assert replay(decisions, it, changed(Rules(), {"spill_from": 0.45})).whys[Why.RENDEZVOUS] == 100
    with pytest.raises(ValueError, match="colour: a replay can set"):
        changed(Rules(), {"colour": 1.0})


def test_a_replay_takes_what_was_believed_then_and_not_what_is_told_now() -> None:
    then = world([*two_networks(), suspect("a2")])
    found = replay([decided(then)], world(two_networks()), Rules())
    assert found.firsts == ["a3"]


async def test_lines_are_written_behind_the_answers_found_again_and_old_files_go(tmp_path: Path) -> None:
    lost: list[int] = []
    clock = VirtualClock(NOON_S)
    limits = DecisionLog(file_bytes=65536, files=2, memory_bytes=3000, file_s=1e9)
    journal = Journal(tmp_path / "decisions", limits, clock, lost.append)
    for n in range(1200):
        journal.add(f"s-{n}", line_in(world(two_networks()), play=f"s-{n}", at_s=NOON_S + n))
        if n % 100 == 99:
            await clock.advance(1.0)
            await journal.flush()
    names = [path.name for path in files_in(tmp_path / "decisions")]
    assert len([name for name in names if name != CURRENT]) == 2
    assert lost == []
    for play in ("s-1199", "s-1100"):
        found = await journal.find(play)
        assert found is not None
        assert read(found).play == play
    assert await journal.find("s-0") is None, "its file is gone"
    assert await journal.find("never") is None


async def test_a_folder_that_cannot_be_written_costs_lines_and_no_answer(tmp_path: Path) -> None:
    lost: list[int] = []
    (tmp_path / "decisions").write_text("a file where the folder should be")
    journal = Journal(tmp_path / "decisions", DecisionLog(), VirtualClock(NOON_S), lost.append)
    journal.add("s-1", line_in(world(two_networks())))
    await journal.flush()
    assert lost == [1]
    assert await journal.find("s-1") is not None, "memory still has it"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A write beyond `size` is a short one, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_costs_whole_lines_and_the_rest_stays_readable(tmp_path: Path) -> None:
    lost: list[int] = []
    journal = Journal(tmp_path / "decisions", DecisionLog(), VirtualClock(NOON_S), lost.append)
    line = line_in(world(two_networks()))
    for _ in range((1 << 20) // len(line)):
        journal.add("", line)
    await journal.flush()
    path = tmp_path / "decisions" / CURRENT
    before = path.stat().st_size
    journal.add("late", line_in(world(two_networks()), play="late") * 2)
    with largest_file(before + len(line)):
        await journal.flush()
    assert (lost, path.stat().st_size) == ([1], before)
    journal.add("later", line_in(world(two_networks()), play="later"))
    await journal.flush()
    assert read(path.read_bytes().splitlines()[-1]).play == "later"


async def test_who_asks_while_lines_are_written_waits_for_them(tmp_path: Path) -> None:
    limits = DecisionLog(memory_bytes=1)
    journal = Journal(tmp_path / "decisions", limits, VirtualClock(NOON_S), lambda _n: None)
    journal.add("s-1", line_in(world(two_networks())))
    found = await asyncio.gather(journal.flush(), *(journal.find("s-1") for _ in range(20)))
    assert all(line is not None for line in found[1:])


def written(folder: Path) -> tuple[Path, Path, Path]:
    """(steering log, access log of a1, saved world): two plays, one of them of a file that nobody holds."""
    it = world([*two_networks(), holds("a2")])
    log, access, saved = folder / "steering.jsonl", folder / "access.jsonl", folder / "world.ndjson"
    log.write_bytes(line_in(it) + line_in(world(two_networks()), play="s-2"))
    lines = [
        {"time": "2025-11-21T12:00:05.000Z", "worker": 0, "path": PATH, "bytes": 1000, "cache": "miss", "missed_bytes": 1000, "session": "s-1"},
        {"time": "2025-11-21T12:00:06.000Z", "worker": 0, "path": PATH, "bytes": 3000, "cache": "hit", "session": "s-1"},
        {"time": "2025-11-21T12:00:06.000Z", "worker": 0, "path": PATH, "bytes": 9000, "cache": "hit", "peer": True},
    ]  # fmt: skip
    access.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    archive.save(it, saved)
    return log, access, saved


def test_the_command_joins_logs_into_accounts(tmp_path: Path) -> None:
    log, access, _ = written(tmp_path)
    arguments = ["misses", "--steering-log", str(log), "--access-log", f"a1={access}"]
    found = CliRunner().invoke(app, [*arguments, "--json"])
    assert found.exit_code == 0, found.output
    line = msgspec.json.decode(found.stdout)
    assert (line["site"], line["hour"], line["requests"]) == ("a", "2025-11-21T12", 2)
    assert line["bytes"] == {"inside": 3000, "content-miss": 1000, "health-miss": 0, "other": 0}
    assert line["plays"] == {"inside": 1, "content-miss": 1, "health-miss": 0, "other": 0}
    assert "25.0%" in CliRunner().invoke(app, arguments).stdout


def test_files_that_are_there_in_columns_alone_are_refused_for_their_bytes_would_be_missing(tmp_path: Path) -> None:
    log, access, _ = written(tmp_path)
    folder = tmp_path / "logs"
    folder.mkdir()
    access.rename(folder / "access.jsonl")
    arguments = ["misses", "--steering-log", str(log), "--access-log", f"a1={folder}"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    (folder / "access-20251121T093436.123Z.parquet").touch()
    found = CliRunner().invoke(app, arguments)
    assert (found.exit_code, "is not there as JSON lines" in found.stderr) == (1, True)
    (folder / "access-20251121T093436.123Z.jsonl").touch()
    assert CliRunner().invoke(app, arguments).exit_code == 0


def test_half_lines_are_left_out_and_counted_and_a_newer_format_is_still_refused(tmp_path: Path) -> None:
    log, access, saved = written(tmp_path)
    for file in (log, access):
        whole = file.read_bytes()
        file.write_bytes(whole[: whole.index(b"\n") // 2] + whole)
    joining = ["misses", "--steering-log", str(log), "--access-log", f"a1={access}", "--json"]
    found = CliRunner().invoke(app, joining)
    assert found.exit_code == 0, found.output
    assert f"2 broken lines are left out, the first is {log}:1." in found.stderr
    requests = sum(msgspec.json.decode(line)["requests"] for line in found.stdout.splitlines())
    assert requests == 1, "the line that the half one spoiled is lost, and no other"
    again = CliRunner().invoke(app, ["replay", str(log), "--world", str(saved)])
    assert (again.exit_code, again.stderr) == (0, f"1 broken lines are left out, the first is {log}:1.\n")
    assert again.stdout.startswith("1 groups;")
    log.write_bytes(log.read_bytes() + line_in(world(two_networks())).replace(b'"site"', b'"v":99,"site"', 1))
    refused = CliRunner().invoke(app, joining)
    assert (refused.exit_code, f"{log}:3: the steering log is of format 99" in refused.stderr) == (1, True)


def test_a_file_that_is_put_aside_or_removed_while_a_log_is_read_is_in_the_sum_once(tmp_path: Path) -> None:
    lines = [line_in(world(two_networks()), play=f"s-{n}") for n in range(4)]
    (tmp_path / "steering-20251121T110000.000Z.jsonl").write_bytes(lines[0])
    (tmp_path / "steering-20251121T120000.000Z.jsonl").write_bytes(lines[1])
    (tmp_path / CURRENT).write_bytes(lines[2])
    reading = decisions_of([tmp_path], Broken())
    found = [next(reading).play]
    (tmp_path / "steering-20251121T120000.000Z.jsonl").unlink()
    (tmp_path / CURRENT).rename(tmp_path / "steering-20251121T130000.000Z.jsonl")
    (tmp_path / CURRENT).write_bytes(lines[3])
    found += [decision.play for decision in reading]
    assert found == ["s-0", "s-1", "s-2"]


def test_the_command_makes_decisions_again(tmp_path: Path) -> None:
    log, _, saved = written(tmp_path)
    found = CliRunner().invoke(app, ["replay", str(log), "--world", str(saved), "--set", "load_factor=1.5"])
    assert found.exit_code == 0, found.output
    assert "2 groups; 0 of them have another first choice with load_factor=1.5" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["misses", "--steering-log", "LOG", "--access-log", "ACCESS"], "is not APPLIANCE=PATH"),
        (
            ["misses", "--steering-log", "ACCESS", "--access-log", "a1=ACCESS"],
            "access.jsonl:1: no line of a steering log",
        ),
        (["misses", "--steering-log", "none", "--access-log", "a1=ACCESS"], "No such file"),
        (["replay", "LOG", "--world", "none"], "there is no such file"),
        (["replay", "LOG", "--world", "WORLD", "--set", "colour=1"], "a replay can set"),
        (["replay", "LOG", "--world", "WORLD", "--set", "load_factor=much"], "is not NAME=NUMBER"),
        (["replay", "LOG", "--world", "WORLD", "--set", "load_factor=nan"], "is not NAME=NUMBER"),
        (["replay", "LOG", "--world", "WORLD", "--set", "load_factor"], "is not NAME=NUMBER"),
    ],
)
def test_what_cannot_be_read_is_said_in_words(tmp_path: Path, arguments: list[str], words: str) -> None:
    log, access, saved = written(tmp_path)
    places = {"LOG": str(log), "ACCESS": str(access), "WORLD": str(saved), "a1=ACCESS": f"a1={access}"}
    found = CliRunner().invoke(app, [places.get(argument, argument) for argument in arguments])
    assert (found.exit_code, words in found.stderr) == (1, True), found.stderr
