"""What a result says of what was seen: without a browser."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.browser import summary
from tests.browser.observations import (
    PRESSED,
    Answered,
    Frame,
    Mark,
    Observed,
    Page,
    Sample,
    Steered,
    VideoEvent,
)
from tests.browser.run_result import Bounds, Leaving, Name, Reason, RunResult, Verdict, result_of
from tests.browser.runs import pathways_in
from tests.browser.timeline import draw

NAME = Name("lost", "shaka", "1.2.3", 7)
PRESS_MS = 1_000.0
HERE, THERE = "127.0.0.1:1", "127.0.0.2:1"


def frames(
    from_ms: float, to_ms: float, position_s: float = 0.0, height: int = 360, step_ms: float = 40.0
) -> list[Frame]:
    """Pictures at the speed of life."""
    count = round((to_ms - from_ms) / step_ms)
    return [Frame(from_ms + n * step_ms, position_s + n * step_ms / 1000, height) for n in range(count)]


def answer(asked_ms: float, host: str = HERE, file: str = "v-360.mp4", status: int = 206, size: int = 1000) -> Answered:
    return Answered(asked_ms, asked_ms + 50, status, host, file, True, size)


def seen(
    shown: list[Frame],
    *,
    events: tuple[tuple[float, str], ...] = (),
    answers: tuple[Answered, ...] = (),
    marks: tuple[tuple[float, str], ...] = (),
    ended_ms: float | None = None,
    buffer_s: float = 0.2,
    **more: object,
) -> Observed:
    playing = VideoEvent(shown[0].shown_ms if shown else 0.0, "playing", 0.0)
    told = tuple(VideoEvent(at_ms, kind, 0.0) for at_ms, kind in events)
    end_ms = ended_ms if ended_ms is not None else shown[-1].shown_ms
    page = Page(
        0.0,
        end_ms,
        answers,
        tuple(shown),
        (playing, *told),
        tuple(Sample(PRESS_MS + n * 250, 0.0, buffer_s) for n in range(40)),
        (Mark(PRESS_MS, PRESSED), *(Mark(at_ms, what) for at_ms, what in marks)),
    )
    return msgspec.structs.replace(Observed(page, {(HERE, "v-360.mp4"): "pathway-1"}), **more)


def judge(observed: Observed, bounds: Bounds | None = None) -> RunResult:
    return result_of(NAME, observed, bounds or Bounds())


def reasons(result: RunResult) -> list[Reason]:
    return [reason for reason, _words in result.why]


def test_a_play_without_trouble_holds_and_its_startup_counts_from_the_press() -> None:
    result = judge(seen(frames(1_400, 11_400)))
    assert result.verdict is Verdict.HELD
    assert result.startup_s == pytest.approx(0.4)
    assert result.played_s == pytest.approx(10.0, abs=0.1)
    assert result.stalls.count == 0
    assert result.run == "lost-shaka"


def test_no_picture_at_all_breaks_a_run_whatever_else_it_holds() -> None:
    result = judge(seen([], ended_ms=9_000))
    assert result.verdict is Verdict.BROKE
    assert reasons(result) == [Reason.NO_PICTURE]
    assert result.startup_s is None


def test_a_short_stall_lasts_from_waiting_to_the_next_picture() -> None:
    result = judge(seen([*frames(1_400, 5_000), *frames(5_300, 9_000, 3.6)], events=((5_000, "waiting"),)))
    assert result.stalls.count == 1
    assert result.stalls.seconds == pytest.approx(0.3)


def test_a_long_stall_lasts_from_the_last_picture_to_the_next() -> None:
    result = judge(
        seen([*frames(1_400, 5_000), *frames(6_500, 9_000, 3.6)], events=((5_000, "waiting"), (6_480, "playing")))
    )
    assert result.stalls.count == 1
    assert result.stalls.seconds == pytest.approx(1.54)
    assert list(result.stalls.at_s) == [pytest.approx(3.96)]
    assert reasons(result) == [Reason.STALLED]


def test_what_waits_twice_before_a_picture_stalls_once_and_a_stall_without_end_lasts_to_the_end() -> None:
    result = judge(seen(frames(1_400, 5_000), events=((5_000, "waiting"), (5_400, "waiting")), ended_ms=8_000))
    assert result.stalls.count == 1
    assert result.stalls.seconds == pytest.approx(3.04)


def test_a_gap_without_a_word_is_a_stall_too_and_one_with_enough_to_show_is_a_hitch() -> None:
    shown = [*frames(1_400, 5_000), *frames(6_500, 9_000, 3.6)]
    assert judge(seen(shown)).stalls.count == 1
    busy = judge(seen(shown, buffer_s=20.0, events=((5_000, "waiting"),)))
    assert (busy.stalls.count, busy.stalls.hitches) == (0, 1)
    assert busy.verdict is Verdict.HELD


def test_waiting_before_the_first_playing_is_startup() -> None:
    shown = frames(1_400, 5_000)
    observed = seen(shown)
    early = (VideoEvent(1_200, "waiting", 0.0), *observed.page.events)
    page = msgspec.structs.replace(observed.page, events=early)
    assert judge(msgspec.structs.replace(observed, page=page)).stalls.count == 0


def test_waiting_inside_a_seek_is_no_stall_and_the_seek_ends_with_its_picture() -> None:
    shown = [*frames(1_400, 5_000), *frames(7_000, 9_000, 60.0)]
    events = ((5_000, "seeking"), (5_001, "waiting"), (6_000, "seeked"), (6_500, "waiting"))
    result = judge(seen(shown, events=events))
    assert result.stalls.count == 0
    assert result.seeks.count == 1
    assert result.seeks.longest_s == pytest.approx(2.0)
    assert result.played_s == pytest.approx(5.6, abs=0.2), "the jump is not played"
    assert result.stalls.longest_still_s < 0.1


def test_a_picture_that_stands_still_without_a_word_breaks_the_run() -> None:
    shown = [*frames(1_400, 5_000), *frames(12_000, 14_000, 3.6)]
    full = seen(shown, buffer_s=20.0)
    assert reasons(judge(full)) == [Reason.STOOD_STILL]
    assert judge(full, Bounds(still_s=None)).verdict is Verdict.HELD
    late = seen(frames(1_400, 5_000), ended_ms=20_000, buffer_s=20.0)
    assert reasons(judge(late)) == [Reason.STOOD_STILL], "also at its end"


def test_a_play_that_stopped_early_fell_short() -> None:
    assert reasons(judge(seen(frames(1_400, 5_000)), Bounds(played_s=10.0))) == [Reason.FELL_SHORT]


def test_a_scenario_that_broke_off_holds_nothing() -> None:
    result = judge(seen(frames(1_400, 5_000)), Bounds(is_whole=False))
    assert result.verdict is Verdict.BROKE
    assert reasons(result) == [Reason.UNFINISHED]


def test_heights_are_switches_of_quality_and_only_pictures_switch_pathways() -> None:
    shown = [*frames(1_400, 3_000), *frames(3_000, 5_000, 1.6, 180), *frames(5_000, 7_000, 3.6)]
    answers = (
        answer(2_000),
        answer(2_900, THERE),
        answer(2_500, THERE, "a-en.mp4"),
        answer(2_600, THERE, "v-360.m3u8"),
        answer(2_700, THERE, status=0, size=0),
    )
    result = judge(seen(shown, answers=answers))
    assert result.switches.quality == 2
    assert result.heights == (180, 360)
    assert result.switches.pathway == 1
    assert (result.hosts[THERE].requests, result.hosts[THERE].failed, result.hosts[THERE].bytes) == (4, 1, 3000)
    assert result.hosts[HERE].first_s == pytest.approx(1.0)


def test_two_hosts_of_one_pathway_are_no_switch() -> None:
    both = {(HERE, "v-360.mp4"): "pathway-1", (THERE, "v-180.mp4"): "pathway-1"}
    observed = seen(frames(1_400, 5_000), answers=(answer(2_000), answer(3_000, THERE, "v-180.mp4")), pathways=both)
    assert judge(observed).switches.pathway == 0


def test_a_host_that_is_asked_for_longer_than_allowed_breaks_the_run() -> None:
    answers = (answer(2_000), answer(5_000), answer(8_000, THERE))
    observed = seen(frames(1_400, 12_000), answers=answers, marks=((3_000, "drained"),))
    result = judge(observed, Bounds(leavings=(Leaving(HERE, "drained", 1.5),)))
    assert reasons(result) == [Reason.KEPT_ASKING]
    assert result.departures[0].asked_for_s == pytest.approx(2.0)
    assert judge(observed, Bounds(leavings=(Leaving(HERE, "drained", 2.5),))).verdict is Verdict.HELD
    measured = judge(observed, Bounds(leavings=(Leaving(HERE, "drained", None),)))
    assert measured.verdict is Verdict.HELD
    assert measured.departures[0].asked_for_s == pytest.approx(2.0)
    assert "asked for 2.0 s after &#x27;drained&#x27;</dd>" in draw(measured, observed)


def test_what_is_asked_after_it_returned_does_not_count() -> None:
    answers = (answer(2_000), answer(9_000))
    observed = seen(frames(1_400, 12_000), answers=answers, marks=((3_000, "drained"), (8_000, "returned")))
    held = Bounds(leavings=(Leaving(HERE, "drained", 1.0, until="returned"),))
    assert judge(observed, held).verdict is Verdict.HELD
    assert reasons(judge(observed, Bounds(leavings=(Leaving(HERE, "drained", 1.0),)))) == [Reason.KEPT_ASKING]


def test_a_host_that_was_never_asked_cannot_be_left() -> None:
    observed = seen(frames(1_400, 12_000), answers=(answer(2_000),), marks=((3_000, "drained"),))
    assert reasons(judge(observed, Bounds(leavings=(Leaving(THERE, "drained", 9.0),)))) == [Reason.NEVER_THERE]
    with pytest.raises(LookupError, match="'slowed'"):
        judge(observed, Bounds(leavings=(Leaving(HERE, "slowed", 9.0),)))


def test_a_player_that_gave_up_and_preflights_break_a_run_with_words() -> None:
    result = judge(seen(frames(1_400, 5_000), failures=("1001 BAD_HTTP_STATUS",), preflights=3))
    assert result.why == ((Reason.GAVE_UP, "1001 BAD_HTTP_STATUS"), (Reason.PREFLIGHTS, "3, not 0"))


def test_a_result_survives_json_and_its_timeline_shows_every_mark_and_host() -> None:
    told = (Steered(4_000, 200, 5.0, ("pathway-2", "origin"), {"a2": "x"}), Steered(4_500, 503))
    observed = seen(
        [*frames(1_400, 5_000), *frames(6_500, 9_000, 3.6)],
        events=((5_000, "waiting"),),
        answers=(answer(2_000), answer(3_000, THERE, status=503)),
        marks=((3_000, "<killed> & gone"),),
        steered=told,
    )
    result = judge(observed)
    assert msgspec.json.decode(msgspec.json.encode(result), type=RunResult) == result
    page = draw(result, observed)
    assert "&lt;killed&gt; &amp; gone" in page
    assert page.count('class="stall"') == 1
    assert page.count("<circle") == 2
    assert HERE in page
    assert THERE in page


def test_the_pathways_of_an_mpd_are_found_by_host_and_file() -> None:
    places = "".join(
        f'<BaseURL serviceLocation="{name}">http://{host}/~t/media/t/sd/v.mp4</BaseURL>'
        for name, host in (("pathway-1", HERE), ("origin", THERE))
    )
    mpd = f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>x/</BaseURL>{places}</Period></MPD>'
    assert pathways_in(mpd) == {(HERE, "v.mp4"): "pathway-1", (THERE, "v.mp4"): "origin"}


def test_the_table_of_runs_names_what_broke_and_its_page_leads_to_each_timeline() -> None:
    held, broke = judge(seen(frames(1_400, 5_000))), judge(seen([], ended_ms=9_000))
    broke = msgspec.structs.replace(broke, run="found-shaka")
    assert [row[0] for row in summary.rows([held, broke])] == ["found-shaka", "lost-shaka"]
    lines = summary.table([held, broke]).splitlines()
    assert "broke: no-picture" in lines[2]
    assert lines[3].endswith("| held |")
    assert 'href="lost-shaka.html"' in summary.page([held, broke])


def test_results_of_another_format_are_left_out_of_the_table(tmp_path: Path) -> None:
    result = judge(seen(frames(1_400, 5_000)))
    (tmp_path / "now.json").write_bytes(msgspec.json.encode(result))
    (tmp_path / "once.json").write_bytes(b'{"format": 1, "run": "once"}')
    assert summary.read(tmp_path) == [result]
