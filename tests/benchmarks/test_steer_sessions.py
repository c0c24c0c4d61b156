"""The rows of a kill from sessions that are made up."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import httpx
import msgspec
import pytest

from benchmarks.serve.rows import Plain, Row
from benchmarks.steer.playing.facts import ENOUGH_BUFFER_S, Ask, Level, Said, Session, Task
from benchmarks.steer.playing.figures import ROWS, Outcome, level_at, rows
from benchmarks.steer.playing.killing import QUICK, WHOLE, Setting
from benchmarks.steer.playing.viewers import STREAMS_PER_MEMBER, Watched, shares
from benchmarks.steer.report import AT_MOST, verdict
from player.fetching import RangeFetcher
from player.playing import Playback, PlayReport, Wishes
from player.verification import Verifier
from tests.player.lab import Network, make_film, now, run

DEAD, OTHER = "127.1.0.11:1", "127.1.0.12:1"
KILLED_S, BACK_S = 100.0, 150.0
HANGS_S, REFUSES_S = 5.0, 40.0


class Failing(Network):
    """Serves, then takes requests without a word, then refuses the token."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if now() < HANGS_S:
            return await super().handle_async_request(request)
        await asyncio.sleep(REFUSES_S - now())
        return httpx.Response(403, stream=httpx.ByteStream(b""))


def ask(at_s: float, host: str, ended: str = "complete", took_s: float = 0.5) -> Ask:
    return Ask(at_s, took_s, host, 1000 if ended == "complete" else 0, ended)


def session(
    number: int = 0, *, stalls: int = 0, failure: str = "", asks: tuple[Ask, ...] = (), ended_at_s: float = 170.0
) -> Session:
    levels = (Level(60.0, 24.0, 1), Level(98.0, 22.0, 1), Level(170.0, 3.0, stalls + 1))
    said = (
        Said(90.0, 0.01, "steered", (DEAD, DEAD)),
        Said(104.0, 0.5, "steered", (DEAD, OTHER)),
        Said(110.0, 0.01, "steered", (OTHER,)),
    )
    default = (ask(95.0, DEAD), ask(101.0, DEAD, "unreachable"), ask(101.5, OTHER), ask(160.0, DEAD))
    return Session(
        number, 50.0, ended_at_s, 0.4, 120.0, stalls + 1, 6.0, failure, 5_000_000, asks or default, said, levels
    )


def without_a_picture(number: int) -> Session:
    return Session(number, 50.0, 51.0, 0.0, 0.0, 0, 0.0, "refused: no room", 0, (), (), ())


def outcome(*sessions: Session) -> Outcome:
    return Outcome(KILLED_S, BACK_S, frozenset({DEAD}), sessions)


def value_and_facts(found: list[Row], name: str) -> tuple[float, dict[str, float]]:
    one = next(row for row in found if row.name == name)
    first = one.rounds[0]
    assert isinstance(first, Plain)
    return one.ours, first.facts


def test_the_rows_have_the_names_that_the_section_keeps() -> None:
    assert tuple(row.name for row in rows(outcome(session()))) == ROWS


def test_stalls_count_from_the_kill_on() -> None:
    found = rows(outcome(session(0), session(1, stalls=2)))
    stalls, facts = value_and_facts(found, "play/stalls")
    assert (stalls, facts["stalls before"], facts["sessions"], facts["at the box"]) == (2, 2, 2, 2)
    assert (facts["with 20 s of buffer then"], facts["least buffer then s"]) == (2, 20.0)
    assert value_and_facts(found, "play/stall-share")[0] == pytest.approx(12 / 240)


def test_breaking_off_after_the_kill_is_a_stall_whatever_was_buffered_and_none_is_ever_taken_back() -> None:
    broke_off = session(1, failure="bytes 0-9: none of 3", ended_at_s=140.0)
    lost_count = msgspec.structs.replace(session(2), stalls=0)
    found = rows(outcome(session(0), broke_off, lost_count))
    assert value_and_facts(found, "play/stalls")[0] == 1
    value, facts = value_and_facts(found, "play/broken-off")
    assert (value, facts["from the kill on"], facts["without a picture"]) == (1, 1, 0)


def test_a_session_that_broke_off_and_stalled_before_counts_its_stalls() -> None:
    broke_off = session(1, stalls=2, failure="bytes 0-9: none of 3", ended_at_s=140.0)
    assert value_and_facts(rows(outcome(session(0), broke_off)), "play/stalls")[0] == 2


def test_sessions_that_were_gone_before_the_kill_have_a_row_with_a_bar() -> None:
    gone = session(1, failure="refused", asks=(ask(95.0, DEAD),), ended_at_s=99.0)
    found = rows(outcome(session(0), gone, without_a_picture(2)))
    stalls, facts = value_and_facts(found, "play/stalls")
    assert (stalls, facts["stalls before"], facts["playing at the kill"]) == (0, 2, 1)
    value, facts = value_and_facts(found, "play/broken-off")
    assert (value, facts["from the kill on"], facts["without a picture"]) == (2, 0, 1)
    assert [verdict(row) for row in found if row.name in AT_MOST] == ["stretch", "missed"]


def test_the_time_to_start_is_that_of_sessions_that_started() -> None:
    facts = value_and_facts(rows(outcome(session(0), *map(without_a_picture, range(1, 9)))), "play/stalls")[1]
    assert (facts["started"], facts["start p50 s"], facts["start p95 s"]) == (1, 0.4, 0.4)


def test_a_play_that_is_refused_in_the_middle_keeps_what_it_saw() -> None:
    film = make_film(60)
    watched = Watched()

    async def main() -> tuple[PlayReport, float]:
        manifests = iter([film.mpd([("pathway-1", "http://a.lab")])])

        async def manifest() -> str:
            for text in manifests:
                return text
            raise httpx.ConnectError("playback is away")

        fetcher = RangeFetcher(now=now, transport=Failing(film))
        watched.begin(Playback(manifest, fetcher, Verifier(film.digests), Wishes(buffer_s=6.0), now=now))
        assert watched.playback is not None
        with pytest.raises(httpx.ConnectError) as caught:
            await watched.playback.run()
        return watched.broken_off(caught.value), now()

    report, ended_s = run(main())
    assert "playback is away" in report.failure
    assert (report.stalls, report.fresh_manifests) == (1, 1)
    assert report.stalled_s == pytest.approx(ended_s - report.startup_s - report.position_s)
    assert report.stalled_s > 10
    assert [attempt.status for attempt in report.attempts][-2:] == [206, 403]


def test_a_play_that_is_refused_before_it_begins_has_seen_nothing() -> None:
    report = Watched().broken_off(httpx.ConnectError("playback is away"))
    assert (report.startup_s, report.attempts) == (0.0, [])
    assert "playback is away" in report.failure


def test_requests_to_the_dead_box_count_while_it_is_dead() -> None:
    last, facts = value_and_facts(rows(outcome(session(), session(1))), "play/requests-to-dead-after-s")
    assert last == pytest.approx(1.0)
    assert (facts["requests"], facts["most by one session"]) == (2, 1)
    assert facts["share of requests that it has after its return"] == 1.0


def test_a_session_has_moved_when_a_whole_range_came_from_elsewhere() -> None:
    slow = session(1, asks=(ask(91.0, DEAD), ask(103.0, OTHER, "connection-broken"), ask(104.0, OTHER)))
    last, facts = value_and_facts(rows(outcome(session(), slow)), "play/moved-s")
    assert last == pytest.approx(4.5)
    assert facts["sessions"] == 2


def test_sessions_that_were_elsewhere_or_had_it_all_say_nothing_about_moving() -> None:
    elsewhere = session(1, asks=(ask(95.0, OTHER), ask(130.0, OTHER)))
    had_it_all = session(2, asks=(ask(95.0, DEAD),))
    assert value_and_facts(rows(outcome(session(), elsewhere, had_it_all)), "play/moved-s")[1]["sessions"] == 1


def test_the_last_wrong_answer_counts_to_its_end() -> None:
    last, facts = value_and_facts(rows(outcome(session())), "play/wrong-answer-s")
    assert last == pytest.approx(4.5)
    assert (facts["answers while dead"], facts["wrong ones"]) == (2, 1)
    assert (facts["first answer after s"], facts["of them asked in the first 10 s"]) == (4.5, 1)


def test_answers_that_nobody_asked_for_are_not_called_right() -> None:
    unanswered = (Said(90.0, 0.01, "steered", (DEAD,)), Said(104.0, 2.0, "not-answered", (OTHER,)))
    with pytest.raises(ValueError, match="none of 1 questions to steering was answered"):
        rows(outcome(msgspec.structs.replace(session(), said=unanswered)))


def test_the_order_that_a_session_keeps_without_an_answer_is_no_wrong_answer() -> None:
    said = (*session().said, Said(120.0, 2.0, "not-answered", (DEAD,)))
    last, facts = value_and_facts(rows(outcome(msgspec.structs.replace(session(), said=said))), "play/wrong-answer-s")
    assert last == pytest.approx(4.5)
    assert (facts["answers while dead"], facts["not answered"]) == (2, 1)


def test_a_kill_that_hit_nobody_gives_no_rows() -> None:
    with pytest.raises(ValueError, match="no session was at the box"):
        rows(outcome(session(asks=(ask(95.0, OTHER), ask(130.0, OTHER)))))


def test_a_session_that_got_nothing_more_is_an_error_with_its_words() -> None:
    lost = session(7, failure="bytes 0-9: none of 3", asks=(ask(95.0, DEAD), ask(101.0, DEAD, "unreachable")))
    with pytest.raises(ValueError, match="session 7 got nothing after the kill: bytes 0-9"):
        rows(outcome(lost))


def test_a_buffer_shrinks_between_two_looks_and_is_unknown_where_nothing_played() -> None:
    assert level_at(session(), 99.0) == (21.0, 1)
    assert level_at(session(), 59.0) is None
    assert level_at(session(), 170.0) is None


def test_a_members_sessions_stay_in_one_process_and_none_is_lost() -> None:
    task = Task("", "", "", "", ("x",), ("127.1.7.10",), "DE", tuple(range(30)), 0.1, 60.0, 22.0)
    dealt = shares(task, 3)
    assert sorted(number for share in dealt for number in share.numbers) == list(range(30))
    members = [{number // STREAMS_PER_MEMBER for number in share.numbers} for share in dealt]
    assert not members[0] & members[1] | members[1] & members[2]
    assert msgspec.json.decode(msgspec.json.encode(dealt[0]), type=Task) == dealt[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"arrive_s": 20.0, "kill_s": 20.0},
        {"dead_s": 90.0},
        {"patience_s": 30.0},
        {"kill_s": 30.0, "dead_s": 5.0, "buffer_s": 15.0},
    ],
)
def test_a_setting_in_which_not_all_play_through_the_kill_is_refused(wrong: dict[str, float]) -> None:
    usual = {"arrive_s": 8.0, "kill_s": 20.0, "dead_s": 25.0, "watch_s": 58.0, "patience_s": 10.0, "buffer_s": 22.0}
    with pytest.raises(ValueError, match=r": or not(hing)? "):
        msgspec.convert({"sessions": 10, **usual, **wrong}, Setting)


@pytest.mark.parametrize(
    ("kill_s", "ttl_s", "refused"),
    [(55.0, 60, True), (75.0, 60, False), (90.0, 60, True), (104.0, 60, True), (55.0, 45, False), (75.0, 20, False)],
)
def test_the_kill_comes_while_sessions_ask_steering(kill_s: float, ttl_s: int, refused: bool) -> None:
    with pytest.raises(ValueError, match="or nothing would be known") if refused else nullcontext():
        Setting(sessions=10, arrive_s=45.0, kill_s=kill_s, dead_s=30.0, watch_s=200.0, ttl_s=ttl_s)


def test_the_settings_hold_twenty_seconds_of_buffer() -> None:
    assert min(WHOLE.buffer_s, QUICK.buffer_s) > ENOUGH_BUFFER_S
    assert WHOLE.sessions == 500
